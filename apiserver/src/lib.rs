//! kube-apiserver: one generic engine over etcd; kinds are data.

pub mod admission;
pub mod allocator;
pub mod auth;
pub mod bootstrap;
pub mod cache;
pub mod endpoints;
pub mod engine;
pub mod patch;
pub mod registry;
pub mod server;
pub mod storage;
