//! The metadata of everything that can be listed, watched and deleted, custom kinds included: what owns what, and how
//! much of what there is.
//!
//! One watch per kind serves all controllers that look across kinds. Kinds come and go with custom resource definitions
//! and extension servers; a change of either leads to another look at discovery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::Resource;
use component_base::client::known::{API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS};
use component_base::watch::{Change, Store, Watch};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::DropGuard;

use super::discovery;
use crate::api::core::{Metadata, Owned};
use crate::context::Shared;

/// Kinds whose objects come and go in numbers and own nothing.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];
/// New definitions take a moment until they are served; changes are gathered for so long.
const SETTLE: Duration = Duration::from_secs(2);
/// After a failed look.
const RETRY: Duration = Duration::from_secs(30);

/// A kind as its watch knows it.
#[derive(Debug)]
pub struct Kind {
    pub resource: Resource,
    pub api_version: Arc<str>,
    pub name: Arc<str>,
}

type Subscriber = Arc<dyn Fn(&Kind, &Change<Owned>) + Send + Sync>;

struct Watched {
    kind: Arc<Kind>,
    store: Store<Owned>,
    _guard: DropGuard,
}

/// The kinds that are known, and the watches on them.
pub struct Kinds {
    by_kind: Mutex<HashMap<(String, String), Resource>>,
    watches: Mutex<HashMap<Resource, Watched>>,
    subscribers: Mutex<Vec<Subscriber>>,
    ready: watch::Sender<bool>,
}

impl Default for Kinds {
    fn default() -> Self {
        Kinds {
            by_kind: Mutex::default(),
            watches: Mutex::default(),
            subscribers: Mutex::default(),
            ready: watch::Sender::new(false),
        }
    }
}

impl Kinds {
    /// The resource of a kind, whatever version of its group is asked for.
    pub fn resource(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.by_kind.lock().get(&(group.to_string(), kind.to_string())).cloned()
    }

    /// Every kind that is watched.
    pub fn watched(&self) -> Vec<Arc<Kind>> {
        self.watches.lock().values().map(|watched| watched.kind.clone()).collect()
    }

    /// How many objects of a resource a namespace has; none if the resource isn't watched, or its list isn't complete.
    pub fn count(&self, resource: &Resource, namespace: &str) -> Option<usize> {
        let watches = self.watches.lock();
        let store = &watches.get(resource).filter(|watched| watched.store.is_synced())?.store;
        Some(store.list_namespace(namespace).len())
    }

    /// Calls `tell` for every object that there is, and for every change of one.
    pub fn subscribe(&self, tell: impl Fn(&Kind, &Change<Owned>) + Send + Sync + 'static) {
        let tell: Subscriber = Arc::new(tell);
        let watches = self.watches.lock();
        for watched in watches.values() {
            attach(watched, &tell);
        }
        self.subscribers.lock().push(tell);
    }

    /// Returns when all kinds found at the start have been read.
    pub async fn synced(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as this.
        let _ = ready.wait_for(|ready| *ready).await;
    }
}

fn attach(watched: &Watched, tell: &Subscriber) {
    let (kind, tell) = (watched.kind.clone(), tell.clone());
    watched.store.subscribe(move |change| tell(&kind, change));
}

/// Keeps the watches in step with what the server has.
pub(crate) async fn follow(kinds: Arc<Kinds>, shared: Arc<Shared>) -> anyhow::Result<()> {
    let changed = Arc::new(Notify::new());
    for resource in [CUSTOM_RESOURCE_DEFINITIONS, API_SERVICES] {
        let store: Store<Metadata> = shared.informers.watch(Watch::new(resource));
        let tell = changed.clone();
        store.subscribe(move |change: &Change<Metadata>| {
            let generation = |m: &Arc<Metadata>| (m.metadata.uid.clone(), m.metadata.generation);
            if change.old.as_ref().map(generation) != change.new.as_ref().map(generation) {
                tell.notify_one();
            }
        });
        store.synced().await;
    }
    loop {
        let complete = look(&kinds, &shared).await;
        let retry = if complete { None } else { Some(RETRY) };
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(SETTLE).await,
            () = async {
                match retry {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// Looks at discovery once. Says whether every group answered.
async fn look(kinds: &Kinds, shared: &Shared) -> bool {
    let found = match discovery::preferred(&shared.reader).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(err = %error, "Discovery failed, will retry");
            return false;
        }
    };
    for (group, error) in &found.failed {
        tracing::warn!(group, err = %error, "A group can't be discovered; its objects are kept");
    }
    let added = adjust(kinds, shared, &found);
    // A watch of a broken extension must not hold up the others.
    let all = futures::future::join_all(added.iter().map(Store::synced));
    if tokio::time::timeout(RETRY, all).await.is_err() {
        tracing::warn!("Some kinds can't be listed yet; collecting without them");
    }
    kinds.ready.send_replace(true);
    found.failed.is_empty()
}

/// Brings kinds and watches in line with what was found; returns the stores of new watches.
fn adjust(kinds: &Kinds, shared: &Shared, found: &discovery::Discovery) -> Vec<Store<Owned>> {
    let mut by_kind = kinds.by_kind.lock();
    let failed = |group: &str| {
        let group_of = |gv: &str| gv.split_once('/').map_or(String::new(), |(g, _)| g.to_string());
        found.failed.iter().any(|(gv, _)| group_of(gv) == group)
    };
    by_kind.retain(|(group, _), _| failed(group));
    let mut wanted = Vec::new();
    for kind in &found.resources {
        let key = (kind.resource.group.to_string(), kind.kind.clone());
        by_kind.entry(key).or_insert_with(|| kind.resource.clone());
        let ignored = IGNORED.contains(&(&*kind.resource.group, &*kind.resource.plural));
        if !ignored && kind.can(&["delete", "list", "watch"]) {
            wanted.push(kind);
        }
    }
    let mut added = Vec::new();
    let mut watches = kinds.watches.lock();
    watches.retain(|resource, _| {
        failed(&resource.group) || wanted.iter().any(|kind| kind.resource == *resource)
    });
    for kind in wanted {
        if watches.contains_key(&kind.resource) {
            continue;
        }
        let watch = Watch::new(kind.resource.clone()).metadata_only();
        let (store, guard) = shared.informers.watch_while::<Owned>(watch);
        let known = Kind {
            resource: kind.resource.clone(),
            api_version: kind.resource.api_version().into(),
            name: kind.kind.as_str().into(),
        };
        let watched = Watched { kind: Arc::new(known), store: store.clone(), _guard: guard };
        for tell in kinds.subscribers.lock().iter() {
            attach(&watched, tell);
        }
        watches.insert(kind.resource.clone(), watched);
        added.push(store);
    }
    added
}
