//! How many pods may be evicted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::time::Time;

use crate::api::core::Pod;
use crate::api::policy::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use crate::api::{Condition, find_condition};
use crate::common::events::Event;
use crate::common::intstr::{IntOrString, scaled};
use crate::common::{pods, seconds_between};

/// How long a granted eviction may take until the pod is deleted, in seconds.
const DELETION_TIMEOUT: i64 = 120;
const CONDITION: &str = "DisruptionAllowed";

/// How many pods there should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) count: i32,
    /// Some pod has no controller that could say.
    pub(super) unmanaged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: Option<PodDisruptionBudgetStatus>,
    pub(super) events: Vec<Event>,
    pub(super) pod_events: Vec<(Arc<Pod>, Event)>,
    /// When a granted eviction runs out.
    pub(super) again: Option<Duration>,
}

/// Whether the number of pods there should be matters, rather than the number there is.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    budget.spec.max_unavailable.is_some() || matches!(budget.spec.min_available, Some(IntOrString::Text(_)))
}

/// How many pods must stay healthy.
fn desired(budget: &PodDisruptionBudget, expected: i32) -> Result<i32, String> {
    match (&budget.spec.max_unavailable, &budget.spec.min_available) {
        (Some(max), _) => Ok(expected.saturating_sub(scaled(Some(max), expected, true)?).max(0)),
        (None, min) => scaled(min.as_ref(), expected, true),
    }
}

/// Looks at the pods that a budget selects.
pub(super) fn plan(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], expected: Expected, now: Time) -> Plan {
    let mut plan = Plan::default();
    let desired = match desired(budget, expected.count) {
        Ok(desired) => desired,
        Err(why) => {
            let text = format!("Failed to calculate the number of expected pods: {why}");
            plan.events.push(Event::warning("CalculateExpectedPodCountFailed", text));
            plan.status = fail_safe(budget, &why, now);
            return plan;
        }
    };
    if expected.unmanaged {
        let selector = budget.spec.selector.as_ref().map_or("nil".to_string(), |s| s.describe());
        plan.events.push(Event::warning(
            "UnmanagedPods",
            format!(
                "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
            ),
        ));
    }
    let disrupted = still_disrupted(budget, pods, now, &mut plan);
    let healthy = pods
        .iter()
        .filter(|pod| !pod.metadata.is_being_deleted() && !disrupted.contains_key(&pod.metadata.name))
        .filter(|pod| pods::is_ready(pod))
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = if expected.count <= 0 { 0 } else { healthy.saturating_sub(desired).max(0) };
    let mut status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: disrupted,
        disruptions_allowed: allowed,
        current_healthy: healthy,
        desired_healthy: desired,
        expected_pods: expected.count,
        conditions: budget.status.conditions.clone(),
    };
    let (value, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set_condition(&mut status, value, reason, "", now);
    plan.status = (status != budget.status).then_some(status);
    plan
}

/// The granted evictions of pods that are still to be deleted. What is taking too long is reported and forgotten.
fn still_disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Time,
    plan: &mut Plan,
) -> BTreeMap<String, Time> {
    let mut disrupted = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.metadata.is_being_deleted()) {
        let name = &pod.metadata.name;
        let Some(since) = budget.status.disrupted_pods.get(name) else { continue };
        let left = DELETION_TIMEOUT - seconds_between(*since, now);
        if left < 0 {
            // Upstream shows the namespace in the place of the name as well.
            let namespace = &budget.metadata.namespace;
            let text = format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
            plan.pod_events.push((pod.clone(), Event::warning("NotDeleted", text)));
            continue;
        }
        disrupted.insert(name.clone(), *since);
        let wait = Duration::from_secs(u64::try_from(left).unwrap_or(0)) + Duration::from_secs(1);
        plan.again = Some(plan.again.map_or(wait, |again| again.min(wait)));
    }
    disrupted
}

/// The status that forbids evictions, as something is wrong; none if it stands already.
pub(super) fn fail_safe(
    budget: &PodDisruptionBudget,
    why: &str,
    now: Time,
) -> Option<PodDisruptionBudgetStatus> {
    let mut status = budget.status.clone();
    status.disruptions_allowed = 0;
    set_condition(&mut status, "False", "SyncFailed", why, now);
    (status != budget.status).then_some(status)
}

fn set_condition(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: &str,
    now: Time,
) {
    let mut condition = Condition::new(CONDITION, value, reason, message, now);
    condition.observed_generation = Some(status.observed_generation).filter(|generation| *generation != 0);
    if let Some(old) = find_condition(&status.conditions, CONDITION).filter(|old| old.status == value) {
        condition.last_transition_time = old.last_transition_time;
    }
    match status.conditions.iter_mut().find(|old| old.kind == CONDITION) {
        Some(old) => *old = condition,
        None => status.conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Time {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let value = json!({"metadata": {"name": "b", "namespace": "ns", "generation": 3}, "spec": spec, "status": status});
        serde_json::from_str(&value.to_string()).unwrap()
    }

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let value = json!({
            "metadata": {"name": name, "namespace": "ns"},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        });
        Arc::new(serde_json::from_str(&value.to_string()).unwrap())
    }

    /// After upstream's disruption_test.go; numbers are allowed, healthy, desired, expected.
    #[test]
    fn numbers() {
        let ready = |n: usize| (0..n).map(|i| pod(&format!("p{i}"), true)).collect::<Vec<_>>();
        for (spec, pods, expected, wanted) in [
            (json!({"minAvailable": 3}), ready(0), 0, (0, 0, 3, 0)),
            (json!({"minAvailable": 3}), ready(4), 4, (1, 4, 3, 4)),
            (json!({"minAvailable": "28%"}), ready(4), 10, (1, 4, 3, 10)),
            (json!({"minAvailable": "28%"}), ready(3), 10, (0, 3, 3, 10)),
            (json!({"maxUnavailable": 2}), ready(7), 7, (2, 7, 5, 7)),
            (json!({"maxUnavailable": 1}), ready(1), 1, (1, 1, 0, 1)),
            (json!({"maxUnavailable": "30%"}), ready(7), 10, (0, 7, 7, 10)),
            (json!({"maxUnavailable": "33%"}), ready(10), 10, (4, 10, 6, 10)),
            (json!({"maxUnavailable": 5}), ready(0), 0, (0, 0, 0, 0)),
        ] {
            let budget = budget(spec.clone(), json!({}));
            let plan = plan(&budget, &pods, Expected { count: expected, unmanaged: false }, now());
            let status = plan.status.unwrap();
            let numbers = (
                status.disruptions_allowed,
                status.current_healthy,
                status.desired_healthy,
                status.expected_pods,
            );
            assert_eq!(numbers, wanted, "{spec}");
            let reason = if wanted.0 > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!(status.conditions[0].reason, reason, "{spec}");
            assert_eq!((status.observed_generation, status.conditions[0].observed_generation), (3, Some(3)));
            let again = PodDisruptionBudget { status, ..budget };
            let expected = Expected { count: expected, unmanaged: false };
            assert!(super::plan(&again, &pods, expected, now()).status.is_none());
        }
    }

    #[test]
    fn granted_evictions_count_until_they_lapse() {
        let status = json!({"disruptedPods": {
            "p0": "2026-01-01T00:09:00Z", "p1": "2026-01-01T00:00:00Z", "gone": "2026-01-01T00:09:59Z",
        }});
        let budget = budget(json!({"minAvailable": 1}), status);
        let pods = [pod("p0", true), pod("p1", true), pod("p2", false)];
        let plan = plan(&budget, &pods, Expected { count: 3, unmanaged: true }, now());
        let status = plan.status.unwrap();
        assert_eq!(status.disrupted_pods.keys().collect::<Vec<_>>(), ["p0"]);
        assert_eq!((status.current_healthy, status.disruptions_allowed), (1, 0));
        assert_eq!(plan.again, Some(Duration::from_secs(61)));
        assert_eq!(plan.pod_events[0].1.message, "Pod was expected by PDB ns/ns to be deleted but it wasn't");
        assert_eq!(plan.events[0].reason, "UnmanagedPods");
    }

    #[test]
    fn failures_forbid_evictions() {
        let budget = budget(json!({"maxUnavailable": "one"}), json!({"disruptionsAllowed": 2}));
        let status =
            plan(&budget, &[pod("p", true)], Expected { count: 1, unmanaged: false }, now()).status.unwrap();
        assert_eq!((status.disruptions_allowed, status.conditions[0].reason.as_str()), (0, "SyncFailed"));
    }

    #[test]
    fn selectors_as_go_prints_them() {
        let selector: crate::api::apps::LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}],
        }))
        .unwrap();
        assert_eq!(
            selector.describe(),
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}"
        );
    }
}
