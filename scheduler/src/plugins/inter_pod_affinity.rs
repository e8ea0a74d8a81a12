//! InterPodAffinity: near some pods, away from others, by domain.

use std::collections::BTreeMap;

use super::names::INTER_POD_AFFINITY;
use crate::cluster::{Cluster, NodeId, PodSet, Role};
use crate::framework::{Event, Filter, Filtering, MAX_SCORE, Normalize, Plugin, Rejection, Score, Scoring};
use crate::model::{Pod, PodTerm};

/// The plugin.
#[derive(Debug)]
pub struct InterPodAffinity {
    /// What a running pod's required affinity is worth to pods it selects.
    pub hard_weight: i64,
    /// Don't look at the preferences of running pods if the new one has none.
    pub ignore_preferred_of_existing: bool,
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        InterPodAffinity { hard_weight: 1, ignore_preferred_of_existing: false }
    }
}

/// Sums by domain of one topology key.
struct Domains<'a> {
    column: &'a [u32],
    sums: BTreeMap<u32, i64>,
}

impl<'a> Domains<'a> {
    fn new(cluster: &'a Cluster, key: &str) -> Self {
        Domains { column: cluster.labels.column(key), sums: BTreeMap::new() }
    }

    fn add(&mut self, counts: &[u32], weight: i64) {
        for (&domain, &count) in self.column.iter().zip(counts) {
            if domain != 0 && count != 0 {
                *self.sums.entry(domain).or_default() += i64::from(count) * weight;
            }
        }
    }

    /// The sum of a node's domain; `None` if it is in none.
    fn at(&self, node: NodeId) -> Option<i64> {
        match self.column.get(node) {
            None | Some(0) => None,
            Some(domain) => Some(self.sums.get(domain).copied().unwrap_or(0)),
        }
    }
}

fn set_of(cluster: &Cluster, terms: &[&PodTerm]) -> PodSet {
    let part = |t: &&PodTerm| (cluster.namespaces_of(t), t.selector.clone());
    PodSet { parts: terms.iter().map(part).collect(), live_only: false }
}

fn matches_all(cluster: &Cluster, terms: &[PodTerm], pod: &Pod) -> bool {
    !terms.is_empty() && set_of(cluster, &terms.iter().collect::<Vec<_>>()).contains(pod)
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        INTER_POD_AFFINITY
    }

    fn hint(&self, cluster: &Cluster, pod: &Pod, event: &Event) -> bool {
        let near = |other: &Pod| matches_all(cluster, &pod.shape.affinity.required, other);
        let away = |other: &Pod| matches_all(cluster, &pod.shape.anti_affinity.required, other);
        match event {
            Event::Updated { change, .. } => change.labels,
            Event::PodAssigned(other) => near(other),
            Event::AssignedPodDeleted(other) => {
                away(other) || matches_all(cluster, &other.shape.anti_affinity.required, pod)
            }
            Event::AssignedPodUpdated { old, new, change } => {
                change.labels && ((!near(old) && near(new)) || (away(old) && !away(new)))
            }
            Event::NodeAdded(_) => true,
            Event::NodeUpdated { change, .. } => change.labels,
            Event::NodeDeleted(_) | Event::StorageChanged => false,
        }
    }
}

impl Filter for InterPodAffinity {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let mut repelled: BTreeMap<&str, Domains> = BTreeMap::new();
        for (role, term, counts) in cluster.terms.iter() {
            if role == Role::Repels && cluster.term_selects(term, pod) {
                let key = term.topology_key.as_str();
                repelled.entry(key).or_insert_with(|| Domains::new(cluster, key)).add(counts, 1);
            }
        }
        let near = &pod.shape.affinity.required;
        let away = &pod.shape.anti_affinity.required;
        if repelled.is_empty() && near.is_empty() && away.is_empty() {
            return Filtering::Skip;
        }
        let near_counts = match near.is_empty() {
            true => Vec::new(),
            false => cluster.count(&set_of(cluster, &near.iter().collect::<Vec<_>>())),
        };
        let domains_of = |term: &PodTerm, counts: &[u32]| {
            let mut domains = Domains::new(cluster, &term.topology_key);
            domains.add(counts, 1);
            domains
        };
        let near: Vec<_> = near.iter().map(|t| domains_of(t, &near_counts)).collect();
        // The first pod of a group that wants to be with its own kind may go anywhere.
        let first_of_its_kind =
            near.iter().all(|d| d.sums.is_empty()) && matches_all(cluster, &pod.shape.affinity.required, pod);
        let away: Vec<_> =
            away.iter().map(|t| domains_of(t, &cluster.count(&set_of(cluster, &[t])))).collect();
        Filtering::check(move |node| {
            let missing_label = near.iter().any(|d| d.at(node).is_none());
            let lonely = near.iter().any(|d| d.at(node).is_some_and(|n| n <= 0));
            if missing_label || (lonely && !first_of_its_kind) {
                let reason = "node(s) didn't match pod affinity rules";
                return Err(Rejection::unresolvable(INTER_POD_AFFINITY, reason));
            }
            if away.iter().any(|d| d.at(node).is_some_and(|n| n > 0)) {
                let reason = "node(s) didn't match pod anti-affinity rules";
                return Err(Rejection::resolvable(INTER_POD_AFFINITY, reason));
            }
            if repelled.values().any(|d| d.at(node).is_some_and(|n| n > 0)) {
                let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
                return Err(Rejection::resolvable(INTER_POD_AFFINITY, reason));
            }
            Ok(())
        })
    }
}

impl Score for InterPodAffinity {
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, _: &'a [NodeId]) -> Scoring<'a> {
        let shape = &pod.shape;
        let own = shape.affinity.preferred.iter().map(|(w, t)| (*w, t));
        let own: Vec<_> = own.chain(shape.anti_affinity.preferred.iter().map(|(w, t)| (-w, t))).collect();
        if own.is_empty() && self.ignore_preferred_of_existing {
            return Scoring::Skip;
        }
        let mut by_key: BTreeMap<&str, Domains> = BTreeMap::new();
        let mut add = |term: &'a PodTerm, counts: &[u32], weight: i64| {
            let key = term.topology_key.as_str();
            by_key.entry(key).or_insert_with(|| Domains::new(cluster, key)).add(counts, weight);
        };
        for (weight, term) in own {
            add(term, &cluster.count(&set_of(cluster, &[term])), weight);
        }
        for (role, term, counts) in cluster.terms.iter() {
            let weight = match role {
                Role::Repels => continue,
                Role::Requires => self.hard_weight,
                Role::Prefers(weight) => weight,
            };
            if weight != 0 && cluster.term_selects(term, pod) {
                add(term, counts, weight);
            }
        }
        if by_key.values().all(|d| d.sums.is_empty()) {
            return Scoring::Skip;
        }
        let score = move |node: NodeId| by_key.values().filter_map(|d| d.at(node)).sum();
        let normalize = |_: &[NodeId], scores: &mut [i64]| {
            let least = scores.iter().copied().min().unwrap_or(0);
            let range = scores.iter().copied().max().unwrap_or(0) - least;
            for score in scores {
                *score = match range {
                    0 => 0,
                    _ => (MAX_SCORE as f64 * ((*score - least) as f64 / range as f64)) as i64,
                };
            }
        };
        Scoring::Score { score: Box::new(score), normalize: Normalize::With(Box::new(normalize)) }
    }
}
