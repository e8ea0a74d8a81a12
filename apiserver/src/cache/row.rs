//! The objects of one storage row, and its recent changes.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use proto::schema::Mask;
use proto::status::Status;
use serde_json::Value;
use tokio::sync::watch;

use super::bell::Bell;
use super::entry::Entry;
use super::map::Map;
use super::trees::Trees;
use super::watcher::Ended;
use crate::registry::Observer;
use crate::storage::codec::{Codec, Media};
use crate::storage::etcd::Kv;

/// Events stay at least this long if the row's memory allows it (upstream's freshness of its event window).
const FRESH: Duration = Duration::from_secs(75);
/// At least this many events stay however old or large they are.
const MIN_EVENTS: usize = 128;
/// At most this many events stay.
const MAX_EVENTS: usize = 100 * 1024;
/// Old versions of objects that events keep alive may take this many bytes.
const MAX_DEAD_BYTES: usize = 16 << 20;
/// Snapshots that continued lists may come back to.
const MAX_SNAPSHOTS: usize = 16;
/// From so many watchers on, what goes out to one of them is kept for the others.
const CROWD: usize = 8;
/// How many such batches are kept.
const KEPT_BATCHES: usize = 4;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change.
pub struct Event {
    /// What happened.
    pub change: Change,
    /// The object as it is; of a deletion, the last version with the deletion's revision.
    pub entry: Arc<Entry>,
    /// The object as it was; `None` for a new one.
    pub previous: Option<Arc<Entry>>,
    gone: OnceLock<Arc<Entry>>,
    /// Bytes that only the history keeps.
    dead: usize,
    at: Instant,
}

impl Event {
    /// A change of `previous` into `entry`.
    pub fn new(change: Change, entry: Arc<Entry>, previous: Option<Arc<Entry>>) -> Self {
        let dead = previous.as_ref().map_or(0, |previous| previous.size() + 256);
        Event { change, entry, previous, gone: OnceLock::new(), dead, at: Instant::now() }
    }

    /// The previous version under this event's revision: for watchers whose selection the object leaves.
    pub fn previous_as_gone(&self) -> Option<Arc<Entry>> {
        let previous = self.previous.as_ref()?;
        Some(self.gone.get_or_init(|| Arc::new(previous.at(self.entry.revision))).clone())
    }

    /// What no longer is: each such entry is one event's.
    fn dead(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let deletion = (self.change == Change::Deleted).then_some(&self.entry);
        self.previous.iter().chain(self.gone.get()).chain(deletion)
    }
}

struct State {
    map: Map,
    history: VecDeque<Arc<Event>>,
    dead_bytes: usize,
    /// All events after this revision are in the history.
    complete_after: i64,
    /// Raised when the row is read anew and its history is lost.
    epoch: u64,
    /// The row's content is that of this revision or later.
    loaded: i64,
    snapshots: VecDeque<(i64, Map)>,
}

/// The objects of one storage row.
pub struct Row {
    /// Codec of the row.
    pub codec: Arc<Codec>,
    state: RwLock<State>,
    changed: Bell,
    observers: Mutex<Observers>,
    trees: Trees,
    /// Writes under way, by key: what arrives of them need not be decoded.
    foreseen: Mutex<AHashMap<Box<str>, Entry>>,
    /// The last that were made, if there are many watchers.
    batches: Mutex<VecDeque<Batch>>,
}

/// Who is told of changes by the feed itself, and what of objects they look at.
#[derive(Default)]
struct Observers {
    mask: Mask,
    all: Vec<Observer>,
}

impl Observers {
    fn tell(&self, codec: &Codec, old: Option<&Arc<Entry>>, new: Option<&Arc<Entry>>, revision: i64) {
        if self.all.is_empty() {
            return;
        }
        let look = |entry: &Arc<Entry>| entry.decode_some(codec, &self.mask).ok();
        let (old, new) = (old.and_then(look), new.and_then(look));
        if old.is_none() && new.is_none() {
            return;
        }
        self.all.iter().for_each(|observer| observer(old.as_ref(), new.as_ref(), revision));
    }
}

/// Keeps a row expecting a write; once it is done or given up, what is dropped.
pub struct Foresight {
    row: Arc<Row>,
    key: Box<str>,
    stored: Bytes,
    /// Whether the write is sure to arrive.
    pub sure: bool,
}

impl Drop for Foresight {
    fn drop(&mut self) {
        if self.sure {
            return;
        }
        let mut foreseen = self.row.foreseen.lock();
        // Another write to the same key may be under way.
        if foreseen.get(&self.key).is_some_and(|entry| entry.stored.as_ptr() == self.stored.as_ptr()) {
            foreseen.remove(&self.key);
        }
    }
}

/// What of a row's events goes out in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Prefix of the keys that are seen.
    pub prefix: String,
    /// Version: an index among the codec's.
    pub version: usize,
    /// Encoding.
    pub media: Media,
}

/// Events as they go out to all watchers of a shape that stand at the same place.
struct Batch {
    shape: Shape,
    after: Position,
    /// The last revision in it.
    to: i64,
    bytes: Bytes,
}

/// Where a watcher stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// It has seen everything up to this revision.
    pub revision: i64,
    /// The row's epoch.
    pub epoch: u64,
}

/// Why a watcher can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    /// Where it stands.
    pub revision: i64,
    /// The oldest revision one could go on from.
    pub oldest: i64,
}

impl Row {
    /// An empty row that is not loaded.
    pub fn new(codec: Arc<Codec>) -> Self {
        let state = State {
            map: Map::default(),
            history: VecDeque::new(),
            dead_bytes: 0,
            complete_after: 0,
            epoch: 0,
            loaded: 0,
            snapshots: VecDeque::new(),
        };
        Row {
            codec,
            state: RwLock::new(state),
            changed: Bell::default(),
            observers: Mutex::default(),
            trees: Trees::default(),
            foreseen: Mutex::default(),
            batches: Mutex::default(),
        }
    }

    /// Whether the row has content yet.
    pub fn is_loaded(&self) -> bool {
        self.state.read().loaded > 0
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().map.get(key).cloned()
    }

    /// All objects as they are now.
    pub fn snapshot(&self) -> Map {
        self.state.read().map.clone()
    }

    /// All objects with where a watcher that starts from them stands.
    pub fn snapshot_to_watch(&self) -> (Map, Position) {
        let state = self.state.read();
        let last = state.history.back().map_or(0, |e| e.entry.revision);
        (state.map.clone(), Position { revision: last.max(state.loaded), epoch: state.epoch })
    }

    /// Keeps a snapshot for continued lists.
    pub fn keep_snapshot(&self, revision: i64, map: Map) {
        let mut state = self.state.write();
        if state.snapshots.iter().any(|(r, _)| *r == revision) {
            return;
        }
        if state.snapshots.len() >= MAX_SNAPSHOTS {
            state.snapshots.pop_front();
        }
        state.snapshots.push_back((revision, map));
    }

    /// A snapshot kept for continued lists.
    pub fn kept_snapshot(&self, revision: i64) -> Option<Map> {
        self.state.read().snapshots.iter().find(|(r, _)| *r == revision).map(|(_, m)| m.clone())
    }

    /// Forgets snapshots older than the revision.
    pub(super) fn drop_snapshots_before(&self, revision: i64) {
        self.state.write().snapshots.retain(|(r, _)| *r >= revision);
    }

    /// Where a watcher that has seen everything up to the revision stands.
    pub fn position(&self, revision: i64) -> Result<Position, TooOld> {
        let state = self.state.read();
        if revision < state.complete_after {
            return Err(TooOld { revision, oldest: state.complete_after });
        }
        Ok(Position { revision, epoch: state.epoch })
    }

    /// The number of objects, and their mean size in bytes by a sample.
    pub fn estimate(&self) -> (usize, usize) {
        const SAMPLE: usize = 16;
        let map = self.snapshot();
        let sizes: Vec<usize> = map.range("", "").take(SAMPLE).map(|entry| entry.stored.len()).collect();
        (map.len(), sizes.iter().sum::<usize>() / sizes.len().max(1))
    }

    /// Lets go of encodings that nobody has used since the last time: how many bytes are stored.
    pub(super) fn tidy(&self) -> usize {
        let (map, history) = {
            let state = self.state.read();
            (state.map.clone(), state.history.iter().cloned().collect::<Vec<_>>())
        };
        let dead = history.iter().flat_map(|event| event.dead());
        map.range("", "").chain(dead).fold(0, |stored, entry| {
            entry.tidy();
            stored + entry.stored.len()
        })
    }

    /// Tells watchers of what was applied.
    pub(super) fn ring(&self) {
        self.changed.ring();
    }

    /// Notifies of changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.listen()
    }

    /// Up to `limit` events after the position.
    pub fn events_after(&self, at: Position, limit: usize) -> Result<Vec<Arc<Event>>, TooOld> {
        let state = self.state.read();
        if at.epoch != state.epoch || at.revision < state.complete_after {
            return Err(TooOld { revision: at.revision, oldest: state.complete_after });
        }
        let from = state.history.partition_point(|e| e.entry.revision <= at.revision);
        let mut events: Vec<_> = state.history.range(from..).take(limit).cloned().collect();
        // One transaction may change several objects at one revision: a batch never ends within one.
        if events.len() == limit
            && let Some(last) = events.last().map(|e| e.entry.revision)
        {
            let rest = state.history.range(from + limit..).take_while(|e| e.entry.revision == last);
            events.extend(rest.cloned());
        }
        Ok(events)
    }

    /// Events after the position as they go out in a shape, with the last revision they tell of; `None` if there are none. What
    /// was made for one watcher serves the others. `make` says how many of the events it took.
    pub fn batch(
        &self,
        at: Position,
        shape: &Shape,
        limit: usize,
        make: impl FnOnce(&[Arc<Event>]) -> Result<(usize, Bytes), Status>,
    ) -> Result<Option<(i64, Bytes)>, Ended> {
        // Those who come meanwhile wait for what is made here.
        let mut batches = self.batches.lock();
        if let Some(made) = batches.iter().find(|b| b.after == at && b.shape == *shape) {
            return Ok(Some((made.to, made.bytes.clone())));
        }
        let events = self.events_after(at, limit).map_err(Ended::TooOld)?;
        if events.is_empty() {
            return Ok(None);
        }
        let (taken, bytes) = make(&events).map_err(Ended::Conversion)?;
        let to = events[..taken].last().map_or(at.revision, |event| event.entry.revision);
        batches.truncate(KEPT_BATCHES - 1);
        if self.changed.listeners() >= CROWD {
            batches.push_front(Batch { shape: shape.clone(), after: at, to, bytes: bytes.clone() });
        }
        Ok(Some((to, bytes)))
    }

    /// Ends all watches: the row is replaced by another, or gone.
    pub(super) fn retire(&self) {
        let mut state = self.state.write();
        state.epoch += 1;
        state.complete_after = i64::MAX;
        drop(state);
        self.changed.ring_now();
    }

    /// Calls the observer for all objects there are and from now on for every change. It sees what it looks at.
    pub fn subscribe(&self, mask: &Mask, observer: Observer) {
        let mut observers = self.observers.lock();
        for entry in self.snapshot().range("", "") {
            if let Ok(object) = entry.decode_some(&self.codec, mask) {
                observer(None, Some(&object), entry.revision);
            }
        }
        observers.mask.add(mask);
        observers.all.push(observer);
    }

    /// The hub-version tree of an object that is likely to be asked for again.
    pub fn tree(&self, key: &str) -> Option<Arc<Value>> {
        self.trees.get(&self.get(key)?, &self.codec).ok()
    }

    /// Expects a write by this server.
    pub fn foresee(self: &Arc<Self>, entry: Entry) -> Foresight {
        let (key, stored) = (entry.key.clone(), entry.stored.clone());
        self.foreseen.lock().insert(key.clone(), entry);
        Foresight { row: self.clone(), key, stored, sure: false }
    }

    /// The entry of a write that was foreseen, if this is what arrives.
    fn take_foreseen(&self, key: &str, kv: &Kv) -> Option<Arc<Entry>> {
        let mut foreseen = self.foreseen.lock();
        if foreseen.get(key)?.stored != kv.value {
            return None;
        }
        let entry = foreseen.remove(key)?.arrived(kv);
        drop(foreseen);
        debug_assert!(
            entry.is_indexed_as(&self.entry(key, kv.clone())),
            "{key} reads otherwise than it was written"
        );
        Some(Arc::new(entry))
    }

    /// Makes an entry of a key's value.
    pub fn entry(&self, key: &str, kv: Kv) -> Arc<Entry> {
        let (stored, revision, lease) = (kv.value.clone(), kv.revision, kv.lease);
        Arc::new(Entry::of(&self.codec, key, kv).unwrap_or_else(|error| {
            tracing::error!(key, %error, "an object in etcd can't be decoded");
            Entry::new(&self.codec.storage, key, stored, revision, lease, &Value::Null)
        }))
    }

    /// The whole content at a revision. Only the feed calls this.
    pub(super) fn load(&self, entries: Vec<Arc<Entry>>, revision: i64) {
        let observers = self.observers.lock();
        self.foreseen.lock().clear();
        let map = Map::from_sorted(entries);
        let old = {
            let mut state = self.state.write();
            let old = std::mem::replace(&mut state.map, map.clone());
            state.history.clear();
            state.snapshots.clear();
            state.dead_bytes = 0;
            state.complete_after = revision;
            state.loaded = revision;
            state.epoch += 1;
            old
        };
        if !observers.all.is_empty() {
            self.observe_difference(&observers, &old, &map, revision);
        }
        self.changed.ring_now();
    }

    fn observe_difference(&self, observers: &Observers, old: &Map, new: &Map, revision: i64) {
        for entry in new.range("", "") {
            let before = old.get(&entry.key);
            if before.is_none_or(|before| before.revision != entry.revision) {
                observers.tell(&self.codec, before, Some(entry), entry.revision);
            }
        }
        for entry in old.range("", "").filter(|e| new.get(&e.key).is_none()) {
            observers.tell(&self.codec, Some(entry), None, revision);
        }
    }

    /// One change from the watch: the new value, or the revision of the deletion. Only the feed calls this, and
    /// [`ring`](Self::ring) after it.
    pub(super) fn apply(&self, key: &str, change: Result<Kv, i64>) {
        let revision = change.as_ref().map_or_else(|deleted| *deleted, |kv| kv.revision);
        if revision <= self.state.read().loaded {
            return;
        }
        let observers = self.observers.lock();
        let made = change.ok().map(|kv| self.take_foreseen(key, &kv).unwrap_or_else(|| self.entry(key, kv)));
        let previous = {
            let mut state = self.state.write();
            let (event, previous) = match &made {
                Some(entry) => {
                    let previous = state.map.insert(entry.clone());
                    let change = if previous.is_some() { Change::Modified } else { Change::Added };
                    (Event::new(change, entry.clone(), previous.clone()), previous)
                }
                None => {
                    let Some(previous) = state.map.remove(key) else { return };
                    let gone = Arc::new(previous.at(revision));
                    (Event::new(Change::Deleted, gone, Some(previous.clone())), Some(previous))
                }
            };
            state.push(Arc::new(event));
            previous
        };
        observers.tell(&self.codec, previous.as_ref(), made.as_ref(), revision);
    }
}

impl State {
    fn push(&mut self, event: Arc<Event>) {
        self.dead_bytes += event.dead;
        let now = event.at;
        self.history.push_back(event);
        while self.history.len() > MIN_EVENTS {
            let Some(oldest) = self.history.front() else { break };
            let stale = now.duration_since(oldest.at) > FRESH;
            if !stale && self.history.len() <= MAX_EVENTS && self.dead_bytes <= MAX_DEAD_BYTES {
                break;
            }
            self.dead_bytes -= oldest.dead;
            self.complete_after = oldest.entry.revision;
            self.history.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forms::Keep;
    use super::*;
    use crate::registry::{Builder, Endpoint, Storage};

    fn config_maps() -> Row {
        let mut rows = Builder::default();
        rows.storage(Storage::new("", "v1", "configmaps", "ConfigMap"));
        rows.endpoint(Endpoint::new("", "v1", "configmaps", "ConfigMap"));
        let registry = rows.build();
        let storage = registry.storage("", "configmaps").expect("a row");
        Row::new(Arc::new(Codec::new(&registry, storage.clone(), Media::Json).expect("a codec")))
    }

    fn config_map(revision: i64) -> Kv {
        let value = Bytes::from_static(br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#);
        Kv { key: String::new(), value, revision, lease: 0, stale: false }
    }

    #[test]
    fn what_goes_out_is_made_once_for_many() {
        let row = config_maps();
        row.load(Vec::new(), 1);
        let listeners: Vec<_> = (0..CROWD).map(|_| row.changes()).collect();
        (2..=5).for_each(|revision| row.apply("a", Ok(config_map(revision))));
        let shape = Shape { prefix: String::new(), version: 0, media: Media::Json };
        let other = Shape { prefix: "b/".to_owned(), ..shape.clone() };
        let count = |events: &[Arc<Event>]| Ok((events.len(), Bytes::from(events.len().to_string())));
        let again = |_: &[Arc<Event>]| Err(Status::internal("made again"));
        let at = row.position(1).expect("is in the history");
        let of = |made: Result<Option<(i64, Bytes)>, Ended>| {
            made.expect("no failure").map(|(to, bytes)| (to, bytes.to_vec()))
        };
        assert_eq!(of(row.batch(at, &shape, 9, count)), Some((5, b"4".to_vec())));
        row.apply("a", Ok(config_map(6)));
        assert_eq!(of(row.batch(at, &shape, 9, again)), Some((5, b"4".to_vec())));
        assert!(row.batch(at, &other, 9, again).is_err(), "of another shape");
        let later = Position { revision: 5, ..at };
        assert_eq!(of(row.batch(later, &shape, 9, count)), Some((6, b"1".to_vec())));
        assert_eq!(of(row.batch(Position { revision: 6, ..at }, &shape, 9, again)), None);
        row.load(Vec::new(), 7);
        assert!(matches!(row.batch(Position { revision: 6, ..at }, &shape, 9, count), Err(Ended::TooOld(_))));
        drop(listeners);
    }

    #[test]
    fn what_was_foreseen_is_not_decoded() {
        let row = Arc::new(config_maps());
        row.load(Vec::new(), 1);
        let hub = serde_json::json!({"metadata": {"name": "a", "labels": {"b": "c"}}});
        let foresee = |stored: &Bytes| {
            row.foresee(Entry::foreseen(&row.codec, "a", stored.clone(), &hub).expect("no webhook"))
        };
        let labels = |revision| {
            let there = row.get("a").filter(|entry| entry.revision == revision).expect("has arrived");
            Entry::foreseen(&row.codec, "a", there.stored.clone(), &hub)
                .expect("no webhook")
                .is_indexed_as(&there)
        };
        let mut written = config_map(2);
        written.value = Bytes::from_static(
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"b":"c"}}}"#,
        );
        foresee(&written.value).sure = true;
        row.apply("a", Ok(written.clone()));
        assert!(labels(2) && row.foreseen.lock().is_empty());
        // Someone else's write came first; this one was given up.
        let given_up = foresee(&written.value);
        row.apply("a", Ok(config_map(3)));
        assert!(!labels(3) && !row.foreseen.lock().is_empty());
        drop(given_up);
        assert!(row.foreseen.lock().is_empty());
    }

    #[test]
    fn encodings_that_nobody_uses_go_with_the_living_and_the_dead() {
        let row = config_maps();
        row.load(Vec::new(), 1);
        let encode = |entry: &Arc<Entry>| {
            entry.form(&row.codec, 0, Media::Json, Keep::ForWatchers).expect("a ConfigMap");
            assert!(entry.size() > entry.stored.len());
        };
        row.apply("a", Ok(config_map(2)));
        let before = row.get("a").expect("is there");
        encode(&before);
        row.apply("a", Ok(config_map(3)));
        let after = row.get("a").expect("is there");
        encode(&after);
        row.tidy();
        assert!(before.size() > before.stored.len() && after.size() > after.stored.len(), "were used");
        row.tidy();
        assert_eq!((before.size(), after.size()), (before.stored.len(), after.stored.len()));
    }

    #[test]
    fn snapshots_go_with_etcds_history() {
        let row = config_maps();
        [5, 9].into_iter().for_each(|revision| row.keep_snapshot(revision, Map::default()));
        row.drop_snapshots_before(9);
        assert!(row.kept_snapshot(5).is_none(), "a token of revision 5 has expired");
        assert!(row.kept_snapshot(9).is_some());
    }
}
