//! All rows at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Backing, Endpoint, Storage};

/// An endpoint with its storage row.
#[derive(Clone)]
pub struct Served {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its storage row, if it has one.
    pub storage: Option<Arc<Storage>>,
}

/// Collects rows into a registry.
#[derive(Default)]
pub struct Builder {
    storages: Vec<Storage>,
    endpoints: Vec<Endpoint>,
}

impl Builder {
    /// Adds a storage row.
    pub fn storage(&mut self, row: Storage) -> &mut Self {
        self.storages.push(row);
        self
    }

    /// Adds an endpoint row. Within a group, the first version added of a resource is its preferred one.
    pub fn endpoint(&mut self, row: Endpoint) -> &mut Self {
        self.endpoints.push(row);
        self
    }

    /// The rows as a snapshot.
    pub fn build(self) -> Registry {
        let mut registry = Registry::default();
        for row in self.storages {
            registry.add_storage(row);
        }
        for row in self.endpoints {
            registry.add_endpoint(row);
        }
        registry
    }
}

type Resources = HashMap<String, Served>;

/// An immutable snapshot of all rows.
#[derive(Clone, Default)]
pub struct Registry {
    /// By `resource.group`.
    storages: HashMap<String, Arc<Storage>>,
    /// By `group/version` (core: `v1`), then by resource.
    versions: HashMap<String, Arc<Resources>>,
    /// In the order they were added, for discovery.
    order: Vec<Arc<Endpoint>>,
}

impl Registry {
    /// The endpoint of `group/version` (core: `v1`) and resource.
    pub fn find(&self, api_version: &str, resource: &str) -> Option<&Served> {
        self.versions.get(api_version)?.get(resource)
    }

    /// Whether anything is served under this `group/version`.
    pub fn has_version(&self, api_version: &str) -> bool {
        self.versions.contains_key(api_version)
    }

    /// The storage row of a resource.
    pub fn storage(&self, group: &str, resource: &str) -> Option<&Arc<Storage>> {
        self.storages.get(&proto::status::qualified(group, resource))
    }

    /// All storage rows.
    pub fn storages(&self) -> impl Iterator<Item = &Arc<Storage>> {
        self.storages.values()
    }

    /// All endpoint rows in the order they were added.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.order.iter()
    }

    /// The endpoint rows onto a storage row, in the order they were added.
    pub fn endpoints_of<'a>(&'a self, storage: &'a Storage) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        self.order.iter().filter(
            |e| matches!(&e.backing, Backing::Stored(g, r) if *g == storage.group && *r == storage.resource),
        )
    }

    /// The endpoint that has this kind in this `group/version`.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Served> {
        self.versions.get(api_version)?.values().find(|s| s.endpoint.kind == kind)
    }

    /// Adds or replaces a storage row. Endpoints onto it must be added again.
    pub fn add_storage(&mut self, row: impl Into<Arc<Storage>>) {
        let row = row.into();
        self.storages.insert(proto::status::qualified(&row.group, &row.resource), row);
    }

    /// Adds or replaces an endpoint row; its storage row is there already.
    pub fn add_endpoint(&mut self, row: Endpoint) {
        let storage = match &row.backing {
            Backing::Stored(group, resource) => self.storage(group, resource).cloned(),
            _ => None,
        };
        let endpoint = Arc::new(row);
        let same = |e: &Arc<Endpoint>| {
            e.group == endpoint.group && e.version == endpoint.version && e.resource == endpoint.resource
        };
        match self.order.iter().position(same) {
            Some(i) => self.order[i] = endpoint.clone(),
            None => self.order.push(endpoint.clone()),
        }
        let resources = self.versions.entry(endpoint.api_version()).or_default();
        Arc::make_mut(resources).insert(endpoint.resource.to_string(), Served { endpoint, storage });
    }

    /// Removes a storage row and all endpoints onto it.
    pub fn remove(&mut self, group: &str, resource: &str) {
        self.storages.remove(&proto::status::qualified(group, resource));
        let gone =
            |e: &Endpoint| matches!(&e.backing, Backing::Stored(g, r) if *g == group && *r == resource);
        self.order.retain(|e| !gone(e));
        for resources in self.versions.values_mut() {
            if resources.values().any(|s| gone(&s.endpoint)) {
                Arc::make_mut(resources).retain(|_, s| !gone(&s.endpoint));
            }
        }
        self.versions.retain(|_, resources| !resources.is_empty());
    }
}

/// The current snapshot, shared.
#[derive(Clone, Default)]
pub struct Shared(Arc<RwLock<Arc<Registry>>>);

impl Shared {
    /// Shares a first snapshot.
    pub fn new(registry: Registry) -> Self {
        Shared(Arc::new(RwLock::new(Arc::new(registry))))
    }

    /// The rows as they are now.
    pub fn load(&self) -> Arc<Registry> {
        self.0.read().clone()
    }

    /// Publishes a changed copy.
    pub fn change(&self, change: impl FnOnce(&mut Registry)) {
        let mut guard = self.0.write();
        let mut next = Registry::clone(&guard);
        change(&mut next);
        *guard = Arc::new(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let mut builder = Builder::default();
        builder.storage(Storage::new("example.com", "v1", "widgets", "Widget")).endpoint(Endpoint::new(
            "example.com",
            "v1",
            "widgets",
            "Widget",
        ));
        builder.build()
    }

    #[test]
    fn finds_rows_by_path() {
        let registry = registry();
        let served = registry.find("example.com/v1", "widgets").expect("there");
        assert_eq!(served.storage.as_ref().expect("stored").prefix, "widgets");
        assert!(registry.find("v1", "widgets").is_none());
        assert!(registry.of_kind("example.com/v1", "Widget").is_some());
    }

    #[test]
    fn removing_a_resource_removes_its_versions() {
        let shared = Shared::new(registry());
        let before = shared.load();
        shared.change(|r| r.remove("example.com", "widgets"));
        assert!(before.has_version("example.com/v1"), "a snapshot does not change");
        assert!(!shared.load().has_version("example.com/v1"));
        assert_eq!(shared.load().endpoints().count(), 0);
    }
}
