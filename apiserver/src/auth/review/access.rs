//! SubjectAccessReview and its variants: whether someone may do something.

use std::sync::Arc;

use futures::future::BoxFuture;
use proto::field::{self, Path};
use proto::status::Status;
use proto::{fields, labels};
use serde_json::{Value, json};

use super::{check_metadata, strings, text};
use crate::auth::{Attributes, Decision, UserInfo};
use crate::registry::Ctx;

const GROUP: &str = "authorization.k8s.io";

/// May this user do it?
pub(super) fn subject_access_review(ctx: &Ctx, review: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        let mut errors = check_spec(&review["spec"], true);
        check_metadata(&review, &[], "must be empty", &mut errors);
        refuse(errors, "SubjectAccessReview")?;
        let user = Arc::new(subject(&review["spec"]));
        Ok(answer(ctx, review, user).await)
    })
}

/// May I do it?
pub(super) fn self_subject_access_review(ctx: &Ctx, review: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        let mut errors = check_spec(&review["spec"], false);
        check_metadata(&review, &[], "must be empty", &mut errors);
        refuse(errors, "SelfSubjectAccessReview")?;
        Ok(answer(ctx, review, ctx.user.clone()).await)
    })
}

/// May this user do it in this namespace?
pub(super) fn local_subject_access_review(ctx: &Ctx, review: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        refuse(check_local(&review), "LocalSubjectAccessReview")?;
        if text(&review["metadata"]["namespace"]) != ctx.namespace {
            return Err(Status::bad_request(format!(
                "spec.resourceAttributes.namespace must match namespace: {}",
                ctx.namespace
            )));
        }
        let user = Arc::new(subject(&review["spec"]));
        Ok(answer(ctx, review, user).await)
    })
}

fn check_local(review: &Value) -> field::Errors {
    let spec = &review["spec"];
    let mut errors = check_spec(spec, true);
    check_metadata(review, &["namespace"], "must be empty except for namespace", &mut errors);
    let path = Path::new("spec");
    let resource = &spec["resourceAttributes"];
    if resource.is_object() && text(&resource["namespace"]) != text(&review["metadata"]["namespace"]) {
        let path = path.child("resourceAttributes").child("namespace");
        let error =
            field::Error::invalid(&path, text(&resource["namespace"]), "must match metadata.namespace");
        errors.push(error);
    }
    let urls = &spec["nonResourceAttributes"];
    if urls.is_object() {
        let path = path.child("nonResourceAttributes");
        errors.push(field::Error::invalid(&path, urls.clone(), "disallowed on this kind of request"));
    }
    errors
}

fn refuse(errors: field::Errors, kind: &str) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, kind, "", &errors)) }
}

fn check_spec(spec: &Value, names_user: bool) -> field::Errors {
    let path = Path::new("spec");
    let (resource, urls) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = field::Errors::new();
    match (resource.is_object(), urls.is_object()) {
        (true, true) => errors.push(field::Error::invalid(
            &path.child("nonResourceAttributes"),
            urls.clone(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(field::Error::invalid(
            &path.child("resourceAttributes"),
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    if names_user && text(&spec["user"]).is_empty() && strings(&spec["groups"]).is_empty() {
        let detail = "at least one of user or group must be specified";
        errors.push(field::Error::invalid(&path.child("user"), "", detail));
    }
    for selector in ["fieldSelector", "labelSelector"] {
        check_selector(&resource[selector], &path.child("resourceAttributes").child(selector), &mut errors);
    }
    errors
}

fn check_selector(selector: &Value, path: &Path, errors: &mut field::Errors) {
    if !selector.is_object() {
        return;
    }
    let raw = text(&selector["rawSelector"]);
    let has_requirements = selector["requirements"].as_array().is_some_and(|list| !list.is_empty());
    if !raw.is_empty() && has_requirements {
        let detail = "may not specified at the same time as requirements";
        errors.push(field::Error::invalid(&path.child("rawSelector"), raw, detail));
    }
    if raw.is_empty() && !has_requirements {
        let detail = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(field::Error::required(&path.child("requirements"), detail));
    }
}

/// The user that the spec describes.
fn subject(spec: &Value) -> UserInfo {
    let mut user = UserInfo::new(text(&spec["user"]), strings(&spec["groups"]));
    user.uid = text(&spec["uid"]).to_owned();
    for (key, values) in spec["extra"].as_object().into_iter().flatten() {
        user.extra.insert(key.clone(), strings(values));
    }
    user
}

/// What the spec asks about, and which selectors had to be ignored.
fn attributes(spec: &Value, user: Arc<UserInfo>) -> (Attributes, Vec<String>) {
    let resource = &spec["resourceAttributes"];
    if !resource.is_object() {
        let urls = &spec["nonResourceAttributes"];
        let attributes = Attributes {
            user,
            verb: text(&urls["verb"]).to_owned(),
            path: text(&urls["path"]).to_owned(),
            ..Attributes::default()
        };
        return (attributes, Vec::new());
    }
    let field = |name: &str| text(&resource[name]).to_owned();
    let mut ignored = Vec::new();
    let (field_selector, fields_whole) = field_selector(&resource["fieldSelector"]);
    let (label_selector, labels_whole) = label_selector(&resource["labelSelector"]);
    for (name, whole, is_empty) in [
        ("fieldSelector", fields_whole, field_selector.is_empty()),
        ("labelSelector", labels_whole, label_selector.is_empty()),
    ] {
        if !whole {
            let how = if is_empty { "ignored" } else { "partially ignored" };
            ignored.push(format!("spec.resourceAttributes.{name} {how} due to parse error"));
        }
    }
    let version = field("version");
    let attributes = Attributes {
        user,
        verb: field("verb"),
        resource_request: true,
        group: field("group"),
        version: if version.is_empty() { "*".to_owned() } else { version },
        resource: field("resource"),
        subresource: field("subresource"),
        namespace: field("namespace"),
        name: field("name"),
        path: String::new(),
        field_selector,
        label_selector,
    };
    (attributes, ignored)
}

/// The requirements that are understood, and whether these are all. Leaving one out asks for more, never for less.
fn field_selector(selector: &Value) -> (fields::Selector, bool) {
    let raw = text(&selector["rawSelector"]);
    if !raw.is_empty() {
        return fields::Selector::parse(raw).map_or((fields::Selector::default(), false), |s| (s, true));
    }
    let mut understood = fields::Selector::default();
    let mut whole = true;
    for requirement in selector["requirements"].as_array().into_iter().flatten() {
        let values = strings(&requirement["values"]);
        match (text(&requirement["operator"]), values.as_slice()) {
            (operator @ ("In" | "NotIn"), [value]) => understood.requirements.push(fields::Requirement {
                field: text(&requirement["key"]).to_owned(),
                equal: operator == "In",
                value: value.clone(),
            }),
            _ => whole = false,
        }
    }
    (understood, whole)
}

fn label_selector(selector: &Value) -> (labels::Selector, bool) {
    let raw = text(&selector["rawSelector"]);
    if !raw.is_empty() {
        return labels::Selector::parse(raw).map_or((labels::Selector::default(), false), |s| (s, true));
    }
    let mut understood = Vec::new();
    let mut whole = true;
    for requirement in selector["requirements"].as_array().into_iter().flatten() {
        let operator = match text(&requirement["operator"]) {
            "In" => labels::Operator::In,
            "NotIn" => labels::Operator::NotIn,
            "Exists" => labels::Operator::Exists,
            "DoesNotExist" => labels::Operator::DoesNotExist,
            _ => {
                whole = false;
                continue;
            }
        };
        let key = text(&requirement["key"]);
        match labels::Requirement::new(key, operator, strings(&requirement["values"])) {
            Ok(requirement) => understood.push(requirement),
            Err(_) => whole = false,
        }
    }
    (labels::Selector::new(understood), whole)
}

async fn answer(ctx: &Ctx, mut review: Value, user: Arc<UserInfo>) -> Value {
    let (attributes, ignored) = attributes(&review["spec"], user);
    let verdict = ctx.local.services().authorizer.authorize(&attributes).await;
    let mut status = json!({ "allowed": verdict.decision == Decision::Allow });
    if verdict.decision == Decision::Deny {
        status["denied"] = json!(true);
    }
    if !verdict.reason.is_empty() {
        status["reason"] = json!(verdict.reason);
    }
    if !ignored.is_empty() {
        status["evaluationError"] = json!(ignored.join("; "));
    }
    review["status"] = status;
    review
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_that_are_refused() {
        let pods = json!({ "verb": "get", "resource": "pods" });
        for (spec, text) in [
            (
                json!({ "user": "a" }),
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ),
            (
                json!({ "user": "a", "resourceAttributes": pods, "nonResourceAttributes": {} }),
                "cannot be specified in combination",
            ),
            (json!({ "resourceAttributes": pods }), "at least one of user or group must be specified"),
            (
                json!({ "user": "a", "resourceAttributes": { "fieldSelector": {} } }),
                "requirements or rawSelector is required",
            ),
        ] {
            let errors = check_spec(&spec, true);
            assert_eq!(errors.len(), 1, "{spec}");
            assert!(errors[0].detail.contains(text), "{:?}", errors[0]);
        }
        assert!(check_spec(&json!({ "groups": ["g"], "resourceAttributes": pods }), true).is_empty());
    }

    #[test]
    fn unknown_requirements_are_ignored_aloud() {
        let spec = json!({ "resourceAttributes": { "verb": "list", "resource": "pods", "fieldSelector": {
            "requirements": [
                { "key": "spec.nodeName", "operator": "In", "values": ["n1"] },
                { "key": "x", "operator": "Exists" },
            ] }, "labelSelector": { "rawSelector": "!!" } } });
        let (attributes, ignored) = attributes(&spec, Arc::default());
        assert_eq!(attributes.field_selector.requires_exact_match("spec.nodeName"), Some("n1"));
        assert_eq!(
            ignored,
            [
                "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
                "spec.resourceAttributes.labelSelector ignored due to parse error",
            ]
        );
    }
}
