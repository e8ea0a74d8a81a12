//! Slim views of the objects that the controllers and the agent read.

use proto::meta::{Condition, ObjectMeta, find_condition, nullable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What is set about it.
    pub spec: NodeSpec,
    /// What is known about it.
    pub status: NodeStatus,
}

/// What is set about a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Its pods' networks.
    #[serde(rename = "podCIDRs", deserialize_with = "nullable")]
    pub pod_cidrs: Vec<String>,
    /// Its identity in the cloud.
    #[serde(rename = "providerID")]
    pub provider_id: String,
    /// Its taints, whole, since they are written back as a list.
    #[serde(deserialize_with = "nullable")]
    pub taints: Vec<Value>,
}

/// What is known about a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Its addresses.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<NodeAddress>,
    /// Its conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

/// An address of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub address: String,
}

impl Node {
    /// Whether the kubelet says, and is believed, that the node is ready.
    pub fn is_ready(&self) -> bool {
        find_condition(&self.status.conditions, "Ready").is_some_and(Condition::is_true)
    }

    /// Whether it has a taint of this key.
    pub fn has_taint(&self, key: &str) -> bool {
        self.spec.taints.iter().any(|taint| taint["key"] == key)
    }

    /// An annotation's text.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.get(name).map(String::as_str)
    }

    /// Its addresses of a type.
    pub fn addresses<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.status
            .addresses
            .iter()
            .filter(move |address| address.kind == kind)
            .map(|address| &*address.address)
    }
}

/// A service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: ServiceSpec,
    /// What is there.
    pub status: ServiceStatus,
}

/// What is wanted of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `LoadBalancer`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose load balancer; ours if empty.
    pub load_balancer_class: String,
    /// The address asked for.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// `Local` keeps traffic on nodes with endpoints.
    pub external_traffic_policy: String,
    /// `IPv4`, `IPv6`.
    #[serde(deserialize_with = "nullable")]
    pub ip_families: Vec<String>,
}

/// What is there of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// The load balancer.
    pub load_balancer: LoadBalancerStatus,
}

/// The load balancer of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    /// Where it is reached.
    #[serde(deserialize_with = "nullable")]
    pub ingress: Vec<Ingress>,
}

/// An address of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// The address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// `VIP`: packets arrive with this destination.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip_mode: String,
}

/// The finalizer that keeps a service until its load balancer is gone.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

impl Service {
    /// Whether it should have a load balancer of this manager's.
    pub fn wants_load_balancer(&self) -> bool {
        self.spec.kind == "LoadBalancer" && self.spec.load_balancer_class.is_empty()
    }

    /// Whether it has a load balancer that should go.
    pub fn needs_cleanup(&self) -> bool {
        let ours = self.metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        ours && (self.metadata.is_being_deleted() || self.spec.kind != "LoadBalancer")
    }
}

/// The endpoints of a service, as far as it matters where they are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    /// Its metadata; the service's name is a label.
    pub metadata: ObjectMeta,
    /// The endpoints.
    #[serde(deserialize_with = "nullable")]
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Where it is.
    pub node_name: String,
    /// How it is.
    pub conditions: EndpointConditions,
}

/// How an endpoint is; what isn't said is fine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Whether it takes traffic.
    pub ready: Option<bool>,
}

impl EndpointSlice {
    /// The service it belongs to.
    pub fn service(&self) -> &str {
        self.metadata.labels.get("kubernetes.io/service-name").map_or("", String::as_str)
    }
}

component_base::object!(Node, Service, EndpointSlice);
