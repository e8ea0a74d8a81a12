//! Pods up and down: one, and those of a Deployment.

use super::runtime::Runtime;
use super::{NAMESPACE, Place};
use crate::table::Table;
use crate::wire::{Accept, Wire};
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The image of all containers: it is on every node.
pub(super) const IMAGE: &str = "registry.k8s.io/pause:3.10.1";
/// How many pods are measured one by one; the middle time counts.
const TURNS: usize = 9;
/// The replicas of the Deployment.
const REPLICAS: usize = 50;
/// The API server's port.
const PORT: u16 = 6443;
/// How long any of it may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn measure(place: &Place, table: &mut Table) -> Result<()> {
    let runtime = Runtime::new(place)?;
    let mut api = Api::new(place).await?;
    // The first of each finds nothing ready.
    runtime.pods(1).await?;
    api.one_pod("first").await?;
    let (mut own, mut bound, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TURNS {
        own.push(runtime.pods(1).await?.up);
        let times = api.one_pod(&format!("pod-{turn}")).await?;
        bound.push(times.bound);
        ready.push(times.ready);
    }
    let (own, bound, ready) = (middle(own), middle(bound), middle(ready));
    let shown = format!(
        "{ready:.3} s, {:.0} ms more than the runtime's own {own:.3} s (bound after {:.0} ms)",
        (ready - own) * 1e3,
        bound * 1e3
    );
    table.add("one pod, create to Ready", "runtime + 50 ms", shown);

    let own = runtime.pods(REPLICAS).await?;
    // The runtime goes on with what it removed for a while.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let times = api.deployment().await?;
    let (up, own_up) = (times.up.as_secs_f64(), own.up.as_secs_f64());
    table.add(
        format!("{REPLICAS}-pod Deployment, up"),
        "runtime × 1.1",
        format!("{up:.1} s, {:.2} × the runtime's own {own_up:.1} s", up / own_up),
    );
    let (down, stop) = (times.down.as_secs_f64(), own.stop.as_secs_f64());
    table.add(
        format!("{REPLICAS}-pod Deployment, down"),
        "runtime × 1.1",
        format!(
            "{down:.1} s, {:.2} × the runtime's own {stop:.1} s until all are stopped (and {:.1} s until they are removed)",
            down / stop,
            own.remove.as_secs_f64()
        ),
    );
    Ok(())
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// What was seen of a pod.
struct Seen {
    at: Instant,
    name: String,
    bound: bool,
    ready: bool,
    gone: bool,
}

/// The API server of the cluster, and what it tells of the pods.
struct Api {
    wire: Wire,
    seen: mpsc::UnboundedReceiver<Seen>,
}

/// From a pod's creation.
struct PodTimes {
    bound: Duration,
    ready: Duration,
}

struct DeploymentTimes {
    up: Duration,
    down: Duration,
}

impl Api {
    async fn new(place: &Place) -> Result<Api> {
        let mut wire = Wire::open(PORT, place.token).await?;
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let list = wire.json("GET", &pods, &[]).await?;
        let revision = list["metadata"]["resourceVersion"].as_str().context("a revision")?;
        let path = format!("{pods}?watch=1&resourceVersion={revision}");
        let watching = Wire::open(PORT, place.token).await?;
        let (sender, seen) = mpsc::unbounded_channel();
        // It ends with the channel or the connection; then whoever waits is told.
        tokio::spawn(watch(watching, path, sender));
        Ok(Api { wire, seen })
    }

    async fn next(&mut self) -> Result<Seen> {
        let next = tokio::time::timeout(PATIENCE, self.seen.recv()).await;
        next.context("nothing happens to the pods")?.context("the watch of the pods ended")
    }

    /// One pod, up and down.
    async fn one_pod(&mut self, name: &str) -> Result<PodTimes> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let pod = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"web","image":"{IMAGE}"}}]}}}}"#
        );
        let began = Instant::now();
        self.wire.count("POST", &path, pod.as_bytes(), Accept::default()).await?;
        let mut bound = None;
        let ready = loop {
            let seen = self.next().await?;
            if seen.name != name {
                continue;
            }
            if seen.bound {
                bound.get_or_insert(seen.at - began);
            }
            if seen.ready {
                break seen.at - began;
            }
        };
        self.wire.count("DELETE", &format!("{path}/{name}"), &[], Accept::default()).await?;
        while !self.next().await?.gone {}
        Ok(PodTimes { bound: bound.unwrap_or_default(), ready })
    }

    /// A Deployment, up and down.
    async fn deployment(&mut self) -> Result<DeploymentTimes> {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
        let deployment = format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"many"}},"spec":{{"replicas":{REPLICAS},"selector":{{"matchLabels":{{"app":"many"}}}},
"template":{{"metadata":{{"labels":{{"app":"many"}}}},"spec":{{"containers":[{{"name":"web","image":"{IMAGE}"}}]}}}}}}}}"#
        );
        let began = Instant::now();
        self.wire.count("POST", &path, deployment.as_bytes(), Accept::default()).await?;
        let mut ready = HashSet::new();
        while ready.len() < REPLICAS {
            let seen = self.next().await?;
            if seen.gone {
                bail!("{} went away", seen.name);
            }
            if seen.ready {
                ready.insert(seen.name);
            }
        }
        let up = began.elapsed();
        let began = Instant::now();
        let path = format!("{path}/many?propagationPolicy=Background");
        self.wire.count("DELETE", &path, &[], Accept::default()).await?;
        while !ready.is_empty() {
            let seen = self.next().await?;
            if seen.gone {
                ready.remove(&seen.name);
            }
        }
        Ok(DeploymentTimes { up, down: began.elapsed() })
    }
}

async fn watch(mut wire: Wire, path: String, sender: mpsc::UnboundedSender<Seen>) -> Result<()> {
    let mut line = Vec::new();
    wire.exchange("GET", &path, &[], Accept::default(), |piece| {
        let at = Instant::now();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if !line.ends_with(b"\n") {
                continue;
            }
            let event: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
            line.clear();
            let pod = &event["object"];
            let conditions = pod["status"]["conditions"].as_array();
            let ready = |all: &Vec<serde_json::Value>| {
                all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
            };
            let seen = Seen {
                at,
                name: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                bound: pod["spec"]["nodeName"].is_string(),
                ready: conditions.is_some_and(ready),
                gone: event["type"] == "DELETED",
            };
            // Nobody waits for it at the end.
            let _ = sender.send(seen);
        }
    })
    .await
}
