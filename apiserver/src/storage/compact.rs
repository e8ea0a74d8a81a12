//! Periodic compaction, shared by all API servers on one etcd through upstream's key `compact_rev_key`.
//!
//! The key's version is the logical time. Who raises it compacts what was current one interval ago; who loses the race
//! only learns the revision, and compacts to that next time if it wins.

use std::time::Duration;

use super::Error;
use super::etcd::Etcd;

const KEY: &str = "compact_rev_key";

/// Compacts every interval, for ever.
pub async fn run(etcd: Etcd, interval: Duration) {
    if interval.is_zero() {
        return std::future::pending().await;
    }
    let (mut time, mut revision) = (0, 0);
    loop {
        tokio::time::sleep(interval).await;
        match round(&etcd, time, revision).await {
            Ok(next) => (time, revision) = next,
            Err(error) => tracing::warn!(%error, "etcd: endpoint compact failed"),
        }
    }
}

/// One round: answers the logical time and the revision to compact to next.
async fn round(etcd: &Etcd, time: i64, compact_to: i64) -> Result<(i64, i64), Error> {
    let (won, version, revision) = etcd.raise_version(KEY, time, compact_to.to_string()).await?;
    if won && compact_to > 0 {
        match etcd.compact(compact_to).await {
            Ok(()) | Err(Error::Compacted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((version, revision))
}
