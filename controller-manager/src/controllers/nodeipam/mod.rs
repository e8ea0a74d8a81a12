//! A range of pod addresses for each node, out of the cluster's.
//!
//! Watches nodes. Which ranges are taken follows from the nodes alone; one worker gives them out, so
//! that none is given twice.

mod ranges;

use std::sync::Arc;

use component_base::client::Patch;
use component_base::client::known::NODES;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use ipnet::IpNet;
use parking_lot::Mutex;
use proto::meta::Key;
use serde_json::{Value, json};

use crate::api::core::Node;
use crate::common::events::Event;
use crate::context::{Controller, Subject};
use ranges::Ranges;

struct Allocator {
    controller: Arc<Controller>,
    nodes: Store<Node>,
    ranges: Mutex<Vec<Ranges>>,
}

/// Starts the controller, if it is asked for.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    if !controller.flags().bool("allocate-node-cidrs") {
        return Ok(());
    }
    let this = Arc::new(Allocator {
        nodes: controller.nodes(),
        ranges: Mutex::new(configured(&controller)?),
        controller: controller.clone(),
    });
    let queue: Queue<Key> = Queue::new("cidrallocator_node");
    let (own, keys) = (this.clone(), queue.clone());
    this.nodes.subscribe(move |change: &Change<Node>| match (&change.old, &change.new) {
        (_, Some(node)) if node.spec.pod_cidrs.is_empty() => keys.add(change.key()),
        (_, Some(node)) => own.occupy(node),
        (Some(node), None) => own.release(node),
        (None, None) => {}
    });
    let own = this.clone();
    let ready = async move { own.nodes.synced().await };
    controller.run(&queue, 1, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

/// Reads the ranges and sizes from the flags.
fn configured(controller: &Controller) -> anyhow::Result<Vec<Ranges>> {
    let flags = controller.flags();
    let text = flags.str("cluster-cidr");
    let parse = |t: &str| -> anyhow::Result<IpNet> {
        t.trim().parse().map_err(|e| anyhow::anyhow!("invalid CIDR address: {t}: {e}"))
    };
    let cidrs: Vec<IpNet> = text.split(',').filter(|t| !t.is_empty()).map(parse).collect::<Result<_, _>>()?;
    let mixed = |c: &[IpNet]| c.len() == 2 && c[0].addr().is_ipv4() != c[1].addr().is_ipv4();
    match cidrs.len() {
        0 => anyhow::bail!("--allocate-node-cidrs is set, but --cluster-cidr is empty"),
        1 => {}
        2 if mixed(&cidrs) => {}
        2 => anyhow::bail!(
            "len of ClusterCIDRs==2 and they are not configured as dual stack (at least one from each IPFamily)"
        ),
        n => anyhow::bail!("length of clusterCIDRs is:{n} more than max allowed of 2"),
    }
    let dual = cidrs.len() == 2;
    let size = |net: &IpNet| -> anyhow::Result<u8> {
        let (family, default) = if net.addr().is_ipv4() {
            ("node-cidr-mask-size-ipv4", 24)
        } else {
            ("node-cidr-mask-size-ipv6", 64)
        };
        let flag = if dual || flags.is_set(family) { family } else { "node-cidr-mask-size" };
        if dual && flags.is_set("node-cidr-mask-size") {
            anyhow::bail!("usage of --node-cidr-mask-size is not allowed with dual-stack clusters");
        }
        match flags.int(flag) {
            0 => Ok(default),
            n => Ok(u8::try_from(n)?),
        }
    };
    let mut ranges = Vec::new();
    for cidr in &cidrs {
        ranges.push(Ranges::new(*cidr, size(cidr)?).map_err(anyhow::Error::msg)?);
    }
    for service in flags.str("service-cluster-ip-range").split(',').filter(|t| !t.is_empty()) {
        let service = parse(service)?;
        ranges.iter_mut().for_each(|r| r.occupy(&service));
    }
    Ok(ranges)
}

impl Allocator {
    fn occupy(&self, node: &Node) {
        let mut ranges = self.ranges.lock();
        for cidr in node.spec.pod_cidrs.iter().filter_map(|c| c.parse().ok()) {
            ranges.iter_mut().for_each(|r| r.occupy(&cidr));
        }
    }

    fn release(&self, node: &Node) {
        let mut ranges = self.ranges.lock();
        for cidr in node.spec.pod_cidrs.iter().filter_map(|c| c.parse().ok()) {
            ranges.iter_mut().for_each(|r| r.release(&cidr));
        }
    }

    fn take(&self) -> Option<Vec<IpNet>> {
        let mut ranges = self.ranges.lock();
        let taken: Vec<IpNet> = ranges.iter_mut().map_while(Ranges::take).collect();
        if taken.len() == ranges.len() {
            return Some(taken);
        }
        taken.iter().for_each(|cidr| ranges.iter_mut().for_each(|r| r.release(cidr)));
        None
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let node = self.nodes.get_key(key).filter(|n| n.spec.pod_cidrs.is_empty());
        let Some(node) = node else { return Ok(Next::Done) };
        let mut subject = Subject::new("v1", "Node", &Default::default());
        subject.metadata.name = node.metadata.name.clone();
        subject.metadata.uid = node.metadata.name.clone();
        let Some(cidrs) = self.take() else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.controller.record(&subject, &Event::normal("CIDRNotAvailable", message));
            anyhow::bail!(
                "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
            );
        };
        let texts: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
        let patch = json!({
            "metadata": {
                "uid": node.metadata.uid,
                "resourceVersion": node.metadata.resource_version,
            },
            "spec": {"podCIDR": texts.first(), "podCIDRs": texts},
        });
        let client = &self.controller.client;
        if let Err(error) = client.patch::<Value>(&NODES, "", &key.name, Patch::Strategic, &patch).await {
            // After a timeout nobody knows whether the node has them: better to lose the ranges.
            if error.status().is_some_and(|s| s.reason != "ServerTimeout") {
                let mut ranges = self.ranges.lock();
                cidrs.iter().for_each(|cidr| ranges.iter_mut().for_each(|r| r.release(cidr)));
            }
            if error.is_conflict() {
                return Err(error.into());
            }
            let message = format!("Node {} status is now: CIDRAssignmentFailed", key.name);
            self.controller.record(&subject, &Event::normal("CIDRAssignmentFailed", message));
            return Err(error.into());
        }
        Ok(Next::Done)
    }
}
