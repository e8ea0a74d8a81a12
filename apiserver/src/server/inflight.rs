//! How many requests are served at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits of requests under way; a limit of 0 is none.
pub struct InFlight {
    reading: Option<Arc<Semaphore>>,
    writing: Option<Arc<Semaphore>>,
}

impl InFlight {
    /// --max-requests-inflight and --max-mutating-requests-inflight.
    pub fn new(reading: usize, writing: usize) -> Self {
        let limit = |n: usize| (n > 0).then(|| Arc::new(Semaphore::new(n)));
        InFlight { reading: limit(reading), writing: limit(writing) }
    }

    /// A place for a request; `Err` if there is none.
    pub fn enter(&self, verb: &str) -> Result<Option<OwnedSemaphorePermit>, Full> {
        let reads = matches!(verb, "get" | "list" | "watch" | "head");
        let limit = if reads { &self.reading } else { &self.writing };
        match limit {
            Some(semaphore) => semaphore.clone().try_acquire_owned().map(Some).map_err(|_| Full),
            None => Ok(None),
        }
    }
}

/// There is no place left.
#[derive(Debug)]
pub struct Full;
