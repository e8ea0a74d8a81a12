//! When a probe runs, and what its outcomes amount to.

use super::{Kind, Probes, Target, run};
use crate::api::{Container, ContainerKind, Pod};
use crate::pod::backoff::now;
use crate::pod::plan::Outcome;
use k8s_openapi::api::core::v1::Probe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Counts outcomes in a row.
#[derive(Debug)]
pub struct Threshold {
    success: i32,
    failure: i32,
    last: Option<Outcome>,
    count: i32,
}

impl Threshold {
    /// So many in a row make it so.
    pub fn new(success: i32, failure: i32) -> Threshold {
        Threshold { success, failure, last: None, count: 0 }
    }

    /// Adds an outcome; tells it if there have been enough of it.
    pub fn add(&mut self, outcome: Outcome) -> Option<Outcome> {
        if self.last == Some(outcome) {
            self.count = self.count.saturating_add(1);
        } else {
            (self.last, self.count) = (Some(outcome), 1);
        }
        let needed = if outcome == Outcome::Success { self.success } else { self.failure };
        (self.count >= needed).then_some(outcome)
    }
}

pub(super) struct Task {
    pub(super) probes: Arc<Probes>,
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) list: ContainerKind,
    pub(super) kind: Kind,
    pub(super) spec: Probe,
}

impl Task {
    pub(super) async fn run(self, mut target: watch::Receiver<Target>) {
        loop {
            let now = target.borrow_and_update().clone();
            if self.applies(&now) {
                self.probe(&now, &mut target).await;
                self.probes.forget(&now.id, self.kind);
            } else if target.changed().await.is_err() {
                return;
            }
        }
    }

    /// A startup probe runs until it has passed, the others after it.
    fn applies(&self, target: &Target) -> bool {
        !target.id.is_empty() && (self.kind == Kind::Startup || target.started)
    }

    /// Probes one life of the container.
    async fn probe(&self, life: &Target, target: &mut watch::Receiver<Target>) {
        let seconds = |n: Option<i32>, default: i32| {
            Duration::from_secs(n.unwrap_or(default).max(0).unsigned_abs().into())
        };
        let period = seconds(self.spec.period_seconds, 10).max(Duration::from_secs(1));
        let delay = seconds(self.spec.initial_delay_seconds, 0);
        let age = Duration::from_nanos(now().saturating_sub(life.started_at).max(0).unsigned_abs());
        let mut threshold = Threshold::new(
            self.spec.success_threshold.unwrap_or(1),
            self.spec.failure_threshold.unwrap_or(3),
        );
        let mut wait = delay.saturating_sub(age);
        loop {
            if !self.same_life(life, target, wait).await {
                return;
            }
            wait = period;
            let Some(outcome) = run::probe(self, life).await else { continue };
            let Some(outcome) = threshold.add(outcome) else { continue };
            self.probes.set(&self.pod, &life.id, self.kind, outcome);
            let decided =
                self.kind == Kind::Startup || (self.kind == Kind::Liveness && outcome == Outcome::Failure);
            if decided {
                // Nothing more to find out until the container is another.
                while self.same_life(life, target, Duration::MAX).await {}
                return;
            }
        }
    }

    /// Waits, unless the container ends before; tells whether it still runs.
    async fn same_life(&self, life: &Target, target: &mut watch::Receiver<Target>, wait: Duration) -> bool {
        let sleep = tokio::time::sleep(wait.min(Duration::from_secs(365 * 86400)));
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return true,
                changed = target.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    let now = target.borrow_and_update();
                    if now.id != life.id || !self.applies(&now) {
                        return false;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_count_in_a_row() {
        use Outcome::{Failure, Success};
        let mut t = Threshold::new(2, 3);
        let got: Vec<_> =
            [Failure, Failure, Success, Success, Failure, Failure, Failure].map(|o| t.add(o)).into();
        assert_eq!(got, [None, None, None, Some(Success), None, None, Some(Failure)]);
    }
}
