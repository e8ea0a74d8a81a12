//! Events about pods, their containers, and the node.

use crate::api::{ContainerKind, Pod, PodView};
use component_base::events::{EventType, ObjectRef, Recorder};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The same failure isn't told again before this, however often it is met.
const PACE: Duration = Duration::from_secs(10);

/// Records events, where there is an API server to record them in.
#[derive(Clone, Default)]
pub struct Events {
    recorder: Option<Recorder>,
    node: String,
    /// When repeated failures were last told.
    told: Arc<Mutex<HashMap<u64, Instant>>>,
}

impl Events {
    /// Events of the node of that name.
    pub fn new(recorder: Option<Recorder>, node: &str) -> Events {
        Events { recorder, node: node.into(), told: Arc::default() }
    }

    /// About a pod.
    pub fn pod(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.send(&pod_ref(pod), kind, reason, message.into());
    }

    /// About a container. Its id, which errors of the runtime contain, becomes its name, so that equal
    /// events can be counted.
    pub fn container(
        &self,
        pod: &Pod,
        (list, name): (ContainerKind, &str),
        id: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut message = message.into();
        if !id.is_empty() {
            message = message.replace(id, name);
        }
        let about = pod_ref(pod).with_field_path(list.field_path(name));
        self.send(&about, kind, reason, message);
    }

    /// About a container that can't be started: as it is tried again with everything that happens to its
    /// pod, the same event comes only so often.
    pub fn start_failure(
        &self,
        pod: &Pod,
        (list, name): (ContainerKind, &str),
        id: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let message = message.into();
        let mut hasher = DefaultHasher::new();
        (pod.uid(), name, reason, &message).hash(&mut hasher);
        let key = hasher.finish();
        {
            let mut told = self.told.lock();
            told.retain(|_, at| at.elapsed() < PACE);
            if told.contains_key(&key) {
                return;
            }
            told.insert(key, Instant::now());
        }
        self.container(pod, (list, name), id, kind, reason, message);
    }

    /// About the node.
    pub fn node(&self, kind: EventType, reason: &str, message: impl Into<String>) {
        // Upstream's node events carry the name where the uid belongs; tools look for it there.
        let about = ObjectRef {
            kind: "Node".into(),
            name: self.node.clone(),
            uid: self.node.clone(),
            ..ObjectRef::default()
        };
        self.send(&about, kind, reason, message.into());
    }

    fn send(&self, about: &ObjectRef, kind: EventType, reason: &str, message: String) {
        if let Some(recorder) = &self.recorder {
            recorder.event(about, kind, reason, message);
        }
    }
}

fn pod_ref(pod: &Pod) -> ObjectRef {
    ObjectRef {
        kind: "Pod".into(),
        namespace: pod.namespace().into(),
        name: pod.name().into(),
        uid: pod.uid().into(),
        api_version: "v1".into(),
        resource_version: pod.metadata.resource_version.clone().unwrap_or_default(),
        ..ObjectRef::default()
    }
}
