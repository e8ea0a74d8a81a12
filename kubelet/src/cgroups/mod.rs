//! The kubelet's control groups: one per pod, below one per quality-of-service class.
//!
//! ```text
//! <root>/kubepods                     all pods: what the node can give
//! <root>/kubepods/pod<uid>            guaranteed pods
//! <root>/kubepods/burstable/pod<uid>
//! <root>/kubepods/besteffort/pod<uid>
//! ```
//!
//! Containers' own groups below these are the runtime's. Version 1 keeps one tree per controller,
//! version 2 one for all.

mod hierarchy;
mod pods;

pub use hierarchy::{Hierarchy, Limits, Version};
pub use pods::{PodGroups, pod_limits};
