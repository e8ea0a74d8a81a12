//! Which objects are related to which node: by its pods, and through their claims by volumes.
//!
//! Invariant: `nodes` counts, for each object, the pods on each node that refer to it; an entry disappears with its last
//! reference. What is itself on a node (a pod, an attachment, a slice) is an owner. Volumes are one step further: a node may
//! use a volume, and the secrets it is mounted with, if it may use the claim the volume is bound to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use super::references::{of_persistent_volume, of_pod, text};

/// The kinds that relate to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    Volume,
    VolumeAttachment,
    ResourceClaim,
    ResourceSlice,
    ServiceAccount,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Key {
    /// The object of this kind, namespace and name.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Key {
        Key { kind, namespace: namespace.into(), name: name.into() }
    }
}

/// The graph of nodes and what is on them.
#[derive(Default)]
pub struct Graph {
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    nodes: HashMap<Key, HashMap<Arc<str>, usize>>,
    /// Where each owner is, and what it refers to.
    owners: HashMap<Key, (Arc<str>, Box<[Key]>)>,
    /// The claim of each bound volume, and the volume's secrets.
    volumes: HashMap<Key, (Key, Vec<Key>)>,
    /// Volumes that are mounted with a secret.
    secret_volumes: HashMap<Key, HashSet<Key>>,
}

impl Graph {
    /// Applies a change of a pod.
    pub fn apply_pod(&self, old: Option<&Value>, new: Option<&Value>) {
        let mut tables = self.tables.write();
        if let (Some(old), None) = (old, new) {
            tables.remove_owner(&key_of(Kind::Pod, old));
        }
        if let Some(pod) = new {
            let key = key_of(Kind::Pod, pod);
            let node = text(&pod["spec"]["nodeName"]);
            if node.is_empty() {
                tables.remove_owner(&key);
            } else if old.is_none_or(|old| may_change_references(old, pod)) {
                tables.set_owner(key, node, of_pod(pod));
            }
        }
    }

    /// Applies a change of a persistent volume.
    pub fn apply_volume(&self, old: Option<&Value>, new: Option<&Value>) {
        let mut tables = self.tables.write();
        if let Some(object) = new.or(old) {
            let key = key_of(Kind::Volume, object);
            tables.set_volume(key, new.and_then(of_persistent_volume));
        }
    }

    /// Applies a change of an object that names its node at a pointer.
    pub fn apply_on_node(&self, kind: Kind, node: &str, old: Option<&Value>, new: Option<&Value>) {
        let mut tables = self.tables.write();
        let Some(object) = new.or(old) else { return };
        let key = key_of(kind, object);
        let node = new.and_then(|object| object.pointer(node)).map(text).unwrap_or_default();
        if node.is_empty() {
            tables.remove_owner(&key);
        } else {
            tables.set_owner(key, node, Vec::new());
        }
    }

    /// Whether the object is related to the node.
    pub fn is_related(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let tables = self.tables.read();
        let key = Key::new(kind, namespace, name);
        match kind {
            Kind::Volume => tables.volume_is_on(&key, node),
            Kind::Secret => {
                let volumes = tables.secret_volumes.get(&key);
                tables.is_on(&key, node)
                    || volumes.into_iter().flatten().any(|volume| tables.volume_is_on(volume, node))
            }
            Kind::Pod | Kind::VolumeAttachment | Kind::ResourceSlice => {
                tables.owners.get(&key).is_some_and(|(on, _)| **on == *node)
            }
            _ => tables.is_on(&key, node),
        }
    }
}

/// A pod's references change only with its node, its identity, new ephemeral containers or claims.
fn may_change_references(old: &Value, new: &Value) -> bool {
    [
        "/spec/nodeName",
        "/metadata/uid",
        "/spec/ephemeralContainers",
        "/status/resourceClaimStatuses",
        "/status/extendedResourceClaimStatus",
    ]
    .iter()
    .any(|pointer| old.pointer(pointer) != new.pointer(pointer))
}

fn key_of(kind: Kind, object: &Value) -> Key {
    Key::new(kind, text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

impl Tables {
    fn is_on(&self, key: &Key, node: &str) -> bool {
        self.nodes.get(key).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_is_on(&self, volume: &Key, node: &str) -> bool {
        self.volumes.get(volume).is_some_and(|(claim, _)| self.is_on(claim, node))
    }

    /// Pods are many, and refer to the same few objects: they share their names, and those of nodes and namespaces.
    fn set_owner(&mut self, mut owner: Key, node: &str, mut references: Vec<Key>) {
        self.remove_owner(&owner);
        let mut node: Arc<str> = node.into();
        for reference in &mut references {
            if let Some((known, nodes)) = self.nodes.get_key_value(reference) {
                *reference = known.clone();
                node = nodes.get_key_value(&node).map_or(node, |(known, _)| known.clone());
            }
            if reference.namespace == owner.namespace {
                owner.namespace = reference.namespace.clone();
            }
        }
        for reference in &references {
            *self.nodes.entry(reference.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        self.owners.insert(owner, (node, references.into()));
    }

    fn remove_owner(&mut self, owner: &Key) {
        let Some((node, references)) = self.owners.remove(owner) else { return };
        for reference in references {
            let Some(nodes) = self.nodes.get_mut(&reference) else { continue };
            if let Some(count) = nodes.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(&reference);
            }
        }
    }

    fn set_volume(&mut self, volume: Key, bound: Option<(Key, Vec<Key>)>) {
        if let Some((_, secrets)) = self.volumes.remove(&volume) {
            for secret in secrets {
                if let Some(volumes) = self.secret_volumes.get_mut(&secret) {
                    volumes.remove(&volume);
                    if volumes.is_empty() {
                        self.secret_volumes.remove(&secret);
                    }
                }
            }
        }
        if let Some((claim, secrets)) = bound {
            for secret in &secrets {
                self.secret_volumes.entry(secret.clone()).or_default().insert(volume.clone());
            }
            self.volumes.insert(volume, (claim, secrets));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str) -> Value {
        json!({ "metadata": { "namespace": "ns", "name": name, "uid": name },
            "spec": { "nodeName": node, "volumes": [
                { "secret": { "secretName": "s" } }, { "persistentVolumeClaim": { "claimName": "c" } }] } })
    }

    #[test]
    fn a_secret_belongs_to_the_nodes_of_its_pods() {
        let graph = Graph::default();
        let secret = |node: &str| graph.is_related(node, Kind::Secret, "ns", "s");
        let (a, b) = (pod("a", "n1"), pod("b", "n1"));
        graph.apply_pod(None, Some(&pod("a", "")));
        assert!(!secret("n1") && !secret(""));
        graph.apply_pod(Some(&pod("a", "")), Some(&a));
        graph.apply_pod(None, Some(&b));
        assert!(secret("n1") && !secret("n2"));
        graph.apply_pod(Some(&a), None);
        assert!(secret("n1"), "another pod still uses it");
        graph.apply_pod(Some(&b), None);
        assert!(!secret("n1"));
        assert!(graph.tables.read().nodes.is_empty() && graph.tables.read().owners.is_empty());
    }

    #[test]
    fn a_volume_and_its_secrets_follow_the_claim() {
        let graph = Graph::default();
        let volume = json!({ "metadata": { "name": "pv" }, "spec": {
            "claimRef": { "namespace": "ns", "name": "c" }, "csi": { "nodeStageSecretRef": { "name": "k", "namespace": "x" } } } });
        graph.apply_volume(None, Some(&volume));
        let related = |node: &str| {
            (graph.is_related(node, Kind::Volume, "", "pv"), graph.is_related(node, Kind::Secret, "x", "k"))
        };
        assert_eq!(related("n1"), (false, false));
        graph.apply_pod(None, Some(&pod("a", "n1")));
        assert_eq!(related("n1"), (true, true));
        assert_eq!(related("n2"), (false, false));
        graph.apply_volume(Some(&volume), None);
        assert_eq!(related("n1"), (false, false));
        assert!(graph.tables.read().secret_volumes.is_empty());
    }

    #[test]
    fn objects_that_name_their_node() {
        let graph = Graph::default();
        let slice = json!({ "metadata": { "name": "s" }, "spec": { "nodeName": "n1" } });
        graph.apply_on_node(Kind::ResourceSlice, "/spec/nodeName", None, Some(&slice));
        assert!(graph.is_related("n1", Kind::ResourceSlice, "", "s"));
        graph.apply_on_node(Kind::ResourceSlice, "/spec/nodeName", Some(&slice), None);
        assert!(!graph.is_related("n1", Kind::ResourceSlice, "", "s"));
    }
}
