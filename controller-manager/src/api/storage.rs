//! Views of volumes, claims and their classes.

use proto::meta::{ObjectMeta, nullable};
use proto::quantity::Quantity;
use serde::{Deserialize, Serialize};

use super::Condition;
use super::apps::LabelSelector;

/// The annotation that named the class before there was a field.
pub const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    pub metadata: ObjectMeta,
    pub spec: ClaimSpec,
    pub status: ClaimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    #[serde(deserialize_with = "nullable")]
    pub access_modes: Vec<String>,
    pub selector: Option<LabelSelector>,
    pub resources: ClaimResources,
    pub volume_name: String,
    pub storage_class_name: Option<String>,
    pub volume_mode: Option<String>,
    pub volume_attributes_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimResources {
    pub requests: Storage,
}

/// An amount of storage among other resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    pub phase: String,
    pub access_modes: Vec<String>,
    pub capacity: Storage,
    pub conditions: Vec<Condition>,
    pub current_volume_attributes_class_name: Option<String>,
    pub modify_volume_status: Option<ModifyVolumeStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModifyVolumeStatus {
    pub target_volume_attributes_class_name: String,
}

impl PersistentVolumeClaim {
    /// The storage class; none if the claim says nothing about it, empty if it wants none.
    pub fn class(&self) -> Option<&str> {
        let annotation = self.metadata.annotations.get(BETA_CLASS).map(String::as_str);
        annotation.or(self.spec.storage_class_name.as_deref())
    }

    /// The attributes classes that it has or is to have.
    pub fn attributes_classes(&self) -> Vec<String> {
        let target =
            self.status.modify_volume_status.as_ref().map(|m| &m.target_volume_attributes_class_name);
        let all = [
            self.spec.volume_attributes_class_name.as_ref(),
            self.status.current_volume_attributes_class_name.as_ref(),
            target,
        ];
        let mut names: Vec<String> =
            all.into_iter().flatten().filter(|name| !name.is_empty()).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    pub metadata: ObjectMeta,
    pub spec: VolumeSpec,
    pub status: VolumeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    pub capacity: Storage,
    #[serde(deserialize_with = "nullable")]
    pub access_modes: Vec<String>,
    pub claim_ref: Option<ClaimRef>,
    pub persistent_volume_reclaim_policy: String,
    pub storage_class_name: String,
    pub volume_mode: Option<String>,
    pub volume_attributes_class_name: Option<String>,
    pub csi: Option<CsiSource>,
    pub host_path: Option<HostPathSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimRef {
    pub namespace: String,
    pub name: String,
    /// Empty if the volume was reserved by name, before there was a claim.
    pub uid: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSource {
    pub driver: String,
    pub volume_handle: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HostPathSource {
    pub path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeStatus {
    pub phase: String,
    pub message: String,
}

impl PersistentVolume {
    /// The storage class; empty if it has none.
    pub fn class(&self) -> &str {
        self.metadata.annotations.get(BETA_CLASS).unwrap_or(&self.spec.storage_class_name)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    pub metadata: ObjectMeta,
    pub provisioner: String,
    pub volume_binding_mode: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CsiDriver {
    pub metadata: ObjectMeta,
    pub spec: CsiDriverSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiDriverSpec {
    pub attach_required: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VolumeAttachment {
    pub metadata: ObjectMeta,
    pub spec: AttachmentSpec,
    pub status: AttachmentStatus,
    /// The name by which nodes know the volume; found out from the volume.
    #[serde(skip)]
    pub unique_name: Option<String>,
}

impl VolumeAttachment {
    /// The name by which nodes know the volume, if that was found out.
    pub fn volume_name(&self) -> Option<String> {
        self.unique_name.clone()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentSpec {
    pub node_name: String,
    pub source: AttachmentSource,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentSource {
    pub persistent_volume_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentStatus {
    pub attached: bool,
    pub attach_error: Option<AttachError>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AttachError {
    pub message: String,
}
