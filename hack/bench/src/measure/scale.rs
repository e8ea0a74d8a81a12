//! A server with many objects: its start, and its memory with controllers and scheduler attached.

use crate::Bench;
use crate::objects::{CONFIG_MAPS, PODS};
use crate::process::megabytes;
use crate::seed;
use crate::server::Server;
use crate::table::Table;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    with_daemons(bench, table).await?;
    many(bench, table).await
}

/// 10,000 pods and 12,500 ConfigMaps, a controller manager and a scheduler attached.
async fn with_daemons(bench: &Bench, table: &mut Table) -> Result<()> {
    let (server, etcd) = bench.server().await?;
    seed::nodes(&server, 1000).await?;
    seed::config_maps(&server, &etcd, 12_500).await?;
    seed::pods(&server, &etcd, 10_000, 1000).await?;
    // A server that was started with these objects, as it would be after an upgrade.
    drop(server);
    let server = bench.server_on(&etcd).await?;
    let started = server.process.memory();
    let manager =
        server.client_daemon(&bench.program("kube-controller-manager"), "kube-controller-manager", &[])?;
    let scheduler = server.client_daemon(&bench.program("kube-scheduler"), "kube-scheduler", &[])?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    table.add(
        "apiserver, 10,000 pods, 12,500 ConfigMaps, 1,000 nodes",
        "≤ 120 MB",
        format!(
            "{}; {} with controllers and scheduler attached",
            megabytes(started),
            megabytes(server.process.memory())
        ),
    );
    let mut wire = server.connect().await?;
    for path in [PODS, CONFIG_MAPS] {
        wire.count("GET", path, &[], Default::default()).await?;
    }
    // What the lists took for a moment has been given back then.
    tokio::time::sleep(Duration::from_secs(10)).await;
    table.add(
        "the same, seconds after all was listed as JSON",
        "≤ 120 MB",
        megabytes(server.process.memory()),
    );
    table.add(
        "controller manager, scheduler: memory then",
        "",
        format!("{}, {}", megabytes(manager.memory()), megabytes(scheduler.memory())),
    );
    Ok(())
}

/// A start with 100,000 objects.
async fn many(bench: &Bench, table: &mut Table) -> Result<()> {
    let (server, etcd) = bench.server().await?;
    seed::nodes(&server, 1000).await?;
    seed::config_maps(&server, &etcd, 60_000).await?;
    seed::pods(&server, &etcd, 40_000, 1000).await?;
    let resources = Arc::new(listable(&server).await?);
    drop(server);

    let began = Instant::now();
    let server = bench.server_on(&etcd).await?;
    let ready = server.ready;
    let last = Arc::new(AtomicU64::new(0));
    let count = resources.len();
    let (shared, slowest) = (resources.clone(), last.clone());
    crate::load::each(&server, 8, count, move |mut wire, n| {
        let (resources, slowest) = (shared.clone(), slowest.clone());
        async move {
            wire.count("GET", &format!("{}?limit=500", resources[n]), &[], Default::default()).await?;
            slowest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            Ok(wire)
        }
    })
    .await?;
    let all = last.load(Ordering::Relaxed) as f64 / 1e6;
    table.add(
        "start with 100,000 objects: every resource has answered a consistent LIST",
        "≤ 2 s",
        format!(
            "{all:.2} s for {count} resources (ready after {:.2} s, {:.2} s of processor, {})",
            ready.as_secs_f64(),
            server.process.cpu().as_secs_f64(),
            megabytes(server.process.memory())
        ),
    );
    Ok(())
}

/// The paths of all resources that can be listed.
async fn listable(server: &Server) -> Result<Vec<String>> {
    let mut wire = server.connect().await?;
    let mut bases = vec!["/api/v1".to_owned()];
    let groups = wire.json("GET", "/apis", &[]).await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap_or_default();
        bases.push(format!("/apis/{version}"));
    }
    let mut paths = Vec::new();
    for base in bases {
        let list = wire.json("GET", &base, &[]).await?;
        for resource in list["resources"].as_array().into_iter().flatten() {
            let lists = resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|v| v == "list"));
            if lists && let Some(name) = resource["name"].as_str() {
                paths.push(format!("{base}/{name}"));
            }
        }
    }
    Ok(paths)
}
