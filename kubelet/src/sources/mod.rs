//! Where pods come from, and what happens when they come, change and go.

pub mod api;
pub mod defaults;
pub mod file;
pub mod intake;
pub mod mirror;
