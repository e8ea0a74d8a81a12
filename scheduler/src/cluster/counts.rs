//! How many pods of some set run on each node, kept up to date by events.
//!
//! Spread constraints and pod affinity ask this for few distinct sets (one per workload, not per pod), so each
//! set asked for becomes a column, filled once and then maintained. Sets no longer asked for are dropped.

use std::collections::{BTreeSet, HashMap};

use super::NodeId;
use crate::model::{Pod, PodTerm, Selector};

/// A set of pods: those that every part selects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodSet {
    /// Namespaces and selector of each part.
    pub parts: Vec<(BTreeSet<String>, Selector)>,
    /// Leave out pods that are being deleted?
    pub live_only: bool,
}

impl PodSet {
    /// Is the pod in the set?
    pub fn contains(&self, pod: &Pod) -> bool {
        !(self.live_only && pod.deleting)
            && self.parts.iter().all(|(namespaces, selector)| {
                namespaces.contains(pod.namespace()) && selector.matches(&pod.shape.labels)
            })
    }
}

/// The columns of all sets asked for lately.
#[derive(Debug, Default)]
pub(super) struct Counts {
    columns: HashMap<PodSet, Column>,
    clock: u64,
}

#[derive(Debug, Default)]
struct Column {
    counts: Vec<u32>,
    used: u64,
}

/// How many columns are kept before the least used half goes.
const CAPACITY: usize = 2048;

impl Counts {
    /// The column of a set, made by `scan` if it isn't known.
    pub(super) fn get(&mut self, set: &PodSet, scan: impl FnOnce() -> Vec<u32>) -> Vec<u32> {
        self.clock += 1;
        let clock = self.clock;
        if let Some(column) = self.columns.get_mut(set) {
            column.used = clock;
            return column.counts.clone();
        }
        if self.columns.len() >= CAPACITY {
            let mut ages: Vec<_> = self.columns.values().map(|c| c.used).collect();
            let middle = ages.len() / 2;
            let (_, limit, _) = ages.select_nth_unstable(middle);
            let limit = *limit;
            self.columns.retain(|_, c| c.used >= limit);
        }
        let counts = scan();
        self.columns.insert(set.clone(), Column { counts: counts.clone(), used: clock });
        counts
    }

    pub(super) fn change(&mut self, pod: &Pod, node: NodeId, added: bool) {
        for (set, column) in &mut self.columns {
            if set.contains(pod) {
                change(&mut column.counts, node, added);
            }
        }
    }
}

fn change(counts: &mut Vec<u32>, node: NodeId, added: bool) {
    if counts.len() <= node {
        counts.resize(node + 1, 0);
    }
    counts[node] = if added { counts[node] + 1 } else { counts[node].saturating_sub(1) };
}

/// What a running pod's term asks of pods that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Pods it selects must stay out of its domain.
    Repels,
    /// It was placed beside pods like that.
    Requires,
    /// It likes (or, if negative, dislikes) them near, by this weight.
    Prefers(i64),
}

/// The terms of running pods: for each distinct one, how many pods on each node have it.
#[derive(Debug, Default)]
pub struct Terms {
    columns: HashMap<(Role, PodTerm), (Vec<u32>, usize)>,
}

impl Terms {
    pub(super) fn change(&mut self, pod: &Pod, node: NodeId, added: bool) {
        let shape = &pod.shape;
        if shape.affinity.is_empty() && shape.anti_affinity.is_empty() {
            return;
        }
        let required = |terms: &'_ [PodTerm], role| -> Vec<(Role, PodTerm)> {
            terms.iter().map(|t| (role, t.clone())).collect()
        };
        let mut all = required(&shape.anti_affinity.required, Role::Repels);
        all.extend(required(&shape.affinity.required, Role::Requires));
        all.extend(shape.affinity.preferred.iter().map(|(w, t)| (Role::Prefers(*w), t.clone())));
        all.extend(shape.anti_affinity.preferred.iter().map(|(w, t)| (Role::Prefers(-w), t.clone())));
        for key in all {
            if added {
                let (counts, total) = self.columns.entry(key).or_default();
                change(counts, node, true);
                *total += 1;
            } else if let Some((counts, total)) = self.columns.get_mut(&key) {
                change(counts, node, false);
                *total = total.saturating_sub(1);
                if *total == 0 {
                    self.columns.remove(&key);
                }
            }
        }
    }

    /// Every distinct term with its counts by node.
    pub fn iter(&self) -> impl Iterator<Item = (Role, &PodTerm, &[u32])> {
        self.columns.iter().map(|((role, term), (counts, _))| (*role, term, counts.as_slice()))
    }
}
