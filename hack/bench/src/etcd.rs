//! etcd, and its own rate: 32 clients doing create-if-absent transactions of the bytes that the API server would store, with
//! one watch that asks for previous values.

use crate::load::config_map;
use crate::process::{Process, free_port};
use anyhow::{Context, Result};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp, WatchOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A running etcd.
pub(crate) struct Etcd {
    _process: Process,
    pub(crate) url: String,
}

impl Etcd {
    /// Starts etcd on free ports of loopback and waits until it answers.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Etcd> {
        std::fs::create_dir_all(folder)?;
        let (url, peer) =
            (format!("http://127.0.0.1:{}", free_port()?), format!("http://127.0.0.1:{}", free_port()?));
        let arguments = [
            format!("--data-dir={}", folder.join("data").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        let process = Process::start(program, &arguments, &folder.join("log"))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(mut client) = Client::connect([&url], None).await
                && client.get("ready", None).await.is_ok()
            {
                return Ok(Etcd { _process: process, url });
            }
            anyhow::ensure!(Instant::now() < deadline, "etcd did not start: see its log");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Transactions per second.
pub(crate) async fn create_rate(etcd: &Etcd, period: Duration) -> Result<f64> {
    let mut watching = Client::connect([&etcd.url], None).await?;
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let (_watcher, mut stream) = watching.watch("/registry/configmaps/", Some(options)).await?.split();
    let watch = tokio::spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
    let count = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..32 {
        let mut client = Client::connect([&etcd.url], None).await?;
        let count = count.clone();
        tasks.push(tokio::spawn(async move {
            let mut n = 0;
            while began.elapsed() < period {
                let name = format!("raw-{number}-{n}");
                let key = format!("/registry/configmaps/bench/{name}");
                let txn = Txn::new()
                    .when([Compare::mod_revision(key.clone(), CompareOp::Equal, 0)])
                    .and_then([TxnOp::put(key, config_map(&name), None)]);
                client.txn(txn).await.context("a transaction")?;
                count.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    watch.abort();
    Ok(count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}
