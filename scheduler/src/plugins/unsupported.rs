//! Stands in for plugins that are not built: a pod that needs one waits, with the reason, instead of being
//! placed as if the rule weren't there.

use super::names::{DYNAMIC_RESOURCES, VOLUME_BINDING, VOLUME_RESTRICTIONS};
use crate::cluster::Cluster;
use crate::framework::{Filter, Filtering, Plugin, Rejection};
use crate::model::{Pod, Shape};

/// The stand-in for one plugin.
#[derive(Debug)]
pub struct Unsupported {
    /// The plugin's name.
    pub plugin: &'static str,
}

/// Volumes that only VolumeRestrictions keeps from being attached twice.
const RESTRICTED: [&str; 4] = ["gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd"];

fn needed_for(plugin: &str, shape: &Shape) -> Option<String> {
    let volume =
        |kinds: &[&str]| kinds.iter().find(|k| shape.volumes.contains(**k)).map(|k| format!("{k} volume"));
    match plugin {
        VOLUME_BINDING => volume(&["persistentVolumeClaim", "ephemeral"]),
        VOLUME_RESTRICTIONS => volume(&RESTRICTED),
        DYNAMIC_RESOURCES => shape.claims.then(|| "resource claim".to_owned()),
        _ => None,
    }
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
