//! etcd, its own rate, and ways to fill it without an API server.
//!
//! *etcd's rate*: 32 clients doing create-if-absent transactions of the bytes that the API server would store, with one watch
//! that asks for previous values.

use crate::objects::config_map;
use crate::process::{Process, free_port};
use anyhow::{Context, Result};
use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp, WatchOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Operations in one transaction: etcd's limit.
const MAX_OPERATIONS: usize = 128;

/// A running etcd.
pub(crate) struct Etcd {
    pub(crate) process: Process,
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
                return Ok(Etcd { process, url });
            }
            anyhow::ensure!(Instant::now() < deadline, "etcd did not start: {}", process.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of the only key below a prefix.
    pub(crate) async fn only_value(&self, prefix: &str) -> Result<Vec<u8>> {
        let mut client = Client::connect([&self.url], None).await?;
        let found = client.get(prefix, Some(GetOptions::new().with_prefix())).await?;
        anyhow::ensure!(found.kvs().len() == 1, "{} keys below {prefix}", found.kvs().len());
        Ok(found.kvs()[0].value().to_vec())
    }

    /// Writes many keys, as fast as etcd takes them.
    pub(crate) async fn write(&self, mut keys: impl Iterator<Item = (String, Vec<u8>)>) -> Result<()> {
        let mut client = Client::connect([&self.url], None).await?;
        loop {
            let puts: Vec<TxnOp> =
                keys.by_ref().take(MAX_OPERATIONS).map(|(key, value)| TxnOp::put(key, value, None)).collect();
            if puts.is_empty() {
                return Ok(());
            }
            client.txn(Txn::new().and_then(puts)).await?;
        }
    }

    /// Transactions per second.
    pub(crate) async fn create_rate(&self, period: Duration) -> Result<f64> {
        let mut watching = Client::connect([&self.url], None).await?;
        let options = WatchOptions::new().with_prefix().with_prev_key();
        let (_watcher, mut stream) = watching.watch("/registry/configmaps/", Some(options)).await?.split();
        let watch = tokio::spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
        let count = Arc::new(AtomicUsize::new(0));
        let mut clients = Vec::new();
        for _ in 0..32 {
            clients.push(Client::connect([&self.url], None).await?);
        }
        let run = clients[0].get("run", None).await?.header().map_or(0, |h| h.revision());
        let began = Instant::now();
        let mut tasks = Vec::new();
        for (number, mut client) in clients.into_iter().enumerate() {
            let count = count.clone();
            tasks.push(tokio::spawn(async move {
                let mut n = 0;
                while began.elapsed() < period {
                    let name = format!("raw-{run}-{number}-{n}");
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
}
