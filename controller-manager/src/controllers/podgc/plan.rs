//! Which pods nobody else will delete.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::api::condition_is_true;
use crate::api::core::{Node, Pod};
use crate::common::pods;

pub(super) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to delete at once.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Nodes that pods name and that aren't known.
    pub(super) unknown_nodes: HashSet<String>,
}

/// Looks at all pods. At most `keep_terminated` ended pods are kept, unless that is 0.
pub(super) fn plan(all: &[Arc<Pod>], nodes: &[Arc<Node>], keep_terminated: usize) -> Plan {
    let nodes: HashMap<&str, &Node> = nodes.iter().map(|n| (n.metadata.name.as_str(), n.as_ref())).collect();
    let mut plan = Plan::default();
    if keep_terminated > 0 {
        let mut ended: Vec<&Arc<Pod>> = all.iter().filter(|p| pods::is_terminal(p)).collect();
        let excess = ended.len().saturating_sub(keep_terminated);
        ended.sort_by(|a, b| {
            let evicted = |p: &Pod| p.status.phase == "Failed" && p.status.reason == "Evicted";
            let created = |p: &Pod| p.metadata.creation_timestamp;
            evicted(b)
                .cmp(&evicted(a))
                .then_with(|| created(a).cmp(&created(b)))
                .then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        plan.delete.extend(ended.into_iter().take(excess).cloned());
    }
    for pod in all {
        let node_name = pod.spec.node_name.as_str();
        let node = nodes.get(node_name);
        let leaving = pod.metadata.is_being_deleted();
        if node_name.is_empty() {
            if leaving {
                plan.delete.push(pod.clone());
            }
        } else if let Some(node) = node {
            let ready = condition_is_true(&node.status.conditions, "Ready");
            let out = node.spec.taints.iter().any(|t| t.key == OUT_OF_SERVICE);
            if leaving && !ready && out {
                plan.delete.push(pod.clone());
            }
        } else {
            plan.unknown_nodes.insert(node_name.into());
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, leaving: bool) -> Arc<Pod> {
        let deleted = leaving.then_some("2026-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "deletionTimestamp": deleted},
                "spec": {"nodeName": node},
                "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn kinds_of_garbage() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "dead"},
            "spec": {"taints": [{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]},
        }))
        .unwrap();
        let pods = [
            pod("never-placed", "", "Pending", true),
            pod("waiting", "", "Pending", false),
            pod("stuck", "dead", "Running", true),
            pod("lost", "gone", "Running", false),
            pod("old-1", "dead", "Succeeded", false),
            pod("old-2", "dead", "Failed", false),
        ];
        let plan = plan(&pods, &[Arc::new(node)], 1);
        let names: Vec<&str> = plan.delete.iter().map(|p| p.metadata.name.as_str()).collect();
        assert_eq!(names, ["old-1", "never-placed", "stuck"]);
        assert!(plan.unknown_nodes.contains("gone"));
    }
}
