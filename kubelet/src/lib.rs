//! The kubelet: runs pods on one node.

pub mod api;
pub mod cgroups;
pub mod container;
pub mod logs;
pub mod objects;
pub mod pod;
pub mod resources;
pub mod runtime;
pub mod sys;
pub mod volumes;
