//! Labels and annotations that tie sandboxes and containers to pods.

use super::hash::container_hash;
use crate::api::{Container, Pod, PodView};
use std::collections::BTreeMap;

/// The pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// The pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// The container's name in the spec.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// The hash of name and image, in hexadecimal.
pub const HASH: &str = "io.kubernetes.container.hash";
/// The place in the series of restarts.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Where in the container the termination message is written.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Where else a termination message may come from.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The preStop hook, as JSON.
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// The ports, as JSON.
pub const PORTS: &str = "io.kubernetes.container.ports";
/// The grace period of the deletion under way.
pub const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
/// The grace period of the spec.
pub const TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

type Map = BTreeMap<String, String>;

/// The labels of a pod's sandbox: the pod's own, and who it is.
pub fn sandbox_labels(pod: &Pod) -> Map {
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.extend(identity(pod));
    labels
}

/// The labels of a container.
pub fn container_labels(pod: &Pod, container: &Container) -> Map {
    let mut labels: Map = identity(pod).into();
    labels.insert(CONTAINER_NAME.into(), container.name.clone());
    labels
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    [
        (POD_NAME.into(), pod.name().into()),
        (POD_NAMESPACE.into(), pod.namespace().into()),
        (POD_UID.into(), pod.uid().into()),
    ]
}

/// The annotations of a container: what is needed to stop it well without its spec.
pub fn container_annotations(pod: &Pod, container: &Container, restart_count: u32) -> Map {
    let mut map = Map::new();
    let image = container.image.as_deref().unwrap_or_default();
    map.insert(HASH.into(), format!("{:x}", container_hash(&container.name, image)));
    map.insert(RESTART_COUNT.into(), restart_count.to_string());
    map.insert(TERMINATION_PATH.into(), container.termination_message_path.clone().unwrap_or_default());
    map.insert(TERMINATION_POLICY.into(), container.termination_message_policy.clone().unwrap_or_default());
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        map.insert(DELETION_GRACE.into(), grace.to_string());
    }
    if let Some(grace) = pod.spec().termination_grace_period_seconds {
        map.insert(TERMINATION_GRACE.into(), grace.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    if let Some(json) = pre_stop.and_then(|hook| serde_json::to_string(hook).ok()) {
        map.insert(PRE_STOP.into(), json);
    }
    let ports = container.ports.as_ref().filter(|p| !p.is_empty());
    if let Some(json) = ports.and_then(|p| serde_json::to_string(p).ok()) {
        map.insert(PORTS.into(), json);
    }
    map
}

/// The hash a container was made with; zero if it has none.
pub fn hash_of(annotations: &Map) -> u64 {
    annotations.get(HASH).and_then(|h| u64::from_str_radix(h, 16).ok()).unwrap_or(0)
}

/// A number among the annotations.
pub fn number_of(annotations: &Map, key: &str) -> Option<i64> {
    annotations.get(key)?.parse().ok()
}
