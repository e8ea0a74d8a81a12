//! The one engine: reads and writes of any resource, as its rows say.
//!
//! A read is a lookup in the watch cache (or in etcd, for rows that are not cached). A write takes the hub-version tree
//! through admission and the row's hooks to one transaction. HTTP is elsewhere (`endpoints`); so is everything that is
//! particular about a kind (`registry`).

mod create;
mod delete;
mod list;
mod local;
pub mod meta;
mod shown;
mod store;
pub mod token;
mod update;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use proto::status::{Status, qualified};

use crate::admission::Chain;
use crate::cache::feed::{Commands, Feed};
use crate::cache::fresh::Freshness;
use crate::cache::row::Row;
use crate::registry::{Endpoint, Registry, Served, Services, Shared, Storage};
use crate::storage::codec::{Codec, Media};
use crate::storage::etcd::Etcd;
use crate::storage::keys::Keys;
use crate::storage::lease::Leases;

pub use create::{Creation, review};
pub use delete::Deletion;
pub use list::{At, ListQuery, Listed, WatchQuery};
pub use store::{Store, unavailable, undecodable};
pub use update::{Admit, Changed, Transform, Updating};

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// --etcd-prefix
    pub etcd_prefix: String,
    /// --storage-media-type
    pub media: Media,
    /// --event-ttl in seconds.
    pub event_ttl: u64,
}

/// All resources.
pub struct Engine {
    config: Config,
    registry: Shared,
    etcd: Etcd,
    feed: Arc<Feed>,
    freshness: Arc<Freshness>,
    leases: Arc<Leases>,
    stores: RwLock<HashMap<String, Arc<Store>>>,
    admission: OnceLock<Chain>,
    services: OnceLock<Services>,
    unwired: Services,
}

/// The engine's background work; goes to [`Engine::run`].
pub struct Work(Commands);

impl Engine {
    /// An engine over the rows there are; [`Engine::run`] must run for it to serve.
    pub fn new(config: Config, registry: Shared, etcd: Etcd) -> (Arc<Self>, Work) {
        let snapshot = registry.load();
        let leases = Arc::new(Leases::new(etcd.clone()));
        let mut codecs = Vec::new();
        let mut rows = HashMap::new();
        for storage in snapshot.storages() {
            let Some(codec) = Codec::new(&snapshot, storage.clone(), config.media) else {
                tracing::error!(group = %storage.group, resource = %storage.resource, "no endpoint row has the stored version");
                continue;
            };
            let keys = Keys::new(&config.etcd_prefix, &storage.prefix);
            let codec = Arc::new(codec);
            let row = storage.cached.then(|| Arc::new(Row::new(codec.clone())));
            if let Some(row) = &row {
                rows.insert(keys.root().to_owned(), row.clone());
            }
            codecs.push((codec, keys, row));
        }
        let (feed, commands) = Feed::new(etcd.clone(), &config.etcd_prefix, rows);
        // The key need not exist: what counts is the revision in the answer's header.
        let probe = format!("/{}/", config.etcd_prefix.trim_matches('/'));
        let freshness = Freshness::new(etcd.clone(), probe);
        let engine = Arc::new(Engine {
            config,
            registry,
            etcd,
            feed,
            freshness,
            leases,
            stores: RwLock::default(),
            admission: OnceLock::new(),
            services: OnceLock::new(),
            unwired: local::unwired(),
        });
        for (codec, keys, row) in codecs {
            engine.put_store(codec, keys, row);
        }
        (engine, Work(commands))
    }

    fn put_store(&self, codec: Arc<Codec>, keys: Keys, row: Option<Arc<Row>>) {
        let name = qualified(&codec.storage.group, &codec.storage.resource);
        let store = Store {
            codec,
            keys,
            row,
            etcd: self.etcd.clone(),
            feed: self.feed.clone(),
            freshness: self.freshness.clone(),
            leases: self.leases.clone(),
            event_ttl: self.config.event_ttl,
        };
        self.stores.write().insert(name, Arc::new(store));
    }

    /// Sets what could only be built with a client of this engine. The first call counts.
    pub fn equip(&self, admission: Chain, services: Services) {
        let _ = self.admission.set(admission);
        let _ = self.services.set(services);
    }

    /// Keeps the cache current, for ever.
    pub async fn run(self: Arc<Self>, work: Work) {
        tokio::join!(self.feed.clone().run(work.0), self.feed.clone().tidy(), self.freshness.clone().run());
    }

    /// etcd's history begins at this revision.
    pub fn compacted(&self, revision: i64) {
        self.feed.compacted(revision);
    }

    /// Waits until the cache has content.
    pub async fn ready(&self) {
        self.feed.loaded().await;
    }

    /// Whether the cache has content.
    pub fn is_ready(&self) -> bool {
        self.feed.revision() > 0
    }

    /// The rows.
    pub fn registry(&self) -> &Shared {
        &self.registry
    }

    /// etcd, for what is not an object (leases of masters, health).
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The admission chain.
    pub fn admission(&self) -> Chain {
        self.admission.get().cloned().unwrap_or_default()
    }

    /// Authenticators and authorizers; they refuse everything until the server is wired up.
    pub fn services(&self) -> &Services {
        self.services.get().unwrap_or(&self.unwired)
    }

    /// The store of a resource.
    pub fn store(&self, group: &str, resource: &str) -> Option<Arc<Store>> {
        let stores = self.stores.read();
        if group.is_empty() {
            stores.get(resource).cloned()
        } else {
            stores.get(&qualified(group, resource)).cloned()
        }
    }

    /// The store behind a served endpoint.
    pub fn store_of(&self, served: &Served) -> Result<Arc<Store>, Status> {
        let storage = served.storage.as_ref().ok_or_else(Status::unknown_path)?;
        let store = self.store(&storage.group, &storage.resource).ok_or_else(Status::unknown_path)?;
        Ok(store.seen_from(&served.endpoint))
    }

    /// Serves a resource from now on, in place of the row that it had if it had one. It is seen only once it can be read.
    pub async fn publish(&self, storage: Storage, endpoints: Vec<Endpoint>) {
        let storage = Arc::new(storage);
        let change = |registry: &mut Registry| {
            registry.remove(&storage.group, &storage.resource);
            registry.add_storage(storage.clone());
            endpoints.iter().for_each(|endpoint| registry.add_endpoint(endpoint.clone()));
        };
        let mut draft = Registry::clone(&self.registry.load());
        change(&mut draft);
        let Some(codec) = Codec::new(&draft, storage.clone(), self.config.media) else { return };
        let keys = Keys::new(&self.config.etcd_prefix, &storage.prefix);
        let codec = Arc::new(codec);
        let row = storage.cached.then(|| Arc::new(Row::new(codec.clone())));
        if let Some(row) = &row {
            self.feed.add(row.clone(), keys.root().to_owned()).await;
        }
        self.put_store(codec, keys, row);
        self.registry.change(change);
    }

    /// Stops serving a resource.
    pub fn withdraw(&self, group: &str, resource: &str) {
        self.registry.change(|registry| registry.remove(group, resource));
        if let Some(store) = self.stores.write().remove(&qualified(group, resource)) {
            self.feed.remove(store.keys.root());
        }
    }
}
