//! Claims, volumes and storage classes: what a pod's storage ties it to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::ObjectKey;
use crate::model::{NodeTerm, Pod, WireNodeTerm};

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// Its storage class.
    pub class: Option<String>,
    /// The volume it is bound to, or to be bound to.
    pub volume: String,
    /// Is the binding complete, on both sides?
    pub bound: bool,
    /// Is its volume gone?
    pub lost: bool,
    /// Is it being deleted?
    pub deleting: bool,
    /// May only one pod use it?
    pub exclusive: bool,
    /// The node chosen for it.
    pub selected_node: Option<String>,
    /// The pod that an ephemeral volume's claim belongs to.
    pub owner: Option<String>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// Where it can be used: on nodes that match one of these; anywhere, if none.
    pub nodes: Option<Vec<NodeTerm>>,
    /// The zones and regions it is in, by label.
    pub zones: Vec<(String, BTreeSet<String>)>,
    /// The CSI driver and its name for the volume.
    pub handle: Option<(String, String)>,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Class {
    /// Does binding wait for a pod that uses the claim?
    pub waits: bool,
    /// Who makes volumes.
    pub provisioner: String,
    /// Where volumes can be made: labels and values; anywhere, if none.
    pub topologies: Vec<Vec<(String, BTreeSet<String>)>>,
}

/// What does not make volumes.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// One change of storage; `None` is "gone".
#[derive(Clone, Debug)]
pub enum Storage {
    /// A claim.
    Claim(ObjectKey, Option<Claim>),
    /// A volume.
    Volume(String, Option<Volume>),
    /// A class.
    Class(String, Option<Class>),
    /// How many volumes of each driver a node takes.
    Limits(String, Option<BTreeMap<String, usize>>),
}

/// All storage known.
#[derive(Debug, Default)]
pub struct Volumes {
    claims: HashMap<ObjectKey, Claim>,
    volumes: HashMap<String, Volume>,
    classes: HashMap<String, Class>,
    limits: HashMap<String, BTreeMap<String, usize>>,
}

fn put<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl Volumes {
    /// Notes a change.
    pub fn set(&mut self, change: Storage) {
        match change {
            Storage::Claim(key, claim) => put(&mut self.claims, key, claim),
            Storage::Volume(name, volume) => put(&mut self.volumes, name, volume),
            Storage::Class(name, class) => put(&mut self.classes, name, class),
            Storage::Limits(node, limits) => put(&mut self.limits, node, limits),
        }
    }

    /// A claim.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Claim> {
        self.claims.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// A volume.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.get(name)
    }

    /// A claim's class.
    pub fn class_of(&self, claim: &Claim) -> Option<&Class> {
        self.classes.get(claim.class.as_ref()?)
    }

    /// How many volumes of each driver a node takes.
    pub fn limits(&self, node: &str) -> Option<&BTreeMap<String, usize>> {
        self.limits.get(node)
    }

    /// The pod's claims that wait for it to be placed.
    pub fn to_provision(&self, pod: &Pod) -> Vec<String> {
        let waits =
            |name: &&str| self.claim(pod.namespace(), name).is_some_and(|c| !c.bound && c.volume.is_empty());
        pod.claims.iter().map(|c| c.name.as_str()).filter(waits).map(str::to_owned).collect()
    }

    /// The CSI volumes that a pod uses or will use: driver and a name. A claim not bound yet counts by itself.
    pub fn attached(&self, pod: &Pod) -> Vec<(String, String)> {
        let handle = |name: &str| {
            let claim = self.claim(pod.namespace(), name)?;
            if claim.volume.is_empty() {
                let class = self.class_of(claim)?;
                return Some((class.provisioner.clone(), format!("{}/{name}", pod.namespace())));
            }
            self.volume(&claim.volume)?.handle.clone()
        };
        pod.claims.iter().filter_map(|c| handle(&c.name)).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
    owner_references: Vec<Owner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    uid: String,
    controller: bool,
}

macro_rules! wire {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct $name { $($(#[$meta])* $field: $type,)* }
    )*};
}

wire! {
    ClaimObject { metadata: Metadata, spec: ClaimSpec, status: ClaimStatus }
    ClaimSpec { storage_class_name: Option<String>, volume_name: String, access_modes: Vec<String> }
    ClaimStatus { phase: String }
    VolumeObject { metadata: Metadata, spec: VolumeSpec }
    VolumeSpec { node_affinity: Option<VolumeAffinity>, csi: Option<Csi> }
    VolumeAffinity { required: Option<NodeSelector> }
    NodeSelector { node_selector_terms: Vec<WireNodeTerm> }
    Csi { driver: String, volume_handle: String }
    ClassObject {
        provisioner: String, volume_binding_mode: Option<String>, allowed_topologies: Vec<Topology>,
    }
    Topology { match_label_expressions: Vec<TopologyLabel> }
    TopologyLabel { key: String, values: Vec<String> }
    CsiNodeObject { spec: CsiNodeSpec }
    CsiNodeSpec { drivers: Vec<Driver> }
    Driver { name: String, allocatable: Option<Allocatable> }
    Allocatable { count: Option<usize> }
}

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The annotation that tells a provisioner which node was chosen.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const CLASS_BEFORE_FIELD: &str = "volume.beta.kubernetes.io/storage-class";

const ZONE_LABELS: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

impl Claim {
    /// Reads a claim from its JSON.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut object: ClaimObject = serde_json::from_slice(json)?;
        let annotations = &mut object.metadata.annotations;
        Ok(Claim {
            bound: !object.spec.volume_name.is_empty() && annotations.contains_key(BIND_COMPLETED),
            class: annotations.remove(CLASS_BEFORE_FIELD).or(object.spec.storage_class_name),
            selected_node: annotations.remove(SELECTED_NODE),
            volume: object.spec.volume_name,
            lost: object.status.phase == "Lost",
            deleting: object.metadata.deletion_timestamp.is_some(),
            exclusive: object.spec.access_modes.iter().any(|m| m == "ReadWriteOncePod"),
            owner: object.metadata.owner_references.into_iter().find(|o| o.controller).map(|o| o.uid),
        })
    }
}

impl Volume {
    /// Reads a volume from its JSON.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let VolumeObject { metadata, spec } = serde_json::from_slice(json)?;
        let zones = ZONE_LABELS.iter().filter_map(|key| {
            let values = metadata.labels.get(*key)?.split("__").map(str::to_owned).collect();
            Some(((*key).to_owned(), values))
        });
        let required = spec.node_affinity.and_then(|a| a.required);
        Ok(Volume {
            zones: zones.collect(),
            nodes: required.map(|s| s.node_selector_terms.into_iter().map(NodeTerm::from_wire).collect()),
            handle: spec.csi.map(|c| (c.driver, c.volume_handle)),
        })
    }
}

impl Class {
    /// Reads a class from its JSON.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let object: ClassObject = serde_json::from_slice(json)?;
        let topology = |t: Topology| {
            t.match_label_expressions.into_iter().map(|l| (l.key, l.values.into_iter().collect())).collect()
        };
        Ok(Class {
            waits: object.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisioner: object.provisioner,
            topologies: object.allowed_topologies.into_iter().map(topology).collect(),
        })
    }
}

/// Reads from a CSINode's JSON how many volumes of each driver the node takes.
pub fn decode_limits(json: &[u8]) -> Result<BTreeMap<String, usize>, serde_json::Error> {
    let object: CsiNodeObject = serde_json::from_slice(json)?;
    let limit = |d: Driver| Some((d.name, d.allocatable?.count?));
    Ok(object.spec.drivers.into_iter().filter_map(limit).collect())
}
