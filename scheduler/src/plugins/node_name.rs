//! NodeName: a pod that names its node goes there.

use super::names::NODE_NAME;
use crate::cluster::Cluster;
use crate::framework::{Event, Filter, Filtering, Plugin, Rejection};
use crate::model::Pod;

/// The plugin.
#[derive(Debug)]
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NODE_NAME
    }

    fn hint(&self, _: &Cluster, _: &Pod, event: &Event) -> bool {
        matches!(event, Event::NodeAdded(_))
    }
}

impl Filter for NodeName {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let Some(wanted) = &pod.node else { return Filtering::Skip };
        Filtering::check(move |node| match cluster.name(node) == wanted {
            true => Ok(()),
            false => Err(Rejection::unresolvable(NODE_NAME, "node(s) didn't match the requested node name")),
        })
    }
}
