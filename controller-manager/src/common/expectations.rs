//! What a controller has asked for and not yet seen in its cache.
//!
//! Between a write and its echo on the watch the cache is out of date. A controller that counts
//! objects must not count in that time, or it would create or delete too many.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto::meta::Key;

/// An echo that has not come after this long was lost.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The expectations of one controller, by the key of the owner.
#[derive(Default)]
pub struct Expectations {
    by_owner: Mutex<HashMap<Key, Expected>>,
}

struct Expected {
    creations: usize,
    /// Names of the objects on their way out; a deletion is seen several times, but counts once.
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// Expects this many creations and these deletions, in place of what was expected before.
    pub fn set(&self, owner: &Key, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let expected =
            Expected { creations, deletions: deletions.into_iter().collect(), since: Instant::now() };
        self.by_owner.lock().insert(owner.clone(), expected);
    }

    /// Whether nothing is outstanding, so that the cache can be trusted.
    pub fn satisfied(&self, owner: &Key) -> bool {
        self.by_owner
            .lock()
            .get(owner)
            .is_none_or(|e| (e.creations == 0 && e.deletions.is_empty()) || e.since.elapsed() > TIMEOUT)
    }

    /// `count` creations were seen, or will never happen.
    pub fn created(&self, owner: &Key, count: usize) {
        if let Some(expected) = self.by_owner.lock().get_mut(owner) {
            expected.creations = expected.creations.saturating_sub(count);
        }
    }

    /// The deletion of an object was seen, or will never happen.
    pub fn deleted(&self, owner: &Key, name: &str) {
        if let Some(expected) = self.by_owner.lock().get_mut(owner) {
            expected.deletions.remove(name);
        }
    }

    /// The owner is gone.
    pub fn forget(&self, owner: &Key) {
        self.by_owner.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deletion_counts_once() {
        let expectations = Expectations::default();
        let owner = Key::new("ns", "rs");
        assert!(expectations.satisfied(&owner));
        expectations.set(&owner, 1, ["a".to_string(), "b".to_string()]);
        expectations.created(&owner, 1);
        expectations.deleted(&owner, "a");
        expectations.deleted(&owner, "a");
        assert!(!expectations.satisfied(&owner));
        expectations.deleted(&owner, "b");
        assert!(expectations.satisfied(&owner));
    }
}
