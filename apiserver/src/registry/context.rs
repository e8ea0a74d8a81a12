//! What hooks may know about the request, and the server's own client.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use proto::labels;
use proto::schema::Mask;
use proto::status::Status;
use serde_json::Value;

use super::{Endpoint, Registry, Storage};
use crate::auth::{Authorizer, TokenAuthenticator, UserInfo};

/// The request a hook is called for.
#[derive(Clone)]
pub struct Ctx {
    /// Who.
    pub user: Arc<UserInfo>,
    /// Verb: `create`, `update`, `patch`, `delete`, …
    pub verb: &'static str,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name, or empty.
    pub name: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The request's time.
    pub now: Timestamp,
    /// The options object of the verb (CreateOptions, …), null if none.
    pub options: Arc<Value>,
    /// The endpoint of the request.
    pub endpoint: Arc<Endpoint>,
    /// The storage row; its `data` has what hooks of custom resources need.
    pub storage: Option<Arc<Storage>>,
    /// The server's own client.
    pub local: Arc<dyn Local>,
}

/// What an update function makes of the object as it is.
pub type Update<'a> = &'a mut (dyn FnMut(&Value) -> Result<Value, Status> + Send);

/// The server's own client: hub-version objects, no authorization, no admission; hooks do run.
///
/// A resource is named by (group, plural); namespace is empty for cluster-scoped ones.
pub trait Local: Send + Sync {
    /// Reads one object from the cache, which may lag.
    fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// Reads one object from etcd.
    fn get<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>>;

    /// Lists objects of a namespace (empty: all) from the cache, at least as fresh as etcd is now when `consistent`.
    fn list<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        selector: &'a labels::Selector,
        consistent: bool,
    ) -> BoxFuture<'a, Result<Vec<Arc<Value>>, Status>>;

    /// Creates an object; its metadata has name and namespace.
    fn create<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        object: Value,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>>;

    /// Reads, changes and writes until no one else has written in between. `subresource` picks the hooks (`""`, `status`).
    fn update<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        subresource: &'a str,
        namespace: &'a str,
        name: &'a str,
        change: Update<'a>,
    ) -> BoxFuture<'a, Result<Arc<Value>, Status>>;

    /// Deletes an object with these DeleteOptions (null: none).
    fn delete<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        options: Value,
    ) -> BoxFuture<'a, Result<(), Status>>;

    /// Calls the function for every change of a cached resource, first for all objects there are, in order, from the cache's
    /// single writer: it must be quick, and sees what the mask looks at. `(old, new, revision)`.
    fn subscribe(&self, group: &str, resource: &str, mask: &Mask, observer: Observer);

    /// The rows as they are now.
    fn registry(&self) -> Arc<Registry>;

    /// The server's authenticators and authorizers, for review resources.
    fn services(&self) -> &Services;
}

/// Sees changes of a resource: `(old, new, revision)`; at least one of the two is there.
pub type Observer = Box<dyn Fn(Option<&Value>, Option<&Value>, i64) + Send + Sync>;

/// What review resources ask.
#[derive(Clone)]
pub struct Services {
    /// Decides.
    pub authorizer: Arc<dyn Authorizer>,
    /// Checks tokens.
    pub tokens: Arc<dyn TokenAuthenticator>,
    /// Makes service account tokens, when a signing key is configured.
    pub issuer: Option<Arc<dyn TokenIssuer>>,
}

/// Makes service account tokens: the body of a TokenRequest for the account in the context, answered with its status filled in.
pub trait TokenIssuer: Send + Sync {
    /// Answers a TokenRequest.
    fn issue<'a>(&'a self, ctx: &'a Ctx, request: Value) -> BoxFuture<'a, Result<Value, Status>>;
}
