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

pub use proto::meta::{Condition, find_condition};

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
