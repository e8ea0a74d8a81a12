//! Nodes that stop reporting: their conditions, taints, and pods.
//!
//! Watches nodes, their leases in `kube-node-lease`, and pods. There is no polling: the next pass over
//! all nodes is due when something of a node changed, or when the next one will have been silent for
//! too long.

mod health;
mod taints;

use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::{LEASES, NODES, PODS};
use component_base::client::{Error, Patch};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store, Watch};
use parking_lot::Mutex;
use proto::meta::Key;
use proto::time::Time;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::api::core::{Lease, Node, Pod, Taint};
use crate::api::find_condition;
use crate::common::events::Event;
use crate::common::pods::is_ready;
use crate::context::{BY_NODE, Controller, Subject};
use health::{Action, Health, Limits};

const LEASE_NAMESPACE: &str = "kube-node-lease";

struct Lifecycle {
    controller: Arc<Controller>,
    nodes: Store<Node>,
    leases: Store<Lease>,
    pods: Store<Pod>,
    limits: Limits,
    /// The least time between two passes.
    period: Duration,
    health: Mutex<Health>,
    due: Notify,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let flags = controller.flags();
    let limits = Limits {
        startup_grace: flags.duration("node-startup-grace-period").to_std(),
        grace: flags.duration("node-monitor-grace-period").to_std(),
        rate: flags.float("node-eviction-rate"),
        secondary_rate: flags.float("secondary-node-eviction-rate"),
        large_cluster: usize::try_from(flags.int("large-cluster-size-threshold")).unwrap_or(50),
        unhealthy_fraction: flags.float("unhealthy-zone-threshold"),
    };
    let this = Arc::new(Lifecycle {
        nodes: controller.nodes(),
        leases: controller.informers().watch(Watch::new(LEASES).namespace(LEASE_NAMESPACE)),
        pods: controller.pods(),
        period: flags.duration("node-monitor-period").to_std(),
        limits,
        health: Mutex::default(),
        due: Notify::new(),
        controller: controller.clone(),
    });
    let nodes: Queue<Key> = Queue::new("node_lifecycle_controller");
    let pods: Queue<Key> = Queue::new("node_lifecycle_controller_pods");
    let (own, keys) = (this.clone(), nodes.clone());
    this.nodes.subscribe(move |change| own.on_node(change, &keys));
    let own = this.clone();
    this.leases.subscribe(move |change| own.on_lease(change));
    let keys = pods.clone();
    this.pods.subscribe(move |change: &Change<Pod>| {
        let node = |p: &Arc<Pod>| p.spec.node_name.clone();
        let (old, new) = (change.old.as_ref().map(node), change.new.as_ref().map(node));
        if new.as_ref().is_some_and(|n| !n.is_empty()) && new != old {
            keys.add(change.key());
        }
    });
    let ready = |own: Arc<Lifecycle>| async move {
        own.nodes.synced().await;
        own.leases.synced().await;
        own.pods.synced().await;
    };
    let own = this.clone();
    controller.run(&nodes, 8, ready(this.clone()), move |key| {
        let own = own.clone();
        async move { own.taint_by_condition(&key).await }
    });
    let own = this.clone();
    controller.run(&pods, 4, ready(this.clone()), move |key| {
        let own = own.clone();
        async move { own.place_pod(&key).await }
    });
    controller.tasks.spawn(controller.name, async move {
        ready(this.clone()).await;
        this.watch_health().await
    });
    Ok(())
}

impl Lifecycle {
    fn on_node(&self, change: &Change<Node>, queue: &Queue<Key>) {
        if change.new.is_some() {
            queue.add(change.key());
        }
        let state = |n: &Arc<Node>| {
            let ready = find_condition(&n.status.conditions, "Ready").map(|c| c.status.clone());
            (ready, n.spec.taints.clone(), n.metadata.labels.clone(), n.metadata.uid.clone())
        };
        if let Some(node) = &change.new {
            let lease = self.leases.get(LEASE_NAMESPACE, &node.metadata.name);
            self.health.lock().observe(node, lease.as_deref(), Instant::now());
        }
        if change.old.as_ref().map(state) != change.new.as_ref().map(state) {
            self.due.notify_one();
        }
    }

    fn on_lease(&self, change: &Change<Lease>) {
        let Some(lease) = &change.new else { return };
        if let Some(node) = self.nodes.get("", &lease.metadata.name) {
            self.health.lock().observe(&node, Some(lease), Instant::now());
        }
    }

    async fn watch_health(&self) -> anyhow::Result<()> {
        loop {
            let nodes = self.nodes.list();
            let lease = |name: &str| self.leases.get(LEASE_NAMESPACE, name);
            let now = Instant::now();
            let pass = self.health.lock().pass(&nodes, &lease, &self.limits, now, Time::now());
            let mut wait = pass.next;
            for action in pass.actions {
                if let Err(error) = self.act(action).await {
                    if error.is_conflict() {
                        tracing::debug!(err = %error, "A node has changed, will retry");
                    } else {
                        tracing::warn!(err = %error, "A node's state can't be written, will retry");
                    }
                    wait = Some(self.period);
                }
            }
            // Changes that come in quick succession are looked at together.
            tokio::time::sleep(self.period.min(Duration::from_millis(200))).await;
            tokio::select! {
                () = self.due.notified() => {}
                () = async {
                    match wait {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    fn subject(&self, name: &str, uid: &str) -> Subject {
        let mut subject = Subject::new("v1", "Node", &Default::default());
        subject.metadata.name = name.into();
        subject.metadata.uid = uid.into();
        subject
    }

    async fn act(&self, action: Action) -> Result<(), Error> {
        match action {
            Action::Register(name) => {
                if let Some(node) = self.nodes.get("", &name) {
                    let message = format!("Node {name} event: Registered Node {name} in Controller");
                    let subject = self.subject(&name, &node.metadata.uid);
                    self.controller.record(&subject, &Event::normal("RegisteredNode", message));
                }
                Ok(())
            }
            Action::Remove(name, uid) => {
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                let subject = self.subject(&name, &uid);
                self.controller.record(&subject, &Event::normal("RemovingNode", message));
                Ok(())
            }
            Action::Taint { node, key } => {
                let Some(node) = self.nodes.get("", &node) else { return Ok(()) };
                match taints::no_execute(&node, key, Time::now()) {
                    Some(taints) => self.write_taints(&node, &taints).await,
                    None => Ok(()),
                }
            }
            Action::Silence { node: name, conditions, was_ready } => {
                let Some(node) = self.nodes.get("", &name) else { return Ok(()) };
                let patch = json!({
                    "metadata": {
                        "uid": node.metadata.uid,
                        "resourceVersion": node.metadata.resource_version,
                    },
                    "status": {"conditions": conditions},
                });
                let status = NODES.sub("status");
                let client = &self.controller.client;
                client.patch::<Value>(&status, "", &name, Patch::Strategic, &patch).await?;
                if was_ready {
                    let message = format!("Node {name} status is now: NodeNotReady");
                    let subject = self.subject(&name, &node.metadata.uid);
                    self.controller.record(&subject, &Event::normal("NodeNotReady", message));
                    for pod in self.pods.by_index(BY_NODE, &name) {
                        self.mark_not_ready(&pod).await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn write_taints(&self, node: &Node, taints: &[Taint]) -> Result<(), Error> {
        let patch = json!({
            "metadata": {
                "uid": node.metadata.uid,
                "resourceVersion": node.metadata.resource_version,
            },
            "spec": {"taints": taints},
        });
        let client = &self.controller.client;
        client.patch::<Value>(&NODES, "", &node.metadata.name, Patch::Merge, &patch).await?;
        Ok(())
    }

    async fn taint_by_condition(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get_key(key) else { return Ok(Next::Done) };
        if let Some(taints) = taints::no_schedule(&node, Time::now()) {
            self.write_taints(&node, &taints).await?;
        }
        let labels = taints::labels(&node);
        if !labels.is_empty() {
            let patch = json!({"metadata": {"uid": node.metadata.uid, "labels": labels}});
            let client = &self.controller.client;
            client.patch::<Value>(&NODES, "", &key.name, Patch::Merge, &patch).await?;
        }
        Ok(Next::Done)
    }

    /// A pod that comes to a node which is not ready can't be ready either.
    async fn place_pod(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(Next::Done) };
        let not_ready = self.health.lock().is_not_ready(&pod.spec.node_name);
        if not_ready {
            self.mark_not_ready(&pod).await?;
        }
        Ok(Next::Done)
    }

    async fn mark_not_ready(&self, pod: &Pod) -> Result<(), Error> {
        if !is_ready(pod) {
            return Ok(());
        }
        let metadata = &pod.metadata;
        let patch = json!({
            "metadata": {"uid": metadata.uid},
            "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": Time::now()},
            ]},
        });
        let status = PODS.sub("status");
        let client = &self.controller.client;
        let outcome = client
            .patch::<Value>(&status, &metadata.namespace, &metadata.name, Patch::Strategic, &patch)
            .await;
        match outcome {
            Err(error) if error.is_not_found() => return Ok(()),
            outcome => outcome?,
        };
        let subject = Subject::new("v1", "Pod", metadata);
        self.controller.record(&subject, &Event::warning("NodeNotReady", "Node is not ready"));
        Ok(())
    }
}
