//! The pods this node is to run: from the API server and from manifests.
//!
//! A static pod has a mirror in the API, so that others can see it. Both share a name; only the static
//! one is run.

use crate::api::{CONFIG_MIRROR, Pod, PodView};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
struct Known {
    pods: HashMap<String, Arc<Pod>>,
    mirrors: HashMap<String, Arc<Pod>>,
}

/// The registry. Readers get shared snapshots of single pods.
#[derive(Default)]
pub struct Pods(RwLock<Known>);

impl Pods {
    /// Adds or replaces a pod.
    pub fn set(&self, pod: Arc<Pod>) {
        let mut known = self.0.write();
        if pod.is_mirror() {
            known.mirrors.insert(pod.full_name(), pod);
        } else {
            known.pods.insert(pod.uid().to_string(), pod);
        }
    }

    /// Removes a pod.
    pub fn remove(&self, pod: &Pod) {
        let mut known = self.0.write();
        if pod.is_mirror() {
            let name = pod.full_name();
            if known.mirrors.get(&name).is_some_and(|m| m.uid() == pod.uid()) {
                known.mirrors.remove(&name);
            }
        } else {
            known.pods.remove(pod.uid());
        }
    }

    /// A pod to run.
    pub fn get(&self, uid: &str) -> Option<Arc<Pod>> {
        self.0.read().pods.get(uid).cloned()
    }

    /// A pod to run, by name. A static pod's new version may be there beside the old; which of them is
    /// given doesn't matter to those who ask by name.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let known = self.0.read();
        known.pods.values().find(|p| p.name() == name && p.namespace() == namespace).cloned()
    }

    /// The mirror of a static pod.
    pub fn mirror_of(&self, pod: &Pod) -> Option<Arc<Pod>> {
        self.0.read().mirrors.get(&pod.full_name()).cloned()
    }

    /// A mirror by full name.
    pub fn mirror_named(&self, full_name: &str) -> Option<Arc<Pod>> {
        self.0.read().mirrors.get(full_name).cloned()
    }

    /// Which pod the API shows for this one: itself, or its mirror.
    pub fn api_form(&self, pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        if pod.is_static() { self.mirror_of(pod) } else { Some(pod.clone()) }
    }

    /// The static pod a mirror stands for.
    pub fn static_of(&self, mirror: &Pod) -> Option<Arc<Pod>> {
        let known = self.0.read();
        let name = mirror.full_name();
        known.pods.values().find(|p| p.is_static() && p.full_name() == name).cloned()
    }

    /// All pods to run.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.0.read().pods.values().cloned().collect()
    }

    /// Mirrors without a static pod.
    pub fn orphan_mirrors(&self) -> Vec<Arc<Pod>> {
        let known = self.0.read();
        let wanted: std::collections::HashSet<_> =
            known.pods.values().filter(|p| p.is_static()).map(|p| p.full_name()).collect();
        known.mirrors.values().filter(|m| !wanted.contains(&m.full_name())).cloned().collect()
    }
}

/// The hash a mirror was made from.
pub fn mirror_hash(mirror: &Pod) -> &str {
    mirror.annotation(CONFIG_MIRROR).unwrap_or_default()
}
