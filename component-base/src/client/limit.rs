//! The client-side rate limit.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A token bucket that hands out times to go.
pub(super) struct Limiter {
    per_token: Duration,
    full: Duration,
    /// When the tokens handed out so far will have flowed back in.
    spent_until: Mutex<Option<Instant>>,
}

impl Limiter {
    /// None when there is no limit.
    pub(super) fn new(qps: f64, burst: f64) -> Option<Self> {
        let burst = burst.max(1.0);
        (qps > 0.0).then(|| Self {
            per_token: Duration::from_secs_f64(1.0 / qps),
            full: Duration::from_secs_f64(burst / qps),
            spent_until: Mutex::new(None),
        })
    }

    /// Waits for a token.
    pub(super) async fn wait(&self) {
        let now = Instant::now();
        let wait = {
            let mut spent = self.spent_until.lock();
            let until = spent.map_or(now, |at| at.max(now)) + self.per_token;
            *spent = Some(until);
            (until - now).saturating_sub(self.full)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let limiter = Limiter::new(10.0, 5.0).unwrap();
        let start = Instant::now();
        for _ in 0..5 {
            limiter.wait().await;
        }
        assert!(start.elapsed().is_zero());
        for _ in 0..10 {
            limiter.wait().await;
        }
        assert_eq!(start.elapsed().as_millis() / 10, 100);
        assert!(Limiter::new(-1.0, 5.0).is_none());
    }
}
