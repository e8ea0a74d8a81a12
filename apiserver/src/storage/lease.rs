//! Leases for objects that expire. As upstream, one lease serves many objects for a while, so that events don't cost a lease each.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Error;
use super::etcd::Etcd;

/// How long a lease is given to new objects.
const REUSE: Duration = Duration::from_secs(60);
/// How many objects share a lease.
const MAX_OBJECTS: u32 = 1000;

struct Current {
    id: i64,
    ttl: u64,
    reuse_until: Instant,
    objects: u32,
}

/// Hands out leases.
pub struct Leases {
    etcd: Etcd,
    current: Mutex<Option<Current>>,
}

impl Leases {
    /// Leases of this store.
    pub fn new(etcd: Etcd) -> Self {
        Leases { etcd, current: Mutex::new(None) }
    }

    /// A lease that lasts at least this many seconds (0: none is needed, answered with 0).
    pub async fn lease_for(&self, ttl: u64) -> Result<i64, Error> {
        if ttl == 0 {
            return Ok(0);
        }
        let mut current = self.current.lock().await;
        let now = Instant::now();
        if let Some(lease) = current.as_mut()
            && lease.ttl == ttl
            && lease.reuse_until > now
            && lease.objects < MAX_OBJECTS
        {
            lease.objects += 1;
            return Ok(lease.id);
        }
        // Upstream prolongs the lease by how long it is reused, at most by 5% of the TTL.
        let reuse = REUSE.min(Duration::from_millis(ttl * 50));
        let id = self.etcd.grant((ttl + reuse.as_secs()) as i64).await?;
        *current = Some(Current { id, ttl, reuse_until: now + reuse, objects: 1 });
        Ok(id)
    }
}
