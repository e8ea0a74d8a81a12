//! Lists and watches: which snapshot answers them, and how pages go on.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::status::Status;

use super::store::{Store, too_large, unavailable};
use super::token;
use crate::cache::entry::{Entry, Selection};
use crate::cache::map::Map;
use crate::cache::row::{Change, Row};
use crate::cache::watcher::{Item, Watcher};
use crate::storage;
use crate::storage::keys;

/// Keys read from etcd at once when a list is answered from there.
const PAGE: i64 = 500;

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// As fresh as etcd when the request came.
    Latest,
    /// Whatever is at hand.
    Any,
    /// At least of this revision.
    NotOlderThan(i64),
    /// Of exactly this revision.
    Exact(i64),
}

/// A list to be made.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Namespace; empty for all.
    pub namespace: String,
    /// What is selected.
    pub selection: Selection,
    /// How fresh.
    pub at: At,
    /// At most so many items; 0 for all.
    pub limit: usize,
    /// The token of the page before, or empty.
    pub continue_token: String,
}

impl ListQuery {
    /// The token of the page after a key.
    fn token(&self, revision: i64, after: &str) -> String {
        token::encode(&keys::namespace_prefix(&self.namespace), revision, after)
    }
}

/// A list.
pub struct Listed {
    /// Items in order.
    pub items: Vec<Arc<Entry>>,
    /// The list's resource version.
    pub revision: i64,
    /// Token of the next page, or empty.
    pub continue_token: String,
    /// How many items are left, if that is known.
    pub remaining: Option<i64>,
}

/// A watch to be opened.
#[derive(Debug, Clone)]
pub struct WatchQuery {
    /// Namespace; empty for all.
    pub namespace: String,
    /// What is selected.
    pub selection: Selection,
    /// After this revision; `None`: from now on, after all objects there are.
    pub after: Option<i64>,
    /// How fresh the objects there are must be.
    pub at: At,
    /// Whether the objects there are are told first.
    pub initial: bool,
    /// Whether the end of those is told too.
    pub initial_end: bool,
}

impl Store {
    /// The prefix of the keys that a request can be about.
    fn scope(&self, namespace: &str, selection: &Selection) -> String {
        let prefix = keys::namespace_prefix(namespace);
        let name = selection.fields.requires_exact_match("metadata.name").filter(|n| !n.is_empty());
        match name {
            Some(name) if !self.codec.storage.namespaced || !prefix.is_empty() => prefix + name,
            _ => prefix,
        }
    }

    /// Makes a list.
    pub async fn list(&self, query: &ListQuery) -> Result<Listed, Status> {
        let listed = self.list_selected(query).await?;
        self.prepare(&mut listed.items.iter()).await?;
        Ok(listed)
    }

    async fn list_selected(&self, query: &ListQuery) -> Result<Listed, Status> {
        let prefix = self.scope(&query.namespace, &query.selection);
        if !query.continue_token.is_empty() {
            return self.next_page(query, &prefix).await;
        }
        if let (Some(row), At::Exact(revision)) = (&self.row, query.at)
            && let Some(map) = row.kept_snapshot(revision)
        {
            return self.page(row, &map, revision, "", &prefix, query).await;
        }
        match &self.row {
            Some(row) if self.wait(query.at).await? => {
                let reached = self.feed.revision();
                let (map, position) = row.snapshot_to_watch();
                self.page(row, &map, reached.max(position.revision), "", &prefix, query).await
            }
            _ => {
                let revision = if let At::Exact(revision) = query.at { revision } else { 0 };
                self.list_etcd(revision, "", &prefix, query).await
            }
        }
    }

    async fn next_page(&self, query: &ListQuery, prefix: &str) -> Result<Listed, Status> {
        let (revision, start) =
            token::decode(&keys::namespace_prefix(&query.namespace), &query.continue_token)?;
        let Some(row) = &self.row else {
            return self.list_etcd(revision.max(0), &start, prefix, query).await;
        };
        if revision < 0 {
            // The client was told that its snapshot is gone and accepts what is current.
            let found = self.wait(At::Latest).await?;
            if !found {
                return self.list_etcd(0, &start, prefix, query).await;
            }
            let reached = self.feed.revision();
            let (map, position) = row.snapshot_to_watch();
            return self.page(row, &map, reached.max(position.revision), &start, prefix, query).await;
        }
        match row.kept_snapshot(revision) {
            Some(map) => self.page(row, &map, revision, &start, prefix, query).await,
            None => self.list_etcd(revision, &start, prefix, query).await,
        }
    }

    /// A page of a snapshot; the snapshot is kept when there is more to come.
    async fn page(
        &self,
        row: &Row,
        map: &Map,
        revision: i64,
        start: &str,
        prefix: &str,
        query: &ListQuery,
    ) -> Result<Listed, Status> {
        self.prepare_to_select(&query.selection, &mut map.range(prefix, start)).await?;
        let everything = query.selection.is_empty();
        // Upstream does not page what is read with resourceVersion=0.
        let limit = if query.at == At::Any { 0 } else { query.limit };
        let mut range =
            map.range(prefix, start).filter(|e| everything || query.selection.matches(&self.codec, e));
        if limit == 0 {
            let items = range.cloned().collect();
            return Ok(Listed { items, revision, continue_token: String::new(), remaining: None });
        }
        let items: Vec<_> = range.by_ref().take(limit).cloned().collect();
        let (mut continue_token, mut remaining) = (String::new(), None);
        if range.next().is_some()
            && let Some(last) = items.last()
        {
            continue_token = query.token(revision, &last.key);
            remaining = everything.then(|| range.count() as i64 + 1);
            row.keep_snapshot(revision, map.clone());
        }
        Ok(Listed { items, revision, continue_token, remaining })
    }

    /// Has entries converted whose content decides whether they are selected.
    fn prepare_to_select<'s>(
        &'s self,
        selection: &Selection,
        entries: &mut dyn Iterator<Item = &Arc<Entry>>,
    ) -> impl Future<Output = Result<(), Status>> + use<'s> {
        match selection.needs_content() {
            true => self.prepare(entries),
            false => self.prepare(&mut std::iter::empty()),
        }
    }

    /// A list from etcd, at a revision (0: the current one).
    async fn list_etcd(
        &self,
        revision: i64,
        start: &str,
        prefix: &str,
        query: &ListQuery,
    ) -> Result<Listed, Status> {
        let end = keys::end_of(&self.keys.full(prefix));
        let from = if start > prefix { start } else { prefix };
        let (mut from, mut revision) = (self.keys.full(from), revision);
        let everything = query.selection.is_empty();
        let mut items: Vec<Arc<Entry>> = Vec::new();
        loop {
            let wanted = match query.limit {
                0 => PAGE,
                limit => (limit - items.len()) as i64,
            };
            let page = self.etcd.range(&from, &end, wanted.max(1), revision).await;
            let page = page.map_err(|e| self.broken_off(e, query, start, revision))?;
            if revision == 0 {
                revision = page.revision;
            }
            let last = page.kvs.last().map(|kv| kv.key.clone());
            let taken = page.kvs.len() as i64;
            for kv in page.kvs {
                let entry = self.entry(kv)?;
                self.prepare_to_select(&query.selection, &mut [&entry].into_iter()).await?;
                if everything || query.selection.matches(&self.codec, &entry) {
                    items.push(entry);
                }
            }
            let Some(last) = last.filter(|_| page.more) else { break };
            if query.limit > 0 && items.len() >= query.limit {
                let relative = self.keys.relative(&last).unwrap_or_default();
                let remaining = everything.then_some(page.count - taken);
                return Ok(Listed {
                    items,
                    revision,
                    continue_token: query.token(revision, relative),
                    remaining,
                });
            }
            from = last + "\0";
        }
        Ok(Listed { items, revision, continue_token: String::new(), remaining: None })
    }

    /// A page that can't be read at its revision. If that is compacted away, with the way to go on that upstream offers.
    fn broken_off(&self, error: storage::Error, query: &ListQuery, start: &str, revision: i64) -> Status {
        if matches!(error, storage::Error::Future) {
            return too_large(revision, self.feed.revision());
        }
        if !matches!(error, storage::Error::Compacted) || query.continue_token.is_empty() {
            return unavailable(error);
        }
        let start = start.strip_suffix('\0').unwrap_or(start);
        Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        )
        .with_continue(query.token(-1, start))
    }

    /// Opens a watch.
    pub async fn watch(&self, query: WatchQuery) -> Result<Watcher, Status> {
        let prefix = self.scope(&query.namespace, &query.selection);
        let Some(row) = &self.row else { return self.watch_etcd(query, prefix).await };
        let mut first = VecDeque::new();
        let position = match query.after {
            Some(revision) if !query.initial => row.position(revision).map_err(|old| {
                Status::expired(format!("too old resource version: {} ({})", old.revision, old.oldest))
            })?,
            _ => {
                self.wait(query.at).await?;
                let reached = self.feed.revision();
                let (map, position) = row.snapshot_to_watch();
                if query.initial {
                    self.prepare_to_select(&query.selection, &mut map.range(&prefix, "")).await?;
                    let selected = map.range(&prefix, "").filter(|e| query.selection.matches(&self.codec, e));
                    let selected: Vec<_> = selected.cloned().collect();
                    self.prepare(&mut selected.iter()).await?;
                    first.extend(selected.into_iter().map(|e| Item::Change(Change::Added, e)));
                }
                if query.initial_end {
                    first.push_back(Item::InitialEnd(reached.max(position.revision)));
                }
                position
            }
        };
        let (row, codec, feed) = (row.clone(), self.codec.clone(), self.feed.clone());
        Ok(Watcher::cached(row, codec, feed, position, prefix, query.selection, first))
    }

    async fn watch_etcd(&self, query: WatchQuery, prefix: String) -> Result<Watcher, Status> {
        let mut first = VecDeque::new();
        let after = match query.after {
            Some(revision) if !query.initial => revision,
            _ => {
                let list = ListQuery {
                    namespace: query.namespace.clone(),
                    selection: query.selection.clone(),
                    at: At::Latest,
                    limit: 0,
                    continue_token: String::new(),
                };
                let listed = self.list_etcd(0, "", &prefix, &list).await?;
                if query.initial {
                    first.extend(listed.items.into_iter().map(|e| Item::Change(Change::Added, e)));
                }
                if query.initial_end {
                    first.push_back(Item::InitialEnd(listed.revision));
                }
                listed.revision
            }
        };
        Watcher::direct(
            &self.etcd,
            self.codec.clone(),
            self.keys.clone(),
            after,
            prefix,
            query.selection,
            first,
        )
        .await
        .map_err(unavailable)
    }
}
