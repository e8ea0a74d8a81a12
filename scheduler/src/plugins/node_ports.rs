//! NodePorts: host ports are bound once per node.

use super::names::NODE_PORTS;
use crate::cluster::Cluster;
use crate::framework::{Event, Filter, Filtering, Plugin, Rejection};
use crate::model::Pod;

/// The plugin.
#[derive(Debug)]
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NODE_PORTS
    }

    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        match event {
            Event::NodeAdded(_) => true,
            Event::AssignedPodDeleted(deleted) => {
                let ports = &deleted.shape.host_ports;
                pod.shape.host_ports.iter().any(|wanted| ports.iter().any(|p| p.conflicts(wanted)))
            }
            _ => false,
        }
    }
}

impl Filter for NodePorts {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let wanted = &pod.shape.host_ports;
        if wanted.is_empty() {
            return Filtering::Skip;
        }
        Filtering::check(move |node| {
            let taken = cluster.ports(node).iter().any(|p| wanted.iter().any(|w| w.conflicts(p)));
            match taken {
                true => Err(Rejection::resolvable(
                    NODE_PORTS,
                    "node(s) didn't have free ports for the requested pod ports",
                )),
                false => Ok(()),
            }
        })
    }
}
