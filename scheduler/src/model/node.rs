//! One node.

use std::collections::BTreeMap;

use super::requests::{amount, is_counted};
use super::wire::{NodeObject, WireTaint};
use super::{ResourceId, resource_id};

/// What a taint does to pods that don't tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaintEffect {
    /// Keeps new pods off.
    NoSchedule,
    /// Makes the node a worse choice.
    PreferNoSchedule,
    /// Keeps new pods off and evicts old ones.
    NoExecute,
}

impl TaintEffect {
    /// From its API name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "NoSchedule" => Some(Self::NoSchedule),
            "PreferNoSchedule" => Some(Self::PreferNoSchedule),
            "NoExecute" => Some(Self::NoExecute),
            _ => None,
        }
    }
}

/// A taint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Its effect.
    pub effect: TaintEffect,
}

/// A node, as the API describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// What pods may use, by column.
    pub allocatable: Vec<(ResourceId, i64)>,
    /// How many pods it takes.
    pub max_pods: i64,
    /// Image names it has, with their size.
    pub images: Vec<(String, i64)>,
    /// Features that pods can ask for and that not every node has.
    pub features: Vec<String>,
}

impl Node {
    /// Reads a node from its JSON.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json).map(Self::from_wire)
    }

    /// Reads a node from a JSON tree.
    pub fn from_value(value: serde_json::Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(value).map(Self::from_wire)
    }

    fn from_wire(node: NodeObject) -> Self {
        let allocatable = node.status.allocatable;
        let taint =
            |t: WireTaint| Some(Taint { effect: TaintEffect::parse(&t.effect)?, key: t.key, value: t.value });
        Node {
            name: node.metadata.name,
            labels: node.metadata.labels,
            unschedulable: node.spec.unschedulable,
            taints: node.spec.taints.into_iter().filter_map(taint).collect(),
            max_pods: allocatable.get("pods").map_or(0, |q| q.value()),
            allocatable: allocatable
                .iter()
                .filter(|(name, _)| is_counted(name))
                .map(|(name, quantity)| {
                    let id = resource_id(name);
                    (id, amount(id, quantity))
                })
                .collect(),
            features: node.status.declared_features,
            images: node
                .status
                .images
                .into_iter()
                .flat_map(|i| i.names.into_iter().map(move |n| (n, i.size_bytes)))
                .collect(),
        }
    }

    /// The amount of one resource that pods may use.
    pub fn allocatable(&self, id: ResourceId) -> i64 {
        self.allocatable.iter().find(|(i, _)| *i == id).map_or(0, |(_, n)| *n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent() {
        // An image that lost its names: a node that can't be read would be taken for what it was before.
        let json =
            br#"{"metadata": {"name": "n", "labels": null}, "spec": {"unschedulable": true, "taints": null},
            "status": {"allocatable": null, "images": [{"names": null, "sizeBytes": 5}]}}"#;
        let node = Node::decode(json).unwrap();
        assert!(node.unschedulable && node.images.is_empty());
    }
}
