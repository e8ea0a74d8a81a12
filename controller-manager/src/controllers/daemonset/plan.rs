//! Which nodes need a daemon's pod, which pods go, and the status.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proto::time::Time;

use super::template::{Fit, Placed, REVISION_HASH, is_updated, template_generation};
use crate::api::apps::{ControllerRevision, DaemonSet, DaemonSetStatus};
use crate::api::core::{Node, Pod};
use crate::common::events::Event;
use crate::common::intstr;
use crate::common::pods;

/// What the planner knows.
pub(super) struct View<'a> {
    pub(super) ds: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    /// The DaemonSet's pods.
    pub(super) pods: &'a [Arc<Pod>],
    /// The hash of the current template's revision.
    pub(super) hash: &'a str,
    pub(super) now: Time,
    /// How long a failed pod on a node must still be left alone.
    pub(super) backoff: &'a (dyn Fn(&str) -> Option<Duration> + Sync),
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) create_on: Vec<String>,
    /// Names of pods to delete.
    pub(super) delete: Vec<String>,
    /// Nodes whose failed pod is among the deleted ones.
    pub(super) failed_on: Vec<String>,
    pub(super) events: Vec<Event>,
    pub(super) again_after: Option<Duration>,
}

type ByNode<'a> = BTreeMap<&'a str, Vec<&'a Pod>>;

/// Pods by the node they run on, or are pinned to.
fn by_node<'a>(all: &'a [Arc<Pod>]) -> ByNode<'a> {
    let mut map = ByNode::new();
    for pod in all {
        if pods::is_terminal(pod) && pod.metadata.is_being_deleted() {
            continue;
        }
        let assigned = Some(pod.spec.node_name.as_str()).filter(|n| !n.is_empty());
        if let Some(node) = assigned.or(pod.spec.pinned_node.as_deref()) {
            map.entry(node).or_default().push(pod);
        }
    }
    map
}

/// Assigned pods first, then the oldest.
fn by_age(a: &&Pod, b: &&Pod) -> std::cmp::Ordering {
    let key = |p: &Pod| (p.spec.node_name.is_empty(), p.metadata.creation_timestamp);
    key(a).cmp(&key(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// Decides which pods come and go. While the number of pods is right, old ones are replaced.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let placed = Placed::new(&view.ds.spec.template);
    let on_node = by_node(view.pods);
    let mut plan = Plan::default();
    for node in view.nodes {
        let pods = on_node.get(node.metadata.name.as_str()).map(Vec::as_slice);
        place(view, &mut plan, &node.metadata.name, placed.fit(node), pods);
    }
    let known: HashSet<&str> = view.nodes.iter().map(|n| n.metadata.name.as_str()).collect();
    let stray = on_node.iter().filter(|(node, _)| !known.contains(*node)).flat_map(|(_, p)| p);
    let unassigned = stray.filter(|pod| pod.spec.node_name.is_empty());
    plan.delete.extend(unassigned.map(|pod| pod.metadata.name.clone()));
    if plan.create_on.is_empty()
        && plan.delete.is_empty()
        && view.ds.spec.update_strategy.kind == "RollingUpdate"
    {
        roll(view, &placed, on_node, &mut plan);
    }
    plan
}

fn place(view: &View<'_>, plan: &mut Plan, node: &str, fit: Fit, pods: Option<&[&Pod]>) {
    match pods {
        None if fit.should_run => plan.create_on.push(node.into()),
        None => {}
        Some(pods) if fit.may_stay => keep(view, plan, node, fit, pods),
        Some(pods) => {
            let alive = pods.iter().filter(|p| !p.metadata.is_being_deleted());
            plan.delete.extend(alive.map(|p| p.metadata.name.clone()));
        }
    }
}

/// Leaves one running pod on a node; during a surge, one of each revision.
fn keep(view: &View<'_>, plan: &mut Plan, node: &str, fit: Fit, pods: &[&Pod]) {
    let mut running: Vec<&Pod> = Vec::new();
    for pod in pods.iter().filter(|p| !p.metadata.is_being_deleted()) {
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        match pod.status.phase.as_str() {
            "Failed" => {
                if let Some(left) = (view.backoff)(node) {
                    plan.again_after = Some(plan.again_after.map_or(left, |d| d.min(left)));
                    continue;
                }
                plan.failed_on.push(node.into());
                plan.delete.push(name.clone());
                plan.events.push(Event::warning(
                    "FailedDaemonPod",
                    format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it"),
                ));
            }
            "Succeeded" => {
                plan.delete.push(name.clone());
                plan.events.push(Event::normal(
                    "SucceededDaemonPod",
                    format!(
                        "Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
                    ),
                ));
            }
            _ => running.push(pod),
        }
    }
    running.sort_by(by_age);
    if surge(view.ds, 1) == 0 {
        plan.delete.extend(running.iter().skip(1).map(|p| p.metadata.name.clone()));
        return;
    }
    if running.is_empty() && fit.should_run {
        plan.create_on.push(node.into());
    }
    if running.len() <= 1 {
        return;
    }
    let (mut new, mut old): (Option<&Pod>, Option<&Pod>) = (None, None);
    for pod in running {
        let is_new = pod.metadata.labels.get(REVISION_HASH).is_some_and(|h| h == view.hash);
        let slot = if is_new { &mut new } else { &mut old };
        if slot.is_none() {
            *slot = Some(pod);
        } else {
            plan.delete.push(pod.metadata.name.clone());
        }
    }
    if let (Some(new), Some(old)) = (new, old)
        && (!pods::is_ready(old) || available(view, new))
    {
        plan.delete.push(old.metadata.name.clone());
    }
}

fn available(view: &View<'_>, pod: &Pod) -> bool {
    pods::is_available(pod, view.ds.spec.min_ready_seconds, view.now)
}

fn limit(ds: &DaemonSet, total: i32, surge: bool) -> i32 {
    let strategy = &ds.spec.update_strategy;
    let rolling = strategy.rolling_update.as_ref().filter(|_| strategy.kind == "RollingUpdate");
    let value = rolling.and_then(|r| if surge { r.max_surge.as_ref() } else { r.max_unavailable.as_ref() });
    intstr::scaled(value, total, true).unwrap_or(0)
}

fn surge(ds: &DaemonSet, total: i32) -> i32 {
    limit(ds, total, true)
}

/// The new and the old pod of a node, or nothing if there is more than one of either.
fn pair<'a>(view: &View<'_>, pods: &[&'a Pod]) -> Option<(Option<&'a Pod>, Option<&'a Pod>)> {
    let generation = template_generation(view.ds);
    let (mut new, mut old) = (None, None);
    for pod in pods.iter().filter(|p| !p.metadata.is_being_deleted()) {
        let updated = is_updated(&pod.metadata.labels, view.hash, generation);
        let slot = if updated { &mut new } else { &mut old };
        if slot.replace(*pod).is_some() {
            return None;
        }
    }
    Some((new, old))
}

/// Replaces pods of older revisions, within the limits of the strategy.
fn roll<'a>(view: &View<'a>, placed: &Placed, mut on_node: ByNode<'a>, plan: &mut Plan) {
    let mut wanted = 0;
    for node in view.nodes.iter().filter(|n| placed.fit(n).should_run) {
        wanted += 1;
        on_node.entry(&node.metadata.name).or_default();
    }
    let max_surge = surge(view.ds, wanted);
    let mut max_unavailable = limit(view.ds, wanted, false);
    if wanted > 0 && max_unavailable == 0 && max_surge == 0 {
        max_unavailable = 1;
    }
    if max_surge == 0 {
        replace_in_place(view, &on_node, max_unavailable, plan);
    } else {
        replace_with_surge(view, placed, &on_node, max_surge, wanted, plan);
    }
}

/// Old pods go first, so that new ones find their place: those that don't work at once, others as long
/// as not too many are missing.
fn replace_in_place(view: &View<'_>, on_node: &ByNode<'_>, max_unavailable: i32, plan: &mut Plan) {
    let mut unavailable = 0;
    let mut candidates = Vec::new();
    for pods in on_node.values() {
        match pair(view, pods) {
            Some((Some(new), None)) => unavailable += i32::from(!available(view, new)),
            Some((None, Some(old))) if !available(view, old) => {
                plan.delete.push(old.metadata.name.clone());
                unavailable += 1;
            }
            Some((None, Some(old))) => candidates.push(old.metadata.name.clone()),
            _ => unavailable += 1,
        }
    }
    let room = usize::try_from(max_unavailable - unavailable).unwrap_or(0);
    plan.delete.extend(candidates.into_iter().take(room));
}

/// New pods come first; an old pod goes when the new one of its node is available.
fn replace_with_surge(
    view: &View<'_>,
    placed: &Placed,
    on_node: &ByNode<'_>,
    max_surge: i32,
    wanted: i32,
    plan: &mut Plan,
) {
    let (mut surging, mut working) = (0, 0);
    let mut candidates: Vec<String> = Vec::new();
    let mut unwanted: Vec<String> = Vec::new();
    for (name, pods) in on_node {
        let Some((new, old)) = pair(view, pods) else {
            surging += 1;
            continue;
        };
        working += i32::from(old.or(new).is_some_and(|p| available(view, p)));
        let Some(old) = old else { continue };
        let old_name = old.metadata.name.clone();
        match new {
            Some(new) if available(view, new) => plan.delete.push(old_name),
            Some(_) => surging += 1,
            None => {
                let Some(node) = view.nodes.iter().find(|n| n.metadata.name == *name) else {
                    continue;
                };
                match (placed.fit(node).should_run, available(view, old)) {
                    (false, false) => plan.delete.push(old_name),
                    (false, true) => unwanted.push(old_name),
                    (true, false) => plan.create_on.push((*name).into()),
                    (true, true) => candidates.push((*name).into()),
                }
            }
        }
    }
    let spare = usize::try_from(working - wanted).unwrap_or(0);
    plan.delete.extend(unwanted.into_iter().take(spare));
    let room = usize::try_from(max_surge - surging).unwrap_or(0);
    plan.create_on.extend(candidates.into_iter().take(room));
}

/// The old revisions to delete: those beyond the limit that no pod runs, oldest first.
pub(super) fn beyond_limit<'a>(
    ds: &DaemonSet,
    old: &'a [Arc<ControllerRevision>],
    pods: &[Arc<Pod>],
) -> Vec<&'a ControllerRevision> {
    let limit = usize::try_from(ds.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let live: HashSet<&String> = pods.iter().filter_map(|p| p.metadata.labels.get(REVISION_HASH)).collect();
    let is_live =
        |r: &ControllerRevision| r.metadata.labels.get(REVISION_HASH).is_some_and(|hash| live.contains(hash));
    let dead = old.iter().map(Arc::as_ref).filter(|r| !is_live(r));
    dead.take(old.len().saturating_sub(limit)).collect()
}

/// Counts nodes and pods. The generation is only observed once the plan for it has been carried out.
pub(super) fn status(view: &View<'_>, observed: bool) -> DaemonSetStatus {
    let placed = Placed::new(&view.ds.spec.template);
    let on_node = by_node(view.pods);
    let generation = template_generation(view.ds);
    let old = &view.ds.status;
    let mut status = DaemonSetStatus {
        observed_generation: if observed { view.ds.metadata.generation } else { old.observed_generation },
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        ..Default::default()
    };
    for node in view.nodes {
        let pods = on_node.get(node.metadata.name.as_str());
        let first = pods.and_then(|pods| pods.iter().copied().min_by(by_age));
        if !placed.fit(node).should_run {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = first else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pods::is_ready(pod));
        status.number_available += i32::from(available(view, pod));
        let updated = is_updated(&pod.metadata.labels, view.hash, generation);
        status.updated_number_scheduled += i32::from(updated);
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    status
}
