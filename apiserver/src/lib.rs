//! kube-apiserver: one generic engine over etcd; kinds are data.

pub mod admission;
pub mod allocator;
pub mod audit;
pub mod auth;
pub mod bootstrap;
pub mod cache;
pub mod controlplane;
pub mod custom;
pub mod endpoints;
pub mod engine;
pub mod fairness;
pub mod openapi;
pub mod options;
pub mod patch;
pub mod registry;
pub mod run;
pub mod server;
pub mod storage;
mod webhook;

use std::time::Duration;

use component_base::daemon::{Context, Spec};

/// The daemon.
pub static SPEC: Spec = Spec {
    name: "kube-apiserver",
    about: "The Kubernetes API server: validates and stores the objects of a cluster, and serves them to everyone else.",
    groups: options::flags::GROUPS,
    run: |context: Context| Box::pin(run::run(context)),
    grace: Duration::from_secs(60),
};
