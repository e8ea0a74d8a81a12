//! The server's own client.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use proto::labels;
use proto::schema::Mask;
use proto::status::Status;
use serde_json::Value;

use super::list::{At, ListQuery};
use super::store::{Store, undecodable};
use super::update::{Admit, Updating};
use super::{Engine, meta};
use crate::auth::{
    Attributes, Authenticated, Authorizer, Rejected, Rules, TokenAuthenticator, UserInfo, Verdict,
};
use crate::cache::entry::Selection;
use crate::registry::{Ctx, Handler, Hooks, Local, Observer, Registry, Services, Update};
use crate::storage::codec;

/// Refuses everything: what stands in for authenticators and authorizers until they are set.
struct Unwired;

const UNWIRED: &str = "the server is starting";

impl Authorizer for Unwired {
    fn authorize<'a>(&'a self, _: &'a Attributes) -> BoxFuture<'a, Verdict> {
        Box::pin(std::future::ready(Verdict::no_opinion(UNWIRED)))
    }

    fn rules<'a>(&'a self, _: &'a UserInfo, _: &'a str) -> BoxFuture<'a, Rules> {
        let rules = Rules { incomplete: true, error: UNWIRED.to_owned(), ..Rules::default() };
        Box::pin(std::future::ready(rules))
    }
}

impl TokenAuthenticator for Unwired {
    fn authenticate_token<'a>(
        &'a self,
        _: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(std::future::ready(Err(Rejected(UNWIRED.to_owned()))))
    }
}

pub(super) fn unwired() -> Services {
    Services { authorizer: Arc::new(Unwired), tokens: Arc::new(Unwired), issuer: None }
}

/// [`Local`] over the engine.
pub struct LocalClient {
    engine: Arc<Engine>,
    user: Arc<UserInfo>,
}

impl Engine {
    /// The server's own client.
    pub fn local(self: &Arc<Self>) -> Arc<LocalClient> {
        Arc::new(LocalClient { engine: self.clone(), user: Arc::new(UserInfo::loopback()) })
    }
}

impl LocalClient {
    fn store(&self, group: &str, resource: &str) -> Result<Arc<Store>, Status> {
        self.engine.store(group, resource).ok_or_else(Status::unknown_path)
    }

    fn ctx(&self, store: &Store, verb: &'static str, subresource: &str, namespace: &str, name: &str) -> Ctx {
        Ctx {
            user: self.user.clone(),
            verb,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
            dry_run: false,
            now: Timestamp::now(),
            options: Arc::new(Value::Null),
            endpoint: store.codec.hub().clone(),
            storage: Some(store.codec.storage.clone()),
            local: self.engine.local(),
        }
    }
}

impl Local for LocalClient {
    fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let store = self.engine.store(group, resource)?;
        store.row()?.tree(&crate::storage::keys::relative(namespace, name))
    }

    fn get<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>> {
        Box::pin(async move {
            let store = self.store(group, resource)?;
            let key = crate::storage::keys::relative(namespace, name);
            let entry = store.fetch(&key).await?.ok_or_else(|| store.not_found(name))?;
            store.prepare(&mut [&entry].into_iter()).await?;
            entry.decode(&store.codec).map(Arc::new).map_err(undecodable)
        })
    }

    fn list<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        selector: &'a labels::Selector,
        consistent: bool,
    ) -> BoxFuture<'a, Result<Vec<Arc<Value>>, Status>> {
        Box::pin(async move {
            let store = self.store(group, resource)?;
            let query = ListQuery {
                namespace: namespace.to_owned(),
                selection: Selection { labels: selector.clone(), ..Selection::default() },
                at: if consistent { At::Latest } else { At::Any },
                limit: 0,
                continue_token: String::new(),
            };
            let listed = store.list(&query).await?;
            listed.items.iter().map(|e| e.decode(&store.codec).map(Arc::new).map_err(undecodable)).collect()
        })
    }

    fn create<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        mut object: Value,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>> {
        Box::pin(async move {
            let store = self.store(group, resource)?;
            let hub = store.codec.hub();
            codec::set_type(&mut object, hub);
            codec::default(hub, &mut object);
            let namespace = meta::text(&object, "namespace").to_owned();
            let ctx = self.ctx(&store, "create", "", &namespace, meta::text(&object, "name"));
            Ok(self.engine.create(&store, &ctx, object, false).await?.object)
        })
    }

    fn update<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        subresource: &'a str,
        namespace: &'a str,
        name: &'a str,
        change: Update<'a>,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>> {
        Box::pin(async move {
            let store = self.store(group, resource)?;
            let ctx = self.ctx(&store, "update", subresource, namespace, name);
            let no_hooks = Hooks::default();
            let hooks = match ctx.endpoint.subresource(subresource).map(|s| &s.handler) {
                Some(Handler::Object(hooks)) => hooks,
                // Subresources without hooks of their own, such as binding, write as they are told.
                _ if !subresource.is_empty() => &no_hooks,
                _ => &store.codec.storage.hooks,
            };
            let how = Updating { hooks, force_create: false, admit: Admit::Nothing, uid: None };
            let mut transform = |old: Arc<Value>| -> BoxFuture<'_, Result<Value, Status>> {
                let changed = change(&old);
                Box::pin(std::future::ready(changed))
            };
            Ok(self.engine.update(&store, &ctx, &how, &mut transform).await?.object)
        })
    }

    fn delete<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        options: Value,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let store = self.store(group, resource)?;
            let ctx = self.ctx(&store, "delete", "", namespace, name);
            self.engine.delete(&store, &ctx, &options, false).await.map(|_| ())
        })
    }

    fn subscribe(&self, group: &str, resource: &str, mask: &Mask, observer: Observer) {
        let store = self.engine.store(group, resource);
        match store.as_ref().and_then(|s| s.row()) {
            Some(row) => row.subscribe(mask, observer),
            None => tracing::error!(group, resource, "nothing cached to subscribe to"),
        }
    }

    fn registry(&self) -> Arc<Registry> {
        self.engine.registry().load()
    }

    fn services(&self) -> &Services {
        self.engine.services()
    }
}
