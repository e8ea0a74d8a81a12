//! The cloud-node-lifecycle controller: removes nodes whose machines are gone, and marks those that are off.
//!
//! Only nodes that aren't ready are looked at: a machine that reports is there.

use component_base::client::known::NODES;
use component_base::client::{DeleteOptions, Patch};
use component_base::events::{EventType, ObjectRef, Recorder};
use component_base::queue::{Next, Queue, run_workers};
use proto::meta::Key;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{Context, SHUT_DOWN, unchanged};
use crate::objects::Node;

/// What must be done about a node.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Delete,
    MarkOff,
    UnmarkOff,
}

/// What the cloud says of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    On,
    Off,
    Gone,
}

fn plan(node: &Node, machine: Machine) -> Plan {
    let marked = node.has_taint(SHUT_DOWN);
    match machine {
        _ if node.is_ready() => {
            if marked {
                Plan::UnmarkOff
            } else {
                Plan::Nothing
            }
        }
        Machine::Gone if !node.metadata.is_being_deleted() => Plan::Delete,
        Machine::Off if !marked => Plan::MarkOff,
        _ => Plan::Nothing,
    }
}

#[derive(Clone)]
struct Controller {
    context: Context,
    recorder: Recorder,
}

impl Controller {
    async fn machine(&self, node: &Node) -> anyhow::Result<Machine> {
        let Some(instances) = self.context.cloud.instances() else { return Ok(Machine::On) };
        if node.is_ready() {
            return Ok(Machine::On);
        }
        if !instances.exists(node).await? {
            return Ok(Machine::Gone);
        }
        Ok(if instances.is_shut_down(node).await? { Machine::Off } else { Machine::On })
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Next> {
        let Some(node) = self.context.nodes.get_key(&key) else { return Ok(Next::Done) };
        let name = &*node.metadata.name;
        match plan(&node, self.machine(&node).await?) {
            Plan::Nothing => {}
            Plan::Delete => self.delete(&node).await?,
            Plan::MarkOff => {
                let taint = json!({ "key": SHUT_DOWN, "effect": "NoSchedule" });
                let taints: Vec<&Value> = node.spec.taints.iter().chain([&taint]).collect();
                self.set_taints(&node, json!(taints)).await?;
            }
            Plan::UnmarkOff => {
                let taints: Vec<&Value> =
                    node.spec.taints.iter().filter(|taint| taint["key"] != SHUT_DOWN).collect();
                self.set_taints(&node, json!(taints)).await?;
                tracing::info!(node = name, "The machine is on again");
            }
        }
        Ok(Next::Done)
    }

    async fn delete(&self, node: &Node) -> anyhow::Result<()> {
        let name = &*node.metadata.name;
        let about = ObjectRef::new("v1", "Node", node);
        let text = format!("Deleting node {name} because it does not exist in the cloud provider");
        self.recorder.event(&about, EventType::Normal, "DeletingNode", text);
        match self.context.client.delete(&NODES, "", name, &DeleteOptions::uid(&node.metadata.uid)).await {
            Err(error) if !error.is_not_found() => {
                let text = format!("Failed deleting node {name}: {error}");
                self.recorder.event(&about, EventType::Warning, "DeletingNodeFailed", text);
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    async fn set_taints(&self, node: &Node, taints: Value) -> anyhow::Result<()> {
        let patch = json!({ "metadata": unchanged(&node.metadata), "spec": { "taints": taints } });
        self.context
            .client
            .patch::<IgnoredAny>(&NODES, "", &node.metadata.name, Patch::Merge, &patch)
            .await?;
        Ok(())
    }
}

/// Starts the controller, if the cloud has instances.
pub fn start(context: &Context) -> bool {
    if context.cloud.instances().is_none() {
        return false;
    }
    let client = context.client.named("cloud-node-lifecycle-controller");
    let recorder = Recorder::new(&client, "cloud-node-lifecycle-controller", "", &context.tasks);
    let controller = Controller { context: Context { client, ..context.clone() }, recorder };
    let queue = Queue::new("cloud_node_lifecycle");
    let add = queue.clone();
    context.nodes.subscribe(move |change| add.add(change.key()));
    run_workers(&context.tasks, "cloud-node-lifecycle-controller", &queue, 1, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_cloud_says_is_gone_goes() {
        let node = |ready: &str, taints: Value| -> Node {
            serde_json::from_value(json!({
                "spec": { "taints": taints }, "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            }))
            .unwrap()
        };
        let off = json!([{ "key": SHUT_DOWN }]);
        for (ready, taints, machine, expected) in [
            ("True", json!([]), Machine::Gone, Plan::Nothing),
            ("True", off.clone(), Machine::On, Plan::UnmarkOff),
            ("Unknown", json!([]), Machine::On, Plan::Nothing),
            ("Unknown", json!([]), Machine::Off, Plan::MarkOff),
            ("Unknown", off, Machine::Off, Plan::Nothing),
            ("Unknown", json!([]), Machine::Gone, Plan::Delete),
            ("False", json!([]), Machine::Gone, Plan::Delete),
        ] {
            assert_eq!(plan(&node(ready, taints), machine), expected, "{ready} {machine:?}");
        }
    }
}
