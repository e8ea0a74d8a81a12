//! The next steps of a StatefulSet.
//!
//! Pods come in order of their numbers, each when those before it are available, and go in reverse.
//! With the parallel policy, order matters only for updates.

use std::sync::Arc;

use proto::time::Time;
use serde_json::Value;

use super::identity::{self, REVISION, ordinal, start, wanted};
use crate::api::apps::{StatefulSet, StatefulSetStatus};
use crate::api::core::Pod;
use crate::common::pods;

/// What the planner knows.
pub(super) struct View<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) pods: &'a [Arc<Pod>],
    /// Name and template of the revision that pods had, and of the one that they get.
    pub(super) current: (&'a str, &'a Value),
    pub(super) update: (&'a str, &'a Value),
    /// Whether a claim of the pod with this number belongs to an earlier pod.
    pub(super) stale_claim: &'a (dyn Fn(i32) -> bool + Sync),
    /// Whether the claims of a pod lack the owners that the policy gives them.
    pub(super) claims_off: &'a (dyn Fn(&Pod) -> bool + Sync),
    pub(super) now: Time,
}

/// One write.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Makes the claims of a pod, then the pod.
    Create {
        ordinal: i32,
        pod: Value,
    },
    /// Makes the claims that a waiting pod lacks.
    Claims(Arc<Pod>),
    /// Gives a pod its labels and volumes, and its claims their owners.
    Repair(Arc<Pod>),
    /// Gives the claims of a pod their owners.
    Owners(Arc<Pod>),
    Delete(Arc<Pod>),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: StatefulSetStatus,
}

fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.get(REVISION).map(String::as_str).unwrap_or_default()
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pod.status.phase == "Running" && pods::is_ready(pod)
}

/// Decides what to do for one set.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan { steps: Vec::new(), status: status(view) };
    if !view.set.metadata.is_being_deleted() {
        decide(view, &mut plan);
    }
    complete(view.set, &mut plan.status);
    plan
}

fn status(view: &View<'_>) -> StatefulSetStatus {
    let set = view.set;
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        current_revision: view.current.0.into(),
        update_revision: view.update.0.into(),
        collision_count: Some(set.status.collision_count.unwrap_or(0)),
        conditions: set.status.conditions.clone(),
        ..Default::default()
    };
    for pod in view.pods.iter().filter(|p| !p.status.phase.is_empty()) {
        status.replicas += 1;
        if is_running_and_ready(pod) {
            status.ready_replicas += 1;
            let available = pods::is_available(pod, set.spec.min_ready_seconds, view.now);
            status.available_replicas += i32::from(available);
        }
        if !pod.metadata.is_being_deleted() {
            status.current_replicas += i32::from(revision(pod) == view.current.0);
            status.updated_replicas += i32::from(revision(pod) == view.update.0);
        }
    }
    status
}

/// When all pods have the new revision, it becomes the current one.
fn complete(set: &StatefulSet, status: &mut StatefulSetStatus) {
    let all = [status.updated_replicas, status.ready_replicas, status.replicas];
    if set.spec.update_strategy.kind == "RollingUpdate" && all.iter().all(|n| *n == wanted(set)) {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
}

/// Whether to go on with the next pod.
#[derive(PartialEq)]
enum Go {
    On,
    Stop,
}

fn decide(view: &View<'_>, plan: &mut Plan) {
    let set = view.set;
    let in_order = set.spec.pod_management_policy != "Parallel";
    let mut replicas: Vec<Option<&Arc<Pod>>> = vec![None; usize::try_from(wanted(set)).unwrap_or(0)];
    let mut condemned: Vec<(i32, &Arc<Pod>)> = Vec::new();
    for pod in view.pods {
        let Some(number) = ordinal(set, &pod.metadata.name) else { continue };
        let index = usize::try_from(number - start(set)).unwrap_or(usize::MAX);
        match replicas.get_mut(index) {
            Some(slot) => *slot = Some(pod),
            None => condemned.push((number, pod)),
        }
    }
    condemned.sort_by_key(|(number, _)| std::cmp::Reverse(*number));

    let mut stopped = false;
    for (number, pod) in (start(set)..).zip(&replicas) {
        let go = match pod {
            None => create(view, plan, number, in_order),
            Some(pod) => keep(view, plan, pod, number, in_order),
        };
        stopped |= go == Go::Stop;
        if stopped && in_order {
            return;
        }
    }
    // In parallel, pods that could not be settled don't hold up the others.
    for (_, pod) in &condemned {
        if (view.claims_off)(pod) {
            plan.steps.push(Step::Owners((*pod).clone()));
        }
    }
    if !scale_down(view, plan, &replicas, &condemned, in_order) {
        update(view, plan, &replicas);
    }
}

fn create(view: &View<'_>, plan: &mut Plan, number: i32, in_order: bool) -> Go {
    if (view.stale_claim)(number) {
        return Go::Stop;
    }
    let (name, template) = revision_for(view, number);
    let pod = identity::new_pod(view.set, template, name, number);
    plan.steps.push(Step::Create { ordinal: number, pod });
    if in_order { Go::Stop } else { Go::On }
}

/// Pods below the partition, or not yet reached by the update, come back in their old form.
fn revision_for<'a>(view: &View<'a>, number: i32) -> (&'a str, &'a Value) {
    let set = view.set;
    let strategy = &set.spec.update_strategy;
    let keep_below = match &strategy.rolling_update {
        Some(rolling) => rolling.partition.unwrap_or(0),
        None if strategy.kind == "RollingUpdate" => set.status.current_replicas,
        None => 0,
    };
    if number < start(set) + keep_below { view.current } else { view.update }
}

fn keep(view: &View<'_>, plan: &mut Plan, pod: &Arc<Pod>, number: i32, in_order: bool) -> Go {
    let leaving = pod.metadata.is_being_deleted();
    if pods::is_terminal(pod) {
        if !leaving {
            plan.steps.push(Step::Delete(pod.clone()));
        }
        return Go::Stop;
    }
    if pod.status.phase == "Pending" && !view.set.spec.volume_claim_templates.is_empty() {
        plan.steps.push(Step::Claims(pod.clone()));
    }
    let available = pods::is_available(pod, view.set.spec.min_ready_seconds, view.now);
    if in_order && (leaving || !is_running_and_ready(pod) || !available) {
        return Go::Stop;
    }
    if !identity::is_complete(view.set, pod, number) || (view.claims_off)(pod) {
        plan.steps.push(Step::Repair(pod.clone()));
    }
    Go::On
}

/// Deletes pods beyond the wanted number; says whether that is still under way.
fn scale_down(
    view: &View<'_>,
    plan: &mut Plan,
    replicas: &[Option<&Arc<Pod>>],
    condemned: &[(i32, &Arc<Pod>)],
    in_order: bool,
) -> bool {
    let unavailable = |pod: &Arc<Pod>| is_unavailable(view, pod);
    let first_bad = replicas
        .iter()
        .flatten()
        .copied()
        .chain(condemned.iter().rev().map(|(_, pod)| *pod))
        .find(|pod| unavailable(pod));
    for (_, pod) in condemned {
        if pod.metadata.is_being_deleted() {
            if in_order {
                return true;
            }
            continue;
        }
        let is_first_bad = first_bad.is_some_and(|bad| bad.metadata.uid == pod.metadata.uid);
        let healthy =
            is_running_and_ready(pod) && pods::is_available(pod, view.set.spec.min_ready_seconds, view.now);
        if in_order && !healthy && !is_first_bad {
            return true;
        }
        plan.steps.push(Step::Delete((*pod).clone()));
        if in_order {
            return true;
        }
    }
    false
}

fn is_unavailable(view: &View<'_>, pod: &Pod) -> bool {
    pod.metadata.is_being_deleted() || !pods::is_available(pod, view.set.spec.min_ready_seconds, view.now)
}

/// Replaces the pod with the highest number that has an old revision, unless one above isn't back yet.
fn update(view: &View<'_>, plan: &mut Plan, replicas: &[Option<&Arc<Pod>>]) {
    let strategy = &view.set.spec.update_strategy;
    if strategy.kind == "OnDelete" {
        return;
    }
    let partition = strategy.rolling_update.as_ref().and_then(|r| r.partition).unwrap_or(0);
    let keep = usize::try_from(partition).unwrap_or(0);
    for pod in replicas.iter().skip(keep).rev() {
        let Some(pod) = pod else { return };
        if revision(pod) != view.update.0 && !pod.metadata.is_being_deleted() {
            plan.steps.push(Step::Delete((*pod).clone()));
            plan.status.current_replicas -= 1;
            return;
        }
        if is_unavailable(view, pod) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(replicas: i32, policy: &str) -> StatefulSet {
        let value = json!({
            "metadata": {"name": "db", "namespace": "d", "uid": "s", "generation": 1},
            "spec": {
                "replicas": replicas, "podManagementPolicy": policy,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            },
        });
        serde_json::from_str(&value.to_string()).unwrap()
    }

    fn pod(number: i32, state: &str, revision: &str) -> Arc<Pod> {
        let name = format!("db-{number}");
        let ready = if state == "ready" { "True" } else { "False" };
        let phase = if state == "failed" { "Failed" } else { "Running" };
        let deleted = (state == "leaving").then_some("2026-01-01T00:00:00Z");
        let value = json!({
            "metadata": {"name": name, "uid": name, "deletionTimestamp": deleted, "labels": {
                identity::POD_NAME: name, REVISION: revision,
            }},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn run(set: &StatefulSet, pods: &[Arc<Pod>]) -> Vec<String> {
        let template = json!({"metadata": {"labels": {}}, "spec": {}});
        let view = View {
            set,
            pods,
            current: ("old", &template),
            update: ("new", &template),
            stale_claim: &|_| false,
            claims_off: &|_| false,
            now: Time::now(),
        };
        let name = |step: Step| match step {
            Step::Create { ordinal, .. } => format!("create {ordinal}"),
            Step::Delete(pod) => format!("delete {}", pod.metadata.name),
            Step::Claims(pod) | Step::Repair(pod) | Step::Owners(pod) => pod.metadata.name.clone(),
        };
        plan(&view).steps.into_iter().map(name).collect()
    }

    #[test]
    fn pods_come_one_by_one() {
        let set = set(3, "OrderedReady");
        assert_eq!(run(&set, &[]), ["create 0"]);
        assert!(run(&set, &[pod(0, "running", "new")]).is_empty());
        assert_eq!(run(&set, &[pod(0, "ready", "new")]), ["create 1"]);
        assert_eq!(run(&set, &[pod(1, "ready", "new")]), ["create 0"]);
    }

    #[test]
    fn parallel_pods_come_at_once() {
        assert_eq!(run(&set(3, "Parallel"), &[pod(1, "running", "new")]), ["create 0", "create 2"]);
    }

    #[test]
    fn scaling_down_goes_in_reverse() {
        let pods = [pod(0, "ready", "new"), pod(1, "ready", "new"), pod(2, "ready", "new")];
        assert_eq!(run(&set(1, "OrderedReady"), &pods), ["delete db-2"]);
        assert_eq!(run(&set(1, "Parallel"), &pods), ["delete db-2", "delete db-1"]);
        let leaving = [pods[0].clone(), pods[1].clone(), pod(2, "leaving", "new")];
        assert!(run(&set(1, "OrderedReady"), &leaving).is_empty());
    }

    #[test]
    fn updates_go_in_reverse_and_wait() {
        let set = set(3, "OrderedReady");
        let old = [pod(0, "ready", "old"), pod(1, "ready", "old"), pod(2, "ready", "old")];
        assert_eq!(run(&set, &old), ["delete db-2"]);
        let waiting = [old[0].clone(), old[1].clone(), pod(2, "running", "new")];
        assert!(run(&set, &waiting).is_empty());
        let next = [old[0].clone(), old[1].clone(), pod(2, "ready", "new")];
        assert_eq!(run(&set, &next), ["delete db-1"]);
    }

    #[test]
    fn failed_pods_are_replaced() {
        assert_eq!(run(&set(2, "OrderedReady"), &[pod(0, "failed", "new")]), ["delete db-0"]);
    }
}
