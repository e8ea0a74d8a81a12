//! Which objects a quota is about.

use proto::labels::{Operator, Requirement, Selector};
use serde_json::{Value, json};

use super::super::resources::of_pod;
use super::super::step::{items, text};

/// Whether all scopes of the quota match the object. Only pods and claims have scopes.
pub(super) fn match_all(quota: &Value, group: &str, resource: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let simple =
        items(&spec["scopes"]).iter().map(|scope| json!({ "scopeName": scope, "operator": "Exists" }));
    let selectors = items(&spec["scopeSelector"]["matchExpressions"]).iter().cloned();
    simple.chain(selectors).all(|selector| match (group, resource) {
        ("", "pods") => matches_pod(&selector, object),
        ("", "persistentvolumeclaims") => matches_claim(&selector, object),
        _ => false,
    })
}

fn matches_pod(selector: &Value, pod: &Value) -> bool {
    let spec = &pod["spec"];
    match text(&selector["scopeName"]) {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => matches_value(selector, text(&spec["priorityClassName"])),
        "CrossNamespacePodAffinity" => uses_other_namespaces(&spec["affinity"]),
        _ => false,
    }
}

fn matches_claim(selector: &Value, claim: &Value) -> bool {
    text(&selector["scopeName"]) == "VolumeAttributesClass"
        && matches_value(selector, text(&claim["spec"]["volumeAttributesClassName"]))
}

/// The pod has a deadline.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

/// The pod asks for no cpu or memory.
fn is_best_effort(pod: &Value) -> bool {
    let none = |which: &str| {
        of_pod(pod, which)
            .iter()
            .all(|(name, amount)| !matches!(name.as_str(), "cpu" | "memory") || amount.is_zero())
    };
    none("requests") && none("limits")
}

/// The scope's operator applied to a name that may be absent.
fn matches_value(selector: &Value, name: &str) -> bool {
    let operator = match text(&selector["operator"]) {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => Operator::Exists,
    };
    let values = items(&selector["values"]).iter().map(|value| text(value).to_owned()).collect();
    let scope = text(&selector["scopeName"]);
    let Ok(requirement) = Requirement::new(scope, operator, values) else { return false };
    Selector::new(vec![requirement]).matches_with(|key| (key == scope && !name.is_empty()).then_some(name))
}

fn uses_other_namespaces(affinity: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = &affinity[*kind];
        let required = items(&terms["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        let preferred = items(&terms["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        required
            .chain(preferred.map(|weighted| &weighted["podAffinityTerm"]))
            .any(|term| !items(&term["namespaces"]).is_empty() || term["namespaceSelector"].is_object())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_pods() {
        let plain = json!({ "spec": { "containers": [{}] } });
        let busy = json!({ "spec": { "priorityClassName": "high", "activeDeadlineSeconds": 5,
            "containers": [{ "resources": { "requests": { "cpu": "1" } } }],
            "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "namespaces": ["x"] }] } } } });
        for (scope, for_plain, for_busy) in [
            ("Terminating", false, true),
            ("NotTerminating", true, false),
            ("BestEffort", true, false),
            ("NotBestEffort", false, true),
            ("CrossNamespacePodAffinity", false, true),
            ("PriorityClass", false, true),
        ] {
            let quota = json!({ "spec": { "scopes": [scope] } });
            assert_eq!(match_all(&quota, "", "pods", &plain), for_plain, "{scope}");
            assert_eq!(match_all(&quota, "", "pods", &busy), for_busy, "{scope}");
            assert!(!match_all(&quota, "", "secrets", &plain));
        }
        let quota = json!({ "spec": { "scopeSelector": { "matchExpressions": [
            { "scopeName": "PriorityClass", "operator": "In", "values": ["high", "low"] }] } } });
        assert!(match_all(&quota, "", "pods", &busy) && !match_all(&quota, "", "pods", &plain));
        assert!(match_all(&json!({}), "", "secrets", &plain));
    }
}
