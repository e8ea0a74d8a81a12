//! watch: a stream of events until the client, the clock or the history's window ends it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use proto::fields::Requirement;
use proto::protobuf;
use proto::status::Status;
use rand::RngExt;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::negotiate::{Format, STREAMS, Transform};
use super::options::ListOptions;
use super::render::Render;
use super::{Target, answer};
use crate::cache::entry::Selection;
use crate::cache::row::Change;
use crate::cache::watcher::{Ended, Item, Sharing, Watcher};
use crate::engine::{At, WatchQuery};
use crate::server::{Body, Response};
use crate::storage::codec::Media;

/// How often a watch that asked for bookmarks gets one (upstream's frequency).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch that lasts longer than this gets a bookmark so long before its end.
const BEFORE_END: Duration = Duration::from_secs(2);
/// Events that are ready at once are sent in pieces of up to this size.
const PIECE: usize = 64 << 10;
/// Marks the bookmark after the objects there were.
const INITIAL_END: &str = "k8s.io/initial-events-end";

impl Target {
    pub(super) async fn watch(self) -> Result<Response, Status> {
        let store = self.store()?;
        let options =
            ListOptions::parse(&self.passed.query, &self.served.endpoint, &store.codec.storage, true)?;
        let from_start = options.revision.is_none_or(|r| r == 0);
        let selection = named(options.selection.clone(), &self.info().name)?;
        let query = WatchQuery {
            namespace: self.info().namespace.clone(),
            selection,
            after: options.revision.filter(|r| *r > 0),
            // A watch of the old kind from the start is one with initial events, as upstream defaults it.
            at: match (options.initial.unwrap_or(from_start), options.revision) {
                (true, None) => At::Latest,
                (true, Some(revision)) if revision > 0 => At::NotOlderThan(revision),
                _ => At::Any,
            },
            initial: options.initial.unwrap_or(from_start),
            initial_end: options.initial.unwrap_or(from_start) && options.bookmarks,
        };
        let seconds = options.timeout.map(Duration::from_secs).unwrap_or_else(|| {
            let least = self.app.min_watch;
            least.mul_f64(1.0 + rand::rng().random::<f64>())
        });
        let render = self.render(&store)?;
        let format = self.output.format;
        if format == Format::Yaml {
            let streams: &[&str] = if self.served.endpoint.custom { &STREAMS[..1] } else { &STREAMS };
            return Err(Status::not_acceptable(streams));
        }
        let opened = match store.watch(query).await {
            Ok(watcher) => Ok(watcher),
            // A history that is gone, or not there yet, is told as upstream tells it: by an event.
            Err(status) if matches!(status.code, 410 | 504) => Err(status),
            Err(status) => return Err(status),
        };
        let opened = opened.map(|mut watcher| {
            if let Some(sharing) = sharing(&render) {
                watcher.share(sharing);
            }
            watcher
        });
        let deadline = Instant::now() + seconds;
        let first_bookmark = match seconds.checked_sub(BEFORE_END) {
            Some(wait) if !wait.is_zero() => Instant::now() + wait.min(BOOKMARK_EVERY),
            _ => Instant::now() + BOOKMARK_EVERY,
        };
        let wake = if options.bookmarks { first_bookmark.min(deadline) } else { deadline };
        let events = Events {
            render,
            watcher: opened,
            deadline,
            wake: Box::pin(tokio::time::sleep_until(wake)),
            heading: true,
            ended: false,
            stopping: Box::pin(self.app.stopping.child_token().cancelled_owned()),
        };
        let stream = futures::stream::unfold(events, |mut events| async move {
            let piece = events.next().await?;
            Some((Ok(piece), events))
        });
        let content_type = match format {
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            Format::Yaml | Format::Json => "application/json",
        };
        Ok(answer::bytes(StatusCode::OK, content_type, Body::Stream(Box::pin(stream))))
    }
}

/// Narrows a selection to the object that the path names.
fn named(mut selection: Selection, name: &str) -> Result<Selection, Status> {
    if name.is_empty() {
        return Ok(selection);
    }
    if selection.fields.is_empty() {
        let field = "metadata.name".to_owned();
        selection.fields.requirements.push(Requirement { field, equal: true, value: name.to_owned() });
    } else if selection.fields.requires_exact_match("metadata.name") != Some(name) {
        return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
    }
    Ok(selection)
}

/// One watch under way.
struct Events {
    render: Render,
    /// The watch; or why there is none.
    watcher: Result<Watcher, Status>,
    deadline: Instant,
    /// The next bookmark if they are wanted, or the end.
    wake: Pin<Box<Sleep>>,
    heading: bool,
    ended: bool,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Events {
    /// The next piece of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = Vec::new();
        let watcher = match &mut self.watcher {
            Ok(watcher) => watcher,
            Err(status) => {
                let status = status.clone();
                self.end(&mut out, &status);
                return Some(out.into());
            }
        };
        loop {
            let item = tokio::select! {
                biased;
                item = watcher.next() => item,
                () = &mut self.stopping => return None,
                () = &mut self.wake => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        return None;
                    }
                    self.wake.as_mut().reset((now + BOOKMARK_EVERY).min(self.deadline));
                    if let Some(revision) = watcher.caught_up() {
                        self.bookmark(&mut out, revision, false);
                        return Some(out.into());
                    }
                    continue;
                }
            };
            let mut items: VecDeque<Item> = VecDeque::new();
            match item {
                Ok(Item::Batch(bytes)) => {
                    self.heading = false;
                    return Some(bytes);
                }
                Ok(item) => items.push_back(item),
                Err(error) => {
                    let status = match error {
                        Ended::TooOld(_) => Status::expired(error.to_string()),
                        Ended::Etcd(error) => Status::internal(error),
                        Ended::Conversion(status) => status,
                    };
                    self.end(&mut out, &status);
                    return Some(out.into());
                }
            }
            while let Some(item) = items.pop_front() {
                if let Err(status) = self.write(&mut out, item) {
                    self.end(&mut out, &status);
                    break;
                }
                if out.len() < PIECE
                    && let Ok(watcher) = &mut self.watcher
                {
                    items.extend(watcher.ready());
                }
            }
            return Some(out.into());
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, item: Item) -> Result<(), Status> {
        let (change, entry) = match item {
            Item::Change(change, entry) => (change, entry),
            Item::Batch(bytes) => {
                out.extend_from_slice(&bytes);
                return Ok(());
            }
            Item::InitialEnd(revision) => {
                self.bookmark(out, revision, true);
                return Ok(());
            }
        };
        let object = self.render.event_object(&entry, self.heading)?;
        self.heading = false;
        frame(self.render.shape.output.format, name_of(change), &object, out);
        Ok(())
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, revision: i64, initial_end: bool) {
        let endpoint = &self.render.shape.endpoint;
        let mut object = json!({
            "kind": endpoint.kind, "apiVersion": endpoint.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({INITIAL_END: "true"});
        }
        if let Ok(object) = self.render.event_tree(object, self.heading) {
            self.heading = false;
            frame(self.render.shape.output.format, "BOOKMARK", &object, out);
        }
    }

    /// Ends the stream with an error event.
    fn end(&mut self, out: &mut Vec<u8>, status: &Status) {
        self.ended = true;
        let value = serde_json::to_value(status).unwrap_or(Value::Null);
        let object = match self.render.shape.output.format {
            Format::Protobuf => proto::schema::lookup("meta.k8s.io", "v1", "Status")
                .map(|ty| protobuf::encode_object(&value, ty))
                .unwrap_or_default(),
            _ => value.to_string().into_bytes(),
        };
        frame(self.render.shape.output.format, "ERROR", &object, out);
    }
}

/// How the changes of a watch can go out to others as well: whole objects look the same to all.
fn sharing(render: &Render) -> Option<Sharing> {
    if render.shape.output.transform != Transform::None {
        return None;
    }
    let (render, format) = (render.clone(), render.shape.output.format);
    let media = if format == Format::Protobuf { Media::Protobuf } else { Media::Json };
    Some(Sharing {
        version: render.version,
        media,
        encode: Box::new(move |change, entry, out| {
            frame(format, name_of(change), &render.event_object(entry, false)?, out);
            Ok(())
        }),
    })
}

fn name_of(change: Change) -> &'static str {
    match change {
        Change::Added => "ADDED",
        Change::Modified => "MODIFIED",
        Change::Deleted => "DELETED",
    }
}

/// Appends an event.
fn frame(format: Format, kind: &str, object: &[u8], out: &mut Vec<u8>) {
    if format == Format::Protobuf {
        let event = protobuf::watch_event(kind, object);
        out.reserve(event.len() + 4);
        out.extend_from_slice(&(event.len() as u32).to_be_bytes());
        out.extend_from_slice(&event);
        return;
    }
    out.reserve(object.len() + kind.len() + 32);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
}
