//! The watch cache: every cached row's objects as encoded bytes, kept current by one etcd watch.
//!
//! Invariants:
//! - One [`feed::Feed`] per etcd reads everything below --etcd-prefix once and then watches it as a whole, so that the
//!   revision it has reached holds for all rows: a consistent read compares one number, and no row needs progress
//!   notifications of its own while anything is written anywhere.
//! - The feed is the only writer of a [`row::Row`]. A row's map and history change together under one lock; the feed's
//!   revision is published after all rows have it.
//! - An [`entry::Entry`] never changes. What is made of it (encodings) is made on first use and shared.
//! - Watchers pull: each has a position in its row's history, and one that falls behind the history's window ends.

pub mod bell;
pub mod entry;
pub mod feed;
pub mod forms;
pub mod fresh;
mod index;
pub mod map;
pub mod row;
pub mod trees;
pub mod watcher;
