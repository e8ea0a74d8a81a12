//! Watches: one list-watch loop per kind and selector, each feeding a [`Store`] of slim objects.
//!
//! What a watch keeps is what its type deserializes, nothing else. [`Informers`] shares watches within
//! the process: asking twice for the same type, resource and selectors gives the same store.

mod reflector;
mod split;
mod store;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Client, Resource};
use crate::tasks::Tasks;

pub use store::{Change, Store};

/// What a store must know of an object.
pub trait Object: Send + Sync + 'static {
    /// Its namespace; empty if it has none.
    fn namespace(&self) -> &str;
    /// Its name.
    fn name(&self) -> &str;
    /// Its uid.
    fn uid(&self) -> &str;
    /// The revision of its last write.
    fn resource_version(&self) -> &str;
}

/// Implements [`watch::Object`](Object) for types with a `metadata` field of [`proto::meta::ObjectMeta`] or one that
/// has `namespace`, `name`, `uid` and `resource_version` texts.
#[macro_export]
macro_rules! object {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::watch::Object for $type {
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
    )*};
}

/// What to watch, and what to keep of it.
pub struct Watch<T> {
    resource: Resource,
    namespace: String,
    labels: String,
    fields: String,
    metadata_only: bool,
    project: fn(&[u8]) -> Result<T, serde_json::Error>,
}

impl<T: DeserializeOwned> Watch<T> {
    /// All objects of a resource, as `T` deserializes them.
    pub fn new(resource: Resource) -> Self {
        Self::with_projection(resource, |bytes| serde_json::from_slice(bytes))
    }
}

impl<T> Watch<T> {
    /// All objects of a resource, as `project` makes them from JSON.
    pub fn with_projection(resource: Resource, project: fn(&[u8]) -> Result<T, serde_json::Error>) -> Self {
        Self {
            resource,
            namespace: String::new(),
            labels: String::new(),
            fields: String::new(),
            metadata_only: false,
            project,
        }
    }

    /// Asks the server for the metadata alone, whatever the kind.
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    /// Only those of one namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Only those that a label selector matches.
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = selector.into();
        self
    }

    /// Only those that a field selector matches.
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = selector.into();
        self
    }
}

/// The type, the resource, and the namespace, labels and fields that select.
type Identity = (TypeId, Resource, [String; 3]);

/// The watches of a process; clones share them.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    tasks: Tasks,
    running: Arc<Mutex<HashMap<Identity, Arc<dyn Any + Send + Sync>>>>,
}

impl Informers {
    /// No watches yet; they will run as supervised tasks.
    pub fn new(client: Client, tasks: Tasks) -> Self {
        Self { client: client.named("shared-informers"), tasks, running: Arc::default() }
    }

    /// The store of a watch, which starts now unless it runs already.
    pub fn watch<T: Object>(&self, watch: Watch<T>) -> Store<T> {
        let selectors = [watch.namespace.clone(), watch.labels.clone(), watch.fields.clone()];
        let identity = (TypeId::of::<T>(), watch.resource.clone(), selectors);
        let mut running = self.running.lock();
        if let Some(store) = running.get(&identity).and_then(|store| store.downcast_ref::<Store<T>>()) {
            return store.clone();
        }
        let store = Store::new();
        running.insert(identity, Arc::new(store.clone()));
        self.start(watch, store.clone(), CancellationToken::new());
        store
    }

    /// A watch of its own that ends when the guard is dropped.
    pub fn watch_while<T: Object>(&self, watch: Watch<T>) -> (Store<T>, DropGuard) {
        let (store, token) = (Store::new(), CancellationToken::new());
        self.start(watch, store.clone(), token.clone());
        (store, token.drop_guard())
    }

    fn start<T: Object>(&self, watch: Watch<T>, store: Store<T>, end: CancellationToken) {
        let name = format!("watch {}", watch.resource.plural);
        let reflector = reflector::Reflector::new(self.client.clone(), watch, store);
        self.tasks.spawn(name, async move {
            end.run_until_cancelled(reflector.run()).await;
            Ok(())
        });
    }

    /// The client that the watches use.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
