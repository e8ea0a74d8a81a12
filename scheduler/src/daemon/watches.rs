//! What the scheduler watches, and how a change reaches the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use component_base::client::Resource;
use component_base::client::known::*;
use component_base::watch::{Change, Informers, Object, Store, Watch};
use serde::Deserialize;

use super::{Shared, Source, Synced};
use crate::cluster::{Claim, Class, Storage, Volume, Workload, WorkloadKind, decode_limits};
use crate::model::{Node, Pod, Shapes};

/// Shapes of the pods of this process. Projections are plain functions, so this is where they find it.
static SHAPES: LazyLock<Shapes> = LazyLock::new(Shapes::default);

impl Object for Pod {
    fn namespace(&self) -> &str {
        Pod::namespace(self)
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn uid(&self) -> &str {
        &self.key
    }
    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

/// A cached object with its metadata beside what is kept of it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    metadata: Metadata,
    value: T,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Outer {
    #[serde(default)]
    metadata: Metadata,
}

impl<T: Send + Sync + 'static> Object for Kept<T> {
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn uid(&self) -> &str {
        &self.metadata.uid
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

fn keep<T>(
    json: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, serde_json::Error>,
) -> Result<Kept<T>, serde_json::Error> {
    let value = read(json)?;
    let mut metadata = serde_json::from_slice::<Outer>(json)?.metadata;
    metadata.labels = BTreeMap::new();
    Ok(Kept { metadata, value })
}

type Projection = fn(&[u8]) -> Result<Kept<Workload>, serde_json::Error>;

const WORKLOADS: [(Resource, WorkloadKind, Projection); 5] = [
    (SERVICES, WorkloadKind::Service, |json| keep(json, |j| WorkloadKind::Service.decode(j))),
    (REPLICATION_CONTROLLERS, WorkloadKind::ReplicationController, |json| {
        keep(json, |j| WorkloadKind::ReplicationController.decode(j))
    }),
    (REPLICA_SETS, WorkloadKind::ReplicaSet, |json| keep(json, |j| WorkloadKind::ReplicaSet.decode(j))),
    (STATEFUL_SETS, WorkloadKind::StatefulSet, |json| keep(json, |j| WorkloadKind::StatefulSet.decode(j))),
    (POD_DISRUPTION_BUDGETS, WorkloadKind::Budget, |json| keep(json, |j| WorkloadKind::Budget.decode(j))),
];

/// Starts all watches.
pub(super) fn start(informers: &Informers, shared: &Arc<Shared>) -> Synced {
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();

    let nodes: Store<Kept<Arc<Node>>> =
        informers.watch(Watch::with_projection(NODES, |json| keep(json, |j| Node::decode(j).map(Arc::new))));
    on_change(&nodes, shared, |shared, change| {
        let node = |n: &Option<Arc<Kept<Arc<Node>>>>| n.as_ref().map(|n| n.value.clone());
        let (old, new) = (node(&change.old), node(&change.new));
        shared.engine.lock().node_changed(old.as_ref(), new.as_ref(), Instant::now());
    });
    sources.push(Arc::new(nodes));

    for (resource, kind, project) in WORKLOADS {
        let store: Store<Kept<Workload>> = informers.watch(Watch::with_projection(resource, project));
        on_change(&store, shared, move |shared, change| {
            let latest = change.latest();
            let key = (latest.metadata.namespace.clone(), latest.metadata.name.clone());
            let new = change.new.as_ref().map(|w| w.value.clone());
            shared.engine.lock().workload_changed(kind, key, new);
        });
        sources.push(Arc::new(store));
    }

    let claims: Store<Kept<Claim>> =
        informers.watch(Watch::with_projection(PERSISTENT_VOLUME_CLAIMS, |json| keep(json, Claim::decode)));
    on_storage(&claims, shared, |m, value| Storage::Claim((m.namespace.clone(), m.name.clone()), value));
    sources.push(Arc::new(claims));
    let volumes: Store<Kept<Volume>> =
        informers.watch(Watch::with_projection(PERSISTENT_VOLUMES, |json| keep(json, Volume::decode)));
    on_storage(&volumes, shared, |m, value| Storage::Volume(m.name.clone(), value));
    sources.push(Arc::new(volumes));
    let classes: Store<Kept<Class>> =
        informers.watch(Watch::with_projection(STORAGE_CLASSES, |json| keep(json, Class::decode)));
    on_storage(&classes, shared, |m, value| Storage::Class(m.name.clone(), value));
    sources.push(Arc::new(classes));
    let limits: Store<Kept<BTreeMap<String, usize>>> =
        informers.watch(Watch::with_projection(CSI_NODES, |json| keep(json, decode_limits)));
    on_storage(&limits, shared, |m, value| Storage::Limits(m.name.clone(), value));
    sources.push(Arc::new(limits));

    let namespaces: Store<Kept<()>> = informers.watch(Watch::with_projection(NAMESPACES, |json| {
        Ok(Kept { metadata: serde_json::from_slice::<Outer>(json)?.metadata, value: () })
    }));
    on_change(&namespaces, shared, |shared, change| {
        let labels = change.new.as_ref().map(|n| n.metadata.labels.clone());
        shared.engine.lock().cluster.set_namespace(&change.latest().metadata.name, labels);
    });
    sources.push(Arc::new(namespaces));

    // Finished pods use nothing; leaving them out saves most of a batch cluster's memory.
    let pods = informers.watch(
        Watch::with_projection(PODS, |json| Pod::decode(json, &SHAPES))
            .fields("status.phase!=Succeeded,status.phase!=Failed"),
    );
    on_change(&pods, shared, |shared, change: &Change<Pod>| {
        shared.engine.lock().pod_changed(change.old.as_ref(), change.new.as_ref(), Instant::now());
    });
    sources.push(Arc::new(pods));
    Synced(sources)
}

fn on_storage<T: Clone + Send + Sync + 'static>(
    store: &Store<Kept<T>>,
    shared: &Arc<Shared>,
    storage: fn(&Metadata, Option<T>) -> Storage,
) {
    on_change(store, shared, move |shared, change| {
        let value = change.new.as_ref().map(|kept| kept.value.clone());
        let news = storage(&change.latest().metadata, value);
        shared.engine.lock().storage_changed(news, Instant::now());
        shared.storage_changed.notify_waiters();
    });
}

fn on_change<T: Object>(
    store: &Store<T>,
    shared: &Arc<Shared>,
    tell: impl Fn(&Shared, &Change<T>) + Send + Sync + 'static,
) {
    let shared = shared.clone();
    store.subscribe(move |change| {
        tell(&shared, change);
        shared.changed.notify_one();
    });
}
