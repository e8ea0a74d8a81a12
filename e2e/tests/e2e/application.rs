//! The guestbook, used as a user would use it.

use crate::cluster::run_toolbox;
use anyhow::{Context, Result, bail};
use e2e::{Cluster, contains, eventually, same};
use std::io::{Read, Write};
use std::process::Child;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);
const MANIFEST: &str = include_str!("../../manifests/guestbook.yaml");
/// How many pods the manifest asks for.
pub(crate) const PODS: usize = 5;

/// Installs the guestbook, or waits until the one that is there is ready again.
pub(crate) fn ready(cluster: &Cluster) -> Result<()> {
    cluster.apply(MANIFEST)?;
    for deployment in ["redis", "api", "front"] {
        let name = format!("deployment/{deployment}");
        cluster.kubectl(&["rollout", "status", "-n", "guestbook", &name, "--timeout=120s"])?;
    }
    Ok(())
}

/// The address that the LoadBalancer Service was given.
fn load_balancer(cluster: &Cluster) -> Result<String> {
    let mut address = String::new();
    eventually("a load balancer address", SOON, || {
        let service = cluster.get(&["service", "front", "-n", "guestbook"])?;
        let ingress = service.pointer("/status/loadBalancer/ingress/0/ip").and_then(|ip| ip.as_str());
        address = ingress.context("no address yet")?.to_string();
        Ok(())
    })?;
    Ok(address)
}

/// One request to the load balancer's address.
pub(crate) fn answers(cluster: &Cluster) -> Result<()> {
    contains(&outside(cluster, &format!("http://{}/", load_balancer(cluster)?), "")?, "the guestbook")
}

/// Whose link answers for the load balancer's address, as a host outside sees it.
pub(crate) fn hardware_address(cluster: &Cluster) -> Result<String> {
    let address = load_balancer(cluster)?;
    let neighbour = cluster.network.node("outside")?.sh(&format!(
        "curl -s -o /dev/null --max-time 3 http://{address}/ || true; ip neighbour show {address} | sed 's/.*lladdr \\([^ ]*\\).*/\\1/'"
    ))?;
    Ok(neighbour.trim().to_string())
}

/// A request from outside the cluster, by a host that is no node.
pub(crate) fn outside(cluster: &Cluster, url: &str, more: &str) -> Result<String> {
    cluster.network.node("outside")?.sh(&format!("curl -sS --fail --max-time 5 {more} {url}"))
}

/// Adds an entry and sees it in the list, through the LoadBalancer address.
pub(crate) fn remembers(cluster: &Cluster, entry: &str) -> Result<()> {
    let address = load_balancer(cluster)?;
    eventually("the guestbook to take an entry", SOON, || {
        outside(cluster, &format!("http://{address}/api/entries"), &format!("-d '{entry}'")).map(drop)
    })?;
    still_remembers(cluster, entry)
}

/// Sees an earlier entry in the list.
pub(crate) fn still_remembers(cluster: &Cluster, entry: &str) -> Result<()> {
    let address = load_balancer(cluster)?;
    eventually("the guestbook to list its entries", SOON, || {
        contains(&outside(cluster, &format!("http://{address}/api/entries"), "")?, entry)
    })
}

pub(crate) fn serves(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    // By name, from a pod.
    run_toolbox(cluster, "visitor", "n1")?;
    eventually("the Service's name", SOON, || {
        contains(&cluster.exec("visitor", "timeout 5 wget -qO- http://front.guestbook/")?, "the guestbook")
    })?;
    // By NodePort, on each node, whether a pod runs there or not.
    for node in ["n1", "n2"] {
        let address = &cluster.network.node(node)?.address;
        eventually("the NodePort", SOON, || {
            contains(&outside(cluster, &format!("http://{address}:30080/"), "")?, "the guestbook")
        })?;
    }
    // By the load balancer's address, with data.
    remembers(cluster, "first visit")?;
    cluster.kubectl(&["delete", "pod", "visitor"]).map(drop)
}

/// Somebody outside who asks for the page again and again, with a new connection each time.
pub(crate) struct Visitor(Child);

/// What a visitor saw.
pub(crate) struct Visit {
    pub(crate) requests: u32,
    /// What was said of each request that failed.
    pub(crate) lost: Vec<String>,
}

impl Visitor {
    pub(crate) fn start(cluster: &Cluster) -> Result<Visitor> {
        let address = load_balancer(cluster)?;
        // Every failure is a line, and the number of requests is the last one.
        let script = format!(
            "n=0; while ! read -t 0.02 stop; do n=$((n + 1)); \
             curl -sS --fail --max-time 5 -o /dev/null http://{address}/ 2>&1 || date +%T; done; echo $n"
        );
        Ok(Visitor(e2e::spawn(cluster.network.node("outside")?.command("bash").args(["-c", &script]))?))
    }

    pub(crate) fn stop(mut self) -> Result<Visit> {
        self.0.stdin.take().context("stdin")?.write_all(b"stop\n")?;
        let mut heard = String::new();
        self.0.stdout.take().context("stdout")?.read_to_string(&mut heard)?;
        self.0.wait()?;
        let mut lost: Vec<String> = heard.lines().map(String::from).collect();
        let requests = lost.pop().context("no number of requests")?.parse()?;
        Ok(Visit { requests, lost })
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn rolling_update_loses_no_request(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    let visitor = Visitor::start(cluster)?;
    // The image is the same, the pods are new: their labels say which update they are of.
    for update in ["1", "2"] {
        let patch =
            format!(r#"{{"spec": {{"template": {{"metadata": {{"labels": {{"update": "{update}"}}}}}}}}}}"#);
        cluster.kubectl(&["patch", "-n", "guestbook", "deployment/front", "-p", &patch])?;
        cluster.kubectl(&["rollout", "status", "-n", "guestbook", "deployment/front", "--timeout=120s"])?;
        // The old pods' last seconds are part of the update.
        eventually("the old pods to go", SOON, || {
            let all =
                cluster.kubectl(&["get", "pods", "-n", "guestbook", "-l", "app=front", "-o", "name"])?;
            let new = format!("app=front,update={update}");
            same("pods", all, cluster.kubectl(&["get", "pods", "-n", "guestbook", "-l", &new, "-o", "name"])?)
        })?;
    }
    let visit = visitor.stop()?;
    if !visit.lost.is_empty() {
        bail!("of {} requests were lost: {:#?}", visit.requests, visit.lost);
    }
    if visit.requests < 50 {
        bail!("only {} requests were made", visit.requests);
    }
    Ok(())
}
