//! NodeAffinity: node selector, required and preferred node affinity, and those the configuration adds.

use std::collections::BTreeSet;

use super::names::NODE_AFFINITY;
use crate::cluster::{Cluster, NodeId};
use crate::framework::{Event, Filter, Filtering, Normalize, Plugin, Rejection, Score, Scoring};
use crate::model::{Node, NodeTerm, Operator, Pod};

/// The plugin.
#[derive(Debug, Default)]
pub struct NodeAffinity {
    /// Terms every pod of the profile must satisfy as well.
    pub added_required: Option<Vec<NodeTerm>>,
    /// Preferences every pod of the profile has as well.
    pub added_preferred: Vec<(i64, NodeTerm)>,
}

impl NodeAffinity {
    fn wants(&self, pod: &Pod, node: &Node) -> bool {
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let added = self.added_required.as_ref();
        added.is_none_or(|terms| terms.iter().any(|t| t.matches(&node.name, label)))
            && pod.shape.wants_node(&node.name, label)
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NODE_AFFINITY
    }

    fn hint(&self, _: &Cluster, pod: &Pod, event: &Event) -> bool {
        match event.node() {
            Some((old, new)) => self.wants(pod, new) && old.is_none_or(|old| !self.wants(pod, old)),
            None => false,
        }
    }
}

/// The nodes that the terms name outright; `None` if some term leaves the name open.
fn named_nodes(terms: &[NodeTerm]) -> Option<BTreeSet<&str>> {
    let mut all = BTreeSet::new();
    for term in terms {
        let mut named: Option<BTreeSet<&str>> = None;
        for field in term.names.iter().filter(|f| f.operator == Operator::In) {
            let values: BTreeSet<_> = field.values.iter().map(String::as_str).collect();
            named = Some(named.map_or(values.clone(), |n| n.intersection(&values).copied().collect()));
        }
        all.extend(named?);
    }
    Some(all)
}

impl Filter for NodeAffinity {
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a> {
        let shape = &pod.shape;
        if shape.node_selector.is_empty() && shape.required_nodes.is_none() && self.added_required.is_none() {
            return Filtering::Skip;
        }
        let named = shape.required_nodes.as_deref().filter(|t| !t.is_empty()).and_then(named_nodes);
        let nodes = match named {
            Some(names) if names.is_empty() => {
                return Filtering::Reject(Rejection::unresolvable(
                    NODE_AFFINITY,
                    "pod affinity terms conflict",
                ));
            }
            Some(names) => Some(names.into_iter().filter_map(|n| cluster.node_id(n)).collect()),
            None => None,
        };
        let labels = &cluster.labels;
        let compile =
            |terms: &'a [NodeTerm]| -> Vec<_> { terms.iter().map(|t| labels.compile_term(t)).collect() };
        let added = self.added_required.as_deref().map(compile);
        let required = shape.required_nodes.as_deref().map(compile);
        let selector: Vec<_> = shape.node_selector.iter().map(|r| labels.compile(r)).collect();
        let check = move |node: NodeId| {
            let name = cluster.name(node);
            if added.as_ref().is_some_and(|terms| !terms.iter().any(|t| t.accepts(node, name))) {
                let reason = "node(s) didn't match scheduler-enforced node affinity";
                return Err(Rejection::unresolvable(NODE_AFFINITY, reason));
            }
            let wanted = selector.iter().all(|t| t.accepts(node))
                && required.as_ref().is_none_or(|terms| terms.iter().any(|t| t.accepts(node, name)));
            match wanted {
                true => Ok(()),
                false => Err(Rejection::unresolvable(
                    NODE_AFFINITY,
                    "node(s) didn't match Pod's node affinity/selector",
                )),
            }
        };
        Filtering::Check { nodes, check: Box::new(check) }
    }
}

impl Score for NodeAffinity {
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, _: &'a [NodeId]) -> Scoring<'a> {
        let all = self.added_preferred.iter().chain(&pod.shape.preferred_nodes);
        let terms: Vec<_> = all.map(|(weight, term)| (*weight, cluster.labels.compile_term(term))).collect();
        if terms.is_empty() {
            return Scoring::Skip;
        }
        let score = move |node: NodeId| {
            let name = cluster.name(node);
            terms.iter().filter(|(_, t)| t.accepts(node, name)).map(|(weight, _)| weight).sum()
        };
        Scoring::Score { score: Box::new(score), normalize: Normalize::ToLargest }
    }
}
