//! From exec to ready on an empty etcd, and what a server is with nothing in it.

use crate::Bench;
use crate::process::megabytes;
use crate::table::Table;
use anyhow::Result;
use std::time::Duration;

/// Starts measured; the middle one counts.
const STARTS: usize = 5;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (mut times, mut processor) = (Vec::new(), Vec::new());
    let mut memory = 0;
    for _ in 0..STARTS {
        let etcd = bench.etcd().await?;
        let server = bench.server_on(&etcd).await?;
        times.push(server.ready);
        processor.push(server.process.cpu());
        tokio::time::sleep(Duration::from_secs(2)).await;
        memory = server.process.memory();
    }
    times.sort();
    processor.sort();
    let (ready, cpu) = (times[STARTS / 2].as_secs_f64(), processor[STARTS / 2].as_secs_f64());
    table.add("exec to ready, empty etcd", "≤ 0.15 s", format!("{ready:.2} s ({cpu:.2} s of processor)"));
    table.add("apiserver idle: memory", "small", megabytes(memory));
    Ok(())
}
