//! Turns a pod's spec into what the runtime is asked for.

pub mod config;
pub mod dns;
pub mod downward;
pub mod env;
pub mod expand;
pub mod hosts;
pub mod limits;
pub mod mounts;
pub mod sandbox;
pub mod security;
