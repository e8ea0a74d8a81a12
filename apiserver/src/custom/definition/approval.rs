//! The community's API groups (`k8s.io`, `kubernetes.io`) take only definitions that say who approved them.

use proto::field::{Error, Errors, Path, quote};
use proto::view::{at, text_at};
use serde_json::Value;

const ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::custom) enum State {
    Invalid,
    Approved,
    Bypassed,
    Missing,
}

/// The approval of a definition, with a text about it; `None` outside of the community's groups.
pub(in crate::custom) fn of(definition: &Value) -> Option<(State, String)> {
    let group = text_at(definition, &["spec", "group"]);
    let community = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let annotation = text_at(definition, &["metadata", "annotations", ANNOTATION]);
    community.then(|| state(annotation))
}

fn state(annotation: &str) -> (State, String) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let name = quote(ANNOTATION);
    if annotation.is_empty() {
        let text = format!("protected groups must have approval annotation {name}, {SEE}");
        return (State::Missing, text);
    }
    if annotation.starts_with("unapproved") {
        return (State::Bypassed, format!("not approved: {}", quote(annotation)));
    }
    let uri = annotation.parse::<http::Uri>().ok();
    if uri.is_some_and(|uri| uri.scheme().is_some() && uri.host().is_some_and(|host| !host.is_empty())) {
        return (State::Approved, format!("approved in {annotation}"));
    }
    let text = format!(
        "protected groups must have approval annotation {name} with either a URL or a reason starting with \"unapproved\", {SEE}"
    );
    (State::Invalid, text)
}

/// What is wrong with the approval, unless it was so before.
pub(super) fn validate(new: &Value, old: Option<&Value>) -> Errors {
    let Some((state, reason)) = of(new) else { return Errors::new() };
    if old.and_then(of).is_some_and(|(before, _)| before == state) {
        return Errors::new();
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    let annotation = at(new, &["metadata", "annotations", ANNOTATION]).clone();
    match state {
        State::Invalid => vec![Error::invalid(&path, annotation, reason)],
        State::Missing => vec![Error::required(&path, reason)],
        State::Approved | State::Bypassed => Errors::new(),
    }
}
