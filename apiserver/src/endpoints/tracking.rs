//! Managed fields of requests: what the tracker must know of a request, taken from its endpoint.

use std::sync::Arc;

use http::HeaderMap;
use http::header::USER_AGENT;
use jiff::Timestamp;
use proto::json;
use proto::schema::{Ref, Type};
use proto::status::Status;
use serde_json::Value;

use crate::engine::meta;
use crate::patch::fields::Set;
use crate::patch::managed::{self, Request, Versions};
use crate::registry::{Endpoint, Hooks};
use crate::storage::codec::{Codec, schema_of};

/// Longest name of a field manager.
const MAX_MANAGER: usize = 128;

/// Tracks the fields that one request sets.
#[derive(Clone)]
pub(super) struct Tracker {
    manager: String,
    endpoint: Arc<Endpoint>,
    codec: Arc<Codec>,
    version: usize,
    subresource: String,
    reset: Option<Set>,
}

impl Tracker {
    /// Of a request by this manager (empty: known by its user agent) through these hooks.
    pub(super) fn new(
        manager: &str,
        headers: &HeaderMap,
        codec: &Arc<Codec>,
        version: usize,
        subresource: &str,
        hooks: &Hooks,
    ) -> Self {
        let manager = if manager.is_empty() { from_user_agent(headers) } else { manager.to_owned() };
        let reset = hooks.reset_fields.iter().map(|path| path.join(".")).collect::<Vec<_>>();
        let reset: Vec<&str> = reset.iter().map(String::as_str).collect();
        Tracker {
            manager,
            endpoint: codec.versions[version].clone(),
            codec: codec.clone(),
            version,
            subresource: subresource.to_owned(),
            reset: (!reset.is_empty()).then(|| Set::of(&reset)),
        }
    }

    /// Records what a write sets; both trees are of the request's version, `live` is null if there was none.
    pub(super) fn update(&self, live: &Value, new: &mut Value) {
        let live = (!live.is_null()).then_some(live);
        self.request(|request| managed::update(live, new, request));
    }

    /// Applies a configuration: the merged object as it is printed.
    pub(super) fn apply(&self, live: &Value, config: &Value, force: bool) -> Result<Value, Status> {
        let live = (!live.is_null()).then_some(live);
        let done = self.request(|request| managed::apply(live, config, force, request).map_err(Status::from));
        done.unwrap_or_else(|| Err(Status::internal("the kind has no schema to apply by")))
    }

    fn request<T>(&self, with: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        let ty = self.endpoint.schema.as_deref()?;
        let api_version = self.endpoint.api_version();
        let now = meta::time(Timestamp::now());
        Some(with(&Request {
            manager: &self.manager,
            api_version: &api_version,
            kind: &self.endpoint.kind,
            subresource: &self.subresource,
            ty,
            custom: self.endpoint.custom,
            reset: self.reset.as_ref(),
            now: &now,
            versions: self,
        }))
    }
}

impl Versions for Tracker {
    fn convert(&self, printed: &Value, api_version: &str) -> Option<(Value, Ref<Type>)> {
        let find = |wanted: &str| self.codec.versions.iter().position(|e| e.api_version() == wanted);
        let to = find(api_version)?;
        let target = &self.codec.versions[to];
        let from = printed.get("apiVersion").and_then(Value::as_str).and_then(find).unwrap_or(self.version);
        let tree = match schema_of(&self.codec.versions[from]) {
            Some(ty) => json::canonical(printed, ty).ok()?.value,
            None => printed.clone(),
        };
        let hub = self.codec.to_hub(from, tree).ok()?;
        let converted = self.codec.from_hub(to, hub).ok()?;
        let shown = match schema_of(target) {
            Some(ty) => json::print(&converted, ty),
            None => converted,
        };
        Some((shown, target.schema.clone()?))
    }
}

/// The manager of a client that does not name one: its program's name.
fn from_user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    agent
        .split('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_MANAGER)
        .collect()
}
