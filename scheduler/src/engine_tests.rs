//! Whole attempts on small clusters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Claim, Class, Storage, Volume};
use crate::config::Configuration;
use crate::engine::{Action, Engine, Report};
use crate::model::{Node, Pod, Shapes};
use crate::queue::Place;

struct World {
    engine: Engine,
    shapes: Shapes,
    now: Instant,
}

fn node(name: &str, cpu: &str, extra: Value) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
    });
    merge(&mut node, extra);
    node
}

fn pod(name: &str, cpu: &str, extra: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "namespace": "ns", "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {},
    });
    merge(&mut pod, extra);
    pod
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

impl World {
    fn new() -> Self {
        Self::with(Configuration::default())
    }

    fn with(configuration: Configuration) -> Self {
        let engine = configuration.engine().unwrap();
        World { engine, shapes: Shapes::default(), now: Instant::now() }
    }

    fn node(&mut self, name: &str, cpu: &str, extra: Value) {
        let node = Arc::new(Node::from_value(node(name, cpu, extra)).unwrap());
        self.engine.node_changed(None, Some(&node), self.now);
    }

    fn read(&self, value: Value) -> Arc<Pod> {
        Arc::new(Pod::from_value(value, &self.shapes).unwrap())
    }

    fn add(&mut self, name: &str, cpu: &str, extra: Value) -> Arc<Pod> {
        let pod = self.read(pod(name, cpu, extra));
        self.engine.pod_changed(None, Some(&pod), self.now);
        pod
    }

    fn attempt(&mut self) -> Option<Action> {
        self.engine.attempt(self.now)
    }

    fn bound_to(&mut self) -> String {
        match self.attempt() {
            Some(Action::Bind(binding)) => binding.node,
            other => panic!("expected a binding, got {other:?}"),
        }
    }

    fn report(&mut self) -> Report {
        match self.attempt() {
            Some(Action::Report(report)) => report,
            other => panic!("expected a report, got {other:?}"),
        }
    }
}

#[test]
fn the_emptier_node_wins() {
    let mut world = World::new();
    world.node("small", "2", json!({}));
    world.node("big", "8", json!({}));
    world.add("p", "1", json!({}));
    assert_eq!(world.bound_to(), "big");
    assert!(world.attempt().is_none());
}

#[test]
fn the_message_counts_reasons() {
    let mut world = World::new();
    world.node("a", "1", json!({}));
    world.node("b", "8", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}));
    world.add("p", "2", json!({}));
    let report = world.report();
    assert_eq!(
        report.message,
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). \
         no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    assert_eq!(report.reason, "Unschedulable");
}

#[test]
fn no_nodes_then_a_node() {
    let mut world = World::new();
    world.add("p", "1", json!({}));
    assert_eq!(world.report().message, "no nodes available to schedule pods");
    assert!(world.attempt().is_none());
    world.node("a", "2", json!({}));
    assert_eq!(world.bound_to(), "a");
}

#[test]
fn only_events_that_may_help_wake_a_pod() {
    let mut world = World::new();
    world.node("a", "1", json!({}));
    world.add("p", "2", json!({}));
    world.report();
    world.node("b", "1", json!({}));
    assert!(world.attempt().is_none());
    world.node("c", "4", json!({}));
    assert_eq!(world.bound_to(), "c");
}

#[test]
fn gates_keep_a_pod_out() {
    let mut world = World::new();
    world.node("a", "4", json!({}));
    let gates = json!({"spec": {"schedulingGates": [{"name": "example.com/wait"}]}});
    let old = world.add("p", "1", gates);
    assert!(world.attempt().is_none());
    assert_eq!(world.engine.queue.count(Place::Gated), 1);
    let new = world.read(pod("p", "1", json!({})));
    world.engine.pod_changed(Some(&old), Some(&new), world.now);
    assert_eq!(world.bound_to(), "a");
}

#[test]
fn a_failed_binding_frees_the_place_and_is_tried_again() {
    let mut world = World::new();
    world.node("a", "1", json!({}));
    world.add("p", "1", json!({}));
    let Some(Action::Bind(binding)) = world.attempt() else { panic!() };
    world.add("q", "1", json!({}));
    assert!(world.report().message.contains("Insufficient cpu"));
    let report = world.engine.bind_failed(&binding, "no".into(), world.now).unwrap();
    assert_eq!(report.reason, "SchedulerError");
    // The freed place goes to the pod that waited.
    assert_eq!(world.bound_to(), "a");
    world.now += Duration::from_secs(2);
    assert!(world.report().message.contains("Insufficient cpu"));
}

#[test]
fn preemption_takes_the_least_important_pods() {
    let mut world = World::new();
    world.node("a", "2", json!({}));
    for (name, priority) in [("low", 1), ("mid", 2)] {
        world.add(name, "1", json!({"spec": {"priority": priority, "nodeName": "a"}}));
    }
    world.add("high", "1", json!({"spec": {"priority": 9}}));
    let report = world.report();
    assert_eq!(report.message, "0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(report.nominated_node, Some(Some("a".into())));
    assert_eq!(report.victims.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["low"]);
    // The place is promised: a lesser pod can't take it once the victim is gone.
    let victim = report.victims[0].clone();
    world.engine.pod_changed(Some(&victim), None, world.now);
    assert_eq!(world.bound_to(), "a");
    world.add("other", "1", json!({}));
    assert!(world.report().message.contains("1 Insufficient cpu"));
}

#[test]
fn anti_affinity_works_both_ways() {
    let mut world = World::new();
    world.node("a", "8", json!({}));
    world.node("b", "8", json!({}));
    let alone = json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
        ]}}},
    });
    world.add("x1", "1", alone.clone());
    world.add("x2", "1", alone);
    let (first, second) = (world.bound_to(), world.bound_to());
    assert_ne!(first, second);
    // One without the rule is repelled by theirs.
    world.add("x3", "1", json!({"metadata": {"labels": {"app": "x"}}}));
    assert!(
        world.report().message.starts_with(
            "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
        )
    );
}

#[test]
fn spread_constraints_bound_the_skew() {
    let mut world = World::new();
    for (name, zone) in [("a", "1"), ("b", "2")] {
        world.node(name, "8", json!({"metadata": {"labels": {"zone": zone}}}));
    }
    let spread = json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "x"}},
        }]},
    });
    let mut per_node = std::collections::BTreeMap::new();
    for name in ["x1", "x2", "x3", "x4"] {
        world.add(name, "100m", spread.clone());
        *per_node.entry(world.bound_to()).or_insert(0) += 1;
    }
    assert_eq!(per_node.into_values().collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn daemon_pods_go_to_the_node_they_name() {
    let mut world = World::new();
    world.node("a", "8", json!({}));
    world.node("b", "1", json!({}));
    let to = |name: &str| {
        json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [name]}
            ]}]
        }}}}})
    };
    world.add("d1", "1", to("b"));
    assert_eq!(world.bound_to(), "b");
    world.add("d2", "1", to("b"));
    assert!(world.report().message.starts_with(
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    ));
}

#[test]
fn a_rule_without_its_plugin_keeps_the_pod_waiting() {
    let mut world = World::new();
    world.node("a", "8", json!({}));
    world.add("p", "1", json!({"spec": {"resourceClaims": [{"name": "gpu"}]}}));
    assert!(world.report().message.contains("DynamicResources"));
}

impl World {
    fn storage(&mut self, change: Storage) {
        self.engine.storage_changed(change, self.now);
    }
}

fn claim(value: Value) -> Storage {
    let claim = Claim::decode(value.to_string().as_bytes()).unwrap();
    Storage::Claim(("ns".into(), "c".into()), Some(claim))
}

#[test]
fn a_bound_claim_ties_the_pod_to_its_volume() {
    let mut world = World::new();
    world.node("a", "8", json!({}));
    world.node("b", "1", json!({}));
    let uses = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    world.add("p", "1", uses);
    assert!(
        world
            .report()
            .message
            .starts_with("0/2 nodes are available: persistentvolumeclaim \"c\" not found. preemption:")
    );
    world.storage(claim(json!({"spec": {"storageClassName": "fast"}})));
    world.now += Duration::from_secs(20);
    assert!(world.report().message.contains("pod has unbound immediate PersistentVolumeClaims"));
    let bound = json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "pv"},
    });
    world.storage(claim(bound));
    world.now += Duration::from_secs(20);
    assert!(world.report().message.contains("bound to non-existent pv(s)"));
    let volume = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}
    ]}]}}}});
    world.storage(Storage::Volume("pv".into(), Volume::decode(volume.to_string().as_bytes()).ok()));
    world.now += Duration::from_secs(20);
    assert_eq!(world.bound_to(), "b");
}

#[test]
fn a_claim_that_waits_for_its_consumer_is_provisioned_for_the_node() {
    let mut world = World::new();
    world.node("a", "8", json!({"metadata": {"labels": {"zone": "1"}}}));
    world.node("b", "9", json!({"metadata": {"labels": {"zone": "2"}}}));
    let class = json!({
        "provisioner": "example.com/disk", "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["1"]}]}],
    });
    world.storage(Storage::Class("slow".into(), Class::decode(class.to_string().as_bytes()).ok()));
    world.storage(claim(json!({"spec": {"storageClassName": "slow"}})));
    let uses = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    world.add("p", "1", uses);
    match world.attempt() {
        Some(Action::Bind(binding)) => {
            assert_eq!((binding.node.as_str(), binding.provision.as_slice()), ("a", &["c".to_owned()][..]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn features_are_found_where_they_are_declared() {
    let mut world = World::new();
    world.node("old", "8", json!({}));
    world.add(
        "p",
        "1",
        json!({"spec": {"containers": [{
            "name": "c", "restartPolicyRules": [{"action": "RestartAllContainers"}],
        }]}}),
    );
    let message = world.report().message;
    assert!(message.contains("1 node(s) didn't match Pod's required features."), "{message}");
    let before = Arc::new(Node::from_value(node("old", "8", json!({}))).unwrap());
    let declared = json!({"status": {"declaredFeatures": ["RestartAllContainersOnContainerExits"]}});
    let after = Arc::new(Node::from_value(node("old", "8", declared)).unwrap());
    world.engine.node_changed(Some(&before), Some(&after), world.now);
    world.now += Duration::from_secs(10);
    assert_eq!(world.bound_to(), "old");
    world.add("plain", "1", json!({}));
    assert_eq!(world.bound_to(), "old");
}
