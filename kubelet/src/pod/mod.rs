//! One pod on the node: what must be done ([`plan`]) and the doing of it.

pub mod backoff;
pub mod hooks;
pub mod plan;
pub mod restart;
