//! Views of the kinds of group `resource.k8s.io`: devices, and claims of them.

use proto::meta::{ObjectMeta, nullable};
use serde::{Deserialize, Serialize};

use super::core::{Pod, Taint, Toleration};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceClaim {
    pub metadata: ObjectMeta,
    pub status: ResourceClaimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceClaimStatus {
    pub allocation: Option<Allocation>,
    #[serde(deserialize_with = "nullable")]
    pub reserved_for: Vec<Consumer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Allocation {
    pub devices: AllocatedDevices,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AllocatedDevices {
    #[serde(deserialize_with = "nullable")]
    pub results: Vec<AllocatedDevice>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AllocatedDevice {
    pub driver: String,
    pub pool: String,
    pub device: String,
    #[serde(deserialize_with = "nullable")]
    pub tolerations: Vec<Toleration>,
}

/// What may use a claim; pods, mostly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Consumer {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    pub resource: String,
    pub name: String,
    pub uid: String,
}

impl Consumer {
    /// Whether it is a pod.
    pub fn is_pod(&self) -> bool {
        self.api_group.is_empty() && self.resource == "pods"
    }
}

impl ResourceClaim {
    /// Whether the pod may use it.
    pub fn is_reserved_for(&self, pod: &Pod) -> bool {
        self.status.reserved_for.iter().any(|consumer| consumer.is_pod() && consumer.uid == pod.metadata.uid)
    }
}

/// One claim of a pod, as its spec has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodClaim {
    pub name: String,
    pub resource_claim_name: Option<String>,
    pub resource_claim_template_name: Option<String>,
}

/// Which claim was made for a pod from a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodClaimStatus {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_claim_name: Option<String>,
}

/// Where a pod's claim is.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimName<'a> {
    /// Named by the pod.
    Given(&'a str),
    /// Made for the pod; it must be the pod's own.
    Made(&'a str),
    /// Found out to be needless.
    Needless,
    /// Still to be made from this template.
    Missing(&'a str),
    /// Said in a way that isn't known here.
    Unknown,
}

impl PodClaim {
    /// The claim that a pod's entry means.
    pub fn resolve<'a>(&'a self, pod: &'a Pod) -> ClaimName<'a> {
        match (&self.resource_claim_name, &self.resource_claim_template_name) {
            (Some(name), _) => ClaimName::Given(name),
            (None, Some(template)) => {
                match pod.status.resource_claim_statuses.iter().find(|status| status.name == self.name) {
                    None => ClaimName::Missing(template),
                    Some(PodClaimStatus { resource_claim_name: Some(name), .. }) => ClaimName::Made(name),
                    Some(_) => ClaimName::Needless,
                }
            }
            (None, None) => ClaimName::Unknown,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceSlice {
    pub metadata: ObjectMeta,
    pub spec: ResourceSliceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceSliceSpec {
    pub driver: String,
    pub pool: Pool,
    #[serde(deserialize_with = "tainted")]
    pub devices: Vec<TaintedDevice>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pool {
    pub name: String,
    pub generation: i64,
}

/// A device that has taints; others aren't kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TaintedDevice {
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    pub taints: Vec<Taint>,
}

fn tainted<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<TaintedDevice>, D::Error> {
    let mut devices = Option::<Vec<TaintedDevice>>::deserialize(deserializer)?.unwrap_or_default();
    devices.retain(|device| !device.taints.is_empty());
    Ok(devices)
}
