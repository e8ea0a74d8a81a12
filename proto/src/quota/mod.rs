//! What quotas count: the usage of an object, and the objects that a scope is about.
//!
//! Admission charges by it before a write, and the quota controller counts by it afterwards; both must agree.

mod scopes;
mod usage;

use serde_json::Value;

pub use scopes::{Facts, is_terminating};
pub use usage::{charged_until, compute, counts, is_ignored, of_object};

/// Items of a list; none if there is no list.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
