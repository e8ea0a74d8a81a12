//! Periodic compaction, shared by all API servers on one etcd through upstream's key `compact_rev_key`.
//!
//! The key's version is the logical time. Who raises it compacts what was current one interval ago; who loses the race
//! only learns the revision, and compacts to that next time if it wins.

use std::time::Duration;

use super::Error;
use super::etcd::{Etcd, Raised};

const KEY: &str = "compact_rev_key";

/// Compacts every interval, for ever. `compacted` learns each revision that was compacted to, by this server or another.
pub async fn run(etcd: Etcd, interval: Duration, compacted: impl Fn(i64)) {
    if interval.is_zero() {
        return std::future::pending().await;
    }
    let (mut time, mut revision) = (0, 0);
    loop {
        tokio::time::sleep(interval).await;
        match round(&etcd, time, revision).await {
            Ok((raised, done)) => {
                (time, revision) = (raised.version, raised.revision);
                compacted(done);
            }
            Err(error) => tracing::warn!(%error, "etcd: endpoint compact failed"),
        }
    }
}

/// One round: the logical time with the revision to compact to next, and the revision that is compacted now.
async fn round(etcd: &Etcd, time: i64, compact_to: i64) -> Result<(Raised, i64), Error> {
    let raised = etcd.raise_version(KEY, time, compact_to.to_string()).await?;
    if !raised.won {
        // The winner wrote what it compacts to.
        let done = raised.value.parse().unwrap_or_default();
        return Ok((raised, done));
    }
    if compact_to > 0 {
        match etcd.compact(compact_to).await {
            Ok(()) | Err(Error::Compacted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((raised, compact_to))
}
