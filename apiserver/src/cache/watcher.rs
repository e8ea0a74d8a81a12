//! One client's view of a row's changes: from the cache, or, for rows that are not cached, from etcd itself.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use etcd_client::{EventType, WatchStream};
use proto::status::Status;
use tokio::sync::watch;

use super::entry::{self, Entry, Selection};
use super::feed::Feed;
use super::row::{Change, Event, Position, Row, Shape, TooOld};
use crate::storage::Error;
use crate::storage::codec::{Codec, Media};
use crate::storage::etcd::{Etcd, Kv};
use crate::storage::keys::{self, Keys};

/// Events taken from a row's history at once.
const BATCH: usize = 512;
/// Shared events are put together until they have about this size.
const SHARED_SIZE: usize = 64 << 10;

/// What a watcher is told.
pub enum Item {
    /// A change of what it selects.
    Change(Change, Arc<Entry>),
    /// Changes as they go out: watchers that see the same share them.
    Batch(Bytes),
    /// All objects there were at the start have been told; everything up to this revision is known.
    InitialEnd(i64),
}

impl Item {
    fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Item::Change(_, entry) => Some(entry),
            Item::Batch(_) | Item::InitialEnd(_) => None,
        }
    }
}

/// How changes go out to watchers that share them.
pub struct Sharing {
    /// Version: an index among the codec's.
    pub version: usize,
    /// Encoding.
    pub media: Media,
    /// Appends a change as it goes out. It must not depend on anything else.
    pub encode: Box<dyn Fn(Change, &Entry, &mut Vec<u8>) -> Result<(), Status> + Send + Sync>,
}

/// Why a watch ends.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Ended {
    /// It fell behind the window of history.
    #[error("too old resource version: {} ({})", .0.revision, .0.oldest)]
    TooOld(TooOld),
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] Error),
    /// An object's conversion.
    #[error("{0}")]
    Conversion(Status),
}

/// Where its changes come from.
enum Source {
    Cached { row: Arc<Row>, codec: Arc<Codec>, feed: Arc<Feed>, changes: watch::Receiver<()>, at: Position },
    Direct(Box<Direct>),
}

/// A watch of etcd's own.
struct Direct {
    etcd: Etcd,
    codec: Arc<Codec>,
    keys: Keys,
    stream: WatchStream,
    revision: i64,
}

/// One client's watch.
pub struct Watcher {
    source: Source,
    selection: Selection,
    /// Prefix of the keys it may see: a namespace's, or an object's.
    prefix: String,
    pending: VecDeque<Item>,
    sharing: Option<(Shape, Sharing)>,
}

impl Watcher {
    /// From a position in a cached row's history, after these first items.
    pub fn cached(
        row: Arc<Row>,
        codec: Arc<Codec>,
        feed: Arc<Feed>,
        at: Position,
        prefix: String,
        selection: Selection,
        first: VecDeque<Item>,
    ) -> Self {
        let changes = row.changes();
        Watcher {
            source: Source::Cached { row, codec, feed, changes, at },
            selection,
            prefix,
            pending: first,
            sharing: None,
        }
    }

    /// Shares what goes out with others that see the same, if it sees all there is. It is told of batches then.
    pub fn share(&mut self, sharing: Sharing) {
        let cached = matches!(&self.source, Source::Cached { codec, .. } if codec.external().is_none());
        if cached && self.selection.is_empty() {
            let shape = Shape { prefix: self.prefix.clone(), version: sharing.version, media: sharing.media };
            self.sharing = Some((shape, sharing));
        }
    }

    /// From etcd, after a revision and these first items.
    pub async fn direct(
        etcd: &Etcd,
        codec: Arc<Codec>,
        keys: Keys,
        after: i64,
        prefix: String,
        selection: Selection,
        first: VecDeque<Item>,
    ) -> Result<Self, Error> {
        let start = keys.full(&prefix);
        let stream = etcd.watch(&start, &keys::end_of(&start), after + 1, true).await?;
        let direct = Direct { etcd: etcd.clone(), codec, keys, stream, revision: after };
        let source = Source::Direct(Box::new(direct));
        Ok(Watcher { source, selection, prefix, pending: first, sharing: None })
    }

    /// The codec of what it watches.
    pub fn codec(&self) -> &Arc<Codec> {
        match &self.source {
            Source::Cached { codec, .. } => codec,
            Source::Direct(direct) => &direct.codec,
        }
    }

    /// What is known now with no need to wait.
    pub fn ready(&mut self) -> Option<Item> {
        self.pending.pop_front()
    }

    /// The next item; waits for it. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Item, Ended> {
        loop {
            if let Some(item) = self.pending.pop_front() {
                return Ok(item);
            }
            self.fill().await?;
        }
    }

    /// A revision up to which the client knows everything, for a bookmark; `None` while there is more to tell.
    pub fn caught_up(&self) -> Option<i64> {
        if !self.pending.is_empty() {
            return None;
        }
        match &self.source {
            Source::Cached { row, feed, at, .. } => {
                let reached = feed.revision();
                let behind = row.events_after(*at, 1).map_or(true, |events| !events.is_empty());
                (!behind).then_some(reached.max(at.revision))
            }
            Source::Direct(direct) => Some(direct.revision),
        }
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        match &mut self.source {
            Source::Cached { row, codec, changes, at, .. } => {
                changes.borrow_and_update();
                if let Some((shape, sharing)) = &self.sharing {
                    let make = |events: &[Arc<Event>]| {
                        together(events, |event, out| {
                            match select(codec, &self.selection, &self.prefix, event) {
                                Some(Item::Change(change, entry)) => (sharing.encode)(change, &entry, out),
                                _ => Ok(()),
                            }
                        })
                    };
                    match row.batch(*at, shape, BATCH, make)? {
                        Some((to, bytes)) => {
                            at.revision = to;
                            if !bytes.is_empty() {
                                self.pending.push_back(Item::Batch(bytes));
                            }
                        }
                        None => drop(changes.changed().await),
                    }
                    return Ok(());
                }
                let events = row.events_after(*at, BATCH).map_err(Ended::TooOld)?;
                if let Some(last) = events.last() {
                    let seen = selected(codec, &self.selection, &self.prefix, &events).await?;
                    // Nothing waits from here on: a watch that is cancelled loses nothing.
                    at.revision = last.entry.revision;
                    self.pending.extend(seen);
                } else {
                    // The row goes away only with its last watcher, so this waits for a change.
                    let _ = changes.changed().await;
                }
            }
            Source::Direct(direct) => {
                let Direct { etcd, codec, keys, stream, revision } = &mut **direct;
                let Some(response) = stream.message().await.map_err(Error::from)? else {
                    return Err(Error::Unavailable("the watch on etcd ended".to_owned()).into());
                };
                if response.canceled() {
                    let oldest = response.compact_revision();
                    let error = Error::Unavailable(response.cancel_reason().to_owned());
                    return Err(match oldest {
                        0 => error.into(),
                        _ => Ended::TooOld(TooOld { revision: *revision, oldest }),
                    });
                }
                for event in response.events() {
                    let made = direct_event(etcd, codec, keys, event);
                    let seen = made.and_then(|e| select(codec, &self.selection, &self.prefix, &e));
                    self.pending.extend(seen);
                    *revision = event.kv().map_or(*revision, |kv| kv.mod_revision());
                }
                if response.events().is_empty() && !response.created() {
                    *revision = response.header().map_or(*revision, |h| h.revision()).max(*revision);
                }
            }
        }
        Ok(())
    }
}

/// Puts events together until there is enough, and how many that are. It never ends within a revision.
fn together(
    events: &[Arc<Event>],
    put: impl Fn(&Event, &mut Vec<u8>) -> Result<(), Status>,
) -> Result<(usize, Bytes), Status> {
    let mut out = Vec::new();
    let mut last = 0;
    for (taken, event) in events.iter().enumerate() {
        if out.len() >= SHARED_SIZE && event.entry.revision != last {
            return Ok((taken, out.into()));
        }
        put(event, &mut out)?;
        last = event.entry.revision;
    }
    Ok((events.len(), out.into()))
}

/// An event of etcd as one of the cache.
fn direct_event(etcd: &Etcd, codec: &Codec, keys: &Keys, event: &etcd_client::Event) -> Option<Event> {
    let kv = event.kv()?;
    let key = keys.relative(std::str::from_utf8(kv.key()).ok()?)?;
    let entry = |kv: Kv| Entry::of(codec, key, kv).ok().map(Arc::new);
    let previous = event.prev_kv().and_then(|kv| entry(etcd.copy(kv)));
    match event.event_type() {
        EventType::Put => {
            let change = if previous.is_some() { Change::Modified } else { Change::Added };
            Some(Event::new(change, entry(etcd.copy(kv))?, previous))
        }
        EventType::Delete => {
            let gone = Arc::new(previous.as_ref()?.at(kv.mod_revision()));
            Some(Event::new(Change::Deleted, gone, previous))
        }
    }
}

/// What changes mean to someone who sees only part of the objects, converted to the version he reads.
async fn selected(
    codec: &Codec,
    selection: &Selection,
    prefix: &str,
    events: &[Arc<Event>],
) -> Result<Vec<Item>, Ended> {
    if selection.needs_content() {
        let near = events.iter().filter(|e| e.entry.key.starts_with(prefix));
        let waiting =
            entry::waiting(codec, &mut near.flat_map(|e| e.previous.iter().chain(std::iter::once(&e.entry))));
        entry::convert(codec, waiting).await.map_err(Ended::Conversion)?;
    }
    let seen: Vec<Item> = events.iter().filter_map(|e| select(codec, selection, prefix, e)).collect();
    let waiting = entry::waiting(codec, &mut seen.iter().filter_map(Item::entry));
    entry::convert(codec, waiting).await.map_err(Ended::Conversion)?;
    Ok(seen)
}

/// What a change means to someone who sees only part of the objects: an object that leaves the selection is gone.
fn select(codec: &Codec, selection: &Selection, prefix: &str, event: &Event) -> Option<Item> {
    if !event.entry.key.starts_with(prefix) {
        return None;
    }
    let sees = |e: &Arc<Entry>| selection.matches(codec, e);
    if event.change == Change::Deleted {
        return sees(&event.entry).then(|| Item::Change(Change::Deleted, event.entry.clone()));
    }
    let saw = event.previous.as_ref().is_some_and(sees);
    match (saw, sees(&event.entry)) {
        (false, true) => Some(Item::Change(Change::Added, event.entry.clone())),
        (true, true) => Some(Item::Change(Change::Modified, event.entry.clone())),
        (true, false) => event.previous_as_gone().map(|gone| Item::Change(Change::Deleted, gone)),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Storage;

    #[test]
    fn what_is_put_together_never_ends_within_a_revision() {
        let storage = Storage::new("", "v1", "configmaps", "ConfigMap");
        let event = |revision| {
            let entry = Entry::new(&storage, "a", Bytes::new(), revision, 0, &serde_json::Value::Null);
            Arc::new(Event::new(Change::Added, Arc::new(entry), None))
        };
        let events = [1, 2, 2, 2, 3].map(event);
        let put = |size: usize| {
            together(&events, |_, out| {
                out.resize(out.len() + size, 0);
                Ok(())
            })
        };
        let taken = |size| put(size).map(|(taken, bytes)| (taken, bytes.len())).expect("fits");
        assert_eq!(taken(1), (5, 5));
        assert_eq!(taken(SHARED_SIZE), (1, SHARED_SIZE));
        assert_eq!(taken(SHARED_SIZE / 2), (4, 2 * SHARED_SIZE));
    }
}
