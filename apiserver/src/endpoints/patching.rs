//! patch: a change described by what is to be different.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use proto::json;
use proto::status::Status;
use serde_json::Value;

use super::Target;
use super::decode::{self, Decoded, Expected};
use super::options::{Strictness, WriteOptions};
use super::write::{check_name, dedup_owners};
use crate::engine::{Updating, undecodable};
use crate::registry::{Endpoint, Hooks};
use crate::server::Response;
use crate::storage::codec::schema_of;

/// A kind of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
}

const KINDS: [(&str, Kind); 2] =
    [("application/json-patch+json", Kind::Json), ("application/merge-patch+json", Kind::Merge)];

impl Kind {
    pub(super) fn of(content_type: &str) -> Result<Self, Status> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let known = KINDS.iter().find(|(name, _)| *name == media).map(|(_, kind)| *kind);
        known.ok_or_else(|| Status::unsupported_media_type(&KINDS.map(|(name, _)| name)))
    }

    /// Patches a printed tree.
    pub fn apply(self, document: Value, patch: &[u8]) -> Result<Value, Status> {
        let bad = |e: &dyn std::fmt::Display| Status::bad_request(format!("error decoding patch: {e}"));
        match self {
            Kind::Json => {
                let patch: json_patch::Patch = serde_json::from_slice(patch).map_err(|e| bad(&e))?;
                let mut document = document;
                json_patch::patch(&mut document, &patch).map_err(|e| {
                    Status::failure(
                        422,
                        proto::status::reason::INVALID,
                        format!("the server rejected our request due to an error in our request: {e}"),
                    )
                })?;
                Ok(document)
            }
            Kind::Merge => {
                let patch: Value = serde_json::from_slice(patch).map_err(|e| bad(&e))?;
                let mut document = document;
                json_patch::merge(&mut document, &patch);
                Ok(document)
            }
        }
    }
}

impl Target {
    pub(super) async fn patch(mut self, hooks: Option<&Hooks>) -> Result<Response, Status> {
        let store = self.store()?;
        let endpoint = self.served.endpoint.clone();
        let header = self.passed.request.headers().get(CONTENT_TYPE);
        let kind = Kind::of(header.and_then(|v| v.to_str().ok()).unwrap_or_default())?;
        let options = WriteOptions::parse(&self.passed.query, "PatchOptions", false)?;
        let bytes = decode::read(self.take_body()).await?;
        let ctx = self.ctx("patch", options.object);
        let render = self.render(&store)?;
        let how = Updating {
            hooks: hooks.unwrap_or(&store.codec.storage.hooks),
            force_create: false,
            admit: true,
            uid: None,
        };
        let warnings = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let patch = Patch {
            kind,
            bytes,
            endpoint,
            codec: store.codec.clone(),
            version: render.version,
            name: self.info().name.clone(),
            namespace: self.namespace().to_owned(),
            strictness: options.strictness,
            warnings: warnings.clone(),
        };
        let mut transform = |old: Arc<Value>| -> BoxFuture<'static, Result<Value, Status>> {
            Box::pin(std::future::ready(patch.transform(&old)))
        };
        let changed = self.app.engine.update(&store, &ctx, &how, &mut transform).await?;
        let warnings = std::mem::take(&mut *warnings.lock());
        self.changed(&store, changed, warnings)
    }
}

/// A patch for one object.
struct Patch {
    kind: Kind,
    bytes: Bytes,
    endpoint: Arc<Endpoint>,
    codec: Arc<crate::storage::codec::Codec>,
    version: usize,
    name: String,
    namespace: String,
    strictness: Strictness,
    warnings: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Patch {
    /// Patches a hub-version object in the request's version.
    fn transform(&self, old: &Value) -> Result<Value, Status> {
        let current = self.codec.from_hub(self.version, old.clone()).map_err(undecodable)?;
        let printed = match schema_of(&self.endpoint) {
            Some(ty) => json::print(&current, ty),
            None => current,
        };
        let patched = self.kind.apply(printed, &self.bytes)?;
        let mut decoded = self.decode(&patched)?;
        decode::complete(&self.endpoint, &mut decoded, self.strictness)?;
        check_name(&decoded.value, &self.name, &self.namespace)?;
        decoded.warnings.extend(dedup_owners(&mut decoded.value));
        *self.warnings.lock() = decoded.warnings;
        self.codec.to_hub(self.version, decoded.value).map_err(undecodable)
    }

    fn decode(&self, patched: &Value) -> Result<Decoded, Status> {
        let api_version = self.endpoint.api_version();
        let expected = Expected { api_version: &api_version, kind: &self.endpoint.kind, ty: None };
        let (value, strict) = match schema_of(&self.endpoint) {
            Some(ty) => {
                let decoded = json::canonical(patched, ty)
                    .map_err(|e| Status::failure(422, proto::status::reason::INVALID, e.to_string()))?;
                (decoded.value, decoded.strict)
            }
            None => (patched.clone(), Vec::new()),
        };
        decode::finish(value, strict, expected, Strictness::Warn)
    }
}
