//! What the scheduler knows of API objects: slim projections, made once when an object is read.
//!
//! Pods of one template differ in name and little else. What they share is a [`Shape`], interned, so that
//! ten thousand equal pods cost one compiled set of rules, and comparing two shapes is comparing pointers.

mod node;
mod pod;
mod requests;
mod selector;
mod shape;
mod wire;

pub use node::{Node, Taint, TaintEffect};
pub use pod::{ClaimRef, Pod, PodKey, ScheduledCondition};
pub use requests::{CPU, EPHEMERAL_STORAGE, MEMORY, Requests, ResourceId, resource_id, resource_name};
pub use selector::{NodeTerm, Operator, Requirement, Selector};
pub use shape::{
    Affinity, HostPort, PodTerm, Shape, Shapes, SpreadConstraint, Toleration, WhenUnsatisfiable,
};
pub use wire::{
    LabelSelector as WireLabelSelector, NodeAffinity as WireNodeAffinity, NodeSelectorTerm as WireNodeTerm,
    TopologySpreadConstraint as WireSpread,
};
