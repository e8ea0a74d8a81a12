//! A cluster without objects, for hooks that ask for some.

use std::sync::Arc;

use apiserver::auth::authz::AlwaysDeny;
use apiserver::auth::{Authenticated, Rejected, TokenAuthenticator};
use apiserver::registry::{Local, Observer, Registry, Services, Update};
use futures::future::{BoxFuture, ready};
use proto::labels;
use proto::schema::Mask;
use proto::status::Status;
use serde_json::Value;

pub(super) struct Nobody {
    registry: Arc<Registry>,
    services: Services,
}

struct NoTokens;

impl TokenAuthenticator for NoTokens {
    fn authenticate_token<'a>(
        &'a self,
        _: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        Box::pin(ready(Ok(None)))
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, Status>>;

impl Nobody {
    pub(super) fn local(registry: &Arc<Registry>) -> Arc<dyn Local> {
        let services =
            Services { authorizer: Arc::new(AlwaysDeny), tokens: Arc::new(NoTokens), issuer: None };
        Arc::new(Nobody { registry: registry.clone(), services })
    }
}

fn none<'a, T: Send + 'a>(group: &str, resource: &str, name: &str) -> Answer<'a, T> {
    Box::pin(ready(Err(Status::not_found(group, resource, name))))
}

impl Local for Nobody {
    fn cached(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn get<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        _: &'a str,
        name: &'a str,
    ) -> Answer<'a, Arc<Value>> {
        none(group, resource, name)
    }

    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: &'a labels::Selector,
        _: bool,
    ) -> Answer<'a, Vec<Arc<Value>>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn create<'a>(&'a self, _: &'a str, _: &'a str, object: Value) -> Answer<'a, Arc<Value>> {
        Box::pin(ready(Ok(Arc::new(object))))
    }

    fn update<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        _: &'a str,
        _: &'a str,
        name: &'a str,
        _: Update<'a>,
    ) -> Answer<'a, Arc<Value>> {
        none(group, resource, name)
    }

    fn delete<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        _: &'a str,
        name: &'a str,
        _: Value,
    ) -> Answer<'a, ()> {
        none(group, resource, name)
    }

    fn subscribe(&self, _: &str, _: &str, _: &Mask, _: Observer) {}

    fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    fn services(&self) -> &Services {
        &self.services
    }
}
