//! Which objects a quota is about.

use serde_json::Value;

use super::items;
use crate::labels::{Operator, Requirement, Selector};
use crate::resources::amounts;

/// What scopes ask of an object. Only pods and claims have scopes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Facts {
    /// No scope matches it.
    #[default]
    None,
    /// A pod.
    Pod {
        /// It has a deadline.
        terminating: bool,
        /// It asks for no cpu or memory.
        best_effort: bool,
        /// Its priority class; empty if it has none.
        priority_class: Box<str>,
        /// Its affinity looks into other namespaces.
        cross_namespace: bool,
    },
    /// A claim of a volume, with the attributes classes that it has or is to have.
    Claim(Box<[Box<str>]>),
}

impl Facts {
    /// Reads them off an object.
    pub fn of(group: &str, resource: &str, object: &Value) -> Facts {
        match (group, resource) {
            ("", "pods") => Facts::Pod {
                terminating: is_terminating(object),
                best_effort: is_best_effort(object),
                priority_class: object["spec"]["priorityClassName"].as_str().unwrap_or_default().into(),
                cross_namespace: uses_other_namespaces(&object["spec"]["affinity"]),
            },
            ("", "persistentvolumeclaims") => Facts::Claim(attributes_classes(object).into()),
            _ => Facts::None,
        }
    }

    /// Whether all scopes of the quota match.
    pub fn match_all(&self, quota: &Value) -> bool {
        let spec = &quota["spec"];
        items(&spec["scopes"])
            .iter()
            .all(|scope| self.matches(scope.as_str().unwrap_or_default(), &Value::Null))
            && items(&spec["scopeSelector"]["matchExpressions"])
                .iter()
                .all(|selector| self.matches(selector["scopeName"].as_str().unwrap_or_default(), selector))
    }

    /// Whether one scope matches; a null selector asks for existence.
    fn matches(&self, scope: &str, selector: &Value) -> bool {
        match self {
            Facts::None => false,
            Facts::Pod { terminating, best_effort, priority_class, cross_namespace } => match scope {
                "Terminating" => *terminating,
                "NotTerminating" => !terminating,
                "BestEffort" => *best_effort,
                "NotBestEffort" => !best_effort,
                "PriorityClass" => {
                    let names = std::slice::from_ref(priority_class).iter().filter(|name| !name.is_empty());
                    matches_any(scope, selector, names)
                }
                "CrossNamespacePodAffinity" => *cross_namespace,
                _ => false,
            },
            Facts::Claim(classes) => {
                scope == "VolumeAttributesClass" && matches_any(scope, selector, classes.iter())
            }
        }
    }
}

/// The scope's operator applied to names, of which there may be none.
fn matches_any<'a>(scope: &str, selector: &Value, names: impl Iterator<Item = &'a Box<str>>) -> bool {
    let operator = match selector["operator"].as_str().unwrap_or_default() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => Operator::Exists,
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let values = items(&selector["values"]).iter().map(text).collect();
    let Ok(requirement) = Requirement::new(scope, operator, values) else { return false };
    let selector = Selector::new(vec![requirement]);
    let mut names = names.peekable();
    if names.peek().is_none() {
        return selector.matches_with(|_| None);
    }
    names.any(|name| selector.matches_with(|key| (key == scope).then_some(&**name)))
}

/// The pod has a deadline.
pub fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

/// Neither the pod nor a container asks for cpu or memory; what the sandbox needs doesn't matter.
fn is_best_effort(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let asks = |holder: &Value| {
        ["requests", "limits"].iter().any(|which| {
            amounts(&holder["resources"][*which])
                .iter()
                .any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero())
        })
    };
    !asks(spec) && !["containers", "initContainers"].iter().any(|list| items(&spec[*list]).iter().any(asks))
}

fn attributes_classes(claim: &Value) -> Vec<Box<str>> {
    let status = &claim["status"];
    let mut names: Vec<Box<str>> = [
        &claim["spec"]["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ]
    .into_iter()
    .filter_map(|name| name.as_str().filter(|name| !name.is_empty()).map(Into::into))
    .collect();
    names.sort_unstable();
    names.dedup();
    names
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
    use serde_json::json;

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
            assert_eq!(Facts::of("", "pods", &plain).match_all(&quota), for_plain, "{scope}");
            assert_eq!(Facts::of("", "pods", &busy).match_all(&quota), for_busy, "{scope}");
            assert!(!Facts::None.match_all(&quota));
        }
        let quota = json!({ "spec": { "scopeSelector": { "matchExpressions": [
            { "scopeName": "PriorityClass", "operator": "In", "values": ["high", "low"] }] } } });
        assert!(
            Facts::of("", "pods", &busy).match_all(&quota)
                && !Facts::of("", "pods", &plain).match_all(&quota)
        );
        assert!(Facts::None.match_all(&json!({})));
    }

    #[test]
    fn scopes_of_claims() {
        let changing = json!({ "spec": { "volumeAttributesClassName": "gold" },
            "status": { "currentVolumeAttributesClassName": "silver" } });
        for (expression, plain, both) in [
            (json!({ "operator": "In", "values": ["silver"] }), false, true),
            (json!({ "operator": "In", "values": ["bronze"] }), false, false),
            (json!({ "operator": "Exists" }), false, true),
            (json!({ "operator": "DoesNotExist" }), true, false),
            (json!({ "operator": "NotIn", "values": ["gold"] }), true, true),
        ] {
            let mut expression = expression;
            expression["scopeName"] = json!("VolumeAttributesClass");
            let quota = json!({ "spec": { "scopeSelector": { "matchExpressions": [expression] } } });
            let facts = |claim: &Value| Facts::of("", "persistentvolumeclaims", claim).match_all(&quota);
            assert_eq!((facts(&json!({})), facts(&changing)), (plain, both), "{quota}");
        }
    }
}
