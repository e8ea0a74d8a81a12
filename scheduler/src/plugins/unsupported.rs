//! Stands in for plugins that are not built: a pod that needs one waits, with the reason, instead of being
//! placed as if the rule weren't there.

use super::names::DYNAMIC_RESOURCES;
use crate::cluster::Cluster;
use crate::framework::{Filter, Filtering, Plugin, Rejection};
use crate::model::{Pod, Shape};

/// The stand-in for one plugin.
#[derive(Debug)]
pub struct Unsupported {
    /// The plugin's name.
    pub plugin: &'static str,
}

fn needed_for(plugin: &str, shape: &Shape) -> Option<&'static str> {
    (plugin == DYNAMIC_RESOURCES && shape.claims).then_some("resource claim")
}

impl Plugin for Unsupported {
    fn name(&self) -> &'static str {
        self.plugin
    }
}

impl Filter for Unsupported {
    fn filter<'a>(&'a self, _: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        match needed_for(self.plugin, &pod.shape) {
            None => Filtering::Skip,
            Some(what) => Filtering::Reject(Rejection::unresolvable(
                self.plugin,
                format!("pod has a {what}, and this scheduler has no {} plugin", self.plugin),
            )),
        }
    }
}
