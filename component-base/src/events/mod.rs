//! Events about objects, with upstream's correlation: equal events are counted, similar ones aggregated,
//! and a chatty source is silenced.
//!
//! Recording never blocks and never fails. Events wait in bounded queues, one per shard of the objects, so that
//! events about one object are written in order while others pass; a full queue drops, as upstream's does.

mod correlator;
mod lru;
mod series;
mod sink;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use proto::time::MicroTime;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::tasks::Tasks;
use crate::watch::Object;

/// Queues per recorder.
const SHARDS: usize = 8;
/// Events that may wait in each.
const QUEUED: usize = 4096;

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// The kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Group and version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The revision.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// A part of the object, like `spec.containers{name}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

impl ObjectRef {
    /// A reference to an object of a known kind.
    pub fn new(api_version: &str, kind: &str, object: &impl Object) -> Self {
        Self {
            kind: kind.into(),
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: object.uid().into(),
            api_version: api_version.into(),
            resource_version: object.resource_version().into(),
            field_path: String::new(),
        }
    }

    /// The same object, about a part of it.
    pub fn with_field_path(mut self, path: impl Into<String>) -> Self {
        self.field_path = path.into();
        self
    }
}

/// Whether something went as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// It did.
    Normal,
    /// It didn't.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that happened, as recorded.
#[derive(Debug, Clone)]
struct Happening {
    about: ObjectRef,
    related: Option<ObjectRef>,
    kind: EventType,
    reason: String,
    action: String,
    message: String,
    at: MicroTime,
}

/// Records core/v1 events; clones share queues.
#[derive(Clone)]
pub struct Recorder(Arc<Queues>);

/// Records events.k8s.io/v1 events, as the scheduler does; clones share queues.
#[derive(Clone)]
pub struct SeriesRecorder(Arc<Queues>);

struct Queues {
    shards: Vec<mpsc::Sender<Happening>>,
    hasher: RandomState,
}

impl Queues {
    fn open() -> (Self, Vec<mpsc::Receiver<Happening>>) {
        let (shards, receivers) = (0..SHARDS).map(|_| mpsc::channel(QUEUED)).unzip();
        (Self { shards, hasher: RandomState::new() }, receivers)
    }

    fn send(&self, happening: Happening) {
        tracing::debug!(
            object = format!("{}/{}", happening.about.namespace, happening.about.name),
            kind = happening.about.kind,
            r#type = happening.kind.as_str(),
            reason = happening.reason,
            note = happening.message,
            "Event occurred"
        );
        let about = &happening.about;
        let shard = self.hasher.hash_one((&about.kind, &about.namespace, &about.name)) as usize % SHARDS;
        if self.shards[shard].try_send(happening).is_err() {
            tracing::error!("Unable to record event: too many queued events, dropped event");
        }
    }
}

impl Recorder {
    /// A recorder for a component on a host (empty where upstream's names none).
    pub fn new(client: &Client, component: &str, host: &str, tasks: &Tasks) -> Self {
        let (queues, receivers) = Queues::open();
        let source = Arc::new(sink::Source { component: component.into(), host: host.into() });
        for receiver in receivers {
            let writer = sink::CoreWriter::new(client.named("events").unlimited(), source.clone());
            tasks.spawn("events", writer.run(receiver));
        }
        Self(Arc::new(queues))
    }

    /// Records that something happened to an object.
    pub fn event(&self, about: &ObjectRef, kind: EventType, reason: &str, message: impl Into<String>) {
        self.0.send(Happening {
            about: about.clone(),
            related: None,
            kind,
            reason: reason.into(),
            action: String::new(),
            message: message.into(),
            at: MicroTime::now(),
        });
    }
}

impl SeriesRecorder {
    /// A recorder for a controller.
    pub fn new(client: &Client, controller: &str, tasks: &Tasks) -> Self {
        let (queues, receivers) = Queues::open();
        let source = Arc::new(sink::Source {
            component: controller.into(),
            host: format!("{controller}-{}", crate::daemon::hostname()),
        });
        for receiver in receivers {
            let writer = series::SeriesWriter::new(client.named("events").unlimited(), source.clone());
            tasks.spawn("events", writer.run(receiver));
        }
        Self(Arc::new(queues))
    }

    /// Records that an action on an object, perhaps with another, had an outcome.
    pub fn event(
        &self,
        regarding: &ObjectRef,
        related: Option<&ObjectRef>,
        kind: EventType,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) {
        self.0.send(Happening {
            about: regarding.clone(),
            related: related.cloned(),
            kind,
            reason: reason.into(),
            action: action.into(),
            message: note.into(),
            at: MicroTime::now(),
        });
    }
}

/// The name of an event about an object: its name and the time, or something random if that isn't a name.
fn event_name(object: &str, nanos: i128) -> String {
    let name = format!("{object}.{nanos:x}");
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if name.len() <= 253 && name.chars().all(fits) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        name
    } else {
        uuid::Uuid::new_v4().to_string()
    }
}

/// Events about cluster-scoped objects live in the default namespace.
fn namespace_of(about: &ObjectRef) -> &str {
    if about.namespace.is_empty() { "default" } else { &about.namespace }
}

/// A short stand-in for a long key. Keys live in caches of a few thousand entries, where 64 bits don't collide.
fn fingerprint(hasher: &RandomState, key: impl Hash) -> u64 {
    hasher.hash_one(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_object_and_time() {
        assert_eq!(event_name("pod-1", 255), "pod-1.ff");
        assert_eq!(event_name("system:node", 1).len(), 36);
        assert_eq!(event_name(&"x".repeat(250), 0x1234).len(), 36);
    }
}
