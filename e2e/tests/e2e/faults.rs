//! What users fear: pods, nodes and daemons that die. The guestbook serves afterwards, and its data is there.

use crate::application::{ready, remembers, still_remembers};
use anyhow::{Context, Result, bail};
use e2e::{Cluster, Node, eventually, same};
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

pub(crate) fn a_node_is_drained(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
    remembers(cluster, "before the drain")?;
    cluster.kubectl(&[
        "drain",
        "n2",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=120s",
    ])?;
    ready(cluster)?;
    still_remembers(cluster, "before the drain")?;
    let pods = cluster.get(&["pods", "-n", "guestbook", "--field-selector=spec.nodeName=n2"])?;
    same("pods left on n2", pods["items"].as_array().map(Vec::len), Some(0))?;
    cluster.kubectl(&["uncordon", "n2"])?;
    cluster.kubectl(&["rollout", "restart", "-n", "guestbook", "deployment"])?;
    ready(cluster)
}

/// Kills every process of that name in a node's network namespace; returns how many there were.
fn kill(node: &Node, name: &str) -> Result<usize> {
    let script = format!(
        "n=0; for p in $(ip netns pids $(ip netns identify) 2>/dev/null || ls /proc | grep -E '^[0-9]+$'); do \
           [ \"$(readlink /proc/$p/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ] || continue; \
           [ \"$(cat /proc/$p/comm 2>/dev/null)\" = '{}' ] && kill -9 $p && n=$((n + 1)); done; echo $n",
        // The kernel keeps fifteen characters of a name.
        &name[..name.len().min(15)]
    );
    node.sh(&script)?.trim().parse().context("a count")
}

pub(crate) fn every_daemon_is_killed_in_turn(cluster: &Cluster) -> Result<()> {
    ready(cluster)?;
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
        let entry = format!("before {name} was killed");
        remembers(cluster, &entry)?;
        if kill(cluster.first(), name)? == 0 {
            bail!("no process {name} was found on n1");
        }
        // Serving never stopped, or starts again: the data is there.
        still_remembers(cluster, &entry)?;
        eventually(&format!("the cluster after {name} was killed"), SOON, || {
            cluster.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=5s"])?;
            let pods = cluster.get(&["pods", "-A"])?;
            for pod in pods["items"].as_array().context("items")? {
                let statuses = pod["status"]["containerStatuses"].as_array().context("containerStatuses")?;
                if statuses.iter().any(|status| status["ready"] != true) {
                    bail!("{} is not ready", pod["metadata"]["name"]);
                }
            }
            Ok(())
        })?;
        // New work is still done.
        cluster.kubectl(&["scale", "-n", "guestbook", "deployment/api", "--replicas=3"])?;
        ready_with(cluster, 3)?;
        cluster.kubectl(&["scale", "-n", "guestbook", "deployment/api", "--replicas=2"])?;
        ready_with(cluster, 2)?;
    }
    Ok(())
}

fn ready_with(cluster: &Cluster, replicas: i64) -> Result<()> {
    eventually("the deployment to follow", SOON, || {
        let deployment = cluster.get(&["deployment", "api", "-n", "guestbook"])?;
        same("readyReplicas", deployment["status"]["readyReplicas"].as_i64(), Some(replicas))?;
        same("replicas", deployment["status"]["replicas"].as_i64(), Some(replicas))
    })
}
