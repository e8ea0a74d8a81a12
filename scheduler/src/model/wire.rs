//! The parts of Pod and Node JSON that scheduling reads.

use std::collections::BTreeMap;

use proto::quantity::Quantity;
use serde::Deserialize;
use serde::de::IgnoredAny;

macro_rules! wire {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[allow(missing_docs, unreachable_pub)]
        pub struct $name { $($(#[$field_meta])* #[serde(deserialize_with = "proto::meta::nullable")] pub $field: $type,)* }
    )*};
}

pub(crate) type Resources = BTreeMap<String, Quantity>;

wire! {
    PodObject { metadata: Metadata, spec: PodSpec, status: PodStatus }
    NodeObject { metadata: Metadata, spec: NodeSpec, status: NodeStatus }
    Metadata {
        name: String, namespace: String, uid: String, resource_version: String, generation: i64,
        labels: BTreeMap<String, String>, annotations: BTreeMap<String, String>,
        deletion_timestamp: Option<String>, creation_timestamp: Option<String>,
        owner_references: Vec<OwnerReference>,
    }
    OwnerReference { kind: String, name: String, controller: bool }
    PodSpec {
        node_name: String, scheduler_name: String, priority: i32, preemption_policy: String,
        containers: Vec<Container>, init_containers: Vec<Container>, resources: Option<ResourceRequirements>,
        overhead: Resources, tolerations: Vec<WireToleration>, node_selector: BTreeMap<String, String>,
        affinity: WireAffinity, topology_spread_constraints: Vec<TopologySpreadConstraint>,
        scheduling_gates: Vec<Named>, volumes: Vec<Volume>,
        resource_claims: Vec<Named>, host_network: bool, host_users: Option<bool>,
    }
    Named { name: String }
    Volume {
        name: String, persistent_volume_claim: Option<ClaimSource>, ephemeral: Option<IgnoredAny>,
        gce_persistent_disk: Option<IgnoredAny>, aws_elastic_block_store: Option<IgnoredAny>,
        iscsi: Option<IgnoredAny>, rbd: Option<IgnoredAny>,
    }
    ClaimSource { claim_name: String }
    Container {
        name: String, image: String, restart_policy: String, resources: ResourceRequirements,
        ports: Vec<ContainerPort>, restart_policy_rules: Vec<RestartRule>,
    }
    RestartRule { action: String }
    ResourceRequirements { requests: Resources }
    ContainerPort { host_port: i32, protocol: String, #[serde(rename = "hostIP")] host_ip: String }
    WireToleration { key: String, operator: String, value: String, effect: String }
    WireAffinity {
        node_affinity: NodeAffinity, pod_affinity: PodAffinity, pod_anti_affinity: PodAffinity,
    }
    NodeAffinity {
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
        preferred_during_scheduling_ignored_during_execution: Vec<PreferredNodeTerm>,
    }
    NodeSelector { node_selector_terms: Vec<NodeSelectorTerm> }
    NodeSelectorTerm { match_expressions: Vec<Requirement>, match_fields: Vec<Requirement> }
    Requirement { key: String, operator: String, values: Vec<String> }
    PreferredNodeTerm { weight: i64, preference: NodeSelectorTerm }
    PodAffinity {
        required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>,
        preferred_during_scheduling_ignored_during_execution: Vec<WeightedPodTerm>,
    }
    WeightedPodTerm { weight: i64, pod_affinity_term: PodAffinityTerm }
    PodAffinityTerm {
        label_selector: Option<LabelSelector>, namespaces: Vec<String>,
        namespace_selector: Option<LabelSelector>, topology_key: String,
        match_label_keys: Vec<String>, mismatch_label_keys: Vec<String>,
    }
    /// A label selector as the API writes it.
    LabelSelector { match_labels: BTreeMap<String, String>, match_expressions: Vec<Requirement> }
    TopologySpreadConstraint {
        max_skew: i64, topology_key: String, when_unsatisfiable: String,
        label_selector: Option<LabelSelector>, min_domains: Option<i64>,
        node_affinity_policy: Option<String>, node_taints_policy: Option<String>,
        match_label_keys: Vec<String>,
    }
    PodStatus {
        phase: String, nominated_node_name: String, start_time: Option<String>,
        conditions: Vec<Condition>, container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>, resources: Option<ResourceRequirements>,
        allocated_resources: Resources,
    }
    Condition {
        #[serde(rename = "type")] kind: String, status: String, reason: String, message: String,
    }
    ContainerStatus {
        name: String, resources: Option<ResourceRequirements>, allocated_resources: Resources,
    }
    NodeSpec { unschedulable: bool, taints: Vec<WireTaint> }
    WireTaint { key: String, value: String, effect: String }
    NodeStatus {
        allocatable: Resources, images: Vec<Image>, conditions: Vec<Condition>, declared_features: Vec<String>,
    }
    Image { names: Vec<String>, size_bytes: i64 }
}
