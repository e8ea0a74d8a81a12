//! The cluster's DNS server, for clusters that can't pull CoreDNS: the zone of Services and pods by version 1.1 of the
//! Kubernetes DNS specification, everything else forwarded to the node's resolvers.

pub mod answer;
pub mod forward;
pub mod probes;
pub mod server;
pub mod zone;

use answer::Authority;
use anyhow::{Context, Result};
use component_base::client::known::{ENDPOINT_SLICES, SERVICES};
use component_base::client::{Client, Config};
use component_base::flags::Kind::{List, String as Text, Uint};
use component_base::flags::{Flag, Group, Parsed, parse};
use component_base::tasks::Tasks;
use component_base::watch::{Informers, Watch};
use hickory_proto::rr::Name;
use server::Server;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use zone::Zone;

static FLAGS: Group = Group {
    title: "Cluster DNS",
    flags: &[
        Flag::new("kubeconfig", Text, "", "The kubeconfig to use; by default the pod's own service account."),
        Flag::new("domain", Text, "cluster.local", "The cluster's domain."),
        Flag::new("pod-cidr", List, "", "Networks of pods: their reverse names are the cluster's own."),
        Flag::new(
            "service-cidr",
            List,
            "",
            "Networks of Services: their reverse names are the cluster's own.",
        ),
        Flag::new("port", Uint, "53", "The port to answer on, over UDP and TCP."),
        Flag::new(
            "resolv-conf",
            Text,
            "/etc/resolv.conf",
            "Names the servers that everything else is asked from.",
        ),
    ],
};

/// Runs until SIGTERM.
pub async fn run(arguments: &[String]) -> Result<()> {
    let flags = parse("cluster-dns", "Answers the cluster's names.", &[&FLAGS], arguments)?;
    if let Some(help) = flags.help() {
        println!("{help}");
        return Ok(());
    }
    let client = Client::new(Config::load(flags.str("kubeconfig"), "")?.with_component("cluster-dns"))?;
    let resolvers = Path::new(flags.str("resolv-conf"));
    let server = Arc::new(Server {
        zone: Arc::new(RwLock::new(Zone::default())),
        authority: authority(&flags)?,
        forwarder: forward::Forwarder::from_file(resolvers)
            .with_context(|| resolvers.display().to_string())?,
        counts: server::Counts::default(),
    });
    let port = u16::try_from(flags.uint("port")).context("--port is not a port")?;
    let address = SocketAddr::from(([0, 0, 0, 0], port));

    let tasks = Tasks::new();
    let ready = watch(&tasks, &client, &server.zone);
    tasks.spawn("udp", server::udp(server.clone(), address));
    tasks.spawn("tcp", server::tcp(server.clone(), address));
    for port in [8080, 8181, 9153] {
        tasks.spawn(format!("port {port}"), probes::serve(server.clone(), ready.clone(), port));
    }
    Ok(tasks.run_until_signal(Duration::from_secs(5)).await?)
}

fn authority(flags: &Parsed) -> Result<Authority> {
    let mut domain = Name::from_ascii(flags.str("domain")).context("--domain")?.to_lowercase();
    domain.set_fqdn(true);
    let mut networks = Vec::new();
    for flag in ["pod-cidr", "service-cidr"] {
        for text in flags.list(flag) {
            networks.push(text.parse().with_context(|| format!("--{flag}: {text}"))?);
        }
    }
    Ok(Authority { domain, networks })
}

/// Keeps the zone as the API server tells it; the flag says when it has told everything once.
fn watch(tasks: &Tasks, client: &Client, zone: &Arc<RwLock<Zone>>) -> probes::Ready {
    let informers = Informers::new(client.clone(), tasks.clone());
    let services = informers.watch(Watch::<zone::Service>::new(SERVICES));
    let slices = informers.watch(Watch::<zone::EndpointSlice>::new(ENDPOINT_SLICES));
    let writer = zone.clone();
    services.subscribe(move |change| {
        let mut zone = writer.write().unwrap_or_else(PoisonError::into_inner);
        zone.set_service(change.old.as_ref(), change.new.as_ref());
    });
    let writer = zone.clone();
    slices.subscribe(move |change| {
        let mut zone = writer.write().unwrap_or_else(PoisonError::into_inner);
        zone.set_slice(change.old.as_ref(), change.new.as_ref());
    });
    let ready: probes::Ready = Arc::new(AtomicBool::new(false));
    let (flag, stopping) = (ready.clone(), tasks.clone());
    tasks.spawn("ready", async move {
        services.synced().await;
        slices.synced().await;
        flag.store(true, Ordering::Relaxed);
        stopping.stopping().await;
        Ok(())
    });
    ready
}
