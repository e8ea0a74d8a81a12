//! Changes in the cluster that may let a waiting pod be placed.

use crate::model::{Node, Pod};

/// What about a node changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// Its allocatable resources.
    pub allocatable: bool,
    /// Its labels.
    pub labels: bool,
    /// Its taints, or it was uncordoned.
    pub taints: bool,
    /// The features that it declares.
    pub features: bool,
}

impl NodeChange {
    /// What differs between two states.
    pub fn between(old: &Node, new: &Node) -> Self {
        NodeChange {
            allocatable: old.allocatable != new.allocatable || old.max_pods != new.max_pods,
            labels: old.labels != new.labels,
            taints: old.taints != new.taints || (old.unschedulable && !new.unschedulable),
            features: old.features != new.features,
        }
    }

    /// Did nothing change that a pod could wait for?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What about a pod changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodChange {
    /// Its labels.
    pub labels: bool,
    /// It asks for less.
    pub scaled_down: bool,
    /// Its last scheduling gate went.
    pub gates_eliminated: bool,
    /// Its tolerations.
    pub tolerations: bool,
}

impl PodChange {
    /// What differs between two states.
    pub fn between(old: &Pod, new: &Pod) -> Self {
        let (old, new) = (&old.shape, &new.shape);
        PodChange {
            labels: old.labels != new.labels,
            scaled_down: old.requests.shrinks_to(&new.requests),
            gates_eliminated: new.gates.is_empty() && !old.gates.is_empty(),
            tolerations: old.tolerations != new.tolerations,
        }
    }
}

/// One change.
#[derive(Debug)]
pub enum Event<'a> {
    /// A node appeared.
    NodeAdded(&'a Node),
    /// A node changed.
    NodeUpdated {
        /// Its state before.
        old: &'a Node,
        /// Its state now.
        new: &'a Node,
        /// What differs.
        change: NodeChange,
    },
    /// A node went away.
    NodeDeleted(&'a Node),
    /// A pod was bound to a node.
    PodAssigned(&'a Pod),
    /// A pod on a node changed.
    AssignedPodUpdated {
        /// Its state before.
        old: &'a Pod,
        /// Its state now.
        new: &'a Pod,
        /// What differs.
        change: PodChange,
    },
    /// A pod left its node (or the place held for it).
    AssignedPodDeleted(&'a Pod),
    /// A claim, a volume or a storage class changed.
    StorageChanged,
    /// The waiting pod itself changed.
    Updated {
        /// Its state before.
        old: &'a Pod,
        /// What differs.
        change: PodChange,
    },
}

impl Event<'_> {
    /// The name in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Event::NodeAdded(_) => "NodeAdd",
            Event::NodeUpdated { change, .. } if change.allocatable => "NodeAllocatableChange",
            Event::NodeUpdated { change, .. } if change.labels => "NodeLabelChange",
            Event::NodeUpdated { change, .. } if change.taints => "NodeTaintChange",
            Event::NodeUpdated { .. } => "NodeDeclaredFeatureChange",
            Event::NodeDeleted(_) => "NodeDelete",
            Event::PodAssigned(_) => "AssignedPodAdd",
            Event::AssignedPodUpdated { .. } => "AssignedPodUpdate",
            Event::AssignedPodDeleted(_) => "AssignedPodDelete",
            Event::StorageChanged => "StorageChange",
            Event::Updated { .. } => "PodUpdate",
        }
    }

    /// The node that appeared or changed, before and after.
    pub fn node(&self) -> Option<(Option<&Node>, &Node)> {
        match self {
            Event::NodeAdded(node) => Some((None, node)),
            Event::NodeUpdated { old, new, .. } => Some((Some(old), new)),
            _ => None,
        }
    }
}
