//! Supervised tasks and the end of a process.
//!
//! Every long task is spawned here under a name. The first that fails or panics ends the process with
//! that name and its reason; none dies unseen. A stop, asked for by a signal or a failure, has two
//! phases, each with a deadline:
//!
//! 1. *stopping*: readiness fails, no new work starts, graceful tasks finish what they hold;
//! 2. *stopped*: ordinary tasks are dropped, and last tasks (giving a lease back) do their one thing.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why a process ended before it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{task}: {reason}")]
pub struct Failure {
    /// The task that failed.
    pub task: String,
    /// Why.
    pub reason: String,
}

/// A handle on the process's tasks; clones share them.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    stopping: CancellationToken,
    stopped: CancellationToken,
    graceful: TaskTracker,
    ordinary: TaskTracker,
    last: TaskTracker,
    failure: Mutex<Option<Failure>>,
    ended: Notify,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty set of tasks.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            graceful: TaskTracker::new(),
            ordinary: TaskTracker::new(),
            last: TaskTracker::new(),
            failure: Mutex::new(None),
            ended: Notify::new(),
        }))
    }

    /// Runs a task until it returns or the process stops, when it is dropped at its next await.
    ///
    /// `Ok` means that its work is done; an error or a panic ends the process.
    pub fn spawn<F>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stopped = self.0.stopped.clone();
        let watched = self.clone().watch(name.into(), task);
        self.0.ordinary.spawn(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = watched => {}
            }
        });
    }

    /// Runs a task that ends by itself after [`stopping`](Self::stopping); phase one waits for it.
    pub fn spawn_graceful<F>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stopped = self.0.stopped.clone();
        let watched = self.clone().watch(name.into(), task);
        self.0.graceful.spawn(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = watched => {}
            }
        });
    }

    /// Runs a task that ends by itself after [`stopped`](Self::stopped); phase two waits for it.
    pub fn spawn_last<F>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let watched = self.clone().watch(name.into(), task);
        self.0.last.spawn(watched);
    }

    async fn watch<F>(self, name: String, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let reason = match AssertUnwindSafe(task).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                format!("panicked: {text}")
            }
        };
        self.fail(name, reason);
    }

    /// Ends the process with a reason; the first reason given stays.
    pub fn fail(&self, task: impl Into<String>, reason: impl Into<String>) {
        let failure = Failure { task: task.into(), reason: reason.into() };
        if !self.is_stopping() {
            tracing::error!(task = failure.task, err = failure.reason, "Task failed");
        }
        self.0.failure.lock().get_or_insert(failure);
        self.0.ended.notify_one();
    }

    /// Asks for an orderly stop.
    pub fn stop(&self) {
        self.0.ended.notify_one();
    }

    /// Resolves when the process begins to stop.
    pub async fn stopping(&self) {
        self.0.stopping.cancelled().await;
    }

    /// Whether the process has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    /// Resolves when graceful tasks are done or out of time.
    pub async fn stopped(&self) {
        self.0.stopped.cancelled().await;
    }

    /// A token that is cancelled when the process begins to stop.
    pub fn stopping_token(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Waits for a failure or a call of [`stop`](Self::stop), then stops everything within `grace`.
    pub async fn run(&self, grace: Duration) -> Result<(), Failure> {
        self.0.ended.notified().await;
        self.shut_down(grace).await
    }

    /// Like [`run`](Self::run), and also stops on SIGTERM and SIGINT; a second signal ends at once.
    pub async fn run_until_signal(&self, grace: Duration) -> Result<(), Failure> {
        let signals = (|| {
            use tokio::signal::unix::{SignalKind, signal};
            Ok::<_, std::io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
        })();
        let (mut terminate, mut interrupt) = match signals {
            Ok(signals) => signals,
            Err(error) => return Err(Failure { task: "signals".into(), reason: error.to_string() }),
        };
        tokio::select! {
            () = self.0.ended.notified() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::select! {
            outcome = self.shut_down(grace) => outcome,
            _ = terminate.recv() => std::process::exit(1),
            _ = interrupt.recv() => std::process::exit(1),
        }
    }

    async fn shut_down(&self, grace: Duration) -> Result<(), Failure> {
        let inner = &self.0;
        inner.stopping.cancel();
        inner.graceful.close();
        let failed = inner.failure.lock().is_some();
        // After a failure there is no orderly work left to wait for beyond what is quick.
        let grace = if failed { grace.min(Duration::from_secs(1)) } else { grace };
        let _ = tokio::time::timeout(grace, inner.graceful.wait()).await;
        inner.stopped.cancel();
        inner.ordinary.close();
        inner.last.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), async {
            inner.last.wait().await;
            inner.ordinary.wait().await;
            inner.graceful.wait().await;
        })
        .await;
        match inner.failure.lock().take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_ends_the_process() {
        let tasks = Tasks::new();
        tasks.spawn("forever", std::future::pending());
        tasks.spawn("done", async { Ok(()) });
        tasks.spawn("broken", async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            anyhow::bail!("no more")
        });
        let failure = tasks.run(Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(failure.to_string(), "broken: no more");
        let tasks = Tasks::new();
        tasks.spawn("wild", async { panic!("oh {}", 1) });
        assert_eq!(tasks.run(Duration::ZERO).await.unwrap_err().to_string(), "wild: panicked: oh 1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_drains_then_drops_then_does_last_things() {
        let tasks = Tasks::new();
        let (drained, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (t, flag) = (tasks.clone(), drained.clone());
        tasks.spawn_graceful("drain", async move {
            t.stopping().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            flag.store(true, Ordering::SeqCst);
            Ok(())
        });
        let (t, seen, flag) = (tasks.clone(), drained.clone(), released.clone());
        tasks.spawn_last("release", async move {
            t.stopped().await;
            flag.store(seen.load(Ordering::SeqCst), Ordering::SeqCst);
            Ok(())
        });
        tasks.spawn("forever", std::future::pending());
        tasks.stop();
        tasks.run(Duration::from_secs(10)).await.unwrap();
        assert!(released.load(Ordering::SeqCst));
    }
}
