//! Taints and labels that follow from what a node reports.

use std::collections::BTreeMap;

use proto::time::Time;

use crate::api::core::{Node, Taint};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The taint for a condition of this kind and status.
const BY_CONDITION: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Labels that older clients know under another name, which follows the current one.
const LABELS: &[(&str, &str)] =
    &[("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

/// The node's taints as they shall be, or nothing if they are right: one `NoSchedule` taint for each
/// bad condition, and none for a good one.
pub(super) fn no_schedule(node: &Node, now: Time) -> Option<Vec<Taint>> {
    let taint = |key: &str| Taint {
        key: key.into(),
        effect: "NoSchedule".into(),
        time_added: Some(now),
        ..Default::default()
    };
    let conditions = node.status.conditions.iter();
    let mut wanted: Vec<Taint> = conditions
        .filter_map(|c| BY_CONDITION.iter().find(|(kind, status, _)| *kind == c.kind && *status == c.status))
        .map(|(_, _, key)| taint(key))
        .collect();
    if node.spec.unschedulable {
        wanted.push(taint(UNSCHEDULABLE));
    }
    let is_ours = |t: &Taint| {
        let known = t.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == t.key);
        t.effect == "NoSchedule" && known
    };
    let add: Vec<Taint> =
        wanted.iter().filter(|w| !node.spec.taints.iter().any(|t| t.matches(w))).cloned().collect();
    let stays = |t: &&Taint| !is_ours(t) || wanted.iter().any(|w| w.matches(t));
    let kept: Vec<Taint> = node.spec.taints.iter().filter(stays).cloned().collect();
    let changed = !add.is_empty() || kept.len() != node.spec.taints.len();
    changed.then(|| kept.into_iter().chain(add).collect())
}

/// The node's taints with one `NoExecute` taint in place of others, or nothing if they are so already.
pub(super) fn no_execute(node: &Node, key: Option<&str>, now: Time) -> Option<Vec<Taint>> {
    let is_health = |t: &Taint| t.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&&*t.key);
    let (health, mut taints): (Vec<Taint>, Vec<Taint>) =
        node.spec.taints.iter().cloned().partition(is_health);
    let present = health.iter().find(|t| Some(t.key.as_str()) == key);
    if health.len() == usize::from(key.is_some()) && present.is_some() == key.is_some() {
        return None;
    }
    if let Some(key) = key {
        let taint = present.cloned().unwrap_or_else(|| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            time_added: Some(now),
            ..Default::default()
        });
        taints.push(taint);
    }
    Some(taints)
}

/// Labels to set so that old and new names agree.
pub(super) fn labels(node: &Node) -> BTreeMap<&'static str, String> {
    let own = &node.metadata.labels;
    let differs = |(new, old): &&(&str, &str)| own.contains_key(*new) && own.get(*new) != own.get(*old);
    LABELS.iter().filter(differs).filter_map(|(new, old)| Some((*old, own.get(*new)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(ready: &str, taints: &[(&str, &str)]) -> Node {
        let taints: Vec<_> = taints.iter().map(|(k, e)| json!({"key": k, "effect": e})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}},
            "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn keys(taints: Option<Vec<Taint>>) -> Option<Vec<String>> {
        taints.map(|t| t.into_iter().map(|t| format!("{}:{}", t.key, t.effect)).collect())
    }

    #[test]
    fn conditions_become_taints() {
        let now = Time::now();
        let cases: &[(&str, &[(&str, &str)], Option<&[&str]>)] = &[
            ("True", &[], None),
            ("False", &[], Some(&["node.kubernetes.io/not-ready:NoSchedule"])),
            ("False", &[(NOT_READY, "NoSchedule")], None),
            ("True", &[(NOT_READY, "NoSchedule"), ("mine", "NoSchedule")], Some(&["mine:NoSchedule"])),
            ("Unknown", &[(NOT_READY, "NoSchedule")], Some(&["node.kubernetes.io/unreachable:NoSchedule"])),
        ];
        for (ready, taints, wanted) in cases {
            let wanted = wanted.map(|w| w.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(keys(no_schedule(&node(ready, taints), now)), wanted, "{ready} {taints:?}");
        }
    }

    #[test]
    fn health_taints_are_swapped() {
        let now = Time::now();
        let tainted = node("False", &[(UNREACHABLE, "NoExecute"), (NOT_READY, "NoSchedule")]);
        let swapped = keys(no_execute(&tainted, Some(NOT_READY), now)).unwrap();
        assert_eq!(
            swapped,
            ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]
        );
        assert!(no_execute(&tainted, Some(UNREACHABLE), now).is_none());
        assert_eq!(no_execute(&tainted, None, now).map(|t| t.len()), Some(1));
    }

    #[test]
    fn old_labels_follow() {
        assert_eq!(
            labels(&node("True", &[])).get("beta.kubernetes.io/os").map(String::as_str),
            Some("linux")
        );
    }
}
