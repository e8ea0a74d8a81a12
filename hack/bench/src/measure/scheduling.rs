//! Pods bound per second on simulated nodes.

use crate::Bench;
use crate::objects::{PODS, pod};
use crate::process::megabytes;
use crate::seed;
use crate::table::Table;
use crate::wire::{Accept, Wire};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;
use std::time::{Duration, Instant};

const NODES: usize = 1000;
const COUNT: usize = 5000;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let raw_etcd = bench.etcd().await?;
    let before = raw_etcd.create_rate(bench.period).await?;
    let served = bench.beside("served")?;
    let (server, _etcd) = served.server().await?;
    seed::nodes(&server, NODES).await?;
    crate::load::each(&server, 16, COUNT, |mut wire, n| async move {
        wire.count("POST", PODS, &pod(&format!("pending-{n}"), ""), Default::default()).await?;
        Ok(wire)
    })
    .await?;
    let mut wire = server.connect().await?;
    let list = wire.json("GET", &format!("{PODS}?limit=1"), &[]).await?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a revision")?;
    let path = format!("{PODS}?watch=1&resourceVersion={revision}");
    let watching = tokio::spawn(bound(server.connect().await?, path));

    let scheduler = server.client_daemon(&bench.program("kube-scheduler"), "kube-scheduler", &[])?;
    let cpu = server.process.cpu();
    let (first, last) = watching.await?.with_context(|| scheduler.said())?;
    let rate = (COUNT - 1) as f64 / (last - first).as_secs_f64();
    let cpu = (server.process.cpu() - cpu).as_micros() / COUNT as u128;
    let after = raw_etcd.create_rate(bench.period).await?;
    let raw = (before + after) / 2.0;
    table.add(
        "bind 5,000 pods on 1,000 nodes, events on",
        "≥ 0.45 × etcd's rate",
        format!(
            "{rate:.0}/s, {:.2} × etcd (processor per pod: scheduler {} µs, apiserver {cpu} µs)",
            rate / raw,
            scheduler.cpu().as_micros() / COUNT as u128,
        ),
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut events = 0;
    while events < COUNT && Instant::now() < deadline {
        let list = wire.json("GET", "/api/v1/namespaces/bench/events?limit=1", &[]).await?;
        let more = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default() as usize;
        events = more + list["items"].as_array().map_or(0, Vec::len);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    table.add("events of these pods", "5,000, none dropped", format!("{events}"));
    table.add("scheduler: memory with these", "", megabytes(scheduler.memory()));
    Ok(())
}

/// When the first and the last of the pods were seen bound.
async fn bound(mut wire: Wire, path: String) -> Result<(Instant, Instant)> {
    let mut line = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut first = None;
    let done = tokio::sync::Notify::new();
    let reading = wire.exchange("GET", &path, &[], Accept::default(), |piece| {
        for part in piece.split_inclusive(|b| *b == b'\n') {
            line.extend_from_slice(part);
            if !line.ends_with(b"\n") {
                continue;
            }
            let event: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
            line.clear();
            let object = &event["object"];
            if object["spec"]["nodeName"].is_string() {
                first.get_or_insert_with(Instant::now);
                seen.insert(object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            }
        }
        if seen.len() >= COUNT {
            done.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = done.notified() => {}
        ended = reading => ended?,
        () = tokio::time::sleep(Duration::from_secs(120)) => {}
    }
    ensure!(seen.len() >= COUNT, "only {} of {COUNT} pods were bound", seen.len());
    Ok((first.context("no pod was bound")?, Instant::now()))
}
