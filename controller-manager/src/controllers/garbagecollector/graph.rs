//! Who owns whom.
//!
//! A node is an object; an edge leads from each owner to the objects that refer to it. An owner that is
//! referred to but was never seen is a *virtual* node: it may exist, and somebody has to look. Events
//! change the graph and say what must be looked at; nothing is decided here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use proto::meta::OwnerReference;

use crate::api::core::OwnedMeta;

/// Tells a deletion to wait until the dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Tells a deletion to let go of the dependents first.
pub(super) const ORPHAN: &str = "orphan";

pub(super) type Uid = Arc<str>;

/// Where an object is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) api_version: Arc<str>,
    pub(super) kind: Arc<str>,
    /// Of a virtual node: that of the object which refers to it.
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

/// What is known of one object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: BTreeSet<Uid>,
    pub(super) deleting: bool,
    pub(super) foreground: bool,
    pub(super) orphan: bool,
    pub(super) is_virtual: bool,
}

impl Node {
    /// Whether its deletion waits for its dependents.
    pub(super) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    /// Whether the reference to `owner` keeps the owner from going first.
    pub(super) fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|o| o.uid == owner && o.block_owner_deletion == Some(true))
    }
}

/// What must be looked at.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Work {
    /// Objects that may have to go.
    pub(super) delete: BTreeSet<Uid>,
    /// Objects whose dependents must be let go.
    pub(super) orphan: BTreeSet<Uid>,
}

/// All objects that the cluster has, with their owners.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Its dependents.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Uid, &Node)> {
        let of = self.nodes.get(uid).into_iter().flat_map(|n| &n.dependents);
        of.filter_map(|d| Some((d.clone(), self.nodes.get(d)?))).collect()
    }

    /// An object was seen as it is now.
    pub(super) fn observe(&mut self, api_version: &Arc<str>, kind: &Arc<str>, meta: &OwnedMeta) -> Work {
        let mut work = Work::default();
        let uid: Uid = (&*meta.uid).into();
        let has = |finalizer: &str| meta.finalizers.iter().any(|f| f == finalizer);
        let place = Place {
            api_version: api_version.clone(),
            kind: kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        };
        let before = self.nodes.remove(&uid);
        let node = Node {
            place,
            owners: meta.owner_references.clone(),
            dependents: before.as_ref().map(|n| n.dependents.clone()).unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
            is_virtual: false,
        };
        let old_owners = before.as_ref().map(|n| n.owners.as_slice()).unwrap_or_default();
        self.link(&uid, &node, old_owners, &mut work);

        let orphans = |n: &Node| n.deleting && n.orphan;
        if orphans(&node) && !before.as_ref().is_some_and(orphans) {
            work.orphan.insert(uid.clone());
        }
        if node.waits_for_dependents() && !before.as_ref().is_some_and(Node::waits_for_dependents) {
            work.delete.extend(node.dependents.iter().cloned());
            work.delete.insert(uid.clone());
        }
        // Dependents may have guessed wrongly where their owner is; they look again.
        if let Some(before) = before.filter(|n| n.is_virtual && n.place.kind != node.place.kind) {
            work.delete.extend(before.dependents);
        }
        self.nodes.insert(uid, node);
        work
    }

    /// Brings the edges to a node's owners up to date.
    fn link(&mut self, uid: &Uid, node: &Node, old: &[OwnerReference], work: &mut Work) {
        for owner in &node.owners {
            let owner_uid: Uid = owner.uid.as_str().into();
            if let Some(owner_node) = self.nodes.get_mut(&owner_uid) {
                owner_node.dependents.insert(uid.clone());
                // A new dependent of an owner that is on its way out goes with it.
                let is_new = !old.iter().any(|o| o.uid == owner.uid);
                if is_new && (owner_node.waits_for_dependents() || owner_node.is_virtual) {
                    work.delete.insert(uid.clone());
                }
            } else if owner_uid != *uid {
                let place = Place {
                    api_version: owner.api_version.as_str().into(),
                    kind: owner.kind.as_str().into(),
                    namespace: node.place.namespace.clone(),
                    name: owner.name.as_str().into(),
                };
                let dependents = BTreeSet::from([uid.clone()]);
                let owner = Node {
                    place,
                    owners: Vec::new(),
                    dependents,
                    deleting: false,
                    foreground: false,
                    orphan: false,
                    is_virtual: true,
                };
                self.nodes.insert(owner_uid.clone(), owner);
                work.delete.insert(owner_uid);
            }
        }
        for was in old {
            let now = node.owners.iter().find(|o| o.uid == was.uid);
            let Some(owner_node) = self.nodes.get_mut(was.uid.as_str()) else { continue };
            if now.is_none() {
                owner_node.dependents.remove(uid);
            }
            let blocked = was.block_owner_deletion == Some(true);
            let blocks = now.is_some_and(|o| o.block_owner_deletion == Some(true));
            if blocked && !blocks && owner_node.waits_for_dependents() {
                work.delete.insert(was.uid.as_str().into());
            }
        }
    }

    /// An object is gone: its dependents may have to go, and its owners may have waited for it.
    pub(super) fn forget(&mut self, uid: &str) -> Work {
        let mut work = Work::default();
        let Some(node) = self.nodes.remove(uid) else { return work };
        work.delete.extend(node.dependents);
        for owner in &node.owners {
            if let Some(owner_node) = self.nodes.get_mut(owner.uid.as_str()) {
                owner_node.dependents.remove(uid);
                if owner_node.waits_for_dependents() {
                    work.delete.insert(owner.uid.as_str().into());
                }
                if owner_node.is_virtual && owner_node.dependents.is_empty() {
                    self.nodes.remove(owner.uid.as_str());
                }
            }
        }
        work
    }

    /// Somebody looked: the virtual object exists, though no watch has shown it.
    pub(super) fn exists(&mut self, uid: &str) {
        if let Some(node) = self.nodes.get_mut(uid) {
            node.is_virtual = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn observe(graph: &mut Graph, uid: &str, owners: &[&str], extra: serde_json::Value) -> Work {
        let owners: Vec<_> = owners
            .iter()
            .map(
                |o| json!({"uid": o, "kind": "K", "apiVersion": "v1", "name": o, "blockOwnerDeletion": true}),
            )
            .collect();
        let mut value = json!({"name": uid, "uid": uid, "ownerReferences": owners});
        if let (Some(to), Some(from)) = (value.as_object_mut(), extra.as_object()) {
            to.extend(from.clone());
        }
        let meta: OwnedMeta = serde_json::from_value(value).unwrap();
        graph.observe(&"v1".into(), &"K".into(), &meta)
    }

    fn ids(set: &BTreeSet<Uid>) -> Vec<&str> {
        set.iter().map(|u| &**u).collect()
    }

    #[test]
    fn unknown_owners_are_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(ids(&observe(&mut graph, "child", &["owner"], json!({})).delete), ["owner"]);
        assert!(graph.get("owner").is_some_and(|n| n.is_virtual));
        assert_eq!(observe(&mut graph, "owner", &[], json!({})), Work::default());
        assert_eq!(ids(&graph.forget("owner").delete), ["child"]);
    }

    #[test]
    fn foreground_deletion_visits_dependents_then_the_owner() {
        let mut graph = Graph::default();
        observe(&mut graph, "owner", &[], json!({}));
        observe(&mut graph, "child", &["owner"], json!({}));
        let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FOREGROUND]});
        let work = observe(&mut graph, "owner", &[], deleting.clone());
        assert_eq!(ids(&work.delete), ["child", "owner"]);
        assert_eq!(observe(&mut graph, "owner", &[], deleting), Work::default());
        assert_eq!(ids(&graph.forget("child").delete), ["owner"]);
    }

    #[test]
    fn orphaning_is_asked_for_once() {
        let mut graph = Graph::default();
        observe(&mut graph, "owner", &[], json!({}));
        let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [ORPHAN]});
        assert_eq!(ids(&observe(&mut graph, "owner", &[], deleting.clone()).orphan), ["owner"]);
        assert!(observe(&mut graph, "owner", &[], deleting).orphan.is_empty());
    }
}
