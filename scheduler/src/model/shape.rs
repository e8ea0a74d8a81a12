//! The part of a pod that its template fixes, compiled for the plugins.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::wire::{PodAffinityTerm, PodObject, TopologySpreadConstraint, WireToleration};
use super::{NodeTerm, Operator, Requests, Requirement, Selector, Taint, TaintEffect};

/// A taint that a pod puts up with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    key: String,
    value: Option<String>,
    /// The effect it covers; all of them if none.
    pub effect: Option<TaintEffect>,
}

impl Toleration {
    fn from_wire(wire: WireToleration) -> Option<Self> {
        let value = match wire.operator.as_str() {
            "" | "Equal" => Some(wire.value),
            "Exists" => None,
            // The numeric comparisons are behind a gate that is off.
            _ => return None,
        };
        let effect = if wire.effect.is_empty() { None } else { Some(TaintEffect::parse(&wire.effect)?) };
        Some(Toleration { key: wire.key, value, effect })
    }

    /// Does it cover this taint?
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|v| *v == taint.value)
    }
}

/// A port on the node that a pod binds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The address; `0.0.0.0` is all of them.
    pub address: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port's number.
    pub port: i32,
}

impl HostPort {
    /// Can the two not be bound on one node?
    pub fn conflicts(&self, other: &HostPort) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || self.address == ANY || other.address == ANY)
    }
}

/// A term of pod (anti-)affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodTerm {
    /// Namespaces named outright (the pod's own, if the term names none).
    pub namespaces: BTreeSet<String>,
    /// Namespaces chosen by label.
    pub namespace_selector: Selector,
    /// Which pods.
    pub selector: Selector,
    /// The node label whose values are the domains.
    pub topology_key: String,
}

impl PodTerm {
    fn from_wire(term: PodAffinityTerm, namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let mut selector = Selector::from_wire(term.label_selector);
        for (keys, operator) in
            [(term.match_label_keys, Operator::In), (term.mismatch_label_keys, Operator::NotIn)]
        {
            for key in keys {
                // The API server has usually merged these already; a second time changes nothing.
                if let Some(value) = labels.get(&key) {
                    selector.require(Requirement { key, operator, values: vec![value.clone()] });
                }
            }
        }
        let mut namespaces: BTreeSet<_> = term.namespaces.into_iter().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let namespace_selector = Selector::from_wire(term.namespace_selector);
        PodTerm { namespaces, namespace_selector, selector, topology_key: term.topology_key }
    }
}

/// Pod affinity or anti-affinity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Affinity {
    /// Terms that must hold.
    pub required: Vec<PodTerm>,
    /// Terms that weigh in.
    pub preferred: Vec<(i64, PodTerm)>,
}

impl Affinity {
    fn from_wire(wire: super::wire::PodAffinity, namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let term = |t| PodTerm::from_wire(t, namespace, labels);
        Affinity {
            required: wire
                .required_during_scheduling_ignored_during_execution
                .into_iter()
                .map(term)
                .collect(),
            preferred: wire
                .preferred_during_scheduling_ignored_during_execution
                .into_iter()
                .map(|w| (w.weight, term(w.pod_affinity_term)))
                .collect(),
        }
    }

    /// Has it no terms at all?
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty()
    }
}

/// What a spread constraint does when it can't be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenUnsatisfiable {
    /// The node is ruled out.
    DoNotSchedule,
    /// The node scores worse.
    ScheduleAnyway,
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    /// How uneven the domains may become.
    pub max_skew: i64,
    /// The node label whose values are the domains.
    pub topology_key: String,
    /// Filter or score.
    pub when_unsatisfiable: WhenUnsatisfiable,
    /// Which pods count.
    pub selector: Selector,
    /// With fewer domains than this, the emptiest counts as empty.
    pub min_domains: i64,
    /// Do nodes that the pod's node affinity rules out not count?
    pub honor_node_affinity: bool,
    /// Do nodes with taints the pod doesn't tolerate not count?
    pub honor_node_taints: bool,
}

impl SpreadConstraint {
    pub(crate) fn from_wire(wire: TopologySpreadConstraint, labels: &BTreeMap<String, String>) -> Self {
        let mut selector = Selector::from_wire(wire.label_selector);
        for key in wire.match_label_keys {
            if let Some(value) = labels.get(&key) {
                let values = vec![value.clone()];
                selector.require(Requirement { key, operator: Operator::In, values });
            }
        }
        SpreadConstraint {
            max_skew: wire.max_skew,
            topology_key: wire.topology_key,
            when_unsatisfiable: match wire.when_unsatisfiable.as_str() {
                "ScheduleAnyway" => WhenUnsatisfiable::ScheduleAnyway,
                _ => WhenUnsatisfiable::DoNotSchedule,
            },
            selector,
            min_domains: wire.min_domains.unwrap_or(1),
            honor_node_affinity: wire.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_node_taints: wire.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

/// Everything about a pod that its template fixes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// Which profile schedules it.
    pub scheduler_name: String,
    /// Its priority.
    pub priority: i32,
    /// May it preempt others?
    pub preempts: bool,
    /// What it asks for.
    pub requests: Requests,
    /// Taints it tolerates.
    pub tolerations: Vec<Toleration>,
    /// `nodeSelector`, as conditions.
    pub node_selector: Vec<Requirement>,
    /// Required node affinity: one of the terms must match.
    pub required_nodes: Option<Vec<NodeTerm>>,
    /// Preferred node affinity.
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    /// Pod affinity.
    pub affinity: Affinity,
    /// Pod anti-affinity.
    pub anti_affinity: Affinity,
    /// Topology spread constraints.
    pub spread: Vec<SpreadConstraint>,
    /// Host ports it binds.
    pub host_ports: Vec<HostPort>,
    /// Images of all containers, normalized.
    pub images: Vec<String>,
    /// How many containers there are, init containers included.
    pub containers: usize,
    /// Scheduling gates still closed.
    pub gates: Vec<String>,
    /// The controller that owns it: kind and name.
    pub owner: Option<(String, String)>,
    /// Kinds of volumes it uses that may be attached once, by field name (`iscsi`).
    pub volumes: BTreeSet<String>,
    /// Does it use resource claims?
    pub claims: bool,
    /// Features that its node must declare.
    pub features: Vec<&'static str>,
}

impl Shape {
    /// Does it tolerate every taint that keeps pods off a node?
    pub fn tolerates(&self, taints: &[Taint]) -> bool {
        taints
            .iter()
            .filter(|t| matches!(t.effect, TaintEffect::NoSchedule | TaintEffect::NoExecute))
            .all(|taint| self.tolerations.iter().any(|t| t.tolerates(taint)))
    }

    /// Does a node of this name and these labels satisfy its node selector and required affinity?
    pub fn wants_node<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str> + Copy) -> bool {
        self.node_selector.iter().all(|r| r.accepts(label(&r.key)))
            && self.required_nodes.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(name, label)))
    }

    pub(super) fn of(mut pod: PodObject) -> Self {
        let requests = Requests::of(&pod);
        let spec = &mut pod.spec;
        let namespace = pod.metadata.namespace;
        let labels = pod.metadata.labels;
        let affinity = std::mem::take(&mut spec.affinity);
        let node_selector = std::mem::take(&mut spec.node_selector)
            .into_iter()
            .map(|(key, value)| Requirement { key, operator: Operator::In, values: vec![value] })
            .collect();
        let all_containers = || spec.init_containers.iter().chain(&spec.containers);
        let restartable = |c: &&super::wire::Container| c.restart_policy == "Always";
        let host_ports = (spec.init_containers.iter().filter(restartable))
            .chain(&spec.containers)
            .flat_map(|c| &c.ports)
            .filter(|p| p.host_port > 0)
            .map(|p| HostPort {
                address: or(&p.host_ip, "0.0.0.0"),
                protocol: or(&p.protocol, "TCP"),
                port: p.host_port,
            })
            .collect();
        let node_affinity = affinity.node_affinity;
        Shape {
            scheduler_name: or(&spec.scheduler_name, "default-scheduler"),
            priority: spec.priority,
            preempts: spec.preemption_policy != "Never",
            requests,
            node_selector,
            required_nodes: node_affinity
                .required_during_scheduling_ignored_during_execution
                .map(|s| s.node_selector_terms.into_iter().map(NodeTerm::from_wire).collect()),
            preferred_nodes: node_affinity
                .preferred_during_scheduling_ignored_during_execution
                .into_iter()
                .map(|p| (p.weight, NodeTerm::from_wire(p.preference)))
                .collect(),
            affinity: Affinity::from_wire(affinity.pod_affinity, &namespace, &labels),
            anti_affinity: Affinity::from_wire(affinity.pod_anti_affinity, &namespace, &labels),
            spread: std::mem::take(&mut spec.topology_spread_constraints)
                .into_iter()
                .map(|c| SpreadConstraint::from_wire(c, &labels))
                .collect(),
            host_ports,
            images: all_containers().map(|c| normalized_image(&c.image)).collect(),
            containers: spec.init_containers.len() + spec.containers.len(),
            gates: std::mem::take(&mut spec.scheduling_gates).into_iter().map(|g| g.name).collect(),
            owner: pod.metadata.owner_references.into_iter().find(|o| o.controller).map(|o| (o.kind, o.name)),
            volumes: spec.volumes.iter().filter_map(attached_once).collect(),
            claims: !spec.resource_claims.is_empty(),
            features: required_features(spec),
            tolerations: std::mem::take(&mut spec.tolerations)
                .into_iter()
                .filter_map(Toleration::from_wire)
                .collect(),
            namespace,
            labels,
        }
    }
}

/// The features that a pod makes use of, of those that nodes declare.
fn required_features(spec: &super::wire::PodSpec) -> Vec<&'static str> {
    let mut containers = spec.containers.iter().chain(&spec.init_containers);
    let restarts_all =
        containers.any(|c| c.restart_policy_rules.iter().any(|r| r.action == "RestartAllContainers"));
    let own_users_on_host_network = spec.host_network && spec.host_users == Some(false);
    [
        (restarts_all, "RestartAllContainersOnContainerExits"),
        (own_users_on_host_network, "UserNamespacesHostNetworkSupport"),
    ]
    .into_iter()
    .filter_map(|(needed, feature)| needed.then_some(feature))
    .collect()
}

/// The kind of a volume that may be attached once, of those that pods can have without a claim.
fn attached_once(volume: &super::wire::Volume) -> Option<String> {
    let kinds = [
        ("gcePersistentDisk", &volume.gce_persistent_disk),
        ("awsElasticBlockStore", &volume.aws_elastic_block_store),
        ("iscsi", &volume.iscsi),
        ("rbd", &volume.rbd),
    ];
    kinds.iter().find(|(_, there)| there.is_some()).map(|(kind, _)| (*kind).to_owned())
}

/// An image name without a tag means `latest`.
pub(super) fn normalized_image(name: &str) -> String {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest") } else { name.to_owned() }
}

fn or(value: &str, default: &str) -> String {
    if value.is_empty() { default.to_owned() } else { value.to_owned() }
}

/// The shapes in use, each once.
#[derive(Debug, Default)]
pub struct Shapes {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    shapes: HashSet<Arc<Shape>>,
    sweep_at: usize,
}

impl Shapes {
    /// The shared copy of a shape.
    pub(super) fn intern(&self, shape: Shape) -> Arc<Shape> {
        let mut known = self.known.lock();
        if let Some(shape) = known.shapes.get(&shape) {
            return shape.clone();
        }
        if known.shapes.len() >= known.sweep_at {
            known.shapes.retain(|s| Arc::strong_count(s) > 1);
            known.sweep_at = (known.shapes.len() * 2).max(256);
        }
        let shape = Arc::new(shape);
        known.shapes.insert(shape.clone());
        shape
    }
}
