//! The AdmissionReview that is sent, and what its answer means.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proto::json as codec;
use proto::status::Status;
use serde_json::{Map, Value, json};

use super::super::Review;
use super::super::step::{items, text};
use super::config::Webhook;
use crate::auth::text::quoted;
use crate::registry::Endpoint;

const GROUP: &str = "admission.k8s.io";

/// What a webhook decided.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// The Status of a refusal.
    pub(super) status: Value,
    /// JSON patch operations; empty if there is nothing to change.
    pub(super) patch: Value,
    pub(super) warnings: Vec<String>,
    pub(super) annotations: Vec<(String, String)>,
}

/// The version of AdmissionReview to use: the first in the webhook's list that is known.
pub(super) fn review_version(webhook: &Webhook) -> Result<&str, String> {
    let known = webhook.review_versions.iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1"));
    known
        .map(String::as_str)
        .ok_or_else(|| "webhook does not accept known AdmissionReview versions (v1, v1beta1)".to_owned())
}

/// The body to send.
pub(super) fn request(
    version: &str,
    uid: &str,
    endpoint: &Endpoint,
    review: &Review,
    object: &Value,
    old: &Value,
) -> Value {
    let resource = |endpoint: &Endpoint| json!({ "group": endpoint.group, "version": endpoint.version, "resource": endpoint.resource });
    let (group, kind_version, kind) = &review.kind;
    let request_kind = json!({ "group": group, "version": kind_version, "kind": kind });
    let is_own = endpoint.version == review.endpoint.version && endpoint.group == review.endpoint.group;
    let kind = if is_own || !review.subresource.is_empty() {
        request_kind.clone()
    } else {
        json!({ "group": endpoint.group, "version": endpoint.version, "kind": endpoint.kind })
    };
    let user = &review.user;
    let mut user_info = json!({ "username": user.name });
    if !user.uid.is_empty() {
        user_info["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        user_info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        user_info["extra"] = json!(user.extra);
    }
    let mut request = json!({
        "uid": uid,
        "kind": kind,
        "resource": resource(endpoint),
        "requestKind": request_kind,
        "requestResource": resource(&review.endpoint),
        "operation": review.operation.as_str(),
        "userInfo": user_info,
        "object": object,
        "oldObject": old,
        "dryRun": review.dry_run,
        "options": review.options,
    });
    for (field, value) in [
        ("name", &review.name),
        ("namespace", &review.namespace),
        ("subResource", &review.subresource),
        ("requestSubResource", &review.subresource),
    ] {
        if !value.is_empty() {
            request[field] = json!(value);
        }
    }
    json!({ "kind": "AdmissionReview", "apiVersion": format!("{GROUP}/{version}"), "request": request })
}

/// Reads the answer to a request with this uid.
pub(super) fn answer(version: &str, uid: &str, mutating: bool, body: &Value) -> Result<Answer, String> {
    let response = &body["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    if version == "v1" {
        check_v1(uid, mutating, body)?;
    }
    let patch = match response["patch"].as_str().filter(|patch| mutating && !patch.is_empty()) {
        None => Value::Null,
        Some(encoded) => STANDARD
            .decode(encoded)
            .ok()
            .and_then(|bytes| codec::decode_any(&bytes).ok())
            .map(|decoded| decoded.value)
            .ok_or("received undecodable patch in webhook response")?,
    };
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Answer {
        allowed: response["allowed"] == true,
        status: response["status"].clone(),
        patch,
        warnings: items(&response["warnings"]).iter().map(|warning| text(warning).to_owned()).collect(),
        annotations: annotations.map(|(key, value)| (key.clone(), text(value).to_owned())).collect(),
    })
}

fn check_v1(uid: &str, mutating: bool, body: &Value) -> Result<(), String> {
    let response = &body["response"];
    let got = text(&response["uid"]);
    if got != uid {
        return Err(format!("expected response.uid={}, got {}", quoted(uid), quoted(got)));
    }
    let (api_version, kind) = (text(&body["apiVersion"]), text(&body["kind"]));
    if api_version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
        ));
    }
    let has_patch = !text(&response["patch"]).is_empty();
    let patch_type = response["patchType"].as_str();
    match (mutating, has_patch, patch_type) {
        (true, true, None) => Err("webhook returned response.patch but not response.patchType".to_owned()),
        (true, false, Some(_)) => {
            Err("webhook returned response.patchType but not response.patch".to_owned())
        }
        (true, true, Some(other)) if other != "JSONPatch" => {
            Err(format!("webhook returned invalid response.patchType of {}", quoted(other)))
        }
        (false, true, _) => Err("validating webhook may not return response.patch".to_owned()),
        (false, _, Some(_)) => Err("validating webhook may not return response.patchType".to_owned()),
        _ => Ok(()),
    }
}

/// The refusal that the client sees.
pub(super) fn rejection(name: &str, status: &Value) -> Status {
    let denied = format!("admission webhook {} denied the request", quoted(name));
    let (message, reason) = (text(&status["message"]), text(&status["reason"]));
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let mut rejection = status.as_object().cloned().unwrap_or_else(Map::new);
    rejection.insert("status".to_owned(), json!("Failure"));
    rejection.insert("message".to_owned(), json!(message));
    rejection.insert("code".to_owned(), json!(code.unwrap_or(400)));
    serde_json::from_value(Value::Object(rejection)).unwrap_or_else(|_| Status::bad_request(message))
}

/// A webhook and how it is to see the write.
pub(super) struct Invocation {
    pub(super) webhook: Arc<Webhook>,
    pub(super) endpoint: Arc<Endpoint>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: Value) -> Value {
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
    }

    #[test]
    fn answers() {
        let patch = STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        let good = body(
            json!({ "uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": patch, "warnings": ["w"] }),
        );
        let read = answer("v1", "u", true, &good).unwrap();
        assert!(read.allowed && read.patch.is_array());
        assert_eq!(read.warnings, ["w"]);
        for (body, mutating, text) in [
            (json!({}), true, "webhook response was absent"),
            (good.clone(), false, "validating webhook may not return response.patch"),
            (body(json!({ "uid": "x", "allowed": true })), true, r#"expected response.uid="u", got "x""#),
            (
                body(json!({ "uid": "u", "allowed": true, "patch": patch })),
                true,
                "but not response.patchType",
            ),
            (
                body(json!({ "uid": "u", "patchType": "JSONPatch", "patch": "!!!" })),
                true,
                "undecodable patch",
            ),
            (
                json!({ "apiVersion": "v1", "kind": "Pod", "response": { "uid": "u" } }),
                true,
                "expected webhook response of",
            ),
        ] {
            let error = answer("v1", "u", mutating, &body).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn refusals() {
        for (status, code, message) in [
            (Value::Null, 400, r#"admission webhook "w" denied the request without explanation"#),
            (
                json!({ "message": "no", "code": 403, "reason": "Forbidden" }),
                403,
                r#"admission webhook "w" denied the request: no"#,
            ),
            (
                json!({ "reason": "Because", "code": 200 }),
                400,
                r#"admission webhook "w" denied the request: Because"#,
            ),
        ] {
            let rejection = rejection("w", &status);
            assert_eq!((rejection.code, rejection.message.as_str()), (code, message));
        }
    }
}
