//! The list-watch loop.
//!
//! List once, from any revision; then watch from there, again and again, each time from the last revision
//! seen. Only a server that no longer has that revision (410) causes another list. Failures wait with
//! growing, jittered delays; a watch that ends in order is simply resumed.

use std::collections::HashSet;
use std::time::Duration;

use http_body_util::BodyExt;
use proto::meta::{Key, ListMeta};
use proto::status::Status;
use rand::RngExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::split::{Lines, ListSplitter, Part};
use super::store::key;
use super::{Object, Store, Watch};
use crate::backoff::Backoff;
use crate::client::{self, Client, query};

/// A watch shorter than this that brought nothing counts as failed, so that a broken server isn't hammered.
const SHORT: Duration = Duration::from_secs(1);

const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

pub(super) struct Reflector<T> {
    client: Client,
    watch: Watch<T>,
    store: Store<T>,
    /// Where to resume; none before the first list and after a 410.
    revision: Option<String>,
    /// The revision to list at: any at first, the latest after a 410.
    list_at: &'static str,
}

/// Why a watch ended.
enum End {
    /// The server closed it.
    Closed,
    /// Its revision is gone: list anew.
    Expired,
    /// Wait, then resume.
    Failed(String),
    /// Wait, then list anew.
    Refused(String),
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
}

impl<T: Object> Reflector<T> {
    pub(super) fn new(client: Client, watch: Watch<T>, store: Store<T>) -> Self {
        Self { client, watch, store, revision: None, list_at: "0" }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::for_watches();
        loop {
            let trouble = match self.revision.clone() {
                None => self.list().await.err(),
                Some(revision) => match self.follow(revision).await {
                    End::Closed => None,
                    End::Expired => {
                        tracing::debug!(resource = %self.watch.resource.plural, "The revision is gone, listing anew");
                        (self.revision, self.list_at) = (None, "");
                        None
                    }
                    End::Failed(why) => Some(why),
                    End::Refused(why) => {
                        self.revision = None;
                        Some(why)
                    }
                },
            };
            if let Some(why) = trouble {
                self.store.set_connected(false);
                tracing::warn!(resource = %self.watch.resource.plural, err = why, "Watch failed, will retry");
                backoff.wait().await;
            }
        }
    }

    fn selectors(&self) -> [(&str, &str); 2] {
        [("labelSelector", &self.watch.labels), ("fieldSelector", &self.watch.fields)]
    }

    /// Reads all objects, item by item as they arrive, and drops those that are no longer there.
    async fn list(&mut self) -> Result<(), String> {
        let [labels, fields] = self.selectors();
        let path = self.watch.resource.path(&self.watch.namespace, "")
            + &query(&[labels, fields, ("resourceVersion", self.list_at)]);
        let accept = if self.watch.metadata_only { METADATA_LIST } else { JSON };
        let mut body = match self.client.stream_as(&path, accept).await {
            Ok(body) => body,
            Err(error) => {
                if error.is_expired() || is_too_large(&error) {
                    self.list_at = "";
                }
                return Err(error.to_string());
            }
        };
        let mut splitter = ListSplitter::default();
        let mut revision = String::new();
        // Nothing can be missing from an empty store.
        let mut seen = (!self.store.is_empty()).then(HashSet::<Key>::new);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| client::describe(&e))?;
            let Some(chunk) = frame.data_ref() else { continue };
            splitter.feed(chunk, |part| match part {
                Part::Metadata(bytes) => {
                    if let Ok(meta) = serde_json::from_slice::<ListMeta>(bytes) {
                        revision = meta.resource_version;
                    }
                }
                Part::Item(bytes) => {
                    if let Some(object) = self.project(bytes) {
                        if let Some(seen) = &mut seen {
                            seen.insert(key(&object));
                        }
                        self.store.apply(object);
                    }
                }
            });
        }
        if !splitter.is_complete() || revision.is_empty() {
            return Err("the list ended early".to_owned());
        }
        if let Some(seen) = seen {
            self.store.retain(|key| seen.contains(key));
        }
        self.advance(revision);
        self.store.set_connected(true);
        self.store.mark_synced();
        Ok(())
    }

    fn advance(&mut self, revision: String) {
        self.store.set_revision(&revision);
        self.revision = Some(revision);
        // From here on an older list would go back in time.
        self.list_at = "";
    }

    /// An object that can't be read is left out, loudly: the others matter more.
    fn project(&self, bytes: &[u8]) -> Option<T> {
        match (self.watch.project)(bytes) {
            Ok(object) => Some(object),
            Err(error) => {
                tracing::error!(resource = %self.watch.resource.plural, err = %error, "An object can't be read");
                None
            }
        }
    }

    async fn follow(&mut self, revision: String) -> End {
        let [labels, fields] = self.selectors();
        let timeout = rand::rng().random_range(300..600).to_string();
        let path = self.watch.resource.path(&self.watch.namespace, "")
            + &query(&[
                labels,
                fields,
                ("watch", "true"),
                ("allowWatchBookmarks", "true"),
                ("resourceVersion", &revision),
                ("timeoutSeconds", &timeout),
            ]);
        let started = Instant::now();
        let accept = if self.watch.metadata_only { METADATA } else { JSON };
        let mut body = match self.client.stream_as(&path, accept).await {
            Ok(body) => body,
            Err(error) if error.is_expired() => return End::Expired,
            Err(error) => {
                let retry = matches!(error.code(), 0 | 429 | 500..);
                return if retry && !is_too_large(&error) {
                    End::Failed(error.to_string())
                } else {
                    End::Refused(error.to_string())
                };
            }
        };
        self.store.set_connected(true);
        let mut lines = Lines::default();
        let mut events = 0u64;
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                // Opening it again may take long if the server is out of reach.
                self.store.set_connected(false);
            }
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) if events > 0 || started.elapsed() > SHORT => {
                    tracing::debug!(resource = %self.watch.resource.plural, err = client::describe(&error), "Watch broke off");
                    return End::Closed;
                }
                Err(error) => return End::Failed(client::describe(&error)),
            };
            let Some(chunk) = frame.data_ref() else { continue };
            let mut end = None;
            lines.feed(chunk, |line| {
                events += 1;
                end = self.event(line);
                end.is_none()
            });
            if let Some(end) = end {
                return end;
            }
        }
        if events == 0 && started.elapsed() < SHORT {
            return End::Failed("very short watch: no items received".to_owned());
        }
        End::Closed
    }

    fn event(&mut self, line: &[u8]) -> Option<End> {
        let (kind, object) = match envelope(line) {
            Ok(parts) => parts,
            Err(error) => return Some(End::Refused(format!("unable to decode an event: {error}"))),
        };
        match kind {
            b"ADDED" | b"MODIFIED" | b"DELETED" => {
                let object = self.project(object)?;
                let revision = object.resource_version().to_owned();
                if kind == b"DELETED" {
                    self.store.remove(&key(&object));
                } else {
                    self.store.apply(object);
                }
                self.advance(revision);
                None
            }
            b"BOOKMARK" => {
                if let Ok(bookmark) = serde_json::from_slice::<Bookmark>(object) {
                    self.advance(bookmark.metadata.resource_version);
                }
                None
            }
            b"ERROR" => {
                let status: Status = match serde_json::from_slice(object) {
                    Ok(status) => status,
                    Err(error) => {
                        return Some(End::Refused(format!("unable to decode an error event: {error}")));
                    }
                };
                let error = client::Error::Api(Box::new(status));
                Some(if error.is_expired() { End::Expired } else { End::Refused(error.to_string()) })
            }
            other => Some(End::Refused(format!("unknown event type {:?}", String::from_utf8_lossy(other)))),
        }
    }
}

/// The type and the object of an event. Servers write the two members in this order without spaces,
/// so the object is usually found without parsing it twice.
fn envelope(line: &[u8]) -> Result<(&[u8], &[u8]), serde_json::Error> {
    let quick = || {
        let rest = line.strip_prefix(br#"{"type":""#)?;
        let end = rest.iter().position(|&byte| byte == b'"')?;
        let object = rest[end..].strip_prefix(br#"","object":"#)?;
        Some((&rest[..end], object.trim_ascii_end().strip_suffix(b"}")?))
    };
    if let Some(parts) = quick() {
        return Ok(parts);
    }
    let event: Event<'_> = serde_json::from_slice(line)?;
    let kind: &[u8] = match &*event.kind {
        "ADDED" => b"ADDED",
        "MODIFIED" => b"MODIFIED",
        "DELETED" => b"DELETED",
        "BOOKMARK" => b"BOOKMARK",
        "ERROR" => b"ERROR",
        _ => b"",
    };
    Ok((kind, event.object.get().as_bytes()))
}

/// The server hasn't reached the revision asked for: it may never, if its state was restored.
fn is_too_large(error: &client::Error) -> bool {
    let details = error.status().and_then(|status| status.details.as_deref());
    details
        .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "ResourceVersionTooLarge"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_open_in_either_order() {
        for line in [
            br#"{"type":"ADDED","object":{"a":{}}}"#.as_slice(),
            br#"{"type":"ADDED","object":{"a":{}}} "#,
            br#"{ "object" : {"a":{}}, "type":"ADDED" }"#,
        ] {
            let (kind, object) = envelope(line).unwrap();
            assert_eq!((kind, object), (&b"ADDED"[..], &br#"{"a":{}}"#[..]));
        }
        assert!(envelope(b"{").is_err());
    }
}
