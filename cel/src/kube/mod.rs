//! How data of the Kubernetes API appears in expressions.

pub mod admission;
pub mod escape;
pub mod mutation;
pub mod rules;
pub mod schema;
pub mod types;
