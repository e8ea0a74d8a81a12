//! patch: a change described by what is to be different.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use proto::json;
use proto::schema::Type;
use proto::status::Status;
use proto::yaml;
use serde_json::Value;

use super::Target;
use super::decode::{self, Decoded, Expected};
use super::options::{Strictness, WriteOptions};
use super::tracking::Tracker;
use super::write::{check_name, dedup_owners};
use crate::audit;
use crate::engine::{Updating, undecodable};
use crate::patch;
use crate::registry::{Endpoint, Hooks};
use crate::server::Response;
use crate::storage::codec::{Codec, schema_of};

/// A kind of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own merge, which knows the keys of lists.
    Strategic,
    /// Server-side apply.
    Apply,
}

const KINDS: [(&str, Kind); 4] = [
    ("application/json-patch+json", Kind::Json),
    ("application/merge-patch+json", Kind::Merge),
    ("application/strategic-merge-patch+json", Kind::Strategic),
    ("application/apply-patch+yaml", Kind::Apply),
];

impl Kind {
    /// The kind of a body, of those that this endpoint takes.
    pub(super) fn of(content_type: &str, taken: impl Fn(Kind) -> bool) -> Result<Self, Status> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let served: Vec<_> = KINDS.into_iter().filter(|(_, kind)| taken(*kind)).collect();
        let known = served.iter().find(|(name, _)| *name == media).map(|(_, kind)| *kind);
        known.ok_or_else(|| {
            Status::unsupported_media_type(&served.iter().map(|(name, _)| *name).collect::<Vec<_>>())
        })
    }

    /// Patches a printed tree: the patched one, and what strict decoding has against the patch.
    pub(super) fn apply(
        self,
        document: &Value,
        bytes: &[u8],
        ty: Option<&Type>,
    ) -> Result<(Value, Vec<String>), Status> {
        let patched = match (self, ty) {
            (Kind::Json, _) => patch::json_patch(document, bytes),
            (Kind::Merge, _) => patch::merge_patch(document, bytes),
            (Kind::Strategic, Some(ty)) => patch::strategic_merge_patch(document, bytes, ty),
            (Kind::Strategic | Kind::Apply, _) => {
                return Err(Status::internal("the kind of patch needs a schema"));
            }
        }?;
        Ok((patched.value, patched.strict))
    }
}

impl Target {
    /// The kind of the request's patch.
    pub(super) fn patch_kind(&self, taken: impl Fn(Kind) -> bool) -> Result<Kind, Status> {
        let header = self.passed.request.headers().get(CONTENT_TYPE);
        Kind::of(header.and_then(|v| v.to_str().ok()).unwrap_or_default(), taken)
    }

    pub(super) async fn patch(mut self, hooks: Option<&Hooks>) -> Result<Response, Status> {
        let store = self.store()?;
        let endpoint = self.served.endpoint.clone();
        let custom = endpoint.custom;
        let kind = self.patch_kind(|kind| !(custom && kind == Kind::Strategic))?;
        let options = WriteOptions::parse(&self.passed.query, "PatchOptions", kind == Kind::Apply)?;
        let bytes = decode::read(self.take_body()).await?;
        audit::current(|record| record.request_patch(&bytes));
        let hooks = hooks.unwrap_or(&store.codec.storage.hooks);
        let version = self.render(&store)?.version;
        let tracker = Tracker::new(
            &options.manager,
            self.passed.request.headers(),
            &store.codec,
            version,
            &self.info().subresource,
            hooks,
        );
        let patch = Patch {
            kind,
            bytes,
            endpoint,
            codec: store.codec.clone(),
            version,
            name: self.info().name.clone(),
            namespace: self.namespace().to_owned(),
            strictness: options.strictness,
            force: options.force.unwrap_or(false),
            tracker,
            warnings: Arc::default(),
        };
        let how = Updating {
            hooks,
            force_create: kind == Kind::Apply && self.info().subresource.is_empty(),
            admit: true,
            uid: None,
        };
        let ctx = self.ctx("patch", options.object);
        let mut transform = |old: Arc<Value>| -> BoxFuture<'static, Result<Value, Status>> {
            Box::pin(std::future::ready(patch.transform(&old)))
        };
        let changed = self.app.engine.update(&store, &ctx, &how, &mut transform).await;
        let warnings = std::mem::take(&mut *patch.warnings.lock());
        let changed = match changed {
            Ok(changed) => changed,
            Err(status) => return Err(status.warning(warnings)),
        };
        self.changed(&store, changed, warnings)
    }
}

/// A patch for one object.
struct Patch {
    kind: Kind,
    bytes: Bytes,
    endpoint: Arc<Endpoint>,
    codec: Arc<Codec>,
    version: usize,
    name: String,
    namespace: String,
    strictness: Strictness,
    force: bool,
    tracker: Tracker,
    warnings: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Patch {
    /// Patches a hub-version object (null: there is none yet) in the request's version.
    fn transform(&self, old: &Value) -> Result<Value, Status> {
        let current = match old {
            Value::Null => Value::Null,
            old => self.codec.from_hub(self.version, old.clone()).map_err(undecodable)?,
        };
        let ty = schema_of(&self.endpoint);
        let mut decoded = if self.kind == Kind::Apply {
            self.applied(&current, ty)?
        } else {
            let printed = match ty {
                Some(ty) => json::print(&current, ty),
                None => current.clone(),
            };
            let (patched, strict) = self.kind.apply(&printed, &self.bytes, ty)?;
            self.decode(&patched, strict, ty)?
        };
        decode::complete(&self.endpoint, &mut decoded, self.strictness)?;
        check_name(&decoded.value, &self.name, &self.namespace)?;
        decoded.warnings.extend(dedup_owners(&mut decoded.value));
        if self.kind != Kind::Apply {
            self.tracker.update(&current, &mut decoded.value);
        }
        *self.warnings.lock() = decoded.warnings;
        self.codec.to_hub(self.version, decoded.value).map_err(undecodable)
    }

    fn applied(&self, current: &Value, ty: Option<&Type>) -> Result<Decoded, Status> {
        let (config, mut strict) = yaml::to_value(&self.bytes)
            .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
        if !config.is_object() {
            return Err(Status::bad_request("error decoding YAML: an object is expected"));
        }
        if let Some(ty) = ty {
            match json::canonical(&config, ty) {
                Ok(decoded) => strict.extend(decoded.strict),
                // What does not fit the schema at all is told by the merge, in its own words.
                Err(error) => tracing::debug!(%error, "an applied configuration"),
            }
        }
        if self.strictness == Strictness::Strict && !strict.is_empty() {
            return Err(Status::bad_request(format!("strict decoding error: {}", strict.join(", "))));
        }
        let merged = self.tracker.apply(current, &config, self.force)?;
        self.decode(&merged, Vec::new(), ty)
    }

    fn decode(&self, patched: &Value, mut strict: Vec<String>, ty: Option<&Type>) -> Result<Decoded, Status> {
        let api_version = self.endpoint.api_version();
        let expected = Expected { api_version: &api_version, kind: &self.endpoint.kind, ty: None };
        let value = match ty {
            Some(ty) => {
                let decoded = json::canonical(patched, ty)
                    .map_err(|e| Status::failure(422, proto::status::reason::INVALID, e.to_string()))?;
                strict.extend(decoded.strict);
                decoded.value
            }
            None => patched.clone(),
        };
        decode::finish(value, strict, expected, Strictness::Warn)
    }
}
