//! Waits that double: containers that crash, images that can't be pulled.

use std::collections::HashMap;
use std::time::Duration;

/// Nanoseconds since the epoch, as the runtime counts.
pub type Nanos = i64;

/// The present.
pub fn now() -> Nanos {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    wait: Duration,
    updated: Nanos,
}

/// Waits by key. An entry that hasn't been needed for twice the longest wait starts anew.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    entries: HashMap<String, Entry>,
}

impl Backoff {
    /// Waits from `first` on, doubling, up to `max`.
    pub fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first: first.min(max), max, entries: HashMap::new() }
    }

    fn expired(&self, entry: &Entry, event: Nanos) -> bool {
        event - entry.updated > nanos(self.max) * 2
    }

    /// How long a thing that failed at `event` still has to wait at `now`, and when that is over.
    pub fn until(&self, key: &str, event: Nanos, now: Nanos) -> Option<(Duration, Nanos)> {
        let entry = self.entries.get(key).filter(|e| !self.expired(e, event))?;
        let end = event + nanos(entry.wait);
        (now < end).then_some((entry.wait, end))
    }

    /// As [`until`](Self::until), counted from when the wait last grew.
    pub fn until_since_update(&self, key: &str, now: Nanos) -> Option<Nanos> {
        let entry = self.entries.get(key).filter(|e| !self.expired(e, now))?;
        let end = entry.updated + nanos(entry.wait);
        (now < end).then_some(end)
    }

    /// Notes that a thing which failed at `event` is tried again: the next wait is longer.
    pub fn next(&mut self, key: &str, event: Nanos, now: Nanos) {
        let wait = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, event) => (entry.wait * 2).min(self.max),
            _ => self.first,
        };
        self.entries.insert(key.to_string(), Entry { wait, updated: now });
    }

    /// Forgets every key that begins so.
    pub fn forget(&mut self, prefix: &str) {
        self.entries.retain(|key, _| !key.starts_with(prefix));
    }
}

fn nanos(d: Duration) -> Nanos {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    const S: Nanos = 1_000_000_000;

    #[test]
    fn crashes_wait_longer_and_longer() {
        let mut b = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        assert_eq!(b.until("c", 0, 0), None);
        let mut waits = Vec::new();
        let mut t = 0;
        for _ in 0..7 {
            b.next("c", t, t);
            let (wait, end) = b.until("c", t, t).unwrap();
            waits.push(wait.as_secs());
            assert_eq!(b.until("c", t, end), None);
            t = end;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        // It ran well for long enough.
        t += 601 * S;
        assert_eq!(b.until("c", t, t), None);
        b.next("c", t, t);
        assert_eq!(b.until("c", t, t).unwrap().0.as_secs(), 10);
    }
}
