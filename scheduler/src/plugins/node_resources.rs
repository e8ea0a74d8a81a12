//! NodeResourcesFit and NodeResourcesBalancedAllocation: does it fit, and how well.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::names::{BALANCED_ALLOCATION, NODE_RESOURCES_FIT};
use crate::cluster::{Cluster, NodeId};
use crate::framework::{Event, Filter, Filtering, MAX_SCORE, Normalize, Plugin, Rejection, Score, Scoring};
use crate::model::{CPU, EPHEMERAL_STORAGE, MEMORY, Node, Pod, ResourceId, resource_name};

/// How Fit ranks nodes.
#[derive(Clone, Debug)]
pub enum Strategy {
    /// Emptier is better.
    LeastAllocated,
    /// Fuller is better.
    MostAllocated,
    /// By points of (utilization in percent, score of 0 to 100), joined by lines.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// NodeResourcesFit.
#[derive(Debug)]
pub struct Fit {
    /// Resources not looked at.
    pub ignored: Vec<String>,
    /// Prefixes (before the slash) of resources not looked at.
    pub ignored_groups: Vec<String>,
    /// How nodes are ranked.
    pub strategy: Strategy,
    /// What counts in ranking, and how much.
    pub resources: Vec<(ResourceId, i64)>,
}

impl Fit {
    fn ignores(&self, resource: ResourceId) -> bool {
        if resource <= EPHEMERAL_STORAGE || (self.ignored.is_empty() && self.ignored_groups.is_empty()) {
            return false;
        }
        let name = resource_name(resource);
        let group = name.split('/').next().unwrap_or_default();
        self.ignored.contains(&name) || self.ignored_groups.iter().any(|g| g == group)
    }

    /// Does the empty node have room?
    fn could_fit(&self, pod: &Pod, node: &Node) -> bool {
        let amounts = &pod.shape.requests.amounts;
        node.max_pods > 0 && amounts.iter().all(|(id, n)| self.ignores(*id) || *n <= node.allocatable(*id))
    }
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        NODE_RESOURCES_FIT
    }

    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        match event {
            Event::AssignedPodDeleted(_) => true,
            Event::AssignedPodUpdated { old, new, change } => {
                let requests = &pod.shape.requests.amounts;
                let less = |id| old.shape.requests.get(id) > new.shape.requests.get(id);
                change.scaled_down && requests.iter().any(|(id, _)| less(*id))
            }
            Event::Updated { change, .. } => change.scaled_down,
            Event::NodeAdded(node) => self.could_fit(pod, node),
            Event::NodeUpdated { old, new, change } => {
                let amounts = &pod.shape.requests.amounts;
                let grew = |id| new.allocatable(id) > old.allocatable(id);
                change.allocatable
                    && self.could_fit(pod, new)
                    && (new.max_pods > old.max_pods || amounts.iter().any(|(id, _)| grew(*id)))
            }
            _ => false,
        }
    }
}

impl Filter for Fit {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let wanted: SmallVec<[_; 4]> = (pod.shape.requests.amounts.iter())
            .filter(|(id, n)| *n > 0 && !self.ignores(*id))
            .map(|(id, n)| (*id, *n, cluster.allocatable(*id), cluster.used(*id)))
            .collect();
        Filtering::check(move |node| {
            let mut reasons: SmallVec<[Cow<'static, str>; 1]> = SmallVec::new();
            let mut unresolvable = false;
            let max_pods = cluster.node(node).map_or(0, |n| n.max_pods);
            if cluster.pods_on(node).len() as i64 + 1 > max_pods {
                reasons.push("Too many pods".into());
            }
            for &(id, n, allocatable, used) in &wanted {
                let allocatable = value(allocatable, node);
                if n > allocatable - value(used, node) {
                    reasons.push(insufficient(id));
                    unresolvable |= n > allocatable;
                }
            }
            match reasons.is_empty() {
                true => Ok(()),
                false => Err(Rejection { plugin: NODE_RESOURCES_FIT, reasons, unresolvable }),
            }
        })
    }
}

fn insufficient(resource: ResourceId) -> Cow<'static, str> {
    match resource {
        CPU => "Insufficient cpu".into(),
        MEMORY => "Insufficient memory".into(),
        EPHEMERAL_STORAGE => "Insufficient ephemeral-storage".into(),
        _ => format!("Insufficient {}", resource_name(resource)).into(),
    }
}

fn value(column: &[i64], node: NodeId) -> i64 {
    column.get(node).copied().unwrap_or(0)
}

/// One resource in ranking: what a node has and uses of it, and what the pod would add.
struct Rated<'a> {
    allocatable: &'a [i64],
    used: &'a [i64],
    added: i64,
    weight: i64,
}

impl Rated<'_> {
    /// (in use with the pod, available), if the node has any.
    fn at(&self, node: NodeId) -> Option<(i64, i64)> {
        let allocatable = value(self.allocatable, node);
        (allocatable != 0).then(|| (value(self.used, node) + self.added, allocatable))
    }
}

/// Resources beyond the three built in count only for pods that ask for them.
fn rated<'a>(
    cluster: &'a Cluster,
    pod: &Pod,
    resources: &[(ResourceId, i64)],
    with_defaults: bool,
) -> Vec<Rated<'a>> {
    let requests = &pod.shape.requests;
    let (cpu, memory) = cluster.scoring_used();
    let rate = |&(id, weight): &(ResourceId, i64)| {
        let (used, added) = match id {
            CPU if with_defaults => (cpu, requests.scoring_cpu),
            MEMORY if with_defaults => (memory, requests.scoring_memory),
            _ => (cluster.used(id), requests.get(id)),
        };
        let counts = id <= EPHEMERAL_STORAGE || added != 0;
        counts.then(|| Rated { allocatable: cluster.allocatable(id), used, added, weight })
    };
    resources.iter().filter_map(rate).collect()
}

impl Score for Fit {
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, _: &'a [NodeId]) -> Scoring<'a> {
        let rated = rated(cluster, pod, &self.resources, true);
        let score = move |node: NodeId| {
            let (mut sum, mut weights) = (0, 0);
            for r in &rated {
                let Some((used, allocatable)) = r.at(node) else { continue };
                let score = match &self.strategy {
                    Strategy::LeastAllocated if used > allocatable => 0,
                    Strategy::LeastAllocated => (allocatable - used) * MAX_SCORE / allocatable,
                    Strategy::MostAllocated => used.min(allocatable) * MAX_SCORE / allocatable,
                    Strategy::RequestedToCapacityRatio(shape) => {
                        let utilization = if used > allocatable { 100 } else { used * 100 / allocatable };
                        match interpolate(shape, utilization) {
                            // Here a resource without a score doesn't weigh in.
                            0 => continue,
                            score => score,
                        }
                    }
                };
                sum += score * r.weight;
                weights += r.weight;
            }
            match (weights, &self.strategy) {
                (0, _) => 0,
                (_, Strategy::RequestedToCapacityRatio(_)) => (sum as f64 / weights as f64).round() as i64,
                _ => sum / weights,
            }
        };
        Scoring::Score { score: Box::new(score), normalize: Normalize::No }
    }
}

fn interpolate(shape: &[(i64, i64)], at: i64) -> i64 {
    let Some(i) = shape.iter().position(|(x, _)| at <= *x) else {
        return shape.last().map_or(0, |(_, y)| *y);
    };
    let (x1, y1) = shape[i];
    match i.checked_sub(1).map(|j| shape[j]) {
        Some((x0, y0)) if x1 != x0 => y0 + (y1 - y0) * (at - x0) / (x1 - x0),
        _ => y1,
    }
}

/// NodeResourcesBalancedAllocation: prefers nodes whose resources would be used up evenly.
#[derive(Debug)]
pub struct BalancedAllocation {
    /// What counts.
    pub resources: Vec<(ResourceId, i64)>,
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        BALANCED_ALLOCATION
    }
}

impl Score for BalancedAllocation {
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, _: &'a [NodeId]) -> Scoring<'a> {
        let rated = rated(cluster, pod, &self.resources, false);
        if rated.iter().all(|r| r.added == 0) {
            return Scoring::Skip;
        }
        let score = move |node: NodeId| {
            let balance = |with_pod: bool| {
                let fractions: SmallVec<[f64; 4]> = (rated.iter())
                    .filter_map(|r| {
                        r.at(node).map(|(used, all)| (used - if with_pod { 0 } else { r.added }, all))
                    })
                    .map(|(used, all)| (used as f64 / all as f64).min(1.0))
                    .collect();
                ((1.0 - deviation(&fractions)) * MAX_SCORE as f64) as i64
            };
            MAX_SCORE / 2 + (MAX_SCORE / 2 + balance(true) - balance(false)) / 2
        };
        Scoring::Score { score: Box::new(score), normalize: Normalize::No }
    }
}

fn deviation(fractions: &[f64]) -> f64 {
    match fractions {
        [] | [_] => 0.0,
        [a, b] => ((a - b) / 2.0).abs(),
        _ => {
            let n = fractions.len() as f64;
            let mean = fractions.iter().sum::<f64>() / n;
            (fractions.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>() / n).sqrt()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_follows_the_lines() {
        let shape = [(0, 0), (50, 100), (100, 20)];
        assert_eq!([0, 25, 50, 75, 100].map(|x| interpolate(&shape, x)), [0, 50, 100, 60, 20]);
    }

    #[test]
    fn deviation_of_two_is_half_their_distance() {
        assert_eq!(deviation(&[0.5, 0.1]), 0.2);
        assert_eq!(deviation(&[0.5]), 0.0);
        assert!((deviation(&[0.0, 0.5, 1.0]) - 0.408).abs() < 0.001);
    }
}
