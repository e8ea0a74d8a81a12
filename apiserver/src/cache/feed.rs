//! Keeps all cached rows of one etcd current: one read of everything, then one watch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchResponse};
use parking_lot::RwLock;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::entry::Entry;
use super::forms;
use super::row::Row;
use crate::storage::etcd::{Etcd, Kv};
use crate::storage::{Error, keys};

/// Keys per page of the first read.
const PAGE: i64 = 2000;
/// How long a waiter trusts that a write elsewhere brings the revision before it asks for progress.
const PATIENCE: Duration = Duration::from_millis(5);
/// How long reads wait for a revision (as upstream).
const DEADLINE: Duration = Duration::from_secs(3);

/// A watch that is asked for progress answers within this time, or its member of etcd is stopped or cut off.
const SILENCE: Duration = Duration::from_secs(3);

/// What was not used for so long is let go of first.
const TIDY: Duration = Duration::from_secs(1);
/// How often that is tried: the first time tells only what is used from then on.
const ROUNDS: usize = 3;

enum Command {
    Add(Arc<Row>, String, oneshot::Sender<()>),
    Remove(String),
    Progress,
}

/// The feed of one etcd.
pub struct Feed {
    etcd: Etcd,
    /// `/registry/`
    root: String,
    /// Rows by the full prefix of their keys, with a slash at the end.
    rows: RwLock<HashMap<String, Arc<Row>>>,
    revision: watch::Sender<i64>,
    commands: mpsc::UnboundedSender<Command>,
}

/// What serves the feed's commands; goes to [`Feed::run`].
pub struct Commands(mpsc::UnboundedReceiver<Command>);

impl Feed {
    /// A feed of everything below the etcd prefix, for these rows by the full prefixes of their keys.
    pub fn new(etcd: Etcd, etcd_prefix: &str, rows: HashMap<String, Arc<Row>>) -> (Arc<Self>, Commands) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let root = format!("/{}/", etcd_prefix.trim_matches('/'));
        let feed = Feed { etcd, root, rows: RwLock::new(rows), revision: watch::Sender::new(0), commands };
        (Arc::new(feed), Commands(receiver))
    }

    /// The revision that all rows have reached; 0 before the first read.
    pub fn revision(&self) -> i64 {
        *self.revision.borrow()
    }

    /// Waits until everything was read once.
    pub async fn loaded(&self) {
        // The sender lives as long as self: this can't fail.
        let _ = self.revision.subscribe().wait_for(|r| *r > 0).await;
    }

    /// Waits until all rows have reached the revision; false after upstream's deadline.
    pub async fn reached(&self, revision: i64) -> bool {
        if self.revision() >= revision {
            return true;
        }
        let mut receiver = self.revision.subscribe();
        let wait = async {
            if tokio::time::timeout(PATIENCE, receiver.wait_for(|r| *r >= revision)).await.is_err() {
                // Whatever raised etcd's revision was not below our prefix.
                let _ = self.commands.send(Command::Progress);
                let _ = receiver.wait_for(|r| *r >= revision).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.is_ok()
    }

    /// Lets go of what continued lists could come back to before this revision: etcd's history begins there.
    pub fn compacted(&self, revision: i64) {
        self.rows.read().values().for_each(|row| row.drop_snapshots_before(revision));
    }

    /// Adds a row, or replaces the one of the same prefix, and waits until it is loaded.
    pub async fn add(&self, row: Arc<Row>, prefix: String) {
        let (tell, told) = oneshot::channel();
        let _ = self.commands.send(Command::Add(row, prefix, tell));
        let _ = told.await;
    }

    /// Forgets the row of a prefix.
    pub fn remove(&self, prefix: &str) {
        let _ = self.commands.send(Command::Remove(prefix.to_owned()));
    }

    /// Feeds the rows, for ever.
    pub async fn run(self: Arc<Self>, mut commands: Commands) {
        let mut next = 0;
        let mut backoff = Duration::from_millis(20);
        loop {
            let round = async {
                if next == 0 {
                    next = self.load_all().await? + 1;
                }
                backoff = Duration::from_millis(20);
                self.follow(&mut next, &mut commands).await
            };
            match round.await {
                Ok(()) | Err(Error::Compacted) => next = 0,
                Err(error) => tracing::warn!(%error, "the watch on etcd broke; trying again"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(Duration::from_secs(2));
        }
    }

    /// Lets go of encodings that nobody uses, whenever they take too much memory, for ever.
    pub async fn tidy(self: Arc<Self>) {
        loop {
            forms::full().await;
            // What is in use all the time stays: whoever finds no room then says so again.
            for _ in 0..ROUNDS {
                tokio::time::sleep(TIDY).await;
                let rows: Vec<_> = self.rows.read().values().cloned().collect();
                let tidy = move || rows.iter().map(|row| row.tidy()).sum();
                let stored = tokio::task::spawn_blocking(tidy).await.unwrap_or_default();
                if !forms::adapt(stored) {
                    break;
                }
            }
            component_base::memory::give_back().await;
        }
    }

    /// Reads everything: the revision it was read at.
    async fn load_all(&self) -> Result<i64, Error> {
        let (mut entries, revision) = self.read(&self.root, |key| self.route(key)).await?;
        let rows: Vec<_> = self.rows.read().values().cloned().collect();
        for row in rows {
            row.load(entries.remove(&address(&row)).unwrap_or_default(), revision);
        }
        self.revision.send_replace(revision);
        tokio::spawn(component_base::memory::give_back());
        Ok(revision)
    }

    async fn load_row(&self, row: &Arc<Row>, prefix: &str) -> Result<(), Error> {
        let (mut entries, revision) = self.read(prefix, |_| Some((prefix.len(), row.clone()))).await?;
        row.load(entries.remove(&address(row)).unwrap_or_default(), revision);
        Ok(())
    }

    /// Reads what is below a prefix at one revision: the entries of each row, in order. `route` tells the row of a key, and where
    /// in the key its own begins. Decoding takes longer than reading: each page is decoded apart, on whatever thread is free.
    async fn read(
        &self,
        prefix: &str,
        route: impl Fn(&str) -> Option<(usize, Arc<Row>)>,
    ) -> Result<(HashMap<usize, Vec<Arc<Entry>>>, i64), Error> {
        let end = keys::end_of(prefix);
        let (mut start, mut revision, mut pages) = (prefix.to_owned(), 0, Vec::new());
        loop {
            let page = self.etcd.range(&start, &end, PAGE, revision).await?;
            if revision == 0 {
                revision = page.revision;
            }
            let last = page.kvs.last().map(|kv| kv.key.clone());
            let routed = page.kvs.into_iter().filter_map(|kv| Some((route(&kv.key)?, kv)));
            pages.push(tokio::spawn(decode(routed.collect())));
            match last {
                Some(last) if page.more => start = last + "\0",
                _ => break,
            }
        }
        let mut entries: HashMap<usize, Vec<Arc<Entry>>> = HashMap::new();
        for page in pages {
            for (row, entry) in page.await.map_err(|failed| Error::Unavailable(failed.to_string()))? {
                entries.entry(address(&row)).or_default().push(entry);
            }
        }
        Ok((entries, revision))
    }

    /// The row a key belongs to: row prefixes have one or two segments below the root.
    fn route(&self, key: &str) -> Option<(usize, Arc<Row>)> {
        let below = key.strip_prefix(&self.root)?;
        let rows = self.rows.read();
        let ends = below.match_indices('/').take(2).map(|(i, _)| self.root.len() + i + 1);
        ends.filter_map(|end| rows.get(&key[..end]).map(|row| (end, row.clone()))).last()
    }

    /// Watches from `next` on until the watch breaks; `next` is where to go on.
    async fn follow(&self, next: &mut i64, commands: &mut Commands) -> Result<(), Error> {
        let end = keys::end_of(&self.root);
        let silent = || Error::Unavailable("etcd does not answer".to_owned());
        let opened = self.etcd.watch(&self.root, &end, *next, false);
        let mut stream = tokio::time::timeout(SILENCE / 2, opened).await.map_err(|_| silent())??;
        // When it was asked for progress, if nothing has come since.
        let mut asked: Option<Instant> = None;
        loop {
            let patience = asked.map(|at| at + SILENCE);
            tokio::select! {
                biased;
                command = commands.0.recv() => match command {
                    Some(Command::Progress) => {
                        stream.request_progress().await?;
                        asked.get_or_insert_with(Instant::now);
                    }
                    Some(Command::Add(row, prefix, done)) => {
                        let replaced = self.rows.write().insert(prefix.clone(), row.clone());
                        replaced.inspect(|old| old.retire());
                        if let Err(error) = self.load_row(&row, &prefix).await {
                            // Reading everything anew reads this row too.
                            *next = 0;
                            return Err(error);
                        }
                        let _ = done.send(());
                    }
                    Some(Command::Remove(prefix)) => {
                        let removed = self.rows.write().remove(&prefix);
                        removed.inspect(|old| old.retire());
                    }
                    None => return std::future::pending().await,
                },
                () = until(patience) => return Err(silent()),
                message = stream.message() => {
                    asked = None;
                    let Some(response) = message? else {
                        return Err(Error::Unavailable("the watch ended".to_owned()));
                    };
                    if response.canceled() {
                        return Err(match response.compact_revision() {
                            0 => Error::Unavailable(response.cancel_reason().to_owned()),
                            _ => Error::Compacted,
                        });
                    }
                    let created = response.created();
                    if let Some(revision) = self.take(response) {
                        // The header of the watch's creation may be ahead of events that are still to come.
                        if !created {
                            *next = revision + 1;
                            self.revision.send_replace(revision);
                        }
                    }
                }
            }
        }
    }

    /// Applies a response's events: the revision that all rows have reached with it.
    fn take(&self, response: WatchResponse) -> Option<i64> {
        let header = response.header().map(|h| h.revision())?;
        let mut last = None;
        // Rung once each, when all that came together is applied.
        let mut touched: SmallVec<[Arc<Row>; 4]> = SmallVec::new();
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            last = Some(kv.mod_revision());
            let Ok(full) = std::str::from_utf8(kv.key()) else { continue };
            let Some((prefix, row)) = self.route(full) else { continue };
            let change = match event.event_type() {
                EventType::Put => Ok(self.etcd.copy(kv)),
                EventType::Delete => Err(kv.mod_revision()),
            };
            row.apply(&full[prefix..], change);
            if !touched.iter().any(|t| Arc::ptr_eq(t, &row)) {
                touched.push(row);
            }
        }
        touched.iter().for_each(|row| row.ring());
        // While a watch catches up, headers carry the store's revision, not the watch's: trust the events' then.
        Some(last.unwrap_or(header))
    }
}

/// What tells rows apart.
fn address(row: &Arc<Row>) -> usize {
    Arc::as_ptr(row).addr()
}

/// Makes entries of values.
async fn decode(values: Vec<((usize, Arc<Row>), Kv)>) -> Vec<(Arc<Row>, Arc<Entry>)> {
    let entry = |((at, row), kv): ((usize, Arc<Row>), Kv)| {
        let key = kv.key.get(at..).unwrap_or_default().to_owned();
        let entry = row.entry(&key, kv);
        (row, entry)
    };
    values.into_iter().map(entry).collect()
}

/// Waits until a time, if there is one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
