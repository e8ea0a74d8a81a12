//! TaintToleration: nodes with taints the pod doesn't tolerate are out, or (PreferNoSchedule) worse.

use super::names::TAINT_TOLERATION;
use crate::cluster::{Cluster, NodeId};
use crate::framework::{Event, Filter, Filtering, Normalize, Plugin, Rejection, Score, Scoring};
use crate::model::{Pod, TaintEffect};

/// The plugin.
#[derive(Debug)]
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        TAINT_TOLERATION
    }

    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        match event {
            Event::NodeAdded(node) => pod.shape.tolerates(&node.taints),
            Event::NodeUpdated { old, new, .. } => {
                !pod.shape.tolerates(&old.taints) && pod.shape.tolerates(&new.taints)
            }
            Event::Updated { change, .. } => change.tolerations,
            _ => false,
        }
    }
}

impl Filter for TaintToleration {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        // Few distinct lists of taints: judge each once.
        let tolerated: Vec<_> = cluster.taint_lists().iter().map(|t| pod.shape.tolerates(t)).collect();
        if tolerated.iter().all(|t| *t) {
            return Filtering::Skip;
        }
        Filtering::check(move |node| match tolerated[cluster.taints_of(node)] {
            true => Ok(()),
            false => Err(Rejection::unresolvable(TAINT_TOLERATION, "node(s) had untolerated taint(s)")),
        })
    }
}

impl Score for TaintToleration {
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, _: &'a [NodeId]) -> Scoring<'a> {
        let prefer = TaintEffect::PreferNoSchedule;
        let relevant: Vec<_> =
            pod.shape.tolerations.iter().filter(|t| t.effect.is_none_or(|e| e == prefer)).collect();
        let untolerated: Vec<i64> = (cluster.taint_lists().iter())
            .map(|taints| {
                let soft = taints.iter().filter(|t| t.effect == prefer);
                soft.filter(|taint| !relevant.iter().any(|t| t.tolerates(taint))).count() as i64
            })
            .collect();
        if untolerated.iter().all(|n| *n == 0) {
            // All nodes score alike.
            return Scoring::Skip;
        }
        Scoring::Score {
            score: Box::new(move |node| untolerated[cluster.taints_of(node)]),
            normalize: Normalize::ToLargestReversed,
        }
    }
}
