//! What kube-proxy knows of Services, their endpoints and its node.

mod endpoints;
mod node;
mod service;

pub use endpoints::{Backend, Selected, Slice, Target, backends, select};
pub use node::Node;
pub use service::{Port, Service};

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
