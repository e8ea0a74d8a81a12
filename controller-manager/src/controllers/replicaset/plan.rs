//! How many pods a ReplicaSet lacks, which of its pods are too many, and its status.

use std::collections::HashMap;
use std::sync::Arc;

use proto::time::Time;

use crate::api::apps::{ReplicaSet, ReplicaSetStatus};
use crate::api::core::Pod;
use crate::api::{Condition, find_condition, remove_condition, set_condition};
use crate::common::pods::{self, Ranked};

/// The most pods that are created or deleted in one go.
pub(super) const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    Nothing,
    Create(usize),
    /// Names of the pods to delete.
    Delete(Vec<String>),
}

/// Compares the active pods with the wanted number. `related` are the pods of all ReplicaSets of the
/// same owner: where many of those share a node, one of them goes first.
pub(super) fn plan(rs: &ReplicaSet, active: &[Arc<Pod>], related: &[Arc<Pod>], now: Time) -> Plan {
    let wanted = usize::try_from(rs.spec.replicas.unwrap_or(1)).unwrap_or(0);
    if active.len() < wanted {
        return Plan::Create((wanted - active.len()).min(BURST));
    }
    let excess = (active.len() - wanted).min(BURST);
    if excess == 0 {
        return Plan::Nothing;
    }
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|p| pods::is_active(p)) {
        *on_node.entry(&pod.spec.node_name).or_default() += 1;
    }
    let rank = |pod: &Pod| on_node.get(pod.spec.node_name.as_str()).copied().unwrap_or(0);
    let mut ranked: Vec<Ranked<'_>> = active.iter().map(|pod| Ranked { rank: rank(pod), pod }).collect();
    if excess < ranked.len() {
        ranked.sort_by(|a, b| pods::deletion_order(a, b, now));
    }
    Plan::Delete(ranked.iter().take(excess).map(|r| r.pod.metadata.name.clone()).collect())
}

/// Counts pods. `terminating` is left out for kinds whose status has no such field.
pub(super) fn status(
    rs: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: Option<usize>,
    failure: Option<&str>,
    now: Time,
) -> ReplicaSetStatus {
    let labels = rs.spec.template.labels();
    let labelled = |p: &Pod| labels.iter().all(|(k, v)| p.metadata.labels.get(k) == Some(v));
    let count = |test: &dyn Fn(&Pod) -> bool| active.iter().filter(|p| test(p)).count() as i32;
    let mut conditions = rs.status.conditions.clone();
    let failed_before = find_condition(&conditions, "ReplicaFailure").is_some();
    match failure {
        Some(message) if !failed_before => {
            let wanted = rs.spec.replicas.unwrap_or(1);
            let reason = match (active.len() as i32).cmp(&wanted) {
                std::cmp::Ordering::Less => "FailedCreate",
                std::cmp::Ordering::Greater => "FailedDelete",
                std::cmp::Ordering::Equal => "",
            };
            let condition = Condition::new("ReplicaFailure", "True", reason, message, now);
            set_condition(&mut conditions, condition, false);
        }
        None => {
            remove_condition(&mut conditions, "ReplicaFailure");
        }
        Some(_) => {}
    }
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: count(&labelled),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|p| pods::is_available(p, rs.spec.min_ready_seconds, now)),
        terminating_replicas: terminating.map(|n| n as i32),
        observed_generation: rs.metadata.generation,
        conditions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rs(replicas: i32) -> ReplicaSet {
        serde_json::from_str(&format!(r#"{{"spec":{{"replicas":{replicas}}}}}"#)).unwrap()
    }

    fn pod(name: &str, node: &str, phase: &str, ready: bool, cost: &str) -> Arc<Pod> {
        let value = json!({
            "metadata": {"name": name, "uid": name, "annotations": {
                "controller.kubernetes.io/pod-deletion-cost": cost,
            }},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [{
                "type": "Ready",
                "status": if ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn creates_what_is_missing_in_bursts() {
        let now = Time::now();
        assert_eq!(plan(&rs(3), &[], &[], now), Plan::Create(3));
        assert_eq!(plan(&rs(900), &[], &[], now), Plan::Create(500));
        assert_eq!(plan(&rs(0), &[], &[], now), Plan::Nothing);
    }

    #[test]
    fn deletes_what_is_missed_least() {
        let now = Time::now();
        let cases = [
            (pod("a", "", "Pending", false, "0"), pod("b", "n", "Pending", false, "0"), "a"),
            (pod("a", "n", "Running", false, "0"), pod("b", "n", "Pending", false, "0"), "b"),
            (pod("a", "n", "Running", true, "0"), pod("b", "n", "Running", false, "0"), "b"),
            (pod("a", "n", "Running", true, "5"), pod("b", "n", "Running", true, "-1"), "b"),
            // A cost that isn't written as a plain number counts as none.
            (pod("a", "n", "Running", true, "1"), pod("b", "n", "Running", true, "+7"), "b"),
        ];
        for (a, b, gone) in cases {
            let pods = [a, b];
            assert_eq!(plan(&rs(1), &pods, &pods, now), Plan::Delete(vec![gone.into()]));
        }
    }

    #[test]
    fn crowded_nodes_lose_first() {
        let now = Time::now();
        let a = pod("a", "one", "Running", true, "0");
        let b = pod("b", "two", "Running", true, "0");
        let c = pod("c", "two", "Running", true, "0");
        let active = [a.clone(), b.clone()];
        let plan = plan(&rs(1), &active, &[a, b, c], now);
        assert_eq!(plan, Plan::Delete(vec!["b".into()]));
    }

    #[test]
    fn failure_condition_comes_and_goes() {
        let now = Time::now();
        let mut rs = rs(1);
        rs.status = status(&rs, &[], None, Some("no"), now);
        assert_eq!(rs.status.conditions[0].reason, "FailedCreate");
        assert!(status(&rs, &[], None, None, now).conditions.is_empty());
    }
}
