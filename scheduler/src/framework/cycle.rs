//! One attempt to place one pod: filter the nodes, rank what is left, pick the best.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;

use super::{Filtering, NodeCheck, Rejection, Scoring};
use crate::cluster::{Cluster, NodeId};
use crate::model::{Pod, PodKey};
use crate::profile::Profile;

/// Fewer nodes than this are all looked at.
const MIN_FEASIBLE: usize = 100;
/// Never look at less than this share of a large cluster.
const MIN_PERCENTAGE: usize = 5;

/// Why no node will do.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// What each node asked about said.
    pub rejected: Vec<(NodeId, Rejection)>,
    /// What holds for the nodes that weren't asked.
    pub others: Option<Cow<'static, str>>,
    /// A filter's reason against the pod altogether.
    pub pod_rejection: Option<Rejection>,
    /// What came of looking for pods to preempt.
    pub preemption: String,
    /// The plugins that said no, whose opinion may change.
    pub plugins: BTreeSet<&'static str>,
}

impl Diagnosis {
    fn reject(&mut self, node: NodeId, rejection: Rejection) {
        self.plugins.insert(rejection.plugin);
        self.rejected.push((node, rejection));
    }

    /// Nodes where removing pods may help.
    pub fn resolvable(&self) -> impl Iterator<Item = NodeId> {
        let asked = if self.pod_rejection.is_some() { &[][..] } else { &self.rejected[..] };
        asked.iter().filter(|(_, r)| !r.unresolvable).map(|(node, _)| *node)
    }

    /// The text of the event and the condition.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut text = match &self.pod_rejection {
            Some(rejection) => {
                format!("0/{} nodes are available: {}.", self.nodes, rejection.message())
            }
            None => histogram(self.nodes, &self.rejected, self.others.as_deref()),
        };
        if !self.preemption.is_empty() {
            text.push(' ');
            text.push_str(&self.preemption);
        }
        text
    }
}

/// `0/3 nodes are available: 1 this, 2 that.`
pub fn histogram(nodes: usize, rejected: &[(NodeId, Rejection)], others: Option<&str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in rejected.iter().flat_map(|(_, r)| &r.reasons) {
        *counts.entry(reason).or_default() += 1;
    }
    if let Some(reason) = others.filter(|_| rejected.len() < nodes) {
        *counts.entry(reason).or_default() += nodes - rejected.len();
    }
    let mut reasons: Vec<_> = counts.into_iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    reasons.sort();
    match reasons.is_empty() {
        true => format!("0/{nodes} nodes are available:"),
        false => format!("0/{nodes} nodes are available: {}.", reasons.join(", ")),
    }
}

/// Where a pod goes, or why nowhere.
#[derive(Debug)]
pub enum Decision {
    /// To this node.
    Place {
        /// The node.
        node: NodeId,
        /// How many nodes were asked about.
        evaluated: usize,
        /// How many would do.
        feasible: usize,
    },
    /// Nowhere for now.
    Wait(Diagnosis),
}

/// Pods that were promised a node, by that node.
pub trait Nominations {
    /// The pods promised this node, of at least this priority, other than `except`.
    fn on(&self, node: &str, priority: i32, except: &PodKey) -> Vec<Arc<Pod>>;
    /// Is no pod promised any node?
    fn is_empty(&self) -> bool;
}

/// The filters of one pod, ready to be asked about nodes.
pub struct Checks<'a> {
    checks: Vec<NodeCheck<'a>>,
    nodes: Option<BTreeSet<NodeId>>,
    restricted_by: Vec<&'static str>,
}

impl<'a> Checks<'a> {
    /// Prepares all filters of a profile; `Err` if one turns the pod down altogether.
    pub fn prepare(profile: &'a Profile, cluster: &'a Cluster, pod: &'a Pod) -> Result<Self, Rejection> {
        let mut all = Checks { checks: Vec::new(), nodes: None, restricted_by: Vec::new() };
        for plugin in &profile.filters {
            match plugin.filter(cluster, pod) {
                Filtering::Skip => {}
                Filtering::Reject(rejection) => return Err(rejection),
                Filtering::Check { nodes, check } => {
                    if let Some(nodes) = nodes {
                        all.restricted_by.push(plugin.name());
                        all.nodes = Some(match all.nodes.take() {
                            Some(known) => known.intersection(&nodes).copied().collect(),
                            None => nodes,
                        });
                    }
                    all.checks.push(check);
                }
            }
        }
        Ok(all)
    }

    /// Will this node do?
    pub fn check(&self, node: NodeId) -> Result<(), Rejection> {
        self.checks.iter().try_for_each(|check| check(node))
    }
}

/// Looks for a node. `start` is where the last search ended; it is moved on, so that all nodes get a chance.
///
/// Changes nothing in the cluster: pods promised a node are counted there while that node is checked, and
/// taken off again.
pub fn schedule(
    profile: &Profile,
    cluster: &mut Cluster,
    nominations: &dyn Nominations,
    pod: &Pod,
    start: &mut usize,
) -> Decision {
    let total = cluster.order().len();
    let mut diagnosis = Diagnosis { nodes: total, ..Diagnosis::default() };
    if total == 0 {
        return Decision::Wait(diagnosis);
    }
    if let Some(node) = pod.nominated_node.as_deref().and_then(|n| cluster.node_id(n)) {
        // Most likely the only node that will do.
        if fits(profile, cluster, nominations, pod, node).is_ok() {
            return Decision::Place { node, evaluated: 1, feasible: 1 };
        }
    }
    // Nodes with promised pods are checked apart, since that takes changing the columns for a moment.
    let mut promised: BTreeMap<NodeId, Result<(), Rejection>> = BTreeMap::new();
    if !nominations.is_empty() {
        for node in cluster.order().to_vec() {
            let pods = nominations.on(cluster.name(node), pod.priority(), &pod.key);
            if !pods.is_empty() {
                promised.insert(node, fits_beside(profile, cluster, pod, node, &pods));
            }
        }
    }
    let cluster = &*cluster;
    let checks = match Checks::prepare(profile, cluster, pod) {
        Ok(checks) => checks,
        Err(rejection) => {
            diagnosis.plugins.insert(rejection.plugin);
            diagnosis.pod_rejection = Some(rejection);
            return Decision::Wait(diagnosis);
        }
    };
    let restricted: Option<Vec<NodeId>> = checks.nodes.as_ref().map(|nodes| {
        diagnosis.plugins.extend(&checks.restricted_by);
        let names = checks.restricted_by.join(" ");
        diagnosis.others = Some(format!("node(s) didn't satisfy plugin(s) [{names}]").into());
        nodes.iter().copied().collect()
    });
    let candidates = restricted.as_deref().unwrap_or(cluster.order());
    let wanted = match profile.scores.is_empty() {
        true => 1,
        false => feasible_nodes_wanted(profile.percentage_of_nodes_to_score, candidates.len()),
    };
    let mut feasible = Vec::with_capacity(wanted);
    let first = *start;
    for i in 0..candidates.len() {
        let node = candidates[(first + i) % candidates.len()];
        match promised.remove(&node).unwrap_or_else(|| checks.check(node)) {
            Ok(()) => feasible.push(node),
            Err(rejection) => diagnosis.reject(node, rejection),
        }
        if feasible.len() == wanted {
            break;
        }
    }
    let evaluated = feasible.len() + diagnosis.rejected.len();
    *start = (first + evaluated) % total;
    match feasible.len() {
        0 => Decision::Wait(diagnosis),
        n => Decision::Place { node: best(profile, cluster, pod, &feasible), evaluated, feasible: n },
    }
}

/// Will this node do, with the pods promised it counted there, and also without them?
pub fn fits(
    profile: &Profile,
    cluster: &mut Cluster,
    nominations: &dyn Nominations,
    pod: &Pod,
    node: NodeId,
) -> Result<(), Rejection> {
    let promised = nominations.on(cluster.name(node), pod.priority(), &pod.key);
    fits_beside(profile, cluster, pod, node, &promised)
}

fn fits_beside(
    profile: &Profile,
    cluster: &mut Cluster,
    pod: &Pod,
    node: NodeId,
    promised: &[Arc<Pod>],
) -> Result<(), Rejection> {
    let check = |cluster: &Cluster| {
        Checks::prepare(profile, cluster, pod).and_then(|checks| match &checks.nodes {
            Some(nodes) if !nodes.contains(&node) => Err(Rejection::unresolvable(
                checks.restricted_by.first().copied().unwrap_or_default(),
                format!("node(s) didn't satisfy plugin(s) [{}]", checks.restricted_by.join(" ")),
            )),
            _ => checks.check(node),
        })
    };
    if !promised.is_empty() {
        promised.iter().for_each(|p| cluster.account(p, node, true));
        let result = check(cluster);
        promised.iter().for_each(|p| cluster.account(p, node, false));
        result?;
    }
    // The promised pods may never come, so the pod must not depend on them.
    check(cluster)
}

/// How many nodes that will do are enough.
fn feasible_nodes_wanted(percentage: usize, nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes;
    }
    let percentage = match percentage {
        0 => 50usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE),
        p => p,
    };
    (nodes * percentage / 100).max(MIN_FEASIBLE)
}

/// The node with the highest sum of weighted scores; one of them at random, if there are several.
fn best(profile: &Profile, cluster: &Cluster, pod: &Pod, nodes: &[NodeId]) -> NodeId {
    let mut totals = vec![0; nodes.len()];
    if nodes.len() > 1 {
        for (plugin, weight) in &profile.scores {
            if let Scoring::Score { score, normalize } = plugin.score(cluster, pod, nodes) {
                let mut scores: Vec<_> = nodes.iter().map(|node| score(*node)).collect();
                normalize.apply(nodes, &mut scores);
                for (total, score) in totals.iter_mut().zip(scores) {
                    *total += score * weight;
                }
            }
        }
    }
    let highest = totals.iter().copied().max().unwrap_or(0);
    let ties: Vec<_> = nodes.iter().zip(&totals).filter(|(_, t)| **t == highest).map(|(n, _)| *n).collect();
    match ties.len() {
        0 => nodes[0],
        1 => ties[0],
        n => ties[rand::rng().random_range(0..n)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_nodes_follow_the_adaptive_percentage() {
        for (percentage, nodes, wanted) in
            [(0, 99, 99), (0, 1000, 420), (0, 5000, 500), (0, 6000, 300), (40, 200, 100), (40, 1000, 400)]
        {
            assert_eq!(feasible_nodes_wanted(percentage, nodes), wanted, "{percentage} of {nodes}");
        }
    }

    #[test]
    fn the_histogram_sorts_as_text() {
        let rejected = vec![
            (0, Rejection::resolvable("a", "Insufficient cpu")),
            (1, Rejection::unresolvable("b", "node(s) had untolerated taint(s)")),
        ];
        assert_eq!(
            histogram(12, &rejected, Some("Preemption is not helpful for scheduling")),
            "0/12 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), \
             10 Preemption is not helpful for scheduling."
        );
    }
}
