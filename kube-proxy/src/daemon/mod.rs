//! The daemon: watches feed an inbox, one loop turns what is in it into transactions.

mod config;
mod flags;
mod health;
mod metrics;
mod sysctl;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::{ENDPOINT_SLICES, NODES, SERVICES};
use component_base::client::{Client, Config, Resource};
use component_base::daemon::{Context, Spec};
use component_base::flags::groups;
use component_base::memory;
use component_base::serving::{self, Router};
use component_base::tasks::Tasks;
use component_base::watch::{Change, Informers, Object, Store, Watch};
use futures::FutureExt;
use ipnet::IpNet;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Notify;

use self::config::{Configuration, File, KINDS, LocalMode, NodePortAddresses};
use self::health::{Health, Ports};
use crate::conntrack;
use crate::model::{Node, Service, Slice};
use crate::nft::{Batch, Family, Socket};
use crate::proxy::Proxy;
use crate::rules::{Local, NodePorts, Settings, TABLE};

/// What kube-proxy is.
pub static SPEC: Spec = Spec {
    name: "kube-proxy",
    about: "The Kubernetes network proxy runs on each node. It makes the Services of the API reachable \
            there: TCP, UDP and SCTP traffic to their addresses goes to one of their endpoints.",
    groups: &[&flags::FLAGS, &groups::LOGS, &groups::GLOBAL],
    run: |context| run(context).boxed(),
    grace: Duration::from_secs(5),
};

/// What the watches have seen since the loop looked last.
#[derive(Default)]
struct Inbox {
    news: Mutex<Vec<News>>,
    bell: Notify,
}

enum News {
    Service(Option<Arc<Service>>, Option<Arc<Service>>),
    Slice(Option<Arc<Slice>>, Option<Arc<Slice>>),
    Node(Option<Arc<Node>>),
    /// The networks of cluster IPs changed.
    Networks,
}

impl Inbox {
    fn put(&self, news: News) {
        self.news.lock().push(news);
        self.bell.notify_one();
    }
}

async fn run(context: Context) -> anyhow::Result<()> {
    let Context { flags, tasks } = &context;
    let file = match flags.non_empty("config") {
        Some(path) => Some(component_base::config::load::<File>(path.as_ref(), KINDS)?.0),
        None => None,
    };
    let configuration = Configuration::merge(file, flags)?;
    if flags.bool("cleanup") {
        clean_up()?;
        tasks.stop();
        return Ok(());
    }
    sysctl::apply(&configuration.conntrack);
    if flags.bool("init-only") {
        tasks.stop();
        return Ok(());
    }
    sysctl::set_oom_score(configuration.oom_score_adj);
    let (qps, burst) = configuration.limit;
    let client = Client::new(
        Config::load(&configuration.kubeconfig, flags.str("master"))?
            .with_component("kube-proxy")
            .with_limit(qps, burst),
    )?;
    let health = Arc::new(Health::new());
    let metrics_router = Router::standard(&component_base::health::Health::new())
        .get("/proxyMode", || serving::text(http::StatusCode::OK, "nftables"));
    for (address, router) in
        [(configuration.healthz, health.router()), (configuration.metrics, metrics_router)]
    {
        let Some(address) = address else { continue };
        match serving::serve_plain(tasks, address, router) {
            Ok(address) => tracing::info!(%address, "Listening"),
            Err(error) if configuration.hard_fail => return Err(error.into()),
            Err(error) => tracing::error!(%address, err = %error, "Can't listen; going on"),
        }
    }

    let inbox = Arc::new(Inbox::default());
    let informers = Informers::new(client, tasks.clone());
    let proxied = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";
    let services: Store<Service> =
        informers.watch(Watch::with_projection(SERVICES, Service::decode).labels(proxied));
    let slices: Store<Slice> =
        informers.watch(Watch::with_projection(ENDPOINT_SLICES, Slice::decode).labels(proxied));
    let nodes: Store<Node> = informers.watch(
        Watch::with_projection(NODES, Node::decode)
            .fields(format!("metadata.name={}", configuration.node_name)),
    );
    let cidrs = Resource::dynamic("networking.k8s.io", "v1", "servicecidrs", false);
    let networks: Store<ServiceCidr> = informers.watch(Watch::new(cidrs));
    tell(&services, &inbox, |c: &Change<Service>| {
        metrics::SERVICE_CHANGES.with(&[]).inc();
        News::Service(c.old.clone(), c.new.clone())
    });
    tell(&slices, &inbox, |c: &Change<Slice>| {
        metrics::ENDPOINT_CHANGES.with(&[]).inc();
        News::Slice(c.old.clone(), c.new.clone())
    });
    tell(&nodes, &inbox, |c: &Change<Node>| News::Node(c.new.clone()));
    tell(&networks, &inbox, |_| News::Networks);
    services.synced().await;
    slices.synced().await;
    nodes.synced().await;

    let syncer = Syncer { configuration, inbox, networks, health, tasks: tasks.clone() };
    let stopping = tasks.stopping_token();
    tasks.spawn("sync", async move { stopping.run_until_cancelled(syncer.run()).await.unwrap_or(Ok(())) });
    Ok(())
}

fn tell<T: Object>(
    store: &Store<T>,
    inbox: &Arc<Inbox>,
    news: impl Fn(&Change<T>) -> News + Send + Sync + 'static,
) {
    let inbox = inbox.clone();
    store.subscribe(move |change| inbox.put(news(change)));
}

/// Deletes the tables.
fn clean_up() -> anyhow::Result<()> {
    let socket = Socket::open()?;
    for family in [Family::V4, Family::V6] {
        let mut batch = Batch::new(family, TABLE);
        // Added first, so that it is there to be deleted.
        batch.add_table("");
        batch.delete_table();
        socket.commit(batch)?;
    }
    tracing::info!("Deleted the kube-proxy tables");
    Ok(())
}

/// A ServiceCIDR.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceCidr {
    metadata: proto::meta::ObjectMeta,
    spec: ServiceCidrSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceCidrSpec {
    cidrs: Vec<String>,
}

component_base::object!(ServiceCidr);

struct Syncer {
    configuration: Configuration,
    inbox: Arc<Inbox>,
    networks: Store<ServiceCidr>,
    health: Arc<Health>,
    tasks: Tasks,
}

/// Pauses after failures: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Syncer {
    async fn run(self) -> anyhow::Result<()> {
        let socket = Socket::open()?;
        let mut node = Node { name: self.configuration.node_name.clone(), ..Node::default() };
        let families = families();
        let tables = families.iter().map(|f| (*f, self.settings(*f, &node))).collect();
        let mut proxy = Proxy::new(node.clone(), tables);
        let mut ports = Ports::new(self.health.clone());
        let mut pause = RETRY.0;
        loop {
            let news = std::mem::take(&mut *self.inbox.news.lock());
            for news in news {
                match news {
                    News::Service(old, new) => proxy.service_changed(old.as_ref(), new.as_ref()),
                    News::Slice(old, new) => proxy.slice_changed(old.as_ref(), new.as_ref()),
                    News::Node(new) => {
                        self.health.set_eligible(new.as_ref().is_none_or(|n| n.eligible));
                        node = self.known_node(new.as_deref());
                        proxy.node_changed(node.clone());
                        families.iter().for_each(|f| proxy.configure(*f, self.settings(*f, &node)));
                    }
                    News::Networks => {
                        families.iter().for_each(|f| proxy.configure(*f, self.settings(*f, &node)));
                    }
                }
            }
            let started = Instant::now();
            if !proxy.is_idle() {
                self.health.waiting();
                // The kernel may take its time with a large transaction.
                match tokio::task::block_in_place(|| self.sync(&mut proxy, &socket)) {
                    Ok(()) => {
                        self.health.synced();
                        pause = RETRY.0;
                    }
                    Err(error) => {
                        tracing::error!(err = %error, retry = ?pause, "Sync failed");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(RETRY.1);
                        continue;
                    }
                }
            } else {
                self.health.synced();
            }
            ports.update(proxy.health_ports(), &self.health_addresses(&node));
            self.inbox.bell.notified().await;
            tokio::time::sleep(self.configuration.min_sync_period.saturating_sub(started.elapsed())).await;
        }
    }

    fn sync(&self, proxy: &mut Proxy, socket: &Socket) -> Result<(), crate::nft::Error> {
        let whole: Vec<_> = proxy.tables().iter().map(|t| (t.family(), t.is_whole())).collect();
        let started = Instant::now();
        let result = proxy.sync(socket);
        let elapsed = started.elapsed();
        let large = whole.iter().any(|(_, whole)| *whole);
        for (family, whole) in whole {
            let family = family.name();
            metrics::SYNC.with(&[family]).observe_duration(elapsed);
            let kind = if whole { &metrics::SYNC_FULL } else { &metrics::SYNC_PARTIAL };
            kind.with(&[family]).observe_duration(elapsed);
            match &result {
                Ok(_) => {
                    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                    metrics::LAST.with(&[family]).set(now.map_or(0.0, |d| d.as_secs_f64()));
                }
                Err(_) => metrics::FAILURES.with(&[family]).inc(),
            }
        }
        let done = result?;
        tracing::info!(ports = done.changed, ?elapsed, "SyncProxyRules complete");
        for table in proxy.tables().iter().filter(|t| done.stale_udp.contains(&t.family())) {
            match conntrack::clean(socket, table) {
                Ok(n) => metrics::FORGOTTEN.with(&[table.family().name()]).add(n as f64),
                Err(error) => tracing::error!(err = %error, "Can't look for stale connections"),
            }
        }
        if large {
            self.tasks.spawn("giving memory back", async {
                memory::give_back().await;
                Ok(())
            });
        }
        Ok(())
    }

    /// The node, with the address the command line gives it.
    fn known_node(&self, node: Option<&Node>) -> Node {
        let mut node = node.cloned().unwrap_or_default();
        node.name = self.configuration.node_name.clone();
        if let Some(address) = self.configuration.node_ip {
            node.addresses.retain(|a| a.is_ipv4() != address.is_ipv4());
            node.addresses.insert(0, address);
        }
        node
    }

    fn settings(&self, family: Family, node: &Node) -> Settings {
        let c = &self.configuration;
        let of_family = |n: &IpNet| Family::of(n.addr()) == family;
        let network = |list: &[IpNet]| match list.iter().copied().find(of_family) {
            Some(network) => Local::Network(network),
            None => Local::Unknown,
        };
        let cidrs = self.networks.list();
        let mut service_cidrs: Vec<IpNet> = cidrs
            .iter()
            .flat_map(|c| &c.spec.cidrs)
            .filter_map(|c| c.parse().ok())
            .filter(of_family)
            .collect();
        service_cidrs.sort_unstable();
        Settings {
            mark: c.mark,
            masquerade_all: c.masquerade_all,
            local: match &c.local_mode {
                LocalMode::ClusterCidr(list) => network(list),
                LocalMode::NodeCidr => network(&node.pod_cidrs),
                LocalMode::Bridge(name) => Local::Bridge(name.clone()),
                LocalMode::Prefix(prefix) => Local::InterfacePrefix(prefix.clone()),
            },
            node_ports: self.node_ports(family, node),
            service_cidrs,
        }
    }

    fn node_ports(&self, family: Family, node: &Node) -> NodePorts {
        match &self.configuration.node_ports {
            NodePortAddresses::All => NodePorts::All,
            NodePortAddresses::Primary => NodePorts::On(node.address(family).into_iter().collect()),
            NodePortAddresses::Within(networks) => {
                let mut found = own_addresses();
                found.retain(|a| Family::of(*a) == family && networks.iter().any(|n| n.contains(a)));
                NodePorts::On(found)
            }
        }
    }

    /// Where health ports listen: where node ports are served.
    fn health_addresses(&self, node: &Node) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for family in families() {
            match (self.node_ports(family, node), family) {
                (NodePorts::On(list), _) => all.extend(list),
                (NodePorts::All, Family::V4) => all.push(Ipv4Addr::UNSPECIFIED.into()),
                // The one above is enough: both on one port may exclude each other.
                (NodePorts::All, Family::V6) => {}
            }
        }
        all
    }
}

/// IPv4, and IPv6 if this host has it.
fn families() -> Vec<Family> {
    let v6 = Path::new("/proc/self/net/if_inet6").exists();
    if v6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] }
}

/// The addresses of this host's interfaces.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::error!(err = %error, "Can't list the addresses of this host");
            return Vec::new();
        }
    };
    let mut all: Vec<IpAddr> = interfaces
        .filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
        })
        .filter(|a| !a.is_loopback())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
