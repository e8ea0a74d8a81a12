//! patch: a change described by what is to be different.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use proto::field::{Error, Path};
use proto::schema::Type;
use proto::status::{Status, reason};
use proto::{go, json, yaml};
use serde_json::Value;

use super::decode::{self, Decoded, Expected};
use super::options::{Strictness, WriteOptions};
use super::tracking::Tracker;
use super::write::{check_name, dedup_owners};
use super::{Target, Warnings};
use crate::audit;
use crate::engine::{Admit, Updating, meta, undecodable};
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
    pub(super) fn of(content_type: &str, custom: bool, taken: impl Fn(Kind) -> bool) -> Result<Self, Status> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let served: Vec<_> = KINDS.into_iter().filter(|(_, kind)| taken(*kind)).collect();
        let known = served.iter().find(|(name, _)| *name == media).map(|(_, kind)| *kind);
        known.ok_or_else(|| match custom {
            true => Status::unsupported_media_type(&served.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
            // Upstream's router says this for built-in kinds, before anything that knows of patches.
            false => Status::failure(415, reason::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type")
                .with_details(Default::default()),
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
        let custom = self.served.endpoint.custom;
        Kind::of(header.and_then(|v| v.to_str().ok()).unwrap_or_default(), custom, taken)
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
            warnings: self.warnings.clone(),
        };
        let how = Updating {
            hooks,
            force_create: kind == Kind::Apply && self.info().subresource.is_empty(),
            admit: Admit::Objects,
            uid: None,
        };
        let ctx = self.ctx("patch", options.object);
        let mut transform = |old: Arc<Value>| -> BoxFuture<'_, Result<Value, Status>> {
            Box::pin(std::future::ready(patch.transform(&old)))
        };
        let changed = self.app.engine.update(&store, &ctx, &how, &mut transform).await?;
        self.changed(&store, changed)
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
    warnings: Warnings,
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
            let decoded = self.decode(&patched, strict, ty).map_err(|e| self.refuse(&patched, &e))?;
            if self.strictness == Strictness::Strict && !decoded.warnings.is_empty() && !self.endpoint.custom
            {
                let text = format!("strict decoding error: {}", decoded.warnings.join(", "));
                return Err(self.refuse(&patched, &text));
            }
            decoded
        };
        self.warnings.extend(decode::complete(&self.endpoint, &mut decoded, self.strictness)?);
        meta::match_namespace(&mut decoded.value, &self.namespace)?;
        check_name(&decoded.value, &self.name)?;
        self.warnings.extend(dedup_owners(&mut decoded.value));
        if self.kind != Kind::Apply {
            self.tracker.update(&current, &mut decoded.value);
        }
        self.codec.to_hub(self.version, decoded.value).map_err(undecodable)
    }

    fn applied(&self, current: &Value, ty: Option<&Type>) -> Result<Decoded, Status> {
        let (config, strict) = yaml::to_value(&self.bytes).map_err(|e| {
            Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}"))
        })?;
        let kind = match &config {
            Value::Object(_) => None,
            Value::Null => return Err(Status::bad_request("invalid object type: /, Kind=")),
            Value::Array(_) => Some("array"),
            Value::String(_) => Some("string"),
            Value::Bool(_) => Some("bool"),
            Value::Number(_) => Some("number"),
        };
        if let Some(kind) = kind {
            return Err(Status::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )));
        }
        // Fields that the schema does not have are told by the merge, in its own words.
        if self.strictness == Strictness::Strict && !strict.is_empty() {
            return Err(Status::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: {}",
                strict.join(", ")
            )));
        }
        let merged = self.tracker.apply(current, &config, self.force)?;
        self.decode(&merged, strict, ty).map_err(|e| Status::failure(422, reason::INVALID, e))
    }

    /// A patched tree as an object of the endpoint; or what is wrong with it.
    fn decode(&self, patched: &Value, mut strict: Vec<String>, ty: Option<&Type>) -> Result<Decoded, String> {
        let api_version = self.endpoint.api_version();
        let expected = Expected { api_version: &api_version, kind: &self.endpoint.kind, ty };
        let text = |name| patched.get(name).and_then(Value::as_str).unwrap_or_default();
        // A strategic merge works on the typed object, whose type no patch changes.
        if self.kind != Kind::Strategic {
            decode::check_type(text("apiVersion"), text("kind"), expected)?;
        }
        let value = match ty {
            Some(ty) => {
                let decoded = json::canonical(patched, ty).map_err(|e| e.to_string())?;
                strict.extend(decoded.strict);
                decoded.value
            }
            None => patched.clone(),
        };
        decode::finish(value, strict, expected, Strictness::Warn).map_err(|status| status.message)
    }

    /// Refuses a patch for what it makes of the object, which upstream shows: the patched text, or the strategic patch itself.
    fn refuse(&self, patched: &Value, why: &str) -> Status {
        let shown = match (self.kind, serde_json::from_slice::<Value>(&self.bytes)) {
            (Kind::Strategic, Ok(asked)) => go::text(&asked),
            _ => {
                let sorted: BTreeMap<_, _> = patched.as_object().into_iter().flatten().collect();
                serde_json::to_string(&sorted).unwrap_or_default()
            }
        };
        Status::invalid("", "", "", &[Error::invalid(&Path::new("patch"), shown, why)])
    }
}
