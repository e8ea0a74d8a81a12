//! What kube-proxy knows of Services, their endpoints and its node.

use proto::meta::Key;

mod endpoints;
mod identity;
mod node;
mod packed;
mod service;

pub use endpoints::{Backend, Selected, Slice, Target, Targets, backends, select};
pub use identity::Identity;
pub use node::Node;
pub use service::{Port, Service};

/// A Service's namespace and name; one copy is enough.
pub type ServiceKey = std::sync::Arc<Key>;

/// A list that takes no more than its items: what is kept of many objects must not have room to grow.
fn exactly<T>(at_most: usize, items: impl Iterator<Item = T>) -> Box<[T]> {
    let mut list = Vec::with_capacity(at_most);
    list.extend(items);
    list.into()
}

/// A transport protocol's number.
pub type Protocol = u8;

/// The number of a protocol's name.
pub fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "" | "TCP" => Some(6),
        "UDP" => Some(UDP),
        "SCTP" => Some(132),
        _ => None,
    }
}

/// UDP, the one whose connections outlive their endpoints.
pub const UDP: Protocol = 17;
