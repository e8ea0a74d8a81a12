//! Upstream's cloud controllers, each a `plan` over what is known and an `execute` that writes.

pub mod lifecycle;
pub mod node;
pub mod route;
pub mod service;

use std::sync::Arc;

use component_base::client::Client;
use component_base::tasks::Tasks;
use component_base::watch::Store;
use serde_json::Value;

use crate::cloud::CloudProvider;
use crate::objects::{EndpointSlice, Node, Service};

/// What controllers work with.
#[derive(Clone)]
pub struct Context {
    /// The API.
    pub client: Client,
    /// Where their tasks run.
    pub tasks: Tasks,
    /// The cloud.
    pub cloud: Arc<dyn CloudProvider>,
    /// The nodes.
    pub nodes: Store<Node>,
    /// The services.
    pub services: Store<Service>,
    /// The services' endpoints.
    pub slices: Store<EndpointSlice>,
    /// Settings.
    pub options: Arc<Options>,
}

/// Settings of the controllers.
#[derive(Debug, Clone)]
pub struct Options {
    /// Workers of the node controller.
    pub concurrent_node_syncs: usize,
    /// Workers of the service controller.
    pub concurrent_service_syncs: usize,
    /// Whether routes are configured.
    pub configure_cloud_routes: bool,
}

/// A controller: its name, its old name, and how it starts. One without the cloud's part it needs doesn't.
pub struct Controller {
    /// Upstream's name.
    pub name: &'static str,
    /// Upstream's former name, still accepted by `--controllers`.
    pub alias: &'static str,
    /// Starts it; says whether it could.
    pub start: fn(&Context) -> bool,
}

/// All controllers.
pub static ALL: &[Controller] = &[
    Controller { name: "cloud-node-controller", alias: "cloud-node", start: node::start },
    Controller {
        name: "cloud-node-lifecycle-controller",
        alias: "cloud-node-lifecycle",
        start: lifecycle::start,
    },
    Controller { name: "service-lb-controller", alias: "service", start: service::start },
    Controller { name: "node-route-controller", alias: "route", start: route::start },
];

/// The taint of a node that the cloud hasn't initialized.
pub const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// The taint of a node whose machine is off.
pub const SHUT_DOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

/// A patch's merge precondition: the object must be the one that was read, unchanged.
fn unchanged(metadata: &proto::meta::ObjectMeta) -> Value {
    serde_json::json!({ "uid": metadata.uid, "resourceVersion": metadata.resource_version })
}
