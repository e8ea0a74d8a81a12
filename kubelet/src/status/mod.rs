//! A pod's status: computed from its spec, what runs, and what probes say; then written to the API.
//!
//! Computing is pure. Wording, order and the merging of old and new are upstream's, because users and
//! controllers read them.

pub mod conditions;
pub mod containers;
pub mod generate;
pub mod manager;
pub mod merge;
pub mod patch;
pub mod phase;

pub use generate::{Inputs, generate};

use std::collections::BTreeMap;

/// Why a container that should run doesn't: a word, and more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Like `ImagePullBackOff`.
    pub reason: String,
    /// At length.
    pub message: String,
}

/// Reasons by container name.
pub type Reasons = BTreeMap<String, Reason>;

/// What probes know of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Whether its startup probe has passed, or it has none.
    pub started: bool,
    /// Whether its readiness probe passes, or it has none.
    pub ready: bool,
}
