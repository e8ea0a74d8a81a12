//! Which kinds the collector watches: all that can be listed, watched and deleted, custom ones included.
//!
//! Kinds come and go with custom resource definitions and extension servers; a change of either leads
//! to another look at discovery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::Resource;
use component_base::client::known::{API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS};
use component_base::watch::{Change, Store, Watch};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::DropGuard;

use super::{Collector, report};
use crate::api::core::{Metadata, Owned};
use crate::common::discovery;

/// Kinds whose objects come and go in numbers and own nothing.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];
/// New definitions take a moment until they are served; changes are gathered for so long.
const SETTLE: Duration = Duration::from_secs(2);
/// After a failed look.
const RETRY: Duration = Duration::from_secs(30);

/// The kinds that are known, and the watches on them.
pub(super) struct Kinds {
    by_kind: Mutex<HashMap<(String, String), Resource>>,
    watches: Mutex<HashMap<Resource, (Store<Owned>, DropGuard)>>,
    ready: watch::Sender<bool>,
}

impl Default for Kinds {
    fn default() -> Self {
        Kinds { by_kind: Mutex::default(), watches: Mutex::default(), ready: watch::Sender::new(false) }
    }
}

impl Kinds {
    /// The resource of a kind, whatever version of its group is asked for.
    pub(super) fn resource(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.by_kind.lock().get(&(group.to_string(), kind.to_string())).cloned()
    }

    /// Returns when all kinds found at the start have been read.
    pub(super) async fn synced(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as this.
        let _ = ready.wait_for(|ready| *ready).await;
    }
}

/// Keeps the watches in step with what the server has.
pub(super) async fn follow(collector: Arc<Collector>) -> anyhow::Result<()> {
    let changed = Arc::new(Notify::new());
    for resource in [CUSTOM_RESOURCE_DEFINITIONS, API_SERVICES] {
        let store: Store<Metadata> = collector.controller.store(&resource);
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
        let complete = look(&collector).await;
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
async fn look(collector: &Arc<Collector>) -> bool {
    let found = match discovery::preferred(&collector.controller.client).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(err = %error, "Discovery failed, will retry");
            return false;
        }
    };
    for (group, error) in &found.failed {
        tracing::warn!(group, err = %error, "A group can't be discovered; its objects are kept");
    }
    let added = adjust(collector, &found);
    // A watch of a broken extension must not hold up the others.
    let all = futures::future::join_all(added.iter().map(Store::synced));
    if tokio::time::timeout(RETRY, all).await.is_err() {
        tracing::warn!("Some kinds can't be listed yet; collecting without them");
    }
    collector.kinds.ready.send_replace(true);
    found.failed.is_empty()
}

/// Brings kinds and watches in line with what was found; returns the stores of new watches.
fn adjust(collector: &Arc<Collector>, found: &discovery::Discovery) -> Vec<Store<Owned>> {
    let mut by_kind = collector.kinds.by_kind.lock();
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
    let mut watches = collector.kinds.watches.lock();
    watches.retain(|resource, _| {
        failed(&resource.group) || wanted.iter().any(|kind| kind.resource == *resource)
    });
    for kind in wanted {
        if watches.contains_key(&kind.resource) {
            continue;
        }
        let watch = Watch::new(kind.resource.clone()).metadata_only();
        let (store, guard) = collector.controller.informers().watch_while::<Owned>(watch);
        let api_version: Arc<str> = kind.resource.api_version().into();
        let name: Arc<str> = kind.kind.as_str().into();
        let target = Arc::downgrade(collector);
        store.subscribe(move |change| {
            if let Some(collector) = target.upgrade() {
                report(&collector, &api_version, &name, change);
            }
        });
        watches.insert(kind.resource.clone(), (store.clone(), guard));
        added.push(store);
    }
    added
}
