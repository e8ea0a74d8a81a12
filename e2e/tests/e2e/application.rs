//! The guestbook, used as a user would use it.

use crate::cluster::run_toolbox;
use anyhow::{Context, Result, bail};
use e2e::{Cluster, contains, eventually};
use std::io::{Read, Write};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);
const MANIFEST: &str = include_str!("../../manifests/guestbook.yaml");

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
        contains(&cluster.exec("visitor", "wget -qO- -T 5 http://front.guestbook/")?, "the guestbook")
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

pub(crate) fn rolling_update_loses_no_request(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    let address = load_balancer(cluster)?;
    // A new connection each time, until told to stop; every failure is a line.
    let script = format!(
        "n=0; while ! read -t 0.02 stop; do n=$((n + 1)); curl -sS --fail --max-time 5 -o /dev/null http://{address}/ 2>&1; done; echo total $n"
    );
    let mut client = e2e::spawn(cluster.network.node("outside")?.command("bash").args(["-c", &script]))?;
    cluster.kubectl(&["rollout", "restart", "-n", "guestbook", "deployment/front"])?;
    let rollout =
        cluster.kubectl(&["rollout", "status", "-n", "guestbook", "deployment/front", "--timeout=120s"]);
    // The old pods' last seconds are part of the update.
    std::thread::sleep(Duration::from_secs(8));
    client.stdin.take().context("stdin")?.write_all(b"stop\n")?;
    let mut heard = String::new();
    client.stdout.take().context("stdout")?.read_to_string(&mut heard)?;
    client.wait()?;
    rollout?;
    match heard.lines().collect::<Vec<_>>()[..] {
        [total] if total.starts_with("total ") => {
            let count: u32 = total["total ".len()..].trim().parse()?;
            if count < 50 { bail!("only {count} requests were made") } else { Ok(()) }
        }
        _ => bail!("requests were lost: {heard}"),
    }
}
