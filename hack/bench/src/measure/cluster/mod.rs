//! A cluster of one node, as `make up` makes it: what its daemons cost when idle, how long pods take beside the runtime's own
//! time for the same calls.

mod daemons;
mod pods;
mod runtime;

use crate::Bench;
use crate::apart;
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use std::path::PathBuf;
use std::time::Duration;

/// The namespace of the pods.
const NAMESPACE: &str = "bench";

/// What the measures need to know of the node. The cluster itself stays with the thread that made it: what removes it must
/// not run in one of its namespaces.
struct Place {
    /// A process in the node's namespaces.
    pid: u32,
    /// The cgroup of all its pods.
    cgroup: String,
    /// What lets requests in.
    token: &'static str,
}

impl Place {
    /// A path of the node as this process can open it.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid))
    }
}

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let cluster = Cluster::up(1)?;
    let place = prepare(&cluster)?;
    apart::inside(bench, &place.network(), async || {
        daemons::measure(&place, table).await?;
        pods::measure(&place, table).await
    })
}

/// Waits until the cluster is complete, and lets requests in that need no client library.
fn prepare(cluster: &Cluster) -> Result<Place> {
    e2e::eventually("the pods of the system", Duration::from_secs(120), || {
        let pods = cluster.get(&["pods", "-n", "kube-system"])?;
        let pods = pods["items"].as_array().context("no pods")?;
        let ready = |pod: &&serde_json::Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        };
        let count = pods.iter().filter(ready).count();
        ensure!(!pods.is_empty() && count == pods.len(), "{count} of {} are ready", pods.len());
        Ok(())
    })?;
    cluster.kubectl(&["create", "namespace", NAMESPACE])?;
    cluster.kubectl(&["create", "serviceaccount", "bench", "-n", NAMESPACE])?;
    let account = format!("--serviceaccount={NAMESPACE}:bench");
    cluster.kubectl(&["create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin", &account])?;
    let token = cluster.kubectl(&["create", "token", "bench", "-n", NAMESPACE, "--duration=2h"])?;
    let node = cluster.first();
    // A connection's token lives as long as the program.
    let token = String::leak(token.trim().to_owned());
    Ok(Place { pid: node.pid()?, cgroup: cluster.network.cgroup(node)?, token })
}
