//! The plugins, one file each, and the registry that makes them by name.

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod pod_topology_spread;
mod scheduling_gates;
mod taint_toleration;
mod unsupported;
mod volumes;

pub use image_locality::ImageLocality;
pub use inter_pod_affinity::InterPodAffinity;
pub use node_affinity::NodeAffinity;
pub use node_declared_features::NodeDeclaredFeatures;
pub use node_name::NodeName;
pub use node_ports::NodePorts;
pub use node_resources::{BalancedAllocation, Fit, Strategy};
pub use node_unschedulable::NodeUnschedulable;
pub use pod_topology_spread::PodTopologySpread;
pub use scheduling_gates::SchedulingGates;
pub use taint_toleration::TaintToleration;
pub use unsupported::Unsupported;
pub use volumes::{NodeVolumeLimits, VolumeBinding, VolumeRestrictions, VolumeZone};

/// Plugin names, as in configuration.
pub mod names {
    #![allow(missing_docs)]
    pub const PRIORITY_SORT: &str = "PrioritySort";
    pub const SCHEDULING_GATES: &str = "SchedulingGates";
    pub const NODE_UNSCHEDULABLE: &str = "NodeUnschedulable";
    pub const NODE_NAME: &str = "NodeName";
    pub const TAINT_TOLERATION: &str = "TaintToleration";
    pub const NODE_AFFINITY: &str = "NodeAffinity";
    pub const NODE_PORTS: &str = "NodePorts";
    pub const NODE_RESOURCES_FIT: &str = "NodeResourcesFit";
    pub const VOLUME_RESTRICTIONS: &str = "VolumeRestrictions";
    pub const NODE_VOLUME_LIMITS: &str = "NodeVolumeLimits";
    pub const VOLUME_BINDING: &str = "VolumeBinding";
    pub const VOLUME_ZONE: &str = "VolumeZone";
    pub const POD_TOPOLOGY_SPREAD: &str = "PodTopologySpread";
    pub const INTER_POD_AFFINITY: &str = "InterPodAffinity";
    pub const DYNAMIC_RESOURCES: &str = "DynamicResources";
    pub const DEFAULT_PREEMPTION: &str = "DefaultPreemption";
    pub const BALANCED_ALLOCATION: &str = "NodeResourcesBalancedAllocation";
    pub const IMAGE_LOCALITY: &str = "ImageLocality";
    pub const DEFAULT_BINDER: &str = "DefaultBinder";
    pub const NODE_DECLARED_FEATURES: &str = "NodeDeclaredFeatures";
}
