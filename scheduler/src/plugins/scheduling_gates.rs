//! SchedulingGates: a pod with closed gates is not tried.

use super::names::SCHEDULING_GATES;
use crate::framework::{Plugin, PreEnqueue, Rejection};
use crate::model::Pod;

/// The plugin.
#[derive(Debug)]
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        SCHEDULING_GATES
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &Pod) -> Result<(), Rejection> {
        let gates = &pod.shape.gates;
        if gates.is_empty() {
            return Ok(());
        }
        let reason = format!("waiting for scheduling gates: [{}]", gates.join(" "));
        Err(Rejection::unresolvable(SCHEDULING_GATES, reason))
    }
}
