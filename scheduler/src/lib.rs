//! kube-scheduler.
pub mod cluster;
pub mod framework;
pub mod model;
pub mod plugins;
pub mod preemption;
pub mod profile;
