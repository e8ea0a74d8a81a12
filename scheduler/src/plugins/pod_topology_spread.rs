//! PodTopologySpread: keeps the pods of a workload evenly spread over domains.

use std::collections::BTreeMap;

use super::names::POD_TOPOLOGY_SPREAD;
use crate::cluster::{Cluster, NodeId, PodSet};
use crate::framework::{Event, Filter, Filtering, MAX_SCORE, Normalize, Plugin, Rejection, Score, Scoring};
use crate::model::{Node, Pod, Selector, SpreadConstraint, WhenUnsatisfiable};

/// The plugin.
#[derive(Debug)]
pub struct PodTopologySpread {
    /// Constraints of pods that have none of their own.
    pub defaults: Vec<SpreadConstraint>,
    /// Are those the system's? Then nodes without the labels take part as well.
    pub system_defaults: bool,
}

const HOSTNAME: &str = "kubernetes.io/hostname";

impl Default for PodTopologySpread {
    fn default() -> Self {
        let soft = |topology_key: &str, max_skew| SpreadConstraint {
            max_skew,
            topology_key: topology_key.to_owned(),
            when_unsatisfiable: WhenUnsatisfiable::ScheduleAnyway,
            selector: Selector::Nothing,
            min_domains: 1,
            honor_node_affinity: true,
            honor_node_taints: false,
        };
        let defaults = vec![soft(HOSTNAME, 3), soft("topology.kubernetes.io/zone", 5)];
        PodTopologySpread { defaults, system_defaults: true }
    }
}

impl PodTopologySpread {
    fn constraints(&self, cluster: &Cluster, pod: &Pod, kind: WhenUnsatisfiable) -> Vec<SpreadConstraint> {
        let of_kind = |list: &[SpreadConstraint]| -> Vec<_> {
            list.iter().filter(|c| c.when_unsatisfiable == kind).cloned().collect()
        };
        if !pod.shape.spread.is_empty() {
            return of_kind(&pod.shape.spread);
        }
        let mut defaults = of_kind(&self.defaults);
        if defaults.is_empty() {
            return defaults;
        }
        match cluster.workloads.selector_of(pod) {
            None => Vec::new(),
            Some(selector) => {
                defaults.iter_mut().for_each(|c| c.selector = selector.clone());
                defaults
            }
        }
    }
}

/// A constraint with the pods it counts on every node.
struct Counted<'a> {
    constraint: SpreadConstraint,
    column: &'a [u32],
    pods: Vec<u32>,
}

impl<'a> Counted<'a> {
    fn new(constraint: SpreadConstraint, cluster: &'a Cluster, pod: &Pod) -> Self {
        let pods = match constraint.selector.is_everything() {
            // An empty selector counts nothing.
            true => vec![0; cluster.rows()],
            false => cluster.count(&PodSet {
                parts: vec![([pod.namespace().to_owned()].into(), constraint.selector.clone())],
                live_only: true,
            }),
        };
        Counted { column: cluster.labels.column(&constraint.topology_key), constraint, pods }
    }

    /// The domain of a node; 0 is none.
    fn domain(&self, node: NodeId) -> u32 {
        self.column.get(node).copied().unwrap_or(0)
    }
}

/// Which nodes count for a constraint, by its inclusion policies.
struct Inclusion<'a> {
    wanted: Vec<bool>,
    tolerated: Vec<bool>,
    cluster: &'a Cluster,
}

impl<'a> Inclusion<'a> {
    fn new(cluster: &'a Cluster, pod: &'a Pod) -> Self {
        let tolerated = cluster.taint_lists().iter().map(|t| pod.shape.tolerates(t)).collect();
        let labels = &cluster.labels;
        let shape = &pod.shape;
        let mut wanted = Vec::new();
        if !shape.node_selector.is_empty() || shape.required_nodes.is_some() {
            let selector: Vec<_> = shape.node_selector.iter().map(|r| labels.compile(r)).collect();
            let terms: Option<Vec<_>> =
                shape.required_nodes.as_ref().map(|t| t.iter().map(|t| labels.compile_term(t)).collect());
            wanted = vec![false; cluster.rows()];
            for &node in cluster.order() {
                let name = cluster.name(node);
                wanted[node] = selector.iter().all(|t| t.accepts(node))
                    && terms.as_ref().is_none_or(|terms| terms.iter().any(|t| t.accepts(node, name)));
            }
        }
        Inclusion { wanted, tolerated, cluster }
    }

    fn includes(&self, constraint: &SpreadConstraint, node: NodeId) -> bool {
        (!constraint.honor_node_affinity || self.wanted.is_empty() || self.wanted[node])
            && (!constraint.honor_node_taints || self.tolerated[self.cluster.taints_of(node)])
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        POD_TOPOLOGY_SPREAD
    }

    fn hint(&self, cluster: &Cluster, pod: &Pod, event: &Event) -> bool {
        let constraints = self.constraints(cluster, pod, WhenUnsatisfiable::DoNotSchedule);
        let counts = |other: &Pod| {
            !other.deleting
                && other.namespace() == pod.namespace()
                && constraints.iter().any(|c| c.selector.matches(&other.shape.labels))
        };
        let has_domains = |node: &Node| constraints.iter().all(|c| node.labels.contains_key(&c.topology_key));
        match event {
            Event::StorageChanged => false,
            Event::Updated { change, .. } => change.labels,
            Event::PodAssigned(other) => counts(other),
            Event::AssignedPodDeleted(other) => {
                other.namespace() == pod.namespace()
                    && constraints.iter().any(|c| c.selector.matches(&other.shape.labels))
            }
            Event::AssignedPodUpdated { old, new, change } => change.labels && (counts(old) != counts(new)),
            Event::NodeAdded(node) | Event::NodeDeleted(node) => has_domains(node),
            Event::NodeUpdated { old, new, change } => {
                let moved = constraints
                    .iter()
                    .any(|c| old.labels.get(&c.topology_key) != new.labels.get(&c.topology_key));
                (change.labels
                    && (moved || has_domains(old) != has_domains(new))
                    && (has_domains(old) || has_domains(new)))
                    || change.taints
            }
        }
    }
}

impl Filter for PodTopologySpread {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let constraints = self.constraints(cluster, pod, WhenUnsatisfiable::DoNotSchedule);
        if constraints.is_empty() {
            return Filtering::Skip;
        }
        let counted: Vec<_> = constraints.into_iter().map(|c| Counted::new(c, cluster, pod)).collect();
        let inclusion = Inclusion::new(cluster, pod);
        let mut domains: Vec<BTreeMap<u32, i64>> = vec![BTreeMap::new(); counted.len()];
        for &node in cluster.order() {
            if counted.iter().any(|c| c.domain(node) == 0) {
                continue;
            }
            for (c, sums) in counted.iter().zip(&mut domains) {
                if inclusion.includes(&c.constraint, node) {
                    *sums.entry(c.domain(node)).or_default() += i64::from(c.pods[node]);
                }
            }
        }
        let rules: Vec<_> = (counted.into_iter().zip(domains))
            .map(|(c, sums)| {
                let enough = sums.len() as i64 >= c.constraint.min_domains;
                let least =
                    if enough { sums.values().copied().min().unwrap_or(i64::from(i32::MAX)) } else { 0 };
                let own = i64::from(c.constraint.selector.matches(&pod.shape.labels));
                (c, sums, own - least)
            })
            .collect();
        Filtering::check(move |node| {
            for (c, sums, offset) in &rules {
                let domain = c.domain(node);
                if domain == 0 {
                    let reason =
                        "node(s) didn't match pod topology spread constraints (missing required label)";
                    return Err(Rejection::unresolvable(POD_TOPOLOGY_SPREAD, reason));
                }
                if sums.get(&domain).copied().unwrap_or(0) + offset > c.constraint.max_skew {
                    let reason = "node(s) didn't match pod topology spread constraints";
                    return Err(Rejection::resolvable(POD_TOPOLOGY_SPREAD, reason));
                }
            }
            Ok(())
        })
    }
}

impl Score for PodTopologySpread {
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, nodes: &'a [NodeId]) -> Scoring<'a> {
        let constraints = self.constraints(cluster, pod, WhenUnsatisfiable::ScheduleAnyway);
        if constraints.is_empty() {
            return Scoring::Skip;
        }
        let need_all_labels = !pod.shape.spread.is_empty() || !self.system_defaults;
        let counted: Vec<_> = constraints.into_iter().map(|c| Counted::new(c, cluster, pod)).collect();
        let ignored =
            |counted: &[Counted], node| need_all_labels && counted.iter().any(|c| c.domain(node) == 0);
        let taking_part: Vec<_> = nodes.iter().copied().filter(|n| !ignored(&counted, *n)).collect();
        let inclusion = Inclusion::new(cluster, pod);
        // Per constraint: the pods of each domain (single nodes are looked up directly) and its weight.
        let sums: Vec<_> = counted
            .iter()
            .map(|c| {
                let mut domains: BTreeMap<u32, i64> = BTreeMap::new();
                if c.constraint.topology_key == HOSTNAME {
                    return (domains, ((taking_part.len() + 2) as f64).ln());
                }
                domains.extend(taking_part.iter().map(|n| (c.domain(*n), 0)));
                for &node in cluster.order() {
                    if ignored(&counted, node) || !inclusion.includes(&c.constraint, node) {
                        continue;
                    }
                    if let Some(sum) = domains.get_mut(&c.domain(node)) {
                        *sum += i64::from(c.pods[node]);
                    }
                }
                let weight = ((domains.len() + 2) as f64).ln();
                (domains, weight)
            })
            .collect();
        let left_out: Vec<bool> = {
            let mut left_out = vec![false; cluster.rows()];
            nodes.iter().filter(|n| ignored(&counted, **n)).for_each(|n| left_out[*n] = true);
            left_out
        };
        let out = left_out.clone();
        let score = move |node: NodeId| {
            if out[node] {
                return 0;
            }
            let mut score = 0.0;
            for (c, (domains, weight)) in counted.iter().zip(&sums) {
                let domain = c.domain(node);
                if domain != 0 {
                    let count = match c.constraint.topology_key == HOSTNAME {
                        true => i64::from(c.pods[node]),
                        false => domains.get(&domain).copied().unwrap_or(0),
                    };
                    score += count as f64 * weight + (c.constraint.max_skew - 1) as f64;
                }
            }
            score.round() as i64
        };
        let normalize = move |nodes: &[NodeId], scores: &mut [i64]| {
            let ranked = || nodes.iter().zip(scores.iter()).filter(|(n, _)| !left_out[**n]).map(|(_, s)| *s);
            let least = ranked().min().unwrap_or(0);
            let most = ranked().max().unwrap_or(0).max(0);
            for (node, score) in nodes.iter().zip(scores.iter_mut()) {
                *score = match (left_out[*node], most) {
                    (true, _) => 0,
                    (false, 0) => MAX_SCORE,
                    (false, _) => MAX_SCORE * (most + least - *score) / most,
                };
            }
        };
        Scoring::Score { score: Box::new(score), normalize: Normalize::With(Box::new(normalize)) }
    }
}
