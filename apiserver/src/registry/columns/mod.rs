//! Tables of objects, as people see them: columns and cells.
//!
//! Cells come from the object in the version of its endpoint. Every column has its cell, also those that are shown
//! only on request.

pub(crate) mod ages;
pub(crate) mod cells;
mod pods;
mod rows;
mod services;
mod workloads;

use std::sync::Arc;

use serde_json::Value;

use super::Endpoint;
use ages::Ages;

/// The columns after `Name` as (name, type, priority), and the cells after the name's.
pub(crate) type Table = (&'static [(&'static str, &'static str, i32)], fn(&cells::Object) -> Vec<Value>);

const AGE: (&str, &str, i32) = ("Age", "string", 0);

/// What most kinds without a table of their own show.
const ONLY_AGE: Table = (&[AGE], |object| vec![object.age()]);

/// Gives an endpoint the columns of its kind: its own, or those of the list below. Kinds without any show name and age.
pub(crate) fn set(endpoint: &mut Endpoint, own: Option<Table>) {
    if endpoint.kind == "Event" {
        endpoint.columns = rows::event_columns();
        endpoint.row = Some(rows::event);
        return;
    }
    let Some(table) = own.or_else(|| table(&endpoint.group, &endpoint.kind)) else { return };
    let made = table.0.iter().map(|(name, kind, priority)| super::Column::new(name, kind, *priority, ""));
    endpoint.columns = std::iter::once(super::Column::of_name()).chain(made).collect();
    endpoint.row = Some(row);
    endpoint.data = Some(Arc::new(table));
}

fn row(endpoint: &Endpoint, value: &Value, ages: &Ages) -> Vec<Value> {
    let object = cells::Object::new(value, ages);
    let table = endpoint.data.as_ref().and_then(|data| data.downcast_ref::<Table>());
    let Some((_, cells)) = table else { return Vec::new() };
    std::iter::once(rows::name(&endpoint.kind, &object)).chain(cells(&object)).collect()
}

fn table(group: &str, kind: &str) -> Option<Table> {
    let table = match (group, kind) {
        ("", "Pod") => pods::POD,
        ("", "PodTemplate") => workloads::POD_TEMPLATE,
        ("", "ReplicationController") => workloads::REPLICATION_CONTROLLER,
        ("apps", "ReplicaSet") => workloads::REPLICA_SET,
        ("apps", "Deployment") => workloads::DEPLOYMENT,
        ("apps", "DaemonSet") => workloads::DAEMON_SET,
        ("apps", "StatefulSet") => workloads::STATEFUL_SET,
        ("apps", "ControllerRevision") => workloads::CONTROLLER_REVISION,
        ("batch", "Job") => workloads::JOB,
        ("batch", "CronJob") => workloads::CRON_JOB,
        ("autoscaling", "HorizontalPodAutoscaler") => workloads::AUTOSCALER,
        ("autoscaling", "Scale") => workloads::SCALE,
        ("policy", "PodDisruptionBudget") => workloads::DISRUPTION_BUDGET,
        ("", "Service") => services::SERVICE,
        ("", "Endpoints") => services::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => services::ENDPOINT_SLICE,
        ("networking.k8s.io", "Ingress") => services::INGRESS,
        ("networking.k8s.io", "IngressClass") => services::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => services::NETWORK_POLICY,
        ("networking.k8s.io", "IPAddress") => services::IP_ADDRESS,
        ("networking.k8s.io", "ServiceCIDR") => services::SERVICE_CIDR,
        ("", "Node") => rows::NODE,
        ("", "Namespace") => rows::NAMESPACE,
        ("", "Secret") => rows::SECRET,
        ("", "ConfigMap") => rows::CONFIG_MAP,
        ("", "ServiceAccount") => ONLY_AGE,
        ("", "PersistentVolume") => rows::PERSISTENT_VOLUME,
        ("", "PersistentVolumeClaim") => rows::CLAIM,
        ("", "ResourceQuota") => rows::RESOURCE_QUOTA,
        ("", "ComponentStatus") => rows::COMPONENT_STATUS,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => rows::ROLE_BINDING,
        ("certificates.k8s.io", "CertificateSigningRequest") => rows::SIGNING_REQUEST,
        ("certificates.k8s.io", "ClusterTrustBundle") => rows::TRUST_BUNDLE,
        ("coordination.k8s.io", "Lease") => rows::LEASE,
        ("coordination.k8s.io", "LeaseCandidate") => rows::LEASE_CANDIDATE,
        ("storage.k8s.io", "StorageClass") => rows::STORAGE_CLASS,
        ("storage.k8s.io", "VolumeAttributesClass") => rows::ATTRIBUTES_CLASS,
        ("storage.k8s.io", "VolumeAttachment") => rows::VOLUME_ATTACHMENT,
        ("storage.k8s.io", "CSINode") => rows::CSI_NODE,
        ("storage.k8s.io", "CSIDriver") => rows::CSI_DRIVER,
        ("storage.k8s.io", "CSIStorageCapacity") => rows::STORAGE_CAPACITY,
        ("scheduling.k8s.io", "Workload") => ONLY_AGE,
        ("scheduling.k8s.io", "PodGroup") => rows::POD_GROUP,
        ("node.k8s.io", "RuntimeClass") => rows::RUNTIME_CLASS,
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => rows::WEBHOOKS,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => rows::VALIDATING_POLICY,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => rows::MUTATING_POLICY,
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding",
        ) => rows::POLICY_BINDING,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => rows::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => rows::PRIORITY_LEVEL,
        ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate") => ONLY_AGE,
        ("resource.k8s.io", "ResourceClaim") => rows::RESOURCE_CLAIM,
        ("resource.k8s.io", "ResourceSlice") => rows::RESOURCE_SLICE,
        ("resource.k8s.io", "DeviceTaintRule") => rows::DEVICE_TAINT_RULE,
        ("resource.k8s.io", "ResourcePoolStatusRequest") => rows::RESOURCE_POOL_STATUS,
        ("certificates.k8s.io", "PodCertificateRequest") => rows::POD_CERTIFICATE_REQUEST,
        ("internal.apiserver.k8s.io", "StorageVersion") => rows::STORAGE_VERSION,
        ("storagemigration.k8s.io", "StorageVersionMigration") => rows::STORAGE_VERSION_MIGRATION,
        ("apiregistration.k8s.io", "APIService") => rows::API_SERVICE,
        _ => return None,
    };
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::Ages;
    use crate::registry::builtin;
    use serde_json::json;

    #[test]
    fn every_row_has_a_cell_for_each_column() {
        let registry = builtin(&|_, _, _| true);
        for endpoint in registry.endpoints() {
            let Some(row) = endpoint.row else { continue };
            for object in [json!({}), json!({"spec": {}, "status": {}})] {
                let cells = row(endpoint, &object, &Ages::at(jiff::Timestamp::UNIX_EPOCH));
                assert_eq!(
                    cells.len(),
                    endpoint.columns.len(),
                    "{} {}",
                    endpoint.api_version(),
                    endpoint.kind
                );
            }
        }
    }
}
