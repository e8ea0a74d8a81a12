//! The node's half: executes in this node's kernel what the leader has written.
//!
//! Four executors, each with a key on one queue: the CNI configuration, the routes to other nodes' pods, the
//! masquerade of pods' traffic to the outside, and the announcing of load balancers' addresses. Each compares the
//! plan for what the API says now with what is there, so doing one twice does nothing twice.

mod announce;
mod arp;
mod cni;
mod links;
mod masquerade;
mod routes;
mod socket;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::{NODES, SERVICES};
use component_base::client::{Client, Config, Patch};
use component_base::daemon::{self, Spec};
use component_base::flags::groups;
use component_base::flags::{Flag, Group, Kind};
use component_base::health::Health;
use component_base::queue::{Next, Queue, RateLimit, run_workers};
use component_base::serving::{self, Router};
use component_base::tasks::Tasks;
use component_base::watch::{Informers, Store, Watch};
use ipnet::IpNet;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::bare_metal::FOUND_ADDRESSES;
use crate::objects::{Node, Service};

static OWN: Group = Group {
    title: "Node agent",
    flags: &[
        Flag::new(
            "kubeconfig",
            Kind::String,
            "",
            "Path to kubeconfig file; without it the pod's service account is used.",
        ),
        Flag::new(
            "master",
            Kind::String,
            "",
            "The address of the Kubernetes API server (overrides any value in kubeconfig).",
        ),
        Flag::new("node-name", Kind::String, "", "The node's name; by default NODE_NAME or the host's name."),
        Flag::new(
            "cni-conf",
            Kind::String,
            "/etc/cni/net.d/10-keelson.conflist",
            "The CNI configuration to write; empty to write none.",
        ),
        Flag::new("bridge", Kind::String, "cni0", "The bridge that pods are attached to."),
        Flag::new("mtu", Kind::Int, "0", "The MTU of pods' interfaces; 0 for the kernel's."),
        Flag::new(
            "interface",
            Kind::String,
            "",
            "The interface to announce addresses on; by default the one with the node's address.",
        ),
        Flag::new(
            "healthz-address",
            Kind::String,
            "127.0.0.1:10268",
            "Address and port for /healthz and /metrics; empty for none.",
        ),
        Flag::new(
            "cleanup",
            Kind::Bool,
            "false",
            "Remove the routes, the nftables table and the CNI configuration of a node agent, and exit.",
        ),
    ],
};

/// The `node-agent` daemon.
pub static SPEC: Spec = Spec {
    name: "node-agent",
    about: "The node agent of the bare-metal cloud: CNI configuration, routes, masquerade and ARP of one node.",
    groups: &[&OWN, &groups::METRICS, &groups::LOGS, &groups::GLOBAL],
    run: |context| Box::pin(run(context)),
    grace: Duration::from_secs(2),
};

/// What an executor is called on the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Addresses,
    Cni,
    Routes,
    Masquerade,
    Announce,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addresses => "addresses",
            Self::Cni => "cni",
            Self::Routes => "routes",
            Self::Masquerade => "masquerade",
            Self::Announce => "announce",
        })
    }
}

/// What depends on nodes.
const ON_NODES: &[Part] = &[Part::Addresses, Part::Cni, Part::Routes, Part::Masquerade, Part::Announce];

struct Agent {
    client: Client,
    /// This node's name.
    name: String,
    nodes: Store<Node>,
    services: Store<Service>,
    cni: cni::Settings,
    interface: Option<String>,
    links: links::Links,
    masquerade: masquerade::Masquerade,
    announcer: announce::Announcer,
}

impl Agent {
    async fn execute(&self, part: Part) -> anyhow::Result<()> {
        let nodes = self.nodes.list();
        let Some(node) = nodes.iter().find(|node| node.metadata.name == self.name) else {
            // Without its Node this host is no part of the cluster; what was set up stays until the Node says otherwise.
            tracing::debug!(node = self.name, "The node isn't registered");
            return Ok(());
        };
        match part {
            Part::Addresses => self.report_addresses(node).await,
            Part::Cni => self.cni.write(&pod_nets(node)),
            Part::Routes => self.links.apply_routes(&routes::plan(&self.name, &nodes)).await,
            Part::Masquerade => self.masquerade.apply(masquerade::plan(node, &nodes)).await,
            Part::Announce => self.announce(node).await,
        }
    }

    /// Tells the leader this host's addresses, where nobody else has: a kubelet without `--node-ip` doesn't.
    async fn report_addresses(&self, node: &Node) -> anyhow::Result<()> {
        let known = node.annotation("alpha.kubernetes.io/provided-node-ip").is_some()
            || !node.status.addresses.is_empty();
        if known {
            return Ok(());
        }
        let Some(address) = self.links.default_address().await? else {
            anyhow::bail!(
                "no address found: the host has no default route; start the kubelet with --node-ip"
            );
        };
        if node.annotation(FOUND_ADDRESSES) != Some(&address.to_string()) {
            let patch = json!({ "metadata": { "annotations": { FOUND_ADDRESSES: address.to_string() } } });
            self.client.patch::<IgnoredAny>(&NODES, "", &self.name, Patch::Merge, &patch).await?;
        }
        Ok(())
    }

    async fn announce(&self, node: &Node) -> anyhow::Result<()> {
        let addresses = announce::plan(&self.name, &self.services.list());
        if addresses.is_empty() {
            self.announcer.stop();
            return Ok(());
        }
        let link = match &self.interface {
            Some(name) => self.links.by_name(name).await?,
            None => {
                let own = node
                    .addresses("InternalIP")
                    .find_map(|ip| ip.parse::<IpAddr>().ok().filter(IpAddr::is_ipv4));
                let Some(own) = own else { anyhow::bail!("node {} has no IPv4 InternalIP yet", self.name) };
                self.links.by_address(own).await?
            }
        };
        self.announcer.announce(&link, addresses)
    }
}

/// A node's pods' networks.
fn pod_nets(node: &Node) -> Vec<IpNet> {
    node.spec.pod_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect()
}

/// Removes from this node what an agent set up. The announced addresses went with the process that announced them.
async fn clean_up(tasks: &Tasks, cni: &cni::Settings) -> anyhow::Result<()> {
    let (links, _) = links::Links::open(tasks)?;
    links.apply_routes(&BTreeMap::new()).await?;
    masquerade::Masquerade::default().apply(masquerade::Plan::default()).await?;
    cni.remove()
}

async fn run(context: daemon::Context) -> anyhow::Result<()> {
    let (flags, tasks) = (&context.flags, &context.tasks);
    let cni = cni::Settings {
        path: flags.non_empty("cni-conf").map(PathBuf::from),
        bridge: flags.str("bridge").to_owned(),
        mtu: flags.int("mtu"),
    };
    if flags.bool("cleanup") {
        clean_up(tasks, &cni).await?;
        tasks.stop();
        return Ok(());
    }
    let name = match flags.non_empty("node-name") {
        Some(name) => name.to_owned(),
        None => {
            std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(daemon::hostname)
        }
    };
    let config = Config::load(flags.str("kubeconfig"), flags.str("master"))?.with_component("node-agent");
    let client = Client::new(config)?;
    if let Some(address) = flags.non_empty("healthz-address") {
        serving::serve_plain(tasks, address.parse()?, Router::standard(&Health::new()))?;
    }
    links::enable_forwarding();
    let informers = Informers::new(client.clone(), tasks.clone());
    let nodes = informers.watch(Watch::new(NODES));
    let services = informers.watch(Watch::new(SERVICES).fields("spec.type=LoadBalancer"));
    let queue: Queue<Part> = Queue::with_limit(
        "node_agent",
        RateLimit { base: Duration::from_millis(200), max: Duration::from_secs(30), bucket: None },
    );
    let (links, changes) = links::Links::open(tasks)?;
    let (view, add) = (services.clone(), queue.clone());
    let again = move || add.add_after(Part::Announce, Duration::from_secs(60));
    let announcer = announce::Announcer::new(tasks, move || view.is_connected(), again);
    let agent = Arc::new(Agent {
        client,
        name,
        nodes: nodes.clone(),
        services: services.clone(),
        cni,
        interface: flags.non_empty("interface").map(str::to_owned),
        links,
        masquerade: masquerade::Masquerade::default(),
        announcer,
    });
    nodes.synced().await;
    services.synced().await;
    let add = queue.clone();
    nodes.subscribe(move |_| ON_NODES.iter().for_each(|part| add.add(*part)));
    let add = queue.clone();
    services.subscribe(move |_| add.add(Part::Announce));
    let add = queue.clone();
    // A link that went down took its routes along; one that came up may be the one to announce on.
    changes.on_change(tasks, move || {
        add.add_after(Part::Routes, Duration::from_millis(500));
        add.add_after(Part::Announce, Duration::from_millis(500));
    });
    run_workers(tasks, "node-agent", &queue, 1, move |part| {
        let agent = agent.clone();
        async move { agent.execute(part).await.map(|()| Next::Done).map_err(|e| e.context(part.to_string())) }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses() {
        assert!(component_base::flags::parse(SPEC.name, SPEC.about, SPEC.groups, &[]).is_ok());
    }
}
