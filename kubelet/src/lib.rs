//! The kubelet: runs pods on one node.

pub mod api;
pub mod cgroups;
pub mod container;
pub mod events;
pub mod http_get;
pub mod images;
pub mod logs;
pub mod objects;
pub mod pod;
pub mod probes;
pub mod resources;
pub mod runtime;
pub mod status;
pub mod sys;
pub mod volumes;
