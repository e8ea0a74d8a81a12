//! kubectl, unmodified: every command that a user of a new cluster tries. Each test leaves the cluster as it was.

pub(crate) mod access;
pub(crate) mod nodes;
pub(crate) mod objects;
pub(crate) mod pods;
pub(crate) mod reads;
pub(crate) mod workloads;

use e2e::Cluster;
use std::time::Duration;

/// How long anything of these tests may take.
const SOON: Duration = Duration::from_secs(60);
/// An image that every node has.
const TOOLBOX: &str = "registry.k8s.io/e2e/toolbox:1";
/// A program that ends when it is told to: as process 1 it would not without a trap.
const SLEEP: [&str; 3] = ["sh", "-c", "trap exit TERM; sleep 100000 & wait"];

/// What a command prints on both streams, whatever its end.
fn says(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<String> {
    let output = cluster.kubectl_command().args(arguments).output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}
