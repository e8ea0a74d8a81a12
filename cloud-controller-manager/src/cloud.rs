//! What a cloud must offer for the controllers to run over it. A part that a provider doesn't have switches its
//! controllers off.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::objects::{Ingress, Node, NodeAddress, Service};

/// The outcome of asking a cloud.
pub type Answer<'a, T> = BoxFuture<'a, anyhow::Result<T>>;

/// A cloud.
pub trait CloudProvider: Send + Sync {
    /// Its name, as in `--cloud-provider`.
    fn name(&self) -> &'static str;
    /// Its machines and their zones.
    fn instances(&self) -> Option<&dyn Instances>;
    /// Its load balancers.
    fn load_balancers(&self) -> Option<&dyn LoadBalancers>;
    /// Its routes.
    fn routes(&self) -> Option<&dyn Routes>;
}

/// What a cloud knows of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceMetadata {
    /// Its unique identity.
    pub provider_id: String,
    /// Its type.
    pub instance_type: String,
    /// Its addresses.
    pub addresses: Vec<NodeAddress>,
    /// Its zone.
    pub zone: String,
    /// Its region.
    pub region: String,
}

/// The machines of a cloud.
pub trait Instances: Send + Sync {
    /// Whether the machine of a node is still part of the cloud.
    fn exists<'a>(&'a self, node: &'a Node) -> Answer<'a, bool>;
    /// Whether it is switched off.
    fn is_shut_down<'a>(&'a self, node: &'a Node) -> Answer<'a, bool>;
    /// What is known of it; none if that can't be said yet.
    fn metadata<'a>(&'a self, node: &'a Node) -> Answer<'a, Option<InstanceMetadata>>;
}

/// A load balancer as it now is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Where it is reached.
    pub ingress: Vec<Ingress>,
    /// Whether anything had to be done.
    pub changed: bool,
}

/// The load balancers of a cloud.
pub trait LoadBalancers: Send + Sync {
    /// Makes or updates a service's load balancer over these nodes.
    fn ensure<'a>(&'a self, service: &'a Service, nodes: &'a [Arc<Node>]) -> Answer<'a, Ensured>;
    /// Takes it away. The service may be gone.
    fn delete<'a>(&'a self, service: &'a Service) -> Answer<'a, ()>;
}

/// A way to a node's pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The node.
    pub node: String,
    /// The pods' network.
    pub destination: String,
    /// The node's address.
    pub via: String,
}

/// The routes of a cloud.
pub trait Routes: Send + Sync {
    /// All routes.
    fn list(&self) -> Answer<'_, Vec<Route>>;
    /// Replaces the routes to a node.
    fn set<'a>(&'a self, node: &'a str, routes: &'a [Route]) -> Answer<'a, ()>;
}
