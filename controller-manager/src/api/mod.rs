//! Slim views of API objects: only the fields that some controller reads.
//!
//! A view is filled straight from the bytes of a watch event, and is never written back. Parts that
//! are only copied (pod templates) stay raw JSON.

pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod core;
pub mod discovery;
pub mod policy;
pub mod resource;
pub mod storage;

use proto::time::Time;
use serde::{Deserialize, Serialize};

component_base::object!(
    apps::ControllerRevision,
    apps::DaemonSet,
    apps::Deployment,
    apps::ReplicaSet,
    apps::StatefulSet,
    autoscaling::HorizontalPodAutoscaler,
    batch::CronJob,
    batch::Job,
    core::ConfigMap,
    core::Lease,
    core::Metadata,
    core::Namespace,
    core::Node,
    core::Owned,
    core::Pod,
    core::Secret,
    core::Service,
    discovery::EndpointSlice,
    discovery::Endpoints,
    discovery::ServiceCidr,
    policy::CertificateSigningRequest,
    policy::ClusterRole,
    policy::PodDisruptionBudget,
    policy::ResourceQuota,
    policy::ValidatingAdmissionPolicy,
    resource::ResourceClaim,
    resource::ResourceSlice,
    storage::CsiDriver,
    storage::PersistentVolume,
    storage::PersistentVolumeClaim,
    storage::StorageClass,
    storage::VolumeAttachment,
);

/// A condition as most kinds have it in their status. Absent fields are not printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// The kind of condition, unique in its list.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Condition {
    /// A condition that changed to `status` at `now`.
    pub fn new(kind: &str, status: &str, reason: &str, message: impl Into<String>, now: Time) -> Self {
        Condition {
            kind: kind.into(),
            status: status.into(),
            last_transition_time: Some(now),
            reason: reason.into(),
            message: message.into(),
            ..Default::default()
        }
    }

    /// Whether the status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// Finds the condition of one kind.
pub fn find_condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// Whether the condition of one kind is there and `True`.
pub fn condition_is_true(conditions: &[Condition], kind: &str) -> bool {
    find_condition(conditions, kind).is_some_and(Condition::is_true)
}

/// Drops the condition of one kind; says whether there was one.
pub fn remove_condition(conditions: &mut Vec<Condition>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|c| c.kind != kind);
    conditions.len() != before
}

/// Sets a condition as the workload controllers do: the same status and reason change nothing, the
/// same status keeps its transition time where `keep_transition` is set, and a changed condition
/// moves to the end of the list.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition, keep_transition: bool) {
    if let Some(current) = find_condition(conditions, &new.kind) {
        if current.status == new.status && current.reason == new.reason {
            return;
        }
        if keep_transition && current.status == new.status {
            new.last_transition_time = current.last_transition_time;
        }
    }
    remove_condition(conditions, &new.kind);
    conditions.push(new);
}
