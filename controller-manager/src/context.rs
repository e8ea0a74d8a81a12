//! What a controller has to work with.

use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use component_base::client::known::{self, PODS};
use component_base::client::{Client, Error, Resource};
use component_base::flags::Parsed;
use component_base::queue::{Next, Queue, run_workers};
use component_base::tasks::Tasks;
use component_base::watch::{Change, Informers, Object, Store, Watch};
use proto::meta::{Key, ObjectMeta};
use serde::de::DeserializeOwned;

use crate::api::core::{Node, Pod};
use crate::common::events::Event;
use crate::common::kinds::{self, Kinds};
use crate::recorder::Recorder;

/// The parts that all controllers share.
pub struct Shared {
    pub informers: Informers,
    /// The daemon's own identity. It may list and watch everything, and write almost nothing.
    pub reader: Client,
    pub flags: Arc<Parsed>,
    pub tasks: Tasks,
    /// The authorities by which the daemon trusts the server.
    pub server_authorities: Option<String>,
    /// Started by the first controller that asks.
    pub kinds: OnceLock<Arc<Kinds>>,
}

/// One controller's view of the world, and its own identity.
pub struct Controller {
    pub name: &'static str,
    /// Acts as this controller.
    pub client: Client,
    /// Reads as the daemon.
    pub reader: Client,
    pub tasks: Tasks,
    pub(crate) recorder: Recorder,
    pub(crate) shared: Arc<Shared>,
}

/// The object that events are about.
#[derive(Clone, Debug)]
pub struct Subject {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub metadata: ObjectMeta,
}

impl Subject {
    /// A subject with this metadata.
    pub fn new(api_version: &'static str, kind: &'static str, metadata: &ObjectMeta) -> Self {
        Subject { api_version, kind, metadata: metadata.clone() }
    }
}

/// Index of pods: the uid of the controlling owner; for orphans, the namespace after a slash.
pub const BY_OWNER: &str = "owner";
/// Index of pods: the node they are assigned to.
pub const BY_NODE: &str = "node";
/// Index of pods: namespace and name of each claim that they use.
pub const BY_CLAIM: &str = "claim";

impl Controller {
    /// The flags of the daemon.
    pub fn flags(&self) -> &Parsed {
        &self.shared.flags
    }

    /// The authorities of the server, as PEM.
    pub fn server_authorities(&self) -> Option<String> {
        self.shared.server_authorities.clone()
    }

    /// The shared store of a kind.
    pub fn store<T: Object + DeserializeOwned>(&self, resource: &Resource) -> Store<T> {
        self.shared.informers.watch(Watch::new(resource.clone()))
    }

    /// The metadata of the objects of every kind.
    pub fn kinds(&self) -> Arc<Kinds> {
        let start = || {
            let kinds: Arc<Kinds> = Arc::default();
            self.tasks.spawn("watch all kinds", kinds::follow(kinds.clone(), self.shared.clone()));
            kinds
        };
        self.shared.kinds.get_or_init(start).clone()
    }

    /// All watches of the daemon.
    pub fn informers(&self) -> &Informers {
        &self.shared.informers
    }

    /// All pods, indexed by owner and node.
    pub fn pods(&self) -> Store<Pod> {
        let store = self.store::<Pod>(&PODS);
        store.add_index(BY_OWNER, |pod: &Pod| vec![owner_key(&pod.metadata)]);
        store.add_index(BY_NODE, |pod: &Pod| vec![pod.spec.node_name.clone()]);
        store
    }

    /// All pods, indexed by the claims that they use too.
    pub fn pods_by_claim(&self) -> Store<Pod> {
        let store = self.pods();
        store.add_index(BY_CLAIM, |pod: &Pod| claims_of(pod).map(|key| key.to_string()).collect());
        store
    }

    /// All nodes.
    pub fn nodes(&self) -> Store<Node> {
        self.store(&known::NODES)
    }

    /// Records an event, in the background.
    pub fn record(&self, subject: &Subject, event: &Event) {
        self.recorder.record(subject, event);
    }

    /// Works on the keys of a queue once `ready` says that the caches are filled. A conflict is no
    /// failure: the cache will follow, and the key comes back soon. In a namespace that is going away
    /// nothing can be done, and nothing needs to be.
    pub fn run<K, F, Fut>(
        self: &Arc<Self>,
        queue: &Queue<K>,
        workers: usize,
        ready: impl Future<Output = ()> + Send + 'static,
        work: F,
    ) where
        K: Clone + Eq + Hash + Display + Send + Sync + 'static,
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Next>> + Send + 'static,
    {
        let (tasks, queue, name) = (self.tasks.clone(), queue.clone(), self.name);
        self.tasks.spawn(name, async move {
            ready.await;
            let work = Arc::new(work);
            run_workers(&tasks, name, &queue, workers.max(1), move |key| {
                let work = work.clone();
                async move { settle(name, work(key).await) }
            });
            Ok(())
        });
    }
}

fn settle(name: &str, outcome: anyhow::Result<Next>) -> anyhow::Result<Next> {
    let error = match outcome {
        Ok(next) => return Ok(next),
        Err(error) => error,
    };
    match error.downcast_ref::<Error>() {
        Some(api) if api.is_namespace_terminating() => Ok(Next::Done),
        Some(api) if api.is_conflict() => {
            tracing::debug!(controller = name, err = %api, "Conflict, will retry");
            Ok(Next::After(std::time::Duration::from_millis(50)))
        }
        _ => Err(error),
    }
}

/// The value of the owner index for an object.
pub fn owner_key(metadata: &ObjectMeta) -> String {
    match metadata.controller_of() {
        Some(owner) => owner.uid.clone(),
        None => orphan_key(&metadata.namespace),
    }
}

/// The value of the owner index for the orphans of a namespace.
pub fn orphan_key(namespace: &str) -> String {
    format!("/{namespace}")
}

/// The claims that a pod uses.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = Key> {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    pod.spec
        .volumes
        .iter()
        .filter_map(|v| v.claim_name(name))
        .map(|claim| Key::new(namespace.as_str(), claim))
}

/// Puts the key of every changed object on the queue.
pub fn enqueue_changes<T: Object>(store: &Store<T>, queue: &Queue<Key>) {
    let queue = queue.clone();
    store.subscribe(move |change: &Change<T>| queue.add(change.key()));
}
