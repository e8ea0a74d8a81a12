//! An ordered map of entries with cheap snapshots.
//!
//! Entries sit in chunks that are shared between the map and its snapshots; a write copies one chunk's pointers (and the
//! list of chunks) only when a snapshot still holds them.

use std::sync::Arc;

use super::entry::Entry;

/// Chunks are split when they grow beyond this.
const MAX_CHUNK: usize = 256;

type Chunk = Vec<Arc<Entry>>;

/// Entries by key. A clone is a snapshot.
#[derive(Clone, Default)]
pub struct Map {
    chunks: Arc<Vec<Arc<Chunk>>>,
    len: usize,
}

impl Map {
    /// A map of entries that come sorted by key.
    pub fn from_sorted(entries: Vec<Arc<Entry>>) -> Self {
        let len = entries.len();
        let chunks = entries.chunks(MAX_CHUNK / 2).map(|c| Arc::new(c.to_vec())).collect();
        Map { chunks: Arc::new(chunks), len }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunk that has or would have the key.
    fn chunk_of(&self, key: &str) -> usize {
        let at = self.chunks.partition_point(|c| c.last().is_some_and(|last| *last.key < *key));
        at.min(self.chunks.len().saturating_sub(1))
    }

    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|e| (*e.key).cmp(key)).ok()?;
        chunk.get(at)
    }

    /// Puts an entry in its place: the one that was there.
    pub fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let at = self.chunk_of(&entry.key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[at]);
        match chunk.binary_search_by(|e| e.key.cmp(&entry.key)) {
            Ok(i) => return Some(std::mem::replace(&mut chunk[i], entry)),
            Err(i) => chunk.insert(i, entry),
        }
        if chunk.len() > MAX_CHUNK {
            let rest = chunk.split_off(MAX_CHUNK / 2);
            chunks.insert(at + 1, Arc::new(rest));
        }
        self.len += 1;
        None
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        self.get(key)?;
        let at = self.chunk_of(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        let i = chunk.binary_search_by(|e| (*e.key).cmp(key)).ok()?;
        let entry = chunk.remove(i);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        Some(entry)
    }

    /// The entries whose keys start with the prefix, from the key `start` on.
    pub fn range<'a>(&'a self, prefix: &'a str, start: &str) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let from = if start > prefix { start } else { prefix };
        let first = self.chunk_of(from);
        let skip = self.chunks.get(first).map_or(0, |c| c.partition_point(|e| *e.key < *from));
        let chunks = self.chunks.get(first..).unwrap_or_default();
        chunks.iter().flat_map(|c| c.iter()).skip(skip).take_while(move |e| e.key.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Storage;
    use bytes::Bytes;

    fn entry(key: &str, revision: i64) -> Arc<Entry> {
        let row = Storage::new("", "v1", "configmaps", "ConfigMap");
        Arc::new(Entry::new(&row, key, Bytes::new(), revision, 0, &serde_json::Value::Null))
    }

    #[test]
    fn stays_ordered_and_snapshots_stay_put() {
        let mut map = Map::default();
        for i in 0..2000_i64 {
            let n = (i * 7919) % 2000;
            assert!(map.insert(entry(&format!("ns{}/{n:04}", n % 3), i)).is_none());
        }
        assert_eq!(map.len(), 2000);
        let snapshot = map.clone();
        let keys: Vec<_> = map.range("", "").map(|e| e.key.clone()).collect();
        assert!(keys.is_sorted() && keys.len() == 2000);
        assert_eq!(map.range("ns1/", "").count(), (0..2000).filter(|n| n % 3 == 1).count());
        assert_eq!(map.range("ns1/", "ns1/1000").next().map(|e| &*e.key), Some("ns1/1000"));
        for key in &keys {
            assert_eq!(map.get(key).map(|e| &e.key), Some(key));
            assert!(map.remove(key).is_some());
        }
        assert!(map.is_empty() && map.range("", "").next().is_none());
        assert!(map.insert(entry("a", 1)).is_none());
        assert_eq!(map.insert(entry("a", 2)).map(|e| e.revision), Some(1));
        assert_eq!(snapshot.range("", "").count(), 2000);
    }
}
