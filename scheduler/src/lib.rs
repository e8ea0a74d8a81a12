//! kube-scheduler.
pub mod cluster;
pub mod config;
pub mod engine;
#[cfg(test)]
mod engine_tests;
pub mod framework;
pub mod metrics;
pub mod model;
pub mod plugins;
pub mod preemption;
pub mod profile;
pub mod queue;
