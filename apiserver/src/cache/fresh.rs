//! Consistent reads: which revision etcd has now, asked once for all who want to know at the same time.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::storage::Error;
use crate::storage::etcd::Etcd;

type Waiter = oneshot::Sender<Result<i64, Error>>;

/// Answers with a revision that etcd had after the question was asked.
pub struct Freshness {
    etcd: Etcd,
    key: String,
    waiting: Mutex<Vec<Waiter>>,
    wake: Notify,
}

impl Freshness {
    /// Asks by reading this key (which need not exist).
    pub fn new(etcd: Etcd, key: String) -> Arc<Self> {
        Arc::new(Freshness { etcd, key, waiting: Mutex::default(), wake: Notify::new() })
    }

    /// A revision that etcd had after this call began.
    pub async fn revision(&self) -> Result<i64, Error> {
        let (tell, told) = oneshot::channel();
        self.waiting.lock().push(tell);
        self.wake.notify_one();
        told.await.unwrap_or_else(|_| Err(Error::Unavailable("the server is shutting down".to_owned())))
    }

    /// Serves the questions, for ever. Those that come while one read is under way share the next.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            let waiting = std::mem::take(&mut *self.waiting.lock());
            if waiting.is_empty() {
                continue;
            }
            let answer = self.etcd.revision(&self.key).await;
            for waiter in waiting {
                // A waiter that has gone away needs no answer.
                let _ = waiter.send(answer.clone());
            }
        }
    }
}
