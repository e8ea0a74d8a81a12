//! Pods that nobody else will delete: on nodes that are gone, never placed, or simply too many.
//!
//! Watches pods and nodes. One key stands for all pods; changes are gathered before a look.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::{NODES, PODS};
use component_base::client::{DeleteOptions, Error, Patch};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use parking_lot::Mutex;
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::Condition;
use crate::api::core::{Metadata, Node, Pod};
use crate::common::pods;
use crate::context::Controller;

/// The time for which changes are gathered.
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be unknown before its pods go.
const QUARANTINE: Duration = Duration::from_secs(40);

struct Collector {
    controller: Arc<Controller>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    keep_terminated: usize,
    /// Nodes that pods name and that aren't there, since when.
    unknown: Mutex<HashMap<String, Instant>>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let keep = controller.flags().int("terminated-pod-gc-threshold");
    let queue: Queue<&'static str> = Queue::new("orphaned_pods_nodes");
    let this = Arc::new(Collector {
        pods: controller.pods(),
        nodes: controller.nodes(),
        keep_terminated: usize::try_from(keep).unwrap_or(0),
        unknown: Mutex::default(),
        controller: controller.clone(),
    });
    let (own, keys) = (this.clone(), queue.clone());
    this.pods.subscribe(move |change: &Change<Pod>| {
        let Some(pod) = &change.new else { return };
        let ended = pods::is_terminal(pod) && own.keep_terminated > 0;
        let node_is_unknown = || own.nodes.get("", &pod.spec.node_name).is_none();
        if ended || pod.metadata.is_being_deleted() || (!pod.spec.node_name.is_empty() && node_is_unknown()) {
            keys.add_after("pods", PERIOD);
        }
    });
    let keys = queue.clone();
    this.nodes.subscribe(move |change: &Change<Node>| {
        let out = |n: &Arc<Node>| n.spec.taints.iter().any(|t| t.key == plan::OUT_OF_SERVICE);
        if change.new.as_ref().is_none_or(out) {
            keys.add_after("pods", PERIOD);
        }
    });
    let own = this.clone();
    let ready = async move {
        own.pods.synced().await;
        own.nodes.synced().await;
    };
    controller.run(&queue, 1, ready, move |_| {
        let this = this.clone();
        async move { this.collect().await }
    });
    Ok(())
}

impl Collector {
    async fn collect(&self) -> anyhow::Result<Next> {
        let all = self.pods.list();
        let plan = plan::plan(&all, &self.nodes.list(), self.keep_terminated);
        for pod in &plan.delete {
            self.delete(pod, None).await?;
        }
        let gone = {
            let mut unknown = self.unknown.lock();
            unknown.retain(|node, _| plan.unknown_nodes.contains(node));
            for node in &plan.unknown_nodes {
                unknown.entry(node.clone()).or_insert_with(Instant::now);
            }
            let due = unknown.iter().filter(|(_, since)| since.elapsed() >= QUARANTINE);
            due.map(|(node, _)| node.clone()).collect::<Vec<_>>()
        };
        for node in gone {
            match self.controller.client.get::<Metadata>(&NODES, "", &node).await {
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
                Ok(_) => continue,
            }
            let message = "PodGC: node no longer exists";
            for pod in all.iter().filter(|p| p.spec.node_name == node) {
                let now = Time::now();
                let condition = Condition::new("DisruptionTarget", "True", "DeletionByPodGC", message, now);
                self.delete(pod, Some(condition)).await?;
            }
            self.unknown.lock().remove(&node);
        }
        let waiting = !self.unknown.lock().is_empty();
        Ok(if waiting { Next::After(PERIOD) } else { Next::Done })
    }

    /// Deletes a pod without grace. One that never ended counts as failed.
    async fn delete(&self, pod: &Pod, condition: Option<Condition>) -> Result<(), Error> {
        let client = &self.controller.client;
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        if !pods::is_terminal(pod) {
            let mut patch = json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"phase": "Failed"},
            });
            if let Some(condition) = condition {
                patch["status"]["conditions"] = json!([condition]);
            }
            let status = PODS.sub("status");
            match client.patch::<Value>(&status, namespace, name, Patch::Strategic, &patch).await {
                Err(error) if error.is_not_found() => return Ok(()),
                outcome => outcome?,
            };
        }
        let options =
            DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(&pod.metadata.uid) };
        match client.delete(&PODS, namespace, name, &options).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }
}
