//! Loads: loops over connections, bounded in time, that count what was answered and what it cost.

use crate::server::Server;
use crate::wire::{Accept, Wire};
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A load's outcome.
pub(crate) struct Rate {
    /// Answers.
    pub(crate) count: usize,
    /// Answers per second.
    pub(crate) per_second: f64,
    /// Bytes of bodies per second.
    pub(crate) bytes: f64,
    /// The server's processor time per answer.
    pub(crate) cpu: Duration,
}

/// One request of a load.
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    pub(crate) accept: Accept,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>, accept: Accept) -> Request {
        Request { method: "GET", path: path.into(), body: Vec::new(), accept }
    }
}

/// Sends `make(connection number, turn)` on every connection, one after the other, until time is up.
pub(crate) async fn run(
    server: &Server,
    connections: usize,
    period: Duration,
    make: impl Fn(usize, usize) -> Request + Clone + Send + 'static,
) -> Result<Rate> {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(server.connect().await?);
    }
    let (count, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let cpu = server.process.cpu();
    let began = Instant::now();
    let work = |number: usize, mut wire: Wire| {
        let (count, bytes, make) = (count.clone(), bytes.clone(), make.clone());
        tokio::spawn(async move {
            let mut turn = 0;
            while began.elapsed() < period {
                let Request { method, path, body, accept } = make(number, turn);
                let size = wire.count(method, &path, &body, accept).await?;
                count.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(size, Ordering::Relaxed);
                turn += 1;
            }
            anyhow::Ok(())
        })
    };
    let tasks: Vec<_> = wires.into_iter().enumerate().map(|(number, wire)| work(number, wire)).collect();
    for task in tasks {
        task.await??;
    }
    let (seconds, count) = (began.elapsed().as_secs_f64(), count.load(Ordering::Relaxed));
    Ok(Rate {
        count,
        per_second: count as f64 / seconds,
        bytes: bytes.load(Ordering::Relaxed) as f64 / seconds,
        cpu: (server.process.cpu() - cpu) / count.max(1) as u32,
    })
}

/// Does `work(connection, item)` for all items, spread over connections.
pub(crate) async fn each<F>(
    server: &Server,
    connections: usize,
    items: usize,
    work: impl Fn(Wire, usize) -> F + Clone + Send + 'static,
) -> Result<()>
where
    F: Future<Output = Result<Wire>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let mut wire = server.connect().await?;
        let (next, work) = (next.clone(), work.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= items {
                    return anyhow::Ok(());
                }
                wire = work(wire, item).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Which of sorted samples is at this share of them.
pub(crate) fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
