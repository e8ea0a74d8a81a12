//! The points at which plugins take part in placing a pod, as small traits.
//!
//! A plugin that looks at nodes works in two steps: asked once per pod, it looks at the whole cluster and
//! hands back a function that is then asked about single nodes. What upstream calls PreFilter and Filter
//! (PreScore and Score) is thus one call and the closure it returns; there is no shared cycle state.
//! All of it is pure: plugins read the cluster and change nothing. What must be done is in the
//! [`Decision`](cycle::Decision), and the daemon does it.

pub mod cycle;
pub mod event;

use std::borrow::Cow;
use std::collections::BTreeSet;

use smallvec::{SmallVec, smallvec};

use crate::cluster::{Cluster, NodeId};
use crate::model::Pod;
pub use event::Event;

/// The best score a node can get from one plugin.
pub const MAX_SCORE: i64 = 100;

/// Why a node (or every node) won't do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The plugin that says so.
    pub plugin: &'static str,
    /// Its reasons, in words.
    pub reasons: SmallVec<[Cow<'static, str>; 1]>,
    /// Is it so whatever pods are removed?
    pub unresolvable: bool,
}

impl Rejection {
    /// Removing pods may help.
    pub fn resolvable(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Rejection { plugin, reasons: smallvec![reason.into()], unresolvable: false }
    }

    /// Removing pods won't help.
    pub fn unresolvable(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Rejection { unresolvable: true, ..Self::resolvable(plugin, reason) }
    }

    /// All reasons in one line.
    pub fn message(&self) -> String {
        self.reasons.join(", ")
    }
}

/// Says whether one node will do.
pub type NodeCheck<'a> = Box<dyn Fn(NodeId) -> Result<(), Rejection> + 'a>;

/// What a filter makes of a pod.
pub enum Filtering<'a> {
    /// Every node will do.
    Skip,
    /// No node will do.
    Reject(Rejection),
    /// Ask about each node; if `nodes` is given, only those can do.
    Check {
        /// The only nodes worth asking about.
        nodes: Option<BTreeSet<NodeId>>,
        /// The question.
        check: NodeCheck<'a>,
    },
}

impl<'a> Filtering<'a> {
    /// Ask about each node.
    pub fn check(check: impl Fn(NodeId) -> Result<(), Rejection> + 'a) -> Self {
        Filtering::Check { nodes: None, check: Box::new(check) }
    }
}

/// How a plugin's raw scores become 0 to [`MAX_SCORE`].
pub enum Normalize<'a> {
    /// They are already.
    No,
    /// In proportion to the largest.
    ToLargest,
    /// Likewise, and the largest is worst.
    ToLargestReversed,
    /// By a rule of its own.
    With(Box<dyn Fn(&[NodeId], &mut [i64]) + 'a>),
}

impl Normalize<'_> {
    /// Brings scores to scale.
    pub fn apply(&self, nodes: &[NodeId], scores: &mut [i64]) {
        let reversed = match self {
            Normalize::No => return,
            Normalize::With(f) => return f(nodes, scores),
            Normalize::ToLargest => false,
            Normalize::ToLargestReversed => true,
        };
        let largest = scores.iter().copied().max().unwrap_or(0).max(0);
        for score in scores {
            let scaled = if largest == 0 { 0 } else { MAX_SCORE * *score / largest };
            *score = if reversed { MAX_SCORE - scaled } else { scaled };
        }
    }
}

/// What a scorer makes of a pod.
pub enum Scoring<'a> {
    /// It has no preference.
    Skip,
    /// Ask about each node.
    Score {
        /// The raw score of one node.
        score: Box<dyn Fn(NodeId) -> i64 + 'a>,
        /// How raw scores compare.
        normalize: Normalize<'a>,
    },
}

/// What all plugins have.
pub trait Plugin: Send + Sync {
    /// The name in configuration, events and metrics.
    fn name(&self) -> &'static str;

    /// The plugin turned this pod down before: may it think otherwise after this event?
    ///
    /// A wrong `false` leaves the pod waiting until the periodic flush; a wrong `true` costs one attempt.
    fn hint(&self, _cluster: &Cluster, _pod: &Pod, _event: &Event) -> bool {
        false
    }
}

/// Keeps pods out of the queue. Idempotent; asked again when the pod changes.
pub trait PreEnqueue: Plugin {
    /// `Err` says why the pod has to wait.
    fn pre_enqueue(&self, pod: &Pod) -> Result<(), Rejection>;
}

/// Rules out nodes (PreFilter and Filter).
pub trait Filter: Plugin {
    /// Looks at the pod and the cluster once, before nodes are asked about.
    fn filter<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod) -> Filtering<'a>;
}

/// Ranks nodes (PreScore and Score).
pub trait Score: Plugin {
    /// Looks at the pod and the nodes that will do, before they are ranked.
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, nodes: &'a [NodeId]) -> Scoring<'a>;
}

/// Claims and frees what a placement needs beyond the columns; both must be idempotent.
pub trait Reserve: Plugin {
    /// Claims; an error ends the attempt.
    fn reserve(&self, pod: &Pod, node: &str) -> Result<(), Rejection>;
    /// Frees what `reserve` claimed, also if it claimed nothing.
    fn unreserve(&self, pod: &Pod, node: &str);
}

/// Approves a placement before it is carried out.
pub trait Permit: Plugin {
    /// `Err` turns it down.
    fn permit(&self, pod: &Pod, node: &str) -> Result<(), Rejection>;
}
