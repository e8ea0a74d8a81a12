//! A cluster of fixed objects, and writes to review, for the plugins' tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::labels;
use proto::schema::Mask;
use proto::status::Status;
use serde_json::Value;

use super::step::{FnPlugin, Row};
use super::{Operation, Plugin, Reinvocation, Review};
use crate::auth::authz::AlwaysDeny;
use crate::auth::{Authenticated, Authorizer, Rejected, TokenAuthenticator, UserInfo};
use crate::registry::{Builder, Endpoint, Local, Observer, Registry, Services, Update};

type Key = (String, String, String, String);

/// Objects by group, resource, namespace and name.
pub(super) struct Cluster {
    objects: Mutex<BTreeMap<Key, Arc<Value>>>,
    services: Services,
}

struct NoTokens;

impl TokenAuthenticator for NoTokens {
    fn authenticate_token<'a>(
        &'a self,
        _: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(async { Ok(None) })
    }
}

impl Cluster {
    /// A cluster with these (group, resource, object), whose authorizer refuses everything.
    pub(super) fn holding(objects: &[(&str, &str, Value)]) -> Arc<dyn Local> {
        Cluster::with_authorizer(objects, Arc::new(AlwaysDeny))
    }

    pub(super) fn with_authorizer(
        objects: &[(&str, &str, Value)],
        authorizer: Arc<dyn Authorizer>,
    ) -> Arc<dyn Local> {
        let objects = objects.iter().map(|(group, resource, object)| {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            (key(group, resource, namespace, name), Arc::new(object.clone()))
        });
        let services = Services { authorizer, tokens: Arc::new(NoTokens), issuer: None };
        Arc::new(Cluster { objects: Mutex::new(objects.collect()), services })
    }
}

fn key(group: &str, resource: &str, namespace: &str, name: &str) -> Key {
    (group.to_owned(), resource.to_owned(), namespace.to_owned(), name.to_owned())
}

impl Local for Cluster {
    fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.lock().get(&key(group, resource, namespace, name)).cloned()
    }

    fn get<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>> {
        let found = self.cached(group, resource, namespace, name);
        Box::pin(async move { found.ok_or_else(|| Status::not_found(group, resource, name)) })
    }

    fn list<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        _: &'a labels::Selector,
        _: bool,
    ) -> BoxFuture<'a, Result<Vec<Arc<Value>>, Status>> {
        let objects = self.objects.lock();
        let wanted =
            |key: &Key| key.0 == group && key.1 == resource && (namespace.is_empty() || key.2 == namespace);
        let found = objects.iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect();
        Box::pin(async move { Ok(found) })
    }

    fn create<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        object: Value,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>> {
        Box::pin(async move { Ok(Arc::new(object)) })
    }

    fn update<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        _: &'a str,
        namespace: &'a str,
        name: &'a str,
        change: Update<'a>,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>> {
        Box::pin(async move {
            let current = self.get(group, resource, namespace, name).await?;
            let changed = Arc::new(change(&current)?);
            self.objects.lock().insert(key(group, resource, namespace, name), changed.clone());
            Ok(changed)
        })
    }

    fn delete<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: Value,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async { Ok(()) })
    }

    fn subscribe(&self, group: &str, resource: &str, _: &Mask, observer: Observer) {
        let objects = self.objects.lock();
        for (_, object) in objects.iter().filter(|(key, _)| key.0 == group && key.1 == resource) {
            observer(None, Some(object), 1);
        }
    }

    fn registry(&self) -> Arc<Registry> {
        Arc::new(Builder::default().build())
    }

    fn services(&self) -> &Services {
        &self.services
    }
}

/// A write of an object; its namespace and name are those in its metadata.
pub(super) fn review(
    operation: Operation,
    group: &'static str,
    resource: &'static str,
    object: Value,
) -> Review {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Review {
        operation,
        endpoint: Arc::new(Endpoint::new(group, "v1", resource, "Kind")),
        kind: (group.to_owned(), "v1".to_owned(), "Kind".to_owned()),
        subresource: subresource.to_owned(),
        namespace: metadata("namespace"),
        name: metadata("name"),
        user: Arc::new(UserInfo::new("ann", [])),
        object,
        old: Arc::new(Value::Null),
        options: Value::Null,
        dry_run: false,
        warnings: Vec::new(),
        annotations: Vec::new(),
        reinvocation: Reinvocation::default(),
    }
}

/// Mutates, then validates.
pub(super) async fn admit(row: Row, local: &Arc<dyn Local>, review: &mut Review) -> Result<(), Status> {
    let plugin = FnPlugin { row, local: local.clone() };
    if !plugin.handles(review.operation) {
        return Ok(());
    }
    plugin.mutate(review).await?;
    plugin.validate(review).await
}
