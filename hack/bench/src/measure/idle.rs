//! What the daemons cost when nothing happens.

use crate::Bench;
use crate::process::{Process, megabytes};
use crate::table::Table;
use anyhow::Result;
use std::time::Duration;

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// How long the daemons have to settle.
const SETTLE: Duration = Duration::from_secs(15);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (server, _etcd) = bench.server().await?;
    let manager =
        server.client_daemon(&bench.program("kube-controller-manager"), "kube-controller-manager", &[])?;
    let scheduler = server.client_daemon(&bench.program("kube-scheduler"), "kube-scheduler", &[])?;
    tokio::time::sleep(SETTLE).await;
    let all: [(&str, &str, &Process); 3] = [
        ("idle: apiserver", "≤ 70 MB and 0.5% of a core for all five daemons", &server.process),
        ("idle: controller manager", "", &manager),
        ("idle: scheduler", "", &scheduler),
    ];
    let before = all.map(|(_, _, process)| process.cpu());
    tokio::time::sleep(IDLE).await;
    for ((measure, budget, process), before) in all.into_iter().zip(before) {
        let share = (process.cpu() - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        table.add(measure, budget, format!("{}, {share:.2}% of a core", megabytes(process.memory())));
    }
    Ok(())
}
