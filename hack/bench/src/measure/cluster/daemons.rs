//! The daemons of a cluster in which nothing happens.

use super::Place;
use crate::process::{Usage, megabytes};
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;

/// The six.
const DAEMONS: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "cloud-controller-manager",
    "kubelet",
    "kube-proxy",
];
/// How long the cluster has to settle.
const SETTLE: Duration = Duration::from_secs(20);
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(60);

pub(super) async fn measure(place: &Place, table: &mut Table) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    let found = find(&place.network())?;
    let before: Vec<_> = found.iter().map(|(_, usage)| usage.cpu()).collect();
    tokio::time::sleep(IDLE).await;
    let (mut all_memory, mut all_share) = (0, 0.0);
    for daemon in DAEMONS {
        let of_daemon = || found.iter().zip(&before).filter(|((name, _), _)| name == daemon);
        let (memory, share) = of_daemon().fold((0, 0.0), |(memory, share), ((_, usage), before)| {
            let used = (usage.cpu() - *before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
            (memory + usage.memory(), share + used)
        });
        let count = of_daemon().count();
        ensure!(count > 0 && memory > 0, "{daemon} does not run");
        // The cloud controller manager is the node's agent as well.
        let processes = if count == 1 { String::new() } else { format!(" ({count} processes)") };
        table.add(
            format!("a cluster's daemons when idle: {daemon}"),
            "",
            format!("{}, {share:.2}% of a core{processes}", megabytes(memory)),
        );
        all_memory += memory;
        all_share += share;
    }
    table.add("a cluster's daemons when idle: memory, all", "≤ 70 MB", megabytes(all_memory));
    table.add(
        "a cluster's daemons when idle: processor, all",
        "≤ 0.5% of a core",
        format!("{all_share:.2}% of a core"),
    );
    Ok(())
}

/// The daemons whose network is this namespace, by name.
fn find(network: &Path) -> Result<Vec<(String, Usage)>> {
    let network = std::fs::read_link(network).context("the node's network")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if !std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|other| other == network) {
            continue;
        }
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = Path::new(std::str::from_utf8(program).unwrap_or_default()).file_name();
        let name = name.and_then(|name| name.to_str()).unwrap_or_default();
        if DAEMONS.contains(&name) {
            found.push((name.to_owned(), Usage(pid)));
        }
    }
    Ok(found)
}
