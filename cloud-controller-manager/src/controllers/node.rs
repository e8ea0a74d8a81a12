//! The cloud-node controller: gives a new node its identity, labels and addresses, and takes its taint away.

use component_base::client::Patch;
use component_base::client::known::NODES;
use component_base::events::{EventType, ObjectRef, Recorder};
use component_base::queue::{Next, Queue, run_workers};
use proto::meta::Key;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{Context, UNINITIALIZED, unchanged};
use crate::cloud::InstanceMetadata;
use crate::objects::{Node, NodeAddress};

const PROVIDED_ADDRESS: &str = "alpha.kubernetes.io/provided-node-ip";

/// Labels that exist twice: the old one is the source.
const TWINS: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// What must be written of a node.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Changes of metadata and spec.
    node: Option<Value>,
    /// Its addresses.
    addresses: Option<Vec<NodeAddress>>,
    /// Whether this initializes it.
    initializes: bool,
}

/// A node whose addresses the cloud reports otherwise than the node asked for.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("failed to get node address from cloud provider that matches ip: {0}")]
struct Mismatch(String);

fn plan(node: &Node, cloud: &InstanceMetadata) -> Result<Plan, Mismatch> {
    let wanted = order_addresses(node.annotation(PROVIDED_ADDRESS).unwrap_or_default(), &cloud.addresses)?;
    let addresses = (!wanted.is_empty() && wanted != node.status.addresses).then_some(wanted);
    let tainted = node.has_taint(UNINITIALIZED);
    let mut labels = Map::new();
    let mut spec = Map::new();
    if tainted {
        let values = [&cloud.zone, &cloud.region, &cloud.instance_type];
        for ((old, new), value) in TWINS.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            labels.insert((*old).into(), value.as_str().into());
            labels.insert((*new).into(), value.as_str().into());
        }
        if node.spec.provider_id.is_empty() {
            spec.insert("providerID".into(), cloud.provider_id.as_str().into());
        }
        let rest: Vec<&Value> =
            node.spec.taints.iter().filter(|taint| taint["key"] != UNINITIALIZED).collect();
        spec.insert("taints".into(), json!(rest));
    } else {
        for (old, new) in TWINS {
            if let Some(value) = node.metadata.labels.get(*old)
                && node.metadata.labels.get(*new) != Some(value)
            {
                labels.insert((*new).into(), value.as_str().into());
            }
        }
    }
    let mut patch = Map::new();
    if !labels.is_empty() {
        patch.insert("metadata".into(), json!({ "labels": labels }));
    }
    if !spec.is_empty() {
        patch.insert("spec".into(), spec.into());
    }
    Ok(Plan { node: (!patch.is_empty()).then_some(patch.into()), addresses, initializes: tainted })
}

/// Puts the addresses that the node was told to use first; they must be among the cloud's. Others of the same
/// type are left out.
fn order_addresses(provided: &str, cloud: &[NodeAddress]) -> Result<Vec<NodeAddress>, Mismatch> {
    let provided: Vec<&str> = provided.split(',').map(str::trim).filter(|ip| !ip.is_empty()).collect();
    if provided.is_empty() {
        return Ok(cloud.to_vec());
    }
    let mut ordered: Vec<NodeAddress> = Vec::new();
    for ip in &provided {
        let matching: Vec<&NodeAddress> = cloud.iter().filter(|address| address.address == *ip).collect();
        if matching.is_empty() {
            return Err(Mismatch((*ip).to_owned()));
        }
        ordered.extend(matching.into_iter().cloned());
    }
    let kinds: Vec<String> = ordered.iter().map(|address| address.kind.clone()).collect();
    ordered.extend(cloud.iter().filter(|address| !kinds.contains(&address.kind)).cloned());
    Ok(ordered)
}

#[derive(Clone)]
struct Controller {
    context: Context,
    recorder: Recorder,
}

impl Controller {
    async fn sync(&self, key: Key) -> anyhow::Result<Next> {
        let Some(node) = self.context.nodes.get_key(&key) else { return Ok(Next::Done) };
        let Some(instances) = self.context.cloud.instances() else { return Ok(Next::Done) };
        let Some(cloud) = instances.metadata(&node).await? else {
            // What the cloud lacks will come with a change of the node.
            tracing::debug!(node = &*node.metadata.name, "The cloud can't describe the node yet");
            return Ok(Next::Done);
        };
        let plan = plan(&node, &cloud)?;
        let (client, name) = (&self.context.client, &*node.metadata.name);
        if let Some(mut patch) = plan.node {
            let precondition = unchanged(&node.metadata);
            for (field, value) in precondition.as_object().into_iter().flatten() {
                patch["metadata"][field] = value.clone();
            }
            client.patch::<IgnoredAny>(&NODES, "", name, Patch::Merge, &patch).await?;
        }
        if let Some(addresses) = plan.addresses {
            let patch = json!({ "status": { "addresses": addresses } });
            client.patch::<IgnoredAny>(&NODES.sub("status"), "", name, Patch::Merge, &patch).await?;
        }
        if plan.initializes {
            tracing::info!(node = name, "Successfully initialized node with cloud provider");
            let about = ObjectRef::new("v1", "Node", &*node);
            self.recorder.event(&about, EventType::Normal, "Synced", "Node synced successfully");
        }
        Ok(Next::Done)
    }
}

/// Starts the controller, if the cloud has instances.
pub fn start(context: &Context) -> bool {
    if context.cloud.instances().is_none() {
        return false;
    }
    let client = context.client.named("node-controller");
    let recorder = Recorder::new(&client, "cloud-node-controller", "", &context.tasks);
    let controller = Controller { context: Context { client, ..context.clone() }, recorder };
    let queue = Queue::new("Nodes");
    let add = queue.clone();
    context.nodes.subscribe(move |change| add.add(change.key()));
    let workers = context.options.concurrent_node_syncs;
    run_workers(&context.tasks, "cloud-node-controller", &queue, workers, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    fn address(kind: &str, address: &str) -> NodeAddress {
        NodeAddress { kind: kind.into(), address: address.into() }
    }

    fn cloud() -> InstanceMetadata {
        InstanceMetadata {
            provider_id: "bare-metal://n".into(),
            addresses: vec![
                address("InternalIP", "10.0.0.1"),
                address("InternalIP", "10.1.0.1"),
                address("Hostname", "n"),
            ],
            zone: "z".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_new_node_is_initialized_once() {
        let new = node(json!({
            "metadata": { "name": "n" },
            "spec": { "taints": [{ "key": UNINITIALIZED, "value": "true", "effect": "NoSchedule" }, { "key": "mine", "timeAdded": "x" }] },
        }));
        let plan1 = plan(&new, &cloud()).unwrap();
        assert!(plan1.initializes);
        assert_eq!(
            plan1.node.unwrap(),
            json!({
                "metadata": { "labels": { "failure-domain.beta.kubernetes.io/zone": "z", "topology.kubernetes.io/zone": "z" } },
                "spec": { "providerID": "bare-metal://n", "taints": [{ "key": "mine", "timeAdded": "x" }] },
            })
        );
        assert_eq!(plan1.addresses, Some(cloud().addresses));
        let done = node(json!({
            "metadata": { "name": "n", "labels": { "topology.kubernetes.io/zone": "z", "failure-domain.beta.kubernetes.io/zone": "z" } },
            "spec": { "providerID": "bare-metal://n" }, "status": { "addresses": cloud().addresses },
        }));
        assert_eq!(plan(&done, &cloud()).unwrap(), Plan::default());
    }

    #[test]
    fn the_address_that_the_node_was_told_comes_first_and_must_be_known() {
        let ordered = order_addresses("10.1.0.1", &cloud().addresses).unwrap();
        assert_eq!(ordered, [address("InternalIP", "10.1.0.1"), address("Hostname", "n")]);
        let error = order_addresses("10.9.0.1", &cloud().addresses).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to get node address from cloud provider that matches ip: 10.9.0.1"
        );
    }
}
