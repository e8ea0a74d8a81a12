//! DefaultPreemption: which pods would have to go for a more important one to be placed.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use rand::RngExt;

use crate::cluster::{Cluster, NodeId, ObjectKey};
use crate::framework::Rejection;
use crate::framework::cycle::{Diagnosis, Nominations, fits, histogram};
use crate::model::Pod;
use crate::plugins::names::DEFAULT_PREEMPTION;
use crate::profile::Profile;

/// The plugin's arguments.
#[derive(Clone, Copy, Debug)]
pub struct Preemption {
    /// Share of the nodes tried, in percent.
    pub min_candidate_nodes_percentage: usize,
    /// Nodes tried at least.
    pub min_candidate_nodes_absolute: usize,
}

impl Default for Preemption {
    fn default() -> Self {
        Preemption { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

/// Pods to remove from one node.
#[derive(Clone, Debug)]
pub struct Victims {
    /// The node.
    pub node: NodeId,
    /// The pods, most important first.
    pub pods: Vec<Arc<Pod>>,
    /// How many of them a disruption budget protects.
    violations: usize,
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// Remove these, and promise the node to the pod.
    Preempt(Victims),
    /// Nothing can be done; the reason, and whether a promise made before is void.
    Nothing {
        /// The text for the event.
        message: String,
        /// Is a node promised earlier no longer promised?
        withdraw: bool,
    },
}

impl Preemption {
    /// Looks for pods to remove. Pods are taken off the columns while a node is tried, and put back.
    pub fn plan(
        &self,
        profile: &Profile,
        cluster: &mut Cluster,
        nominations: &dyn Nominations,
        pod: &Pod,
        diagnosis: &Diagnosis,
    ) -> Outcome {
        if let Err(reason) = eligible(cluster, pod, diagnosis) {
            return Outcome::Nothing { message: format!("preemption: {reason}"), withdraw: false };
        }
        let nodes: Vec<_> = diagnosis.resolvable().collect();
        let mut candidates = Vec::new();
        let mut statuses = Vec::new();
        let share = nodes.len() * self.min_candidate_nodes_percentage / 100;
        let wanted = share.max(self.min_candidate_nodes_absolute).min(nodes.len());
        let offset = if nodes.is_empty() { 0 } else { rand::rng().random_range(0..nodes.len()) };
        for i in 0..nodes.len() {
            let node = nodes[(offset + i) % nodes.len()];
            match victims_on(profile, cluster, nominations, pod, node) {
                Ok(victims) => candidates.push(victims),
                Err(rejection) => statuses.push((node, rejection)),
            }
            if candidates.len() >= wanted && candidates.iter().any(|c| c.violations == 0) {
                break;
            }
        }
        match candidates.into_iter().min_by(compare) {
            Some(best) => Outcome::Preempt(best),
            None => {
                let others = Some("Preemption is not helpful for scheduling");
                let text = histogram(diagnosis.nodes, &statuses, others);
                Outcome::Nothing { message: format!("preemption: {text}"), withdraw: true }
            }
        }
    }
}

fn eligible(cluster: &Cluster, pod: &Pod, diagnosis: &Diagnosis) -> Result<(), &'static str> {
    if !pod.shape.preempts {
        return Err("not eligible due to preemptionPolicy=Never.");
    }
    let Some(node) = pod.nominated_node.as_deref().and_then(|n| cluster.node_id(n)) else { return Ok(()) };
    let given_up = diagnosis.pod_rejection.as_ref().is_some_and(|r| r.unresolvable)
        || diagnosis.rejected.iter().any(|(n, r)| *n == node && r.unresolvable);
    let clearing = |p: &Arc<Pod>| p.priority() < pod.priority() && p.preempted;
    if !given_up && cluster.pods_on(node).iter().any(clearing) {
        return Err("not eligible due to a terminating pod on the nominated node.");
    }
    Ok(())
}

/// The fewest, least important pods whose removal makes room, disruption budgets respected if possible.
fn victims_on(
    profile: &Profile,
    cluster: &mut Cluster,
    nominations: &dyn Nominations,
    pod: &Pod,
    node: NodeId,
) -> Result<Victims, Rejection> {
    let mut lesser: Vec<_> =
        cluster.pods_on(node).iter().filter(|p| p.priority() < pod.priority()).cloned().collect();
    if lesser.is_empty() {
        let reason = "No preemption victims found for incoming pod";
        return Err(Rejection::unresolvable(DEFAULT_PREEMPTION, reason));
    }
    lesser.sort_by(|a, b| importance(a).cmp(&importance(b)));
    lesser.iter().for_each(|p| cluster.account(p, node, false));
    let mut removed = lesser.clone();
    let result = fits(profile, cluster, nominations, pod, node).map(|()| {
        let (protected, free) = split_by_budgets(cluster, &lesser);
        let mut victims = Victims { node, pods: Vec::new(), violations: 0 };
        // Put back as many as possible: the protected first, the important before the rest.
        for (candidate, is_protected) in
            protected.into_iter().map(|p| (p, true)).chain(free.into_iter().map(|p| (p, false)))
        {
            cluster.account(&candidate, node, true);
            if fits(profile, cluster, nominations, pod, node).is_ok() {
                removed.retain(|p| p.key != candidate.key);
            } else {
                cluster.account(&candidate, node, false);
                victims.violations += usize::from(is_protected);
                victims.pods.push(candidate);
            }
        }
        victims.pods.sort_by(|a, b| importance(a).cmp(&importance(b)));
        victims
    });
    removed.iter().for_each(|p| cluster.account(p, node, true));
    result
}

/// Sorts the more important first: higher priority, then longer running.
fn importance(pod: &Pod) -> (Reverse<i32>, bool, Option<&str>) {
    (Reverse(pod.priority()), pod.started.is_none(), pod.started.as_deref())
}

fn split_by_budgets(cluster: &Cluster, pods: &[Arc<Pod>]) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut left: HashMap<ObjectKey, i32> = HashMap::new();
    pods.iter().cloned().partition(|pod| {
        let mut violates = false;
        for (key, budget) in cluster.workloads.budgets_of(pod) {
            let left = left.entry(key.clone()).or_insert(budget.allowed);
            *left -= 1;
            violates |= *left < 0;
        }
        violates
    })
}

/// The better candidate sorts first: fewer budget violations, a lower highest priority, a lower sum of
/// priorities, fewer pods, and the most important pods started latest.
fn compare(a: &Victims, b: &Victims) -> Ordering {
    let highest = |v: &Victims| v.pods.first().map_or(i32::MIN, |p| p.priority());
    let sum = |v: &Victims| v.pods.iter().map(|p| i64::from(p.priority()) + (1 << 31)).sum::<i64>();
    let earliest = |v: &Victims| {
        let top = highest(v);
        v.pods.iter().filter(|p| p.priority() == top).filter_map(|p| p.started.clone()).min()
    };
    (a.violations.cmp(&b.violations))
        .then_with(|| highest(a).cmp(&highest(b)))
        .then_with(|| sum(a).cmp(&sum(b)))
        .then_with(|| a.pods.len().cmp(&b.pods.len()))
        .then_with(|| earliest(b).cmp(&earliest(a)))
}
