//! Nodes: cordon, drain, taint, label.

use super::SOON;
use crate::cluster::toolbox;
use anyhow::Result;
use e2e::{Cluster, contains, eventually, same};

pub(crate) fn nodes(cluster: &Cluster) -> Result<()> {
    contains(&cluster.kubectl(&["cordon", "n2"])?, "node/n2 cordoned")?;
    contains(&cluster.kubectl(&["get", "node", "n2"])?, "Ready,SchedulingDisabled")?;
    cluster.apply(&toolbox("stuck", "n2"))?;
    let reason = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable. \
        no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    eventually("the scheduler's reason", SOON, || {
        contains(&cluster.kubectl(&["describe", "pod", "stuck"])?, reason)
    })?;
    same(
        "the condition",
        cluster.get(&["pod", "stuck"])?["status"]["conditions"][0]["reason"].as_str(),
        Some("Unschedulable"),
    )?;
    contains(&cluster.kubectl(&["uncordon", "n2"])?, "node/n2 uncordoned")?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/stuck", "--timeout=60s"])?;
    cluster.kubectl(&["taint", "node", "n2", "test=1:NoExecute"])?;
    eventually("the taint to evict the pod", SOON, || {
        contains(&cluster.kubectl_fails(&["get", "pod", "stuck"])?, "not found")
    })?;
    cluster.kubectl(&["taint", "node", "n2", "test-"])?;
    cluster.kubectl(&["label", "node", "n2", "disk=fast"])?;
    contains(&cluster.kubectl(&["get", "nodes", "-l", "disk=fast", "-o", "name"])?, "node/n2\n")?;
    cluster.kubectl(&["label", "node", "n2", "disk-"]).map(drop)
}

pub(crate) fn drain(cluster: &Cluster) -> Result<()> {
    cluster.apply(&toolbox("bare", "n2"))?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/bare", "--timeout=60s"])?;
    let drain = ["drain", "n2", "--ignore-daemonsets", "--timeout=90s"];
    // Nobody would bring it back: drain wants to be told.
    contains(
        &cluster.kubectl_fails(&drain)?,
        "cannot delete Pods that declare no controller (use --force to override): default/bare",
    )?;
    let mut forced = drain.to_vec();
    forced.push("--force");
    contains(&cluster.kubectl(&forced)?, "node/n2 drained")?;
    contains(&cluster.kubectl_fails(&["get", "pod", "bare"])?, "not found")?;
    cluster.kubectl(&["uncordon", "n2"])?;
    cluster
        .kubectl(&["rollout", "status", "-n", "kube-system", "deployment/cluster-dns", "--timeout=60s"])
        .map(drop)
}
