//! Work queues of keys, with client-go's semantics.
//!
//! A key waits at most once; one being worked on that is added again is handed out again after
//! [`Queue::done`]. Failures come back after a delay that doubles per key, and no faster than a common rate.
//! Delays cost no task: workers that wait also wait for the earliest delay.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Series;
use crate::tasks::Tasks;

mod metrics;

/// How soon a failed key comes back.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    /// The first delay; it doubles with each failure.
    pub base: Duration,
    /// The longest delay.
    pub max: Duration,
    /// Retries per second of all keys together, and how many may go at once; none means no common limit.
    pub bucket: Option<(f64, f64)>,
}

impl Default for RateLimit {
    /// Upstream's default controller rate limiter.
    fn default() -> Self {
        Self { base: Duration::from_millis(5), max: Duration::from_secs(1000), bucket: Some((10.0, 100.0)) }
    }
}

/// A work queue; clones share it.
pub struct Queue<K>(Arc<Inner<K>>);

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<K> {
    state: Mutex<State<K>>,
    ready: Notify,
    limit: RateLimit,
    metrics: Option<metrics::Metrics>,
}

struct State<K> {
    /// Keys in the order they go out.
    order: VecDeque<K>,
    /// Keys that wait, in `order` or behind their own processing; since when.
    waiting: HashMap<K, std::time::Instant>,
    /// Keys that are being worked on; since when.
    processing: HashMap<K, std::time::Instant>,
    /// Keys to add later.
    delayed: BTreeMap<(Instant, u64), K>,
    delayed_at: HashMap<K, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<K, u32>,
    /// When the common bucket would be full; tokens are the time since then.
    bucket_empty_until: Option<Instant>,
    closed: bool,
}

impl<K: Clone + Eq + Hash + Send + 'static> Queue<K> {
    /// A queue with upstream's rate limits whose metrics carry this name; without a name it has none.
    pub fn new(name: &str) -> Self {
        Self::with_limit(name, RateLimit::default())
    }

    /// A queue with limits of its own.
    pub fn with_limit(name: &str, limit: RateLimit) -> Self {
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                order: VecDeque::new(),
                waiting: HashMap::new(),
                processing: HashMap::new(),
                delayed: BTreeMap::new(),
                delayed_at: HashMap::new(),
                sequence: 0,
                failures: HashMap::new(),
                bucket_empty_until: None,
                closed: false,
            }),
            ready: Notify::new(),
            limit,
            metrics: (!name.is_empty()).then(|| metrics::Metrics::new(name)),
        });
        if !name.is_empty() {
            let queue = Arc::downgrade(&inner);
            metrics::watch_unfinished(name, move || {
                let queue = queue.upgrade()?;
                let state = queue.state.lock();
                let ages = state.processing.values().map(|since| since.elapsed().as_secs_f64());
                Some(ages.fold((0.0, 0.0), |(sum, max): (f64, f64), age| (sum + age, max.max(age))))
            });
        }
        Self(inner)
    }

    /// Adds a key unless it already waits.
    pub fn add(&self, key: K) {
        let mut state = self.0.state.lock();
        self.add_locked(&mut state, key);
    }

    fn add_locked(&self, state: &mut State<K>, key: K) {
        if state.closed || state.waiting.contains_key(&key) {
            return;
        }
        if let Some(metrics) = &self.0.metrics {
            metrics.adds.inc();
        }
        state.waiting.insert(key.clone(), std::time::Instant::now());
        if !state.processing.contains_key(&key) {
            state.order.push_back(key);
            self.depth(state);
            self.0.ready.notify_one();
        }
    }

    fn depth(&self, state: &State<K>) {
        if let Some(metrics) = &self.0.metrics {
            metrics.depth.set(state.order.len() as f64);
        }
    }

    /// Adds a key after a delay; an earlier one that is pending wins.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + delay;
        let mut state = self.0.state.lock();
        if state.closed {
            return;
        }
        if let Some(pending) = state.delayed_at.get(&key).copied() {
            if pending.0 <= at {
                return;
            }
            state.delayed.remove(&pending);
        }
        state.sequence += 1;
        let slot = (at, state.sequence);
        let earliest = state.delayed.keys().next().is_none_or(|first| slot < *first);
        state.delayed_at.insert(key.clone(), slot);
        state.delayed.insert(slot, key);
        if earliest {
            // A worker must learn of the new earliest time.
            self.0.ready.notify_one();
        }
    }

    /// Adds a key after the delay that its failures so far call for.
    pub fn add_rate_limited(&self, key: K) {
        let delay = {
            let mut state = self.0.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let own = self.0.limit.base.as_secs_f64() * 2f64.powi((*failures).min(1000) as i32);
            *failures = failures.saturating_add(1);
            let own = Duration::from_secs_f64(own.min(self.0.limit.max.as_secs_f64()));
            own.max(self.take_token(&mut state))
        };
        if let Some(metrics) = &self.0.metrics {
            metrics.retries.inc();
        }
        self.add_after(key, delay);
    }

    /// How long until the common bucket has a token for this retry.
    fn take_token(&self, state: &mut State<K>) -> Duration {
        let Some((rate, burst)) = self.0.limit.bucket else { return Duration::ZERO };
        let now = Instant::now();
        let per_token = Duration::from_secs_f64(1.0 / rate);
        let full = Duration::from_secs_f64(burst / rate);
        let spent_until = state.bucket_empty_until.map_or(now, |at| at.max(now)) + per_token;
        state.bucket_empty_until = Some(spent_until);
        (spent_until - now).saturating_sub(full)
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// How often a key has failed since it was last forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// How many keys wait to be handed out.
    pub fn len(&self) -> usize {
        self.0.state.lock().order.len()
    }

    /// Whether no key waits to be handed out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for a key; none once the queue is shut down and empty. Follow it with [`done`](Self::done).
    pub async fn get(&self) -> Option<K> {
        loop {
            // Registered before looking, so an add in between isn't missed.
            let ready = self.0.ready.notified();
            let next = {
                let mut state = self.0.state.lock();
                self.admit_due(&mut state);
                if let Some(key) = state.order.pop_front() {
                    let since = state.waiting.remove(&key);
                    state.processing.insert(key.clone(), std::time::Instant::now());
                    self.depth(&state);
                    if let (Some(metrics), Some(since)) = (&self.0.metrics, since) {
                        metrics.queue_time.observe_since(since);
                    }
                    if !state.order.is_empty() || !state.delayed.is_empty() {
                        // Another worker may take the next key, or wait for the earliest delay.
                        self.0.ready.notify_one();
                    }
                    return Some(key);
                }
                if state.closed {
                    self.0.ready.notify_waiters();
                    return None;
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    () = ready => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => ready.await,
            }
        }
    }

    fn admit_due(&self, state: &mut State<K>) {
        let now = Instant::now();
        while let Some(entry) = state.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            state.delayed_at.remove(&key);
            self.add_locked(state, key);
        }
    }

    /// Ends the work on a key; if it was added meanwhile it goes out again.
    pub fn done(&self, key: &K) {
        let mut state = self.0.state.lock();
        if let Some(since) = state.processing.remove(key)
            && let Some(metrics) = &self.0.metrics
        {
            metrics.work_time.observe_since(since);
        }
        if state.waiting.contains_key(key) {
            state.order.push_back(key.clone());
            self.depth(&state);
            self.0.ready.notify_one();
        }
    }

    /// Takes no more keys; those that wait are still handed out.
    pub fn shut_down(&self) {
        self.0.state.lock().closed = true;
        self.0.ready.notify_waiters();
        self.0.ready.notify_one();
    }
}

/// What a worker wants done with its key after it succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Done,
    /// Work on it again after this long.
    After(Duration),
}

/// Runs `n` supervised workers over the queue until the process stops. A key whose work fails is logged
/// and comes back rate-limited.
pub fn run_workers<K, F, Fut>(tasks: &Tasks, name: &'static str, queue: &Queue<K>, n: usize, work: F)
where
    K: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Next>> + Send + 'static,
{
    let work = Arc::new(work);
    for _ in 0..n {
        let (queue, work) = (queue.clone(), work.clone());
        tasks.spawn(name, async move {
            while let Some(key) = queue.get().await {
                match work(key.clone()).await {
                    Ok(next) => {
                        queue.forget(&key);
                        if let Next::After(delay) = next {
                            queue.add_after(key.clone(), delay);
                        }
                    }
                    Err(error) => {
                        tracing::error!(controller = name, key = %key, err = format!("{error:#}"), "Work failed, will retry");
                        queue.add_rate_limited(key.clone());
                    }
                }
                queue.done(&key);
            }
            Ok(())
        });
    }
}

/// Deduplicates keys within one pass: a small helper for fan-out from one event to many keys.
pub fn add_all<K: Clone + Eq + Hash + Send + 'static>(queue: &Queue<K>, keys: impl IntoIterator<Item = K>) {
    let mut seen = HashSet::new();
    for key in keys {
        if seen.insert(key.clone()) {
            queue.add(key);
        }
    }
}

type Handle = Arc<Series>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_comes_back_if_added_while_processed() {
        let queue = Queue::new("");
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.len(), 1);
        let key = queue.get().await.unwrap();
        queue.add("a");
        assert_eq!(queue.len(), 0);
        queue.done(&key);
        assert_eq!(queue.get().await, Some("a"));
        queue.done(&"a");
        queue.shut_down();
        assert_eq!(queue.get().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_run_out_in_order_and_the_earliest_wins() {
        let queue = Queue::new("");
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(9));
        queue.add_after("x", Duration::from_secs(5));
        queue.add_after("x", Duration::from_secs(2));
        queue.add_after("x", Duration::from_secs(7));
        assert_eq!(queue.get().await, Some("x"));
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(queue.get().await, Some("late"));
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_delay_until_forgotten() {
        let queue = Queue::new("");
        let mut delays = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            queue.add_rate_limited("k");
            queue.get().await;
            delays.push(start.elapsed().as_millis());
            queue.done(&"k");
        }
        assert_eq!(delays, [5, 10, 20, 40]);
        queue.forget(&"k");
        assert_eq!(queue.failures(&"k"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn all_keys_together_keep_to_the_common_rate() {
        let queue = Queue::new("");
        for i in 0..120 {
            queue.add_rate_limited(i);
        }
        let start = Instant::now();
        for _ in 0..120 {
            let key = queue.get().await.unwrap();
            queue.done(&key);
        }
        // 100 go at once, 20 more at 10 per second.
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_workers_all_see_work_and_the_end() {
        let queue = Queue::new("");
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut n = 0;
                    while let Some(key) = queue.get().await {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        queue.done(&key);
                        n += 1;
                    }
                    n
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        for i in 0..8 {
            queue.add(i);
        }
        queue.add_after(99, Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        queue.shut_down();
        let mut total = 0;
        for worker in workers {
            total += worker.await.unwrap();
        }
        assert_eq!(total, 9);
    }
}
