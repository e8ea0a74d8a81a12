//! Whether a pod could be on a node: taints and tolerations, node selectors, affinity.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::core::{Node, NodeRequirement, NodeSelector, NodeSelectorTerm, Taint, Toleration};

/// The part of a pod's spec that binds it to nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    pub node_name: String,
    pub node_selector: BTreeMap<String, String>,
    pub affinity: Affinity,
    pub tolerations: Vec<Toleration>,
    pub host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    pub node_affinity: NodeAffinity,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// Whether the node has the labels and fields that the pod requires.
pub fn fits_affinity(placement: &Placement, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let selected = placement.node_selector.iter().all(|(k, v)| labels.get(k) == Some(v));
    let required =
        placement.affinity.node_affinity.required_during_scheduling_ignored_during_execution.as_ref();
    selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term_matches(t, node)))
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let is_empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
    let fields =
        |r: &NodeRequirement| r.key == "metadata.name" && requirement_matches(r, Some(&node.metadata.name));
    !is_empty
        && term.match_expressions.iter().all(|r| requirement_matches(r, labels.get(&r.key)))
        && term.match_fields.iter().all(fields)
}

fn requirement_matches(requirement: &NodeRequirement, value: Option<&String>) -> bool {
    let among = || value.is_some_and(|v| requirement.values.contains(v));
    let numbers = || {
        let actual: i64 = value?.parse().ok()?;
        let [limit] = requirement.values.as_slice() else { return None };
        Some((actual, limit.parse::<i64>().ok()?))
    };
    match requirement.operator.as_str() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(actual, limit)| actual > limit),
        "Lt" => numbers().is_some_and(|(actual, limit)| actual < limit),
        _ => false,
    }
}

/// Whether the toleration covers the taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    let key = toleration.key.is_empty() || toleration.key == taint.key;
    let value = match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        _ => false,
    };
    effect && key && value
}

/// Whether each of the node's taints with one of these effects is tolerated.
pub fn tolerates_all(tolerations: &[Toleration], taints: &[Taint], effects: &[&str]) -> bool {
    taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn affinity_terms() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cpus": "8"}},
        }))
        .unwrap();
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let cases = [
            (json!({"matchExpressions": [expression("zone", "In", &["a", "b"])]}), true),
            (json!({"matchExpressions": [expression("zone", "NotIn", &["a"])]}), false),
            (json!({"matchExpressions": [expression("rack", "NotIn", &["a"])]}), true),
            (json!({"matchExpressions": [expression("cpus", "Gt", &["4"])]}), true),
            (json!({"matchExpressions": [expression("cpus", "Lt", &["8"])]}), false),
            (json!({"matchFields": [expression("metadata.name", "In", &["n1"])]}), true),
            (json!({"matchFields": [expression("metadata.name", "In", &["n2"])]}), false),
            (json!({}), false),
        ];
        for (term, fits) in cases {
            let placement: Placement = serde_json::from_value(json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
            }}}))
            .unwrap();
            assert_eq!(fits_affinity(&placement, &node), fits, "{placement:?}");
        }
    }

    #[test]
    fn tolerations() {
        let taint =
            |key: &str, effect: &str| Taint { key: key.into(), effect: effect.into(), ..Default::default() };
        let all = Toleration { operator: "Exists".into(), ..Default::default() };
        let one = Toleration { key: "a".into(), operator: "Exists".into(), ..Default::default() };
        let taints = [taint("a", "NoSchedule"), taint("b", "NoExecute")];
        assert!(tolerates_all(&[all], &taints, &["NoSchedule", "NoExecute"]));
        assert!(!tolerates_all(std::slice::from_ref(&one), &taints, &["NoSchedule", "NoExecute"]));
        assert!(tolerates_all(&[one], &taints, &["NoSchedule"]));
    }
}
