//! What users fear: pods, nodes and daemons that die. The guestbook serves afterwards, and its data is there.

use crate::application::{self, Visitor, ready, remembers, still_remembers};
use anyhow::{Context, Result, bail};
use e2e::{Cluster, Node, contains, eventually, same};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(120);

pub(crate) fn a_pod_is_killed(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    remembers(cluster, "before the pod was killed")?;
    cluster.kubectl(&[
        "delete",
        "pod",
        "-n",
        "guestbook",
        "-l",
        "app=redis",
        "--grace-period=0",
        "--force",
    ])?;
    ready(cluster)?;
    still_remembers(cluster, "before the pod was killed")
}

/// The process itself dies: its container starts again in the same pod.
pub(crate) fn a_container_is_killed(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    remembers(cluster, "before the process was killed")?;
    let pods = ["-n", "guestbook", "pods", "-l", "app=redis"];
    let before = cluster.get(&pods)?["items"][0].clone();
    let node = cluster.network.node(before["spec"]["nodeName"].as_str().context("nodeName")?)?;
    let id = before["status"]["containerStatuses"][0]["containerID"].as_str().context("containerID")?;
    let id = id.trim_start_matches("containerd://");
    node.sh(&format!(
        "/opt/keelson/bin/ctr -a /run/keelson/containerd/containerd.sock -n k8s.io tasks kill -s SIGKILL {id}"
    ))?;
    eventually("the container to start again", SOON, || {
        let now = cluster.get(&pods)?["items"][0].clone();
        same("the pod", &now["metadata"]["uid"], &before["metadata"]["uid"])?;
        let status = &now["status"]["containerStatuses"][0];
        same("restarts", status["restartCount"].as_i64(), Some(1))?;
        same("how it ended", status["lastState"]["terminated"]["exitCode"].as_i64(), Some(137))?;
        same("ready", status["ready"].as_bool(), Some(true))
    })?;
    still_remembers(cluster, "before the process was killed")
}

pub(crate) fn a_node_is_drained(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    remembers(cluster, "before the drain")?;
    drain(cluster)?;
    still_remembers(cluster, "before the drain")?;
    cluster.kubectl(&["uncordon", "n2"])?;
    cluster.kubectl(&["rollout", "restart", "-n", "guestbook", "deployment"])?;
    ready(cluster)
}

/// Moves everything to n1.
fn drain(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&[
        "drain",
        "n2",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=120s",
    ])?;
    // A Deployment's status alone is what its controller knew last, and that may just be starting again.
    eventually("every pod to be ready on n1", SOON, || {
        let pods = cluster.get(&["pods", "-n", "guestbook"])?;
        let pods = pods["items"].as_array().context("items")?;
        same("pods", pods.len(), application::PODS)?;
        for pod in pods {
            same("its node", pod["spec"]["nodeName"].as_str(), Some("n1"))?;
            same("ready", pod["status"]["containerStatuses"][0]["ready"].as_bool(), Some(true))?;
        }
        Ok(())
    })?;
    ready(cluster)
}

/// Sends a signal to every process of that name in a node's network namespace; returns how many there were.
fn signal(node: &Node, signal: &str, name: &str) -> Result<usize> {
    let script = format!(
        "n=0; for p in $(ls /proc | grep -E '^[0-9]+$'); do \
           [ \"$(readlink /proc/$p/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ] || continue; \
           [ \"$(cat /proc/$p/comm 2>/dev/null)\" = '{}' ] && kill -{signal} $p && n=$((n + 1)); done; echo $n",
        // The kernel keeps fifteen characters of a name.
        &name[..name.len().min(15)]
    );
    node.sh(&script)?.trim().parse().context("a count")
}

/// The guestbook's containers, by pod: their ids and restart counts. Pods that are on their way out don't count.
fn containers(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let pods = cluster.get(&["pods", "-n", "guestbook"])?;
    let pods = pods["items"].as_array().context("items")?;
    let entry = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let facts = serde_json::json!([status["containerID"], status["restartCount"]]);
        (pod["metadata"]["name"].as_str().unwrap_or_default().to_string(), facts)
    };
    Ok(pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(entry).collect())
}

/// Nodes and all pods are ready.
fn all_is_well(cluster: &Cluster) -> Result<()> {
    eventually("the cluster to be well", SOON, || {
        cluster.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=5s"])?;
        let pods = cluster.get(&["pods", "-A"])?;
        for pod in pods["items"].as_array().context("items")? {
            let statuses = pod["status"]["containerStatuses"].as_array().context("containerStatuses")?;
            if statuses.iter().any(|status| status["ready"] != true) {
                bail!("{} is not ready", pod["metadata"]["name"]);
            }
        }
        Ok(())
    })
}

pub(crate) fn every_daemon_is_killed_in_turn(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    all_is_well(cluster)?;
    let before = containers(cluster)?;
    for name in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "cloud-controller-manager",
        "kube-proxy",
        "kubelet",
        "containerd",
        "etcd",
    ] {
        killed(cluster, name).with_context(|| format!("{name} was killed"))?;
        // Whoever was not killed goes on as if nothing had happened: kubelets adopt what runs.
        same(&format!("containers after {name} was killed"), containers(cluster)?, before.clone())?;
    }
    Ok(())
}

/// Kills one daemon on every node that runs it.
fn killed(cluster: &Cluster, name: &str) -> Result<()> {
    let entry = format!("before {name} was killed");
    remembers(cluster, &entry)?;
    let visitor = Visitor::start(cluster)?;
    let mut count = 0;
    for node in ["n1", "n2"] {
        count += signal(cluster.network.node(node)?, "KILL", name)?;
    }
    if count == 0 {
        bail!("no process of that name was found");
    }
    new_work_is_done(cluster)?;
    all_is_well(cluster)?;
    // The daemons are not on the requests' way: nobody outside noticed.
    let lost = visitor.stop()?.lost;
    if !lost.is_empty() {
        bail!("requests were lost: {lost:#?}");
    }
    still_remembers(cluster, &entry)
}

/// A deployment comes up, is reached through its Service, and goes.
fn new_work_is_done(cluster: &Cluster) -> Result<()> {
    let create = [
        "create",
        "deployment",
        "extra",
        "--image=registry.k8s.io/e2e/toolbox:1",
        "--replicas=2",
        "--port=80",
    ];
    let command = ["--", "sh", "-c", "mkdir /www; hostname >/www/index.html; exec httpd -f -h /www -p 80"];
    eventually("the API server", SOON, || cluster.kubectl(&[&create[..], &command].concat()).map(drop))?;
    cluster.kubectl(&["rollout", "status", "deployment/extra", "--timeout=120s"])?;
    eventually("a Service", SOON, || {
        cluster.kubectl(&["expose", "deployment", "extra", "--port=80"]).map(drop)
    })?;
    let address =
        cluster.get(&["service", "extra"])?["spec"]["clusterIP"].as_str().context("clusterIP")?.to_string();
    for node in ["n1", "n2"] {
        eventually("the new Service", SOON, || {
            let page =
                cluster.network.node(node)?.sh(&format!("curl -sS --fail --max-time 3 http://{address}/"))?;
            contains(&page, "extra-")
        })?;
    }
    cluster.kubectl(&["delete", "deployment,service", "extra"])?;
    eventually("the new pods to go", SOON, || {
        same("pods", cluster.kubectl(&["get", "pods", "-l", "app=extra", "-o", "name"])?.as_str(), "")
    })
}

/// etcd stands still for ten seconds: what was stored stays, what waits is done, and the guestbook never notices.
pub(crate) fn etcd_is_away_for_ten_seconds(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    cluster.kubectl(&["create", "configmap", "before"])?;
    let visitor = Visitor::start(cluster)?;
    same("etcds", signal(cluster.first(), "STOP", "etcd")?, 1)?;
    let during = cluster.kubectl(&["create", "configmap", "during", "--request-timeout=5s"]);
    std::thread::sleep(Duration::from_secs(5));
    signal(cluster.first(), "CONT", "etcd")?;
    if let Ok(text) = during {
        bail!("a write was confirmed while etcd stood still: {text}");
    }
    eventually("writes", SOON, || {
        cluster.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: after}}").map(drop)
    })?;
    contains(&cluster.kubectl(&["get", "configmaps", "before", "after", "-o", "name"])?, "configmap/before")?;
    all_is_well(cluster)?;
    let lost = visitor.stop()?.lost;
    if !lost.is_empty() {
        bail!("requests were lost: {lost:#?}");
    }
    cluster.kubectl(&["delete", "configmap", "before", "after"])?;
    cluster.kubectl(&["delete", "configmap", "during", "--ignore-not-found"]).map(drop)
}

/// The node that announces the load balancer's address drops off the network: another one takes over.
pub(crate) fn the_announcer_dies(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    drain(cluster)?;
    // The pods are on n1; the address is n2's, whose agent forwards what comes for it.
    cluster.kubectl(&["uncordon", "n2"])?;
    let announced = |by: &str| {
        let service = cluster.get(&["service", "front", "-n", "guestbook"])?;
        same(
            "announcer",
            service["metadata"]["annotations"]["bare-metal.keelson.io/announced-by"].as_str(),
            Some(by),
        )
    };
    cluster.kubectl(&[
        "annotate",
        "service",
        "-n",
        "guestbook",
        "front",
        "--overwrite",
        "bare-metal.keelson.io/announced-by=n2",
    ])?;
    eventually("n2 to announce", SOON, || {
        announced("n2")?;
        same(
            "who answers for the address",
            application::hardware_address(cluster)?,
            link_address(cluster, "n2")?,
        )
    })?;
    remembers(cluster, "before the announcer died")?;
    let node = cluster.network.node("n2")?;
    node.sh("ip link set eth0 down")?;
    let outcome = (|| {
        eventually("another node to answer for the address", SOON, || {
            announced("n1")?;
            application::answers(cluster)?;
            same(
                "who answers for the address",
                application::hardware_address(cluster)?,
                link_address(cluster, "n1")?,
            )
        })?;
        still_remembers(cluster, "before the announcer died")?;
        // A silent node is not ready, and not gone.
        contains(&cluster.kubectl(&["get", "node", "n2"])?, "NotReady")
    })()
    .inspect_err(|_| println!("{}", cluster.picture()));
    node.sh("ip link set eth0 up; ip route add default via 10.200.0.1")?;
    outcome?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "node/n2", "--timeout=90s"])?;
    all_is_well(cluster)?;
    cluster.kubectl(&["rollout", "restart", "-n", "guestbook", "deployment"])?;
    ready(cluster)
}

fn link_address(cluster: &Cluster, node: &str) -> Result<String> {
    // Not from /sys, which shows the machine's own links.
    let link = cluster.network.node(node)?.sh("ip -o link show eth0")?;
    Ok(link.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next()).context("eth0")?.into())
}
