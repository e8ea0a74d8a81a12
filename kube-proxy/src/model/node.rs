//! The node this runs on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::nft::Family;

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its revision.
    pub resource_version: String,
    /// Its zone.
    pub zone: String,
    /// Its addresses, those of the cluster's network first.
    pub addresses: Vec<IpAddr>,
    /// The networks of its pods.
    pub pod_cidrs: Vec<IpNet>,
    /// May load balancers send it traffic? Not if it is on its way out.
    pub eligible: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    uid: String,
    resource_version: String,
    labels: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
    taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: String,
}

/// Set by the cluster autoscaler on nodes it is about to remove.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    addresses: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl Node {
    /// Reads a node from its JSON.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let Object { mut metadata, spec, status } = serde_json::from_slice(json)?;
        let of_kind = |kind: &'static str| status.addresses.iter().filter(move |a| a.kind == kind);
        let addresses = of_kind("InternalIP").chain(of_kind("ExternalIP"));
        Ok(Node {
            zone: metadata.labels.remove("topology.kubernetes.io/zone").unwrap_or_default(),
            addresses: addresses.filter_map(|a| a.address.parse().ok()).collect(),
            eligible: metadata.deletion_timestamp.is_none()
                && !spec.taints.iter().any(|t| t.key == TO_BE_DELETED),
            pod_cidrs: spec.pod_cidrs.iter().filter_map(|c| c.parse().ok()).collect(),
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
        })
    }

    /// Its main address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|a| Family::of(*a) == family)
    }
}

impl component_base::watch::Object for Node {
    fn namespace(&self) -> &str {
        ""
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}
