//! What the kubelet knows about its node at run time.

use crate::container::downward::Surroundings;
use crate::resources::List;
use k8s_openapi::api::core::v1::Taint;
use parking_lot::RwLock;
use proto::cri;
use std::collections::BTreeMap;

/// Facts that others ask for often.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The node's addresses for pods' statuses, the main one first.
    pub host_ips: Vec<String>,
    /// What pods may use in all.
    pub allocatable: List,
    /// The node's name.
    pub node: String,
    /// Taints of the Node object.
    pub taints: Vec<Taint>,
    /// Labels of the Node object.
    pub labels: BTreeMap<String, String>,
    /// What the runtime calls itself.
    pub runtime_name: String,
    /// Its version.
    pub runtime_version: String,
    /// Its handlers and what they can do.
    pub handlers: Vec<cri::RuntimeHandler>,
    /// Whether the runtime can leave out the groups of an image.
    pub supplemental_groups_policy: bool,
    /// Why pods with a network of their own can't start; empty if they can.
    pub network_error: String,
}

/// Facts that change.
#[derive(Debug, Default)]
pub struct Info(RwLock<Facts>);

impl Info {
    /// The present facts.
    pub fn get(&self) -> Facts {
        self.0.read().clone()
    }

    /// Looks at the present facts without copying them all.
    pub fn with<T>(&self, look: impl FnOnce(&Facts) -> T) -> T {
        look(&self.0.read())
    }

    /// Changes facts.
    pub fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.write());
    }

    /// What containers of a pod may be shown.
    pub fn surroundings(&self, pod_ips: Vec<String>) -> Surroundings {
        self.with(|f| Surroundings {
            host_ips: f.host_ips.clone(),
            pod_ips,
            allocatable: f.allocatable.clone(),
        })
    }

    /// Whether a handler can make mounts read-only with all below them.
    pub fn recursive_read_only(&self, handler: &str) -> bool {
        self.with(|f| {
            let found = f.handlers.iter().find(|h| h.name == handler);
            found.and_then(|h| h.features.as_ref()).is_some_and(|f| f.recursive_read_only_mounts)
        })
    }
}
