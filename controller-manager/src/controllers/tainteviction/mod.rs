//! Pods that don't tolerate the `NoExecute` taints of their node are deleted, at once or in time.
//!
//! Watches pods and nodes. The key is the pod; a planned eviction is a key that comes back.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use parking_lot::Mutex;
use proto::meta::Key;

use crate::api::core::{Node, Pod, Taint};
use crate::common::events::Event;
use crate::common::pod_control;
use crate::context::{BY_NODE, Controller, Subject};
use plan::{Plan, Scheduled};

struct Evictions {
    controller: Arc<Controller>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    scheduled: Mutex<HashMap<Key, Scheduled>>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("noexec_taint_pod");
    let this = Arc::new(Evictions {
        pods: controller.pods(),
        nodes: controller.nodes(),
        scheduled: Mutex::default(),
        controller: controller.clone(),
    });
    let keys = queue.clone();
    this.pods.subscribe(move |change: &Change<Pod>| {
        let placed = |p: &Arc<Pod>| (p.spec.node_name.clone(), p.spec.tolerations.clone());
        if change.old.as_ref().map(placed) != change.new.as_ref().map(placed) {
            keys.add(change.key());
        }
    });
    let (own, keys) = (this.clone(), queue.clone());
    this.nodes.subscribe(move |change: &Change<Node>| {
        let taints = |n: &Arc<Node>| -> Vec<Taint> {
            n.spec.taints.iter().filter(|t| t.effect == "NoExecute").cloned().collect()
        };
        if change.old.as_ref().map(taints) != change.new.as_ref().map(taints) {
            for pod in own.pods.by_index(BY_NODE, &change.latest().metadata.name) {
                keys.add(pod.metadata.key());
            }
        }
    });
    let own = this.clone();
    let ready = async move {
        own.pods.synced().await;
        own.nodes.synced().await;
    };
    controller.run(&queue, 8, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Evictions {
    fn record(&self, key: &Key, message: String) {
        let mut subject = Subject::new("v1", "Pod", &Default::default());
        subject.metadata.namespace = key.namespace.to_string();
        subject.metadata.name = key.name.to_string();
        self.controller.record(&subject, &Event::normal("TaintManagerEviction", message));
    }

    fn call_off(&self, key: &Key) {
        if self.scheduled.lock().remove(key).is_some() {
            self.record(key, format!("Cancelling deletion of Pod {key}"));
        }
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let pod = self.pods.get_key(key).filter(|p| !p.spec.node_name.is_empty());
        let Some(pod) = pod else {
            self.call_off(key);
            return Ok(Next::Done);
        };
        let node = self.nodes.get("", &pod.spec.node_name);
        let taints = node.as_ref().map(|n| n.spec.taints.as_slice()).unwrap_or_default();
        let now = Instant::now();
        let before = self.scheduled.lock().get(key).copied();
        let due = match plan::plan(taints, &pod.spec.tolerations, before, now) {
            Plan::Stay => {
                self.call_off(key);
                return Ok(Next::Done);
            }
            Plan::Keep => before.unwrap_or(Scheduled { since: now, at: now }),
            Plan::Evict(scheduled) => scheduled,
        };
        if due.at > now {
            self.scheduled.lock().insert(key.clone(), due);
            return Ok(Next::After(due.at - now));
        }
        if !pod.metadata.is_being_deleted() {
            self.record(key, format!("Marking for deletion Pod {key}"));
            let message = "Taint manager: deleting due to NoExecute taint";
            pod_control::disrupt(&self.controller, &pod, "DeletionByTaintManager", message).await?;
        }
        self.scheduled.lock().remove(key);
        Ok(Next::Done)
    }
}
