//! What several controllers share.

pub mod claim;
pub mod der;
pub mod discovery;
pub mod events;
pub mod expectations;
pub mod hash;
pub mod history;
pub mod intstr;
pub mod keys;
pub mod kinds;
pub mod nodes;
pub mod pod_control;
pub mod pods;
pub mod refs;
pub mod selector;
pub mod template;
pub mod write;

use proto::time::Time;

/// Whole seconds from one time to another; negative if `to` is earlier.
pub fn seconds_between(from: Time, to: Time) -> i64 {
    to.0.as_second() - from.0.as_second()
}
