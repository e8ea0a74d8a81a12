//! kube-proxy with many Services, in a network namespace that it shares with an API server and with what answers at the
//! endpoints: they are addresses of the loopback, so that a connection tells which one it was sent to.

use crate::Bench;
use crate::apart;
use crate::load;
use crate::objects::node;
use crate::process::{Process, megabytes};
use crate::server::Server;
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SERVICES: usize = 10_000;
const ENDPOINTS: usize = 5;
/// How often an endpoint changes; the middle time counts.
const CHANGES: usize = 9;
/// The port of the endpoints.
const PORT: u16 = 8080;
const NODE: &str = "bench";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";
/// How long one synchronization may take: upstream's takes a minute.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    apart::in_new(bench, async || inside(bench, table).await)
}

async fn inside(bench: &Bench, table: &mut Table) -> Result<()> {
    apart::ip("address add 10.0.0.1/32 dev lo")?;
    apart::ip("route add local 10.128.0.0/9 dev lo")?;
    apart::ip("route add 10.96.0.0/12 dev lo src 10.0.0.1")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let answering = tokio::spawn(answer(listener));

    let (server, _etcd) = bench.server().await?;
    fill(&server).await?;
    let config = bench.scratch("proxy")?.join("config.yaml");
    // No file of another namespace is there to be written: connections are tracked as they are.
    let text = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
         hostnameOverride: {NODE}\nclusterCIDR: 10.128.0.0/9\nclientConnection: {{kubeconfig: {}}}\n\
         conntrack: {{maxPerCore: 0, min: 0}}\n",
        server.kubeconfig("kube-proxy")?.display()
    );
    std::fs::write(&config, text)?;
    let began = Instant::now();
    let arguments = [format!("--config={}", config.display())];
    let mut proxy = Process::start(&bench.program("kube-proxy"), &arguments, &config.with_file_name("log"))?;
    for service in [0, SERVICES / 2, SERVICES - 1] {
        wait(&mut proxy, service, |_| true).await?;
    }
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), proxy.cpu().as_secs_f64());
    table.add(
        "kube-proxy, 10,000 Services × 5 endpoints: from exec until all work",
        "≤ 2 s",
        format!("{elapsed:.2} s ({cpu:.2} s of processor)"),
    );

    let mut wire = server.connect().await?;
    let (mut times, before) = (Vec::new(), proxy.cpu());
    for n in 0..CHANGES {
        // Longer than proxies wait from one synchronization to the next.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let service = n * SERVICES / CHANGES;
        let fresh = endpoint(SERVICES + n, 0);
        let mut addresses: Vec<_> = (0..ENDPOINTS).map(|i| endpoint(service, i)).collect();
        addresses[n % ENDPOINTS] = fresh;
        let body = format!(r#"{{"endpoints":[{}]}}"#, endpoints(&addresses));
        let began = Instant::now();
        wire.count("PATCH", &format!("{SLICES}/{}", name(service)), body.as_bytes(), Default::default())
            .await?;
        wait(&mut proxy, service, |answered| answered == fresh).await?;
        times.push(began.elapsed());
    }
    times.sort();
    let middle = times[CHANGES / 2].as_secs_f64();
    let (worst, cpu) =
        (times[CHANGES - 1].as_secs_f64(), (proxy.cpu() - before).as_secs_f64() / CHANGES as f64);
    table.add(
        "kube-proxy: one of these endpoints changed",
        "≤ 0.03 s",
        format!(
            "{middle:.4} s from the request until it gets connections, worst {worst:.4} s ({:.1} ms of processor)",
            cpu * 1e3
        ),
    );
    table.add("kube-proxy: memory then", "≤ 25 MB", megabytes(proxy.memory()));
    answering.abort();
    Ok(())
}

fn name(service: usize) -> String {
    format!("service-{service:05}")
}

/// A Service's address.
fn address(service: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 100, 0, 1)) + service as u32)
}

fn endpoint(service: usize, number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 1)) + (service * ENDPOINTS + number) as u32)
}

fn endpoints(addresses: &[Ipv4Addr]) -> String {
    let one = |address: &Ipv4Addr| {
        format!(
            r#"{{"addresses":["{address}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"nodeName":"{NODE}"}}"#
        )
    };
    addresses.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Makes the node, the Services and their slices.
async fn fill(server: &Server) -> Result<()> {
    let mut wire = server.connect().await?;
    wire.count("POST", "/api/v1/nodes", &node(NODE), Default::default()).await?;
    let status = br#"{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}"#;
    wire.count("PATCH", &format!("/api/v1/nodes/{NODE}/status"), status, Default::default()).await?;
    load::each(server, 16, SERVICES, |mut wire, n| async move {
        let (name, address) = (name(n), address(n));
        let service = format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},
"spec":{{"clusterIP":"{address}","ports":[{{"name":"http","port":80,"targetPort":{PORT}}}]}}}}"#
        );
        wire.count("POST", "/api/v1/namespaces/bench/services", service.as_bytes(), Default::default())
            .await?;
        let addresses: Vec<_> = (0..ENDPOINTS).map(|i| endpoint(n, i)).collect();
        let slice = format!(
            r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4",
"metadata":{{"name":"{name}","labels":{{"kubernetes.io/service-name":"{name}"}}}},
"endpoints":[{}],"ports":[{{"name":"http","port":{PORT},"protocol":"TCP"}}]}}"#,
            endpoints(&addresses)
        );
        wire.count("POST", SLICES, slice.as_bytes(), Default::default()).await?;
        Ok(wire)
    })
    .await
}

/// Tells every connection which address it came to.
async fn answer(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        if let std::net::IpAddr::V4(address) = stream.local_addr()?.ip() {
            // Whoever hung up doesn't want to know.
            let _ = stream.write_all(&address.octets()).await;
        }
    }
}

/// Connects to a Service until an endpoint answers that will do.
async fn wait(proxy: &mut Process, service: usize, will_do: impl Fn(Ipv4Addr) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        // Where no rule is, what is sent gets lost.
        let limit = Duration::from_millis(10);
        match tokio::time::timeout(limit, ask(address(service))).await {
            Ok(Ok(answered)) if will_do(answered) => return Ok(()),
            Ok(Ok(_)) => {}
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        ensure!(
            proxy.runs() && began.elapsed() < PATIENCE,
            "{} does not work: {}",
            name(service),
            proxy.said()
        );
    }
}

async fn ask(service: Ipv4Addr) -> Result<Ipv4Addr> {
    let mut stream = TcpStream::connect((service, 80)).await?;
    let mut octets = [0; 4];
    stream.read_exact(&mut octets).await.context("no answer")?;
    Ok(octets.into())
}
