//! Questions about identities and permissions, asked through the API: reviews that are answered
//! and never stored.

mod access;
mod identity;
mod rules;

use proto::field::{self, Path};
use serde_json::{Value, json};

use super::UserInfo;
use crate::registry::{Backing, Builder, Create, Endpoint, Verbs};

/// Adds the rows of the review kinds.
pub fn install(builder: &mut Builder) {
    let authentication: [(&'static str, &'static str, Create); 2] = [
        ("selfsubjectreviews", "SelfSubjectReview", identity::self_subject_review),
        ("tokenreviews", "TokenReview", identity::token_review),
    ];
    let authorization: [(&'static str, &'static str, Create); 4] = [
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", access::local_subject_access_review),
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", access::self_subject_access_review),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", rules::self_subject_rules_review),
        ("subjectaccessreviews", "SubjectAccessReview", access::subject_access_review),
    ];
    let rows = authentication
        .into_iter()
        .map(|row| ("authentication.k8s.io", row))
        .chain(authorization.into_iter().map(|row| ("authorization.k8s.io", row)));
    for (group, (resource, kind, create)) in rows {
        let mut endpoint = Endpoint::new(group, "v1", resource, kind);
        endpoint.namespaced = kind == "LocalSubjectAccessReview";
        endpoint.backing = Backing::Create(create);
        endpoint.verbs = Verbs::CREATE;
        builder.endpoint(endpoint);
    }
}

/// A user as the authentication API writes it.
fn user_info(user: &UserInfo) -> Value {
    let mut info = json!({ "username": user.name });
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// Reviews aren't objects: their metadata must be empty but for these fields.
fn check_metadata(review: &Value, allowed: &[&str], detail: &str, errors: &mut field::Errors) {
    let metadata = &review["metadata"];
    let extra = metadata.as_object().into_iter().flatten().any(|(field, value)| {
        !allowed.contains(&field.as_str()) && field != "managedFields" && !value.is_null()
    });
    if extra {
        errors.push(field::Error::invalid(&Path::new("metadata"), metadata.clone(), detail));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
