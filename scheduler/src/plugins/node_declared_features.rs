//! NodeDeclaredFeatures: a pod that uses a feature which not every node has goes to one that declares it (KEP-5328).

use super::names::NODE_DECLARED_FEATURES;
use crate::cluster::Cluster;
use crate::framework::{Event, Filter, Filtering, Plugin, Rejection};
use crate::model::Pod;

/// The plugin.
#[derive(Debug)]
pub struct NodeDeclaredFeatures;

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        NODE_DECLARED_FEATURES
    }

    fn hint(&self, _: &Cluster, _: &Pod, event: &Event) -> bool {
        match event {
            Event::NodeAdded(_) => true,
            Event::NodeUpdated { change, .. } => change.features,
            _ => false,
        }
    }
}

impl Filter for NodeDeclaredFeatures {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let wanted = &pod.shape.features;
        if wanted.is_empty() {
            return Filtering::Skip;
        }
        Filtering::check(move |node| {
            let declared = cluster.node(node).map(|node| node.features.as_slice()).unwrap_or_default();
            if wanted.iter().all(|feature| declared.iter().any(|d| d == feature)) {
                return Ok(());
            }
            let reason = "node(s) didn't match Pod's required features";
            Err(Rejection::unresolvable(NODE_DECLARED_FEATURES, reason))
        })
    }
}
