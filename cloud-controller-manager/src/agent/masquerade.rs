//! The masquerade of pods' traffic that leaves the cluster, as one nftables table of our own.
//!
//! Inside are all pods and all nodes: there a pod's own address is seen. Everything else is outside and couldn't
//! answer to a pod's address.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::pod_nets;
use crate::objects::Node;

const TABLE: &str = "keelson-node-agent";

/// What is inside, and which pods are this node's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    own: BTreeSet<IpNet>,
    inside: BTreeSet<IpNet>,
}

pub(super) fn plan(own: &Node, nodes: &[Arc<Node>]) -> Plan {
    let pods = nodes.iter().flat_map(|node| pod_nets(node));
    let addresses =
        nodes.iter().flat_map(|node| node.addresses("InternalIP").chain(node.addresses("ExternalIP")));
    let hosts = addresses.filter_map(|ip| ip.parse::<IpAddr>().ok()).map(IpNet::from);
    Plan { own: pod_nets(own).into_iter().collect(), inside: pods.chain(hosts).collect() }
}

impl Plan {
    /// The nft script that makes the kernel's table this plan in one transaction.
    fn script(&self) -> String {
        let mut script = String::new();
        for (family, v4) in [("ip", true), ("ip6", false)] {
            let of = |nets: &BTreeSet<IpNet>| {
                let nets: Vec<String> = nets
                    .iter()
                    .filter(|net| matches!(net, IpNet::V4(_)) == v4)
                    .map(ToString::to_string)
                    .collect();
                nets.join(", ")
            };
            // Adding first makes deleting safe when it isn't there.
            let _ = writeln!(script, "add table {family} {TABLE}\ndelete table {family} {TABLE}");
            let (own, inside) = (of(&self.own), of(&self.inside));
            if own.is_empty() {
                continue;
            }
            let multicast = if v4 { "224.0.0.0/4" } else { "ff00::/8" };
            let kind = if v4 { "ipv4_addr" } else { "ipv6_addr" };
            let _ = writeln!(
                script,
                "table {family} {TABLE} {{\n\
                 \tset inside {{\n\t\ttype {kind}\n\t\tflags interval\n\t\tauto-merge\n\t\telements = {{ {inside}, {multicast} }}\n\t}}\n\
                 \tchain postrouting {{\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
                 \t\t{family} saddr {{ {own} }} {family} daddr != @inside masquerade\n\t}}\n}}"
            );
        }
        script
    }
}

/// Applies plans, remembering the last.
#[derive(Default)]
pub(super) struct Masquerade {
    applied: Mutex<Option<Plan>>,
}

impl Masquerade {
    pub(super) async fn apply(&self, plan: Plan) -> anyhow::Result<()> {
        if self.applied.lock().as_ref() == Some(&plan) {
            return Ok(());
        }
        nft(&plan.script()).await?;
        tracing::info!(own = plan.own.len(), inside = plan.inside.len(), "Set up the masquerade");
        *self.applied.lock() = Some(plan);
        Ok(())
    }
}

async fn nft(script: &str) -> anyhow::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| anyhow::anyhow!("starting nft: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        anyhow::bail!("nft failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_pods_and_nodes_are_inside() {
        let node = |name: &str, cidr: &str, ip: &str| -> Arc<Node> {
            serde_json::from_value(json!({
                "metadata": { "name": name }, "spec": { "podCIDRs": [cidr] },
                "status": { "addresses": [{ "type": "InternalIP", "address": ip }, { "type": "Hostname", "address": name }] },
            }))
            .map(Arc::new)
            .unwrap()
        };
        let nodes = [node("a", "10.1.0.0/24", "10.0.0.1"), node("b", "10.1.1.0/24", "10.0.0.2")];
        let script = plan(&nodes[0], &nodes).script();
        assert!(
            script.contains("elements = { 10.0.0.1/32, 10.0.0.2/32, 10.1.0.0/24, 10.1.1.0/24, 224.0.0.0/4 }"),
            "{script}"
        );
        assert!(script.contains("ip saddr { 10.1.0.0/24 } ip daddr != @inside masquerade"), "{script}");
        assert!(!script.contains("table ip6 keelson-node-agent {"), "{script}");
    }
}
