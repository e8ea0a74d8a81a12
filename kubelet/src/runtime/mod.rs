//! The container runtime as the kubelet sees it: what runs, and the labels that tie it to pods.
//!
//! Labels, annotations and the container hash are upstream's, so that a node's running containers can
//! pass from one kubelet to the other without a restart.

pub mod events;
pub mod hash;
pub mod labels;
pub mod observe;
pub mod state;
pub mod termination;

pub use state::{Observed, ObservedContainer, Sandbox, State};
