//! kube-proxy: makes Services reachable, by nftables.
//!
//! From the inside out: [`model`] is what is read of API objects, [`nft`] speaks to the kernel, [`rules`] turns
//! Services into a table and its changes into transactions, [`proxy`] holds all of that together without I/O, and
//! `daemon` is the watches, ports and settings around it.

pub mod conntrack;
mod daemon;
pub mod model;
pub mod nft;
pub mod proxy;
pub mod rules;

pub use daemon::SPEC;
