//! A small cache that forgets what was used longest ago.

use std::collections::{BTreeMap, HashMap};

/// A map of bounded size.
pub(super) struct Lru<V> {
    capacity: usize,
    entries: HashMap<u64, (u64, V)>,
    order: BTreeMap<u64, u64>,
    clock: u64,
}

impl<V: Default> Lru<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    /// The entry of a key, made new if it isn't there.
    pub(super) fn entry(&mut self, key: u64) -> &mut V {
        self.clock += 1;
        if let Some((used, _)) = self.entries.get(&key) {
            self.order.remove(used);
        } else if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(self.clock, key);
        let entry = self.entries.entry(key).or_default();
        entry.0 = self.clock;
        &mut entry.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes() {
        let mut cache = Lru::new(2);
        *cache.entry(1) = 'a';
        *cache.entry(2) = 'b';
        cache.entry(1);
        *cache.entry(3) = 'c';
        assert_eq!((*cache.entry(1), *cache.entry(3)), ('a', 'c'));
        assert_eq!(*cache.entry(2), '\0');
        assert_eq!(cache.entries.len(), cache.order.len());
    }
}
