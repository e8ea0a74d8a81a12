//! Conversion between versions by the definition's webhook.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use proto::field::{Errors, Path, aggregate};
use proto::status::Status;
use proto::view::{View, at, strs, text_at};
use proto::{content, go};
use serde_json::{Value, json};

use crate::engine::meta;
use crate::registry::{ExternalConversion, Local};
use crate::webhook::{Client, Remote};

/// How long a conversion may take (upstream's limit).
const TIMEOUT: Duration = Duration::from_secs(30);

/// The conversion webhook of a definition.
pub(super) struct Webhook {
    inner: Arc<Inner>,
}

struct Inner {
    local: Arc<dyn Local>,
    client: Client,
    remote: Remote,
    /// The version of ConversionReview to use; `None` if none is known.
    review: Option<&'static str>,
}

impl Webhook {
    pub(super) fn new(definition: &Value, local: Arc<dyn Local>) -> Self {
        let webhook = at(definition, &["spec", "conversion", "webhook"]);
        let versions = strs(at(webhook, &["conversionReviewVersions"]));
        let review = versions.into_iter().find_map(|version| match version {
            "v1" => Some("v1"),
            "v1beta1" => Some("v1beta1"),
            _ => None,
        });
        let remote = Remote::parse(at(webhook, &["clientConfig"]), TIMEOUT, false);
        Webhook { inner: Arc::new(Inner { local, client: Client::default(), remote, review }) }
    }
}

impl ExternalConversion for Webhook {
    fn convert(
        &self,
        objects: Vec<Value>,
        api_version: String,
    ) -> BoxFuture<'static, Result<Vec<Value>, Status>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.convert(objects, &api_version).await })
    }
}

impl Inner {
    async fn convert(&self, mut objects: Vec<Value>, wanted: &str) -> Result<Vec<Value>, Status> {
        let differs = |object: &Value| text_at(object, &["apiVersion"]) != wanted;
        let asked: Vec<usize> = (0..objects.len()).filter(|i| objects.get(*i).is_some_and(differs)).collect();
        let Some(first) = asked.first().and_then(|i| objects.get(*i)) else { return Ok(objects) };
        let kind = format!("{}, Kind={}", text_at(first, &["apiVersion"]), text_at(first, &["kind"]));
        // Errors of a conversion have no reason of their own.
        let failure = |text: String| Status::failure(500, "", text);
        let failed = |text: String| failure(format!("conversion webhook for {kind} failed: {text}"));
        let Some(version) = self.review else {
            return Err(failure("no supported conversion review versions".to_owned()));
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let sent: Vec<&Value> = asked.iter().filter_map(|i| objects.get(*i)).collect();
        let review = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": sent},
            "response": {"uid": "", "convertedObjects": null, "result": {"metadata": {}}},
        });
        let mut answer = self.client.call(&self.local, &self.remote, &review).await.map_err(failed)?;
        check(version, &uid, &answer).map_err(failed)?;
        let converted = match answer.pointer_mut("/response/convertedObjects").map(Value::take) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        if converted.len() != asked.len() {
            return Err(failure(format!(
                "conversion webhook for {kind} returned {} objects, expected {}",
                converted.len(),
                asked.len()
            )));
        }
        for (i, mut new) in asked.into_iter().zip(converted) {
            let Some(old) = objects.get_mut(i) else { continue };
            accept(old, &mut new, wanted, i)
                .map_err(|text| failure(format!("conversion webhook for {kind} returned {text}")))?;
            *old = new;
        }
        Ok(objects)
    }
}

/// Checks that the answer is one to this request, and a success.
fn check(version: &str, uid: &str, answer: &Value) -> Result<(), String> {
    let response = at(answer, &["response"]);
    if version == "v1" {
        let (api_version, kind) = (text_at(answer, &["apiVersion"]), text_at(answer, &["kind"]));
        if api_version != "apiextensions.k8s.io/v1" || kind != "ConversionReview" {
            let slash = if api_version.contains('/') { "" } else { "/" };
            return Err(format!(
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {slash}{api_version}, Kind={kind}"
            ));
        }
    }
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let got = text_at(response, &["uid"]);
    if version == "v1" && got != uid {
        let quote = proto::field::quote;
        return Err(format!("expected response.uid={}, got {}", quote(uid), quote(got)));
    }
    match (text_at(response, &["result", "status"]), text_at(response, &["result", "message"])) {
        ("Success", _) => Ok(()),
        (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => Err(message.to_owned()),
    }
}

/// Checks a converted object and gives it the metadata of the original, but for labels and annotations.
fn accept(old: &Value, new: &mut Value, wanted: &str, index: usize) -> Result<(), String> {
    let differs = |what: &str, expected: &str, got: &str| {
        format!("invalid object at index {index}: invalid {what} (expected {expected}, received {got})")
    };
    let (api_version, kind) = (text_at(new, &["apiVersion"]), text_at(new, &["kind"]));
    if api_version != wanted {
        return Err(differs("groupVersion", wanted, api_version));
    }
    let own = text_at(old, &["kind"]);
    if kind != own {
        return Err(differs("kind", own, kind));
    }
    for (what, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let (before, after) = (meta::text(old, field), meta::text(new, field));
        if before != after {
            return Err(format!("invalid object: must have the same {what}: {before} != {after}"));
        }
    }
    restore_metadata(old, new).map_err(|text| format!("invalid metadata: {text}"))
}

fn restore_metadata(old: &Value, new: &mut Value) -> Result<(), String> {
    let given = match new.get("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(given) if !given.is_object() => {
            return Err(format!("invalid metadata of type {} in converted object", go::type_of(given)));
        }
        Some(given) => given.clone(),
    };
    let mut metadata = old.get("metadata").cloned().unwrap_or_else(|| json!({}));
    for field in ["labels", "annotations"] {
        let Some(fields) = metadata.as_object_mut() else { continue };
        match given.get(field) {
            None | Some(Value::Null) => {
                fields.remove(field);
            }
            Some(Value::Object(map)) => {
                if let Some((key, value)) = map.iter().find(|(_, value)| !value.is_string()) {
                    return Err(format!(
                        "metadata.{field}[{key}] must be a string, but is {} in converted object",
                        go::type_of(value)
                    ));
                }
                if fields.get(field).and_then(Value::as_object) != Some(map) {
                    check_map(field, &given)?;
                }
                fields.insert(field.to_owned(), Value::Object(map.clone()));
            }
            Some(other) => {
                return Err(format!(
                    "invalid metadata.{field} of type {} in converted object",
                    go::type_of(other)
                ));
            }
        }
    }
    new["metadata"] = metadata;
    Ok(())
}

fn check_map(field: &'static str, metadata: &Value) -> Result<(), String> {
    let mut errors = Errors::new();
    let path = Path::new("metadata");
    if field == "labels" {
        let map = View::at(at(metadata, &[field]), path.child("labels"));
        for (key, value) in map.entries() {
            let mut add = |value: &str, messages: Vec<String>| {
                let error = |m| proto::field::Error::invalid(map.path(), value, m);
                errors.extend(messages.into_iter().map(error));
            };
            add(key, content::is_qualified_name(key));
            add(value.str(), content::is_label_value(value.str()));
        }
    } else {
        // Upstream names the field so.
        let map = View::at(at(metadata, &[field]), path.child("annotation"));
        for (key, _) in map.entries() {
            let messages = content::is_qualified_name(&key.to_lowercase());
            errors.extend(messages.into_iter().map(|m| proto::field::Error::invalid(map.path(), key, m)));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(aggregate(&errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": {"name": "a", "namespace": "n", "uid": "1", "generation": 3, "labels": {"a": "b"}}})
    }

    #[test]
    fn metadata_stays_but_for_labels_and_annotations() {
        let mut new = json!({"apiVersion": "example.com/v2", "kind": "Widget", "spec": {},
            "metadata": {"name": "a", "namespace": "n", "uid": "1", "generation": 9, "annotations": {"x": "y"}}});
        accept(&old(), &mut new, "example.com/v2", 0).expect("accepted");
        assert_eq!(
            new["metadata"],
            json!({"name": "a", "namespace": "n", "uid": "1", "generation": 3, "annotations": {"x": "y"}})
        );
    }

    #[test]
    fn bad_answers_are_told() {
        let good = json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "a", "namespace": "n", "uid": "1"}});
        let cases: &[(&str, Value, &str)] = &[
            (
                "/apiVersion",
                json!("example.com/v3"),
                "invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
            ),
            (
                "/kind",
                json!("Gadget"),
                "invalid object at index 0: invalid kind (expected Widget, received Gadget)",
            ),
            ("/metadata/name", json!("b"), "invalid object: must have the same name: a != b"),
            ("/metadata/uid", json!("2"), "invalid object: must have the same UID: 1 != 2"),
            (
                "/metadata",
                json!({"name": "a", "namespace": "n", "uid": "1", "labels": {"a": 1}}),
                "invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
            ),
        ];
        for (pointer, value, want) in cases {
            let mut new = good.clone();
            if let Some(at) = new.pointer_mut(pointer) {
                *at = value.clone();
            }
            assert_eq!(accept(&old(), &mut new, "example.com/v2", 0).expect_err("refused"), *want);
        }
    }

    #[test]
    fn responses_must_be_to_the_request() {
        let answer = |result: Value| {
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
                "response": {"uid": "u", "result": result}})
        };
        assert_eq!(check("v1", "u", &answer(json!({"status": "Success"}))), Ok(()));
        assert_eq!(check("v1", "u", &answer(json!({"status": "Failed", "message": "no"}))), Err("no".into()));
        assert_eq!(
            check("v1", "u", &answer(json!({}))),
            Err("response.result.status was '', not 'Success'".into())
        );
        assert_eq!(
            check("v1", "w", &answer(json!({"status": "Success"}))),
            Err("expected response.uid=\"w\", got \"u\"".into())
        );
        assert_eq!(check("v1beta1", "", &json!({})), Err("no response provided".into()));
        assert_eq!(
            check("v1", "u", &json!({})),
            Err("expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind="
                .into())
        );
    }
}
