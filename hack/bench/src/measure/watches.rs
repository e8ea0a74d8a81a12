//! Fan-out: many watchers of one resource, each on a connection of its own, while objects change at a fixed rate.
//!
//! Every change carries when it was sent and its number at the very end of its event, so that a watcher reads them without
//! parsing anything.

use crate::load::quantile;
use crate::objects::CONFIG_MAPS;
use crate::server::Server;
use crate::table::Table;
use crate::wire::{Accept, Wire};
use crate::{Bench, apart};
use anyhow::{Context, Result, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WATCHERS: usize = 1000;
/// Changes per second.
const CHANGES: u32 = 500;
/// Objects that change in turn.
const OBJECTS: u64 = 50;
/// Connections that write.
const WRITERS: usize = 8;
/// What an event ends in: `"sent":"<microseconds>-<number>"}}}` and a newline.
const TAIL: usize = 16 + 1 + 8 + 4;
const SIZE: usize = 512;

/// What a watcher saw.
#[derive(Default)]
struct Seen {
    /// How late each change came, in microseconds.
    late: Vec<u32>,
    sum: u64,
}

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (server, _etcd) = bench.server().await?;
    let clock = Instant::now();
    let mut wire = server.connect().await?;
    for n in 0..OBJECTS {
        wire.count("POST", CONFIG_MAPS, &object(n, 0, 0), Default::default()).await?;
    }
    let list = wire.json("GET", CONFIG_MAPS, &[]).await?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a revision")?.to_owned();
    let idle = server.process.memory();

    let changes = u64::from(CHANGES) * bench.period.as_secs().max(1) * 2;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let wire = server.connect().await?;
        let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={revision}");
        watchers.push(tokio::spawn(watch(wire, path, clock, changes)));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let cpu = server.process.cpu();
    let began = Instant::now();
    // The writers are others than the watchers: they don't wait until a thousand of those have read.
    apart::here(bench, async || write(&server, clock, began, changes).await)?;
    let wrote = began.elapsed();
    let mut late = Vec::new();
    let mut complete = 0;
    for watcher in watchers {
        let seen = watcher.await??;
        let whole = seen.late.len() as u64 == changes && seen.sum == changes * (changes + 1) / 2;
        complete += usize::from(whole);
        late.extend(seen.late);
    }
    let cpu = (server.process.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    late.sort_unstable();
    let ms = |share| f64::from(quantile(&late, share)) / 1e3;
    let rate = changes as f64 / wrote.as_secs_f64();
    table.add(
        "1,000 watchers, 500 changes/s of 512 bytes: lateness",
        "p99 ≤ 250 ms",
        format!(
            "p50 {:.0} ms, p99 {:.0} ms, worst {:.0} ms at {rate:.0} changes/s ({cpu:.2} cores)",
            ms(0.5),
            ms(0.99),
            ms(1.0)
        ),
    );
    table.add("watchers that saw every change once", "all", format!("{complete} of {WATCHERS}"));
    let each = server.process.memory().saturating_sub(idle) / WATCHERS as u64;
    table.add("memory per watcher on a connection of its own", "", format!("{} kB", each / 1000));
    Ok(())
}

/// Changes the objects in turn, at the fixed rate or as fast as they are taken.
async fn write(server: &Server, clock: Instant, began: Instant, changes: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(1));
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let mut wire = server.connect().await?;
        let next = next.clone();
        writers.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > changes {
                    return anyhow::Ok(());
                }
                let due = began + Duration::from_secs(1) / CHANGES * number as u32;
                tokio::time::sleep_until(due.into()).await;
                let n = number % OBJECTS;
                let body = object(n, clock.elapsed().as_micros() as u64, number);
                wire.count("PUT", &format!("{CONFIG_MAPS}/{}", name(n)), &body, Default::default()).await?;
            }
        }));
    }
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("changing-{number:02}")
}

/// An object of 512 bytes as it is sent.
fn object(number: u64, sent: u64, change: u64) -> Vec<u8> {
    let head = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}","namespace":"bench"}},"data":{{"pad":""#,
        name(number)
    );
    let tail = format!(r#"","sent":"{sent:016}-{change:08}"}}}}"#);
    let pad = "x".repeat(SIZE.saturating_sub(head.len() + tail.len()));
    format!("{head}{pad}{tail}").into_bytes()
}

/// Reads events until all changes were seen.
async fn watch(mut wire: Wire, path: String, clock: Instant, changes: u64) -> Result<Seen> {
    let mut seen = Seen::default();
    // The end of what came before, long enough for a tail.
    let mut carry: Vec<u8> = Vec::new();
    let done = tokio::sync::Notify::new();
    let reading = wire.exchange("GET", &path, &[], Accept::default(), |piece| {
        let now = clock.elapsed().as_micros() as u64;
        let mut look = |bytes: &[u8], from: usize| {
            for end in memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at) {
                let Some(tail) = end.checked_sub(TAIL).map(|start| &bytes[start..end]) else { continue };
                let number = |range: std::ops::Range<usize>| -> u64 {
                    std::str::from_utf8(&tail[range]).ok().and_then(|t| t.parse().ok()).unwrap_or_default()
                };
                let (sent, change) = (number(0..16), number(17..25));
                seen.late.push(now.saturating_sub(sent) as u32);
                seen.sum += change;
            }
        };
        // Newlines near the beginning have their tails in what was carried.
        let near = piece.len().min(TAIL);
        let carried = carry.len();
        carry.extend_from_slice(&piece[..near]);
        look(&carry, carried);
        look(piece, near);
        if piece.len() >= TAIL {
            carry.clear();
            carry.extend_from_slice(&piece[piece.len() - TAIL..]);
        } else if carry.len() > TAIL {
            carry.drain(..carry.len() - TAIL);
        }
        if seen.late.len() as u64 >= changes {
            done.notify_one();
        }
    });
    let limit = Duration::from_secs(120);
    let ended = tokio::select! {
        biased;
        () = done.notified() => Ok(()),
        ended = reading => ended.and_then(|()| anyhow::bail!("the watch ended early")),
        () = tokio::time::sleep(limit) => Ok(()),
    };
    ended?;
    ensure!(!seen.late.is_empty(), "a watcher saw nothing");
    Ok(seen)
}
