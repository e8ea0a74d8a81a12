//! Questions about pods.

use std::cmp::Ordering;

use proto::time::Time;

use super::seconds_between;
use crate::api::core::Pod;
use crate::api::{condition_is_true, find_condition};

/// Whether its containers have ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// Whether it counts as one of its owner's pods.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !pod.metadata.is_being_deleted()
}

/// Whether it is being deleted and may still run.
pub fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.is_being_deleted()
}

/// Whether its Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition_is_true(&pod.status.conditions, "Ready")
}

/// Since when it has been ready.
pub fn ready_since(pod: &Pod) -> Option<Time> {
    find_condition(&pod.status.conditions, "Ready")
        .filter(|c| c.is_true())
        .and_then(|c| c.last_transition_time)
}

/// Whether it has been ready for the time that makes it count as available.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Time) -> bool {
    if !is_ready(pod) {
        return false;
    }
    min_ready_seconds == 0
        || ready_since(pod).is_some_and(|since| seconds_between(since, now) >= i64::from(min_ready_seconds))
}

/// Seconds until the next of these pods becomes available, if one is ready and waiting.
pub fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    min_ready_seconds: i32,
    now: Time,
) -> Option<u64> {
    pods.into_iter()
        .filter_map(ready_since)
        .map(|since| i64::from(min_ready_seconds) - seconds_between(since, now))
        .filter(|left| *left > 0)
        .min()
        .and_then(|left| u64::try_from(left).ok())
}

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.get(DELETION_COST);
    // A sign or a leading zero that doesn't belong makes the value invalid, and it counts as 0.
    text.filter(|t| t.parse::<i32>().is_ok_and(|n| n.to_string() == **t))
        .and_then(|t| t.parse().ok())
        .unwrap_or(0)
}

/// A pod that may be deleted, with the number of related pods on its node.
pub struct Ranked<'a> {
    pub pod: &'a Pod,
    pub rank: usize,
}

/// Which of two pods is deleted first: the one that loses less.
pub fn deletion_order(a: &Ranked<'_>, b: &Ranked<'_>, now: Time) -> Ordering {
    let phase = |p: &Pod| match p.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let assigned = |p: &Pod| !p.spec.node_name.is_empty();
    assigned(a.pod)
        .cmp(&assigned(b.pod))
        .then_with(|| phase(a.pod).cmp(&phase(b.pod)))
        .then_with(|| is_ready(a.pod).cmp(&is_ready(b.pod)))
        .then_with(|| deletion_cost(a.pod).cmp(&deletion_cost(b.pod)))
        .then_with(|| b.rank.cmp(&a.rank))
        .then_with(|| by_magnitude_of_age(ready_since(a.pod), ready_since(b.pod), now, a, b))
        .then_with(|| restarts(b.pod).cmp(&restarts(a.pod)))
        .then_with(|| {
            let created = |p: &Pod| p.metadata.creation_timestamp;
            by_magnitude_of_age(created(a.pod), created(b.pod), now, a, b)
        })
}

/// Younger first, where the ages differ by a power of two; the uid decides otherwise, so that not
/// always the youngest goes.
fn by_magnitude_of_age(
    x: Option<Time>,
    y: Option<Time>,
    now: Time,
    a: &Ranked<'_>,
    b: &Ranked<'_>,
) -> Ordering {
    let (Some(x), Some(y)) = (x, y) else {
        return x.is_some().cmp(&y.is_some());
    };
    if x == y {
        return Ordering::Equal;
    }
    let magnitude = |t: Time| {
        let age = (now.0.as_nanosecond() - t.0.as_nanosecond()).max(0);
        u128::try_from(age).ok().and_then(u128::checked_ilog2)
    };
    magnitude(x).cmp(&magnitude(y)).then_with(|| a.pod.metadata.uid.cmp(&b.pod.metadata.uid))
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let regular = pod.status.container_statuses.iter().map(|c| c.restart_count).max();
    let is_sidecar = |name: &str| {
        let always = |c: &&crate::api::core::Container| c.restart_policy.as_deref() == Some("Always");
        pod.spec.init_containers.iter().filter(always).any(|c| c.name == name)
    };
    let sidecar = pod.status.init_container_statuses.iter().filter(|c| is_sidecar(&c.name));
    (regular.unwrap_or(0), sidecar.map(|c| c.restart_count).max().unwrap_or(0))
}
