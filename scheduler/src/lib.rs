//! kube-scheduler: places pods on nodes.
//!
//! From the inside out: [`model`] is what is read of API objects, [`cluster`] the columnar state, [`framework`]
//! the plugin points and one attempt, [`plugins`] the rules, [`preemption`] making room, [`queue`] the waiting
//! pods, [`engine`] all of that together without I/O, and `daemon` the watches and writes around it.

pub mod cluster;
pub mod config;
mod daemon;
pub mod engine;
#[cfg(test)]
mod engine_tests;
pub mod framework;
mod metrics;
pub mod model;
pub mod plugins;
pub mod preemption;
pub mod profile;
pub mod queue;

pub use daemon::SPEC;
