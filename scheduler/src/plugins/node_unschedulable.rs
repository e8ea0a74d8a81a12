//! NodeUnschedulable: cordoned nodes take only pods that tolerate it.

use super::names::NODE_UNSCHEDULABLE;
use crate::cluster::Cluster;
use crate::framework::{Event, Filter, Filtering, Plugin, Rejection};
use crate::model::{Pod, Taint, TaintEffect};

/// The plugin.
#[derive(Debug)]
pub struct NodeUnschedulable;

fn tolerates_cordon(pod: &Pod) -> bool {
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        value: String::new(),
        effect: TaintEffect::NoSchedule,
    };
    pod.shape.tolerations.iter().any(|t| t.tolerates(&cordon))
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NODE_UNSCHEDULABLE
    }

    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        match event {
            Event::NodeAdded(node) => !node.unschedulable,
            Event::NodeUpdated { old, new, .. } => old.unschedulable && !new.unschedulable,
            Event::Updated { change, .. } => change.tolerations && tolerates_cordon(pod),
            _ => false,
        }
    }
}

impl Filter for NodeUnschedulable {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        if tolerates_cordon(pod) {
            return Filtering::Skip;
        }
        Filtering::check(|node| match cluster.is_unschedulable(node) {
            true => Err(Rejection::unresolvable(NODE_UNSCHEDULABLE, "node(s) were unschedulable")),
            false => Ok(()),
        })
    }
}
