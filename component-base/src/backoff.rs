//! Exponential backoff with jitter.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

/// Delays that grow with each failure and start over after a quiet time.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    jitter: f64,
    reset: Duration,
    next: Duration,
    last: Option<Instant>,
}

impl Backoff {
    /// Delays double from `base` to `max`, each lengthened by up to `jitter` times itself.
    pub fn new(base: Duration, max: Duration, jitter: f64, reset: Duration) -> Self {
        Self { base, max, jitter, reset, next: base, last: None }
    }

    /// What upstream's watches use.
    pub fn for_watches() -> Self {
        Self::new(Duration::from_millis(800), Duration::from_secs(30), 1.0, Duration::from_secs(120))
    }

    /// The next delay.
    pub fn delay(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last > self.reset) {
            self.next = self.base;
        }
        self.last = Some(now);
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        jittered(delay, self.jitter)
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.next = self.base;
    }

    /// Waits for the next delay.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.delay()).await;
    }
}

/// A time lengthened at random by up to `factor` times itself.
pub fn jittered(time: Duration, factor: f64) -> Duration {
    time.mul_f64(1.0 + rand::rng().random_range(0.0..=1.0) * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_double_up_to_the_most_and_start_over() {
        let mut backoff =
            Backoff::new(Duration::from_secs(1), Duration::from_secs(4), 0.0, Duration::from_secs(60));
        let delays: Vec<u64> = (0..4).map(|_| backoff.delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 4]);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(backoff.delay().as_secs(), 1);
        let long = jittered(Duration::from_secs(1), 1.0);
        assert!((1.0..=2.0).contains(&long.as_secs_f64()));
    }
}
