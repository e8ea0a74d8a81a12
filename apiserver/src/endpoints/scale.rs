//! The subresource scale: a view of any object that has a number of replicas.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::StatusCode;
use proto::field::{Error, Path};
use proto::labels::Selector;
use proto::schema::{self, Type};
use proto::status::Status;
use proto::view;
use proto::yaml;
use serde_json::{Value, json};

use super::decode::{self, Expected};
use super::options::WriteOptions;
use super::patching::Kind;
use super::tracking::Tracker;
use super::{Target, Warnings, missing, negotiate};
use crate::admission::{Chain, Operation};
use crate::audit;
use crate::engine::{self, Admit, At, Updating, meta, undecodable};
use crate::registry::{Ctx, Endpoint, Scale, ScaleSelector, columns};
use crate::server::Response;
use crate::storage::codec::{self, Codec};

const API_VERSION: &str = "autoscaling/v1";

/// The Scale of an object (hub version).
pub fn read(scale: &Scale, object: &Value) -> Value {
    let at = |path: &str| view::at(object, &path.split('.').collect::<Vec<_>>()).clone();
    let selector = match &scale.selector {
        ScaleSelector::LabelSelector(path) => {
            Selector::from_label_selector(&at(path)).map(|s| s.to_string()).unwrap_or_default()
        }
        ScaleSelector::Map(path) => Selector::from_set(&at(path)).to_string(),
        ScaleSelector::Text(path) => at(path).as_str().unwrap_or_default().to_owned(),
        ScaleSelector::None => String::new(),
    };
    let mut out = json!({"kind": "Scale", "apiVersion": API_VERSION, "metadata": {}});
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        meta::copy(&mut out, object, name);
    }
    let number = |path: &str| at(path).as_i64().filter(|n| *n != 0);
    if let Some(replicas) = number(&scale.spec_replicas) {
        out["spec"] = json!({"replicas": replicas});
    }
    if let Some(replicas) = number(&scale.status_replicas) {
        out["status"]["replicas"] = replicas.into();
    }
    if !selector.is_empty() {
        out["status"]["selector"] = selector.into();
    }
    out
}

/// What shows Scales: as upstream does, with an age of another type for custom resources.
fn endpoint(custom: bool) -> Endpoint {
    let mut endpoint = Endpoint::new("autoscaling", "v1", "scales", "Scale");
    columns::set(&mut endpoint, None);
    if let Some(age) = endpoint.columns.last_mut().filter(|_| custom) {
        age.kind = "date".into();
    }
    endpoint
}

/// Checks a Scale.
fn check(wished: &Value) -> Result<(), Status> {
    let replicas = view::int_at(wished, &["spec", "replicas"]);
    if replicas >= 0 {
        return Ok(());
    }
    let path = Path::new("spec").child("replicas");
    let error = Error::invalid(&path, replicas, "must be greater than or equal to 0");
    Err(Status::invalid("autoscaling", "Scale", meta::text(wished, "name"), &[error]))
}

/// Writes a Scale's wish into the object.
fn write(scale: &Scale, object: &mut Value, wished: &Value) {
    let path: Vec<&str> = scale.spec_replicas.split('.').collect();
    view::set_at(object, &path, view::int_at(wished, &["spec", "replicas"]).into());
    meta::copy(object, wished, "resourceVersion");
}

/// An applied Scale.
fn configuration(bytes: &[u8], name: &str) -> Result<Value, Status> {
    let (mut config, _) = yaml::to_value(bytes).map_err(|e| {
        Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}"))
    })?;
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if (api_version.as_str(), kind.as_str()) != (API_VERSION, "Scale") {
        let shown = if api_version.contains('/') { api_version } else { format!("/{api_version}") };
        return Err(Status::bad_request(format!("invalid object type: {shown}, Kind={kind}")));
    }
    if meta::text(&config, "name").is_empty() {
        meta::set(&mut config, "name", name);
    }
    Ok(config)
}

impl Target {
    pub(super) async fn scale(mut self, scale: &Scale) -> Result<Response, Status> {
        let store = self.store()?;
        let Some(ty) = schema::lookup("autoscaling", "v1", "Scale") else { return Err(missing()) };
        let expected = Expected { api_version: API_VERSION, kind: "Scale", ty: Some(ty) };
        let shown = Arc::new(endpoint(self.served.endpoint.custom));
        let name = self.info().name.clone();
        if self.info().verb == "get" {
            let entry = store.get(self.namespace(), &name, At::Latest).await?;
            let object = entry.decode(&store.codec).map_err(undecodable)?;
            return self.shape(shown)?.object(StatusCode::OK, read(scale, &object));
        }
        let patching = self.info().verb == "patch";
        let options_kind = if patching { "PatchOptions" } else { "UpdateOptions" };
        let patch = if patching { Some(self.patch_kind(|_| true)?) } else { None };
        let options = WriteOptions::parse(&self.passed.query, options_kind, patch == Some(Kind::Apply))?;
        let format = if patching {
            negotiate::Format::Json
        } else {
            negotiate::input(self.passed.request.headers(), false)?
        };
        let bytes = decode::read(self.take_body()).await?;
        let body = match patch {
            None => {
                let mut body = decode::object(format, &bytes, expected, options.strictness)?.value;
                audit::current(|record| record.request_object(&body));
                meta::match_namespace(&mut body, self.namespace())?;
                super::write::check_name(&body, &name)?;
                Some(body)
            }
            Some(_) => {
                audit::current(|record| record.request_patch(&bytes));
                None
            }
        };
        let ctx = self.ctx(if patching { "patch" } else { "update" }, options.object);
        let uid = body.as_ref().map(|body| meta::text(body, "uid").to_owned()).filter(|uid| !uid.is_empty());
        let show = |object: &Value| read(scale, object);
        let hooks = &store.codec.storage.hooks;
        let how = Updating { hooks, force_create: false, admit: Admit::Views(&show), uid };
        let version = self.render(&store)?.version;
        let change = Change {
            scale,
            ty,
            name: &name,
            body: body.as_ref(),
            patch: patch.map(|kind| (kind, &*bytes)),
            force: options.force.unwrap_or(false),
            codec: &store.codec,
            version,
            tracker: self.tracker(&options.manager, &store, version, hooks),
            admission: self.app.engine.admission(),
            ctx: &ctx,
            warnings: &self.warnings,
        };
        let mut transform =
            |old: Arc<Value>| -> BoxFuture<'_, Result<Value, Status>> { Box::pin(change.transform(old)) };
        let changed = self.app.engine.update(&store, &ctx, &how, &mut transform).await?;
        self.warnings.extend(changed.warnings);
        self.shape(shown)?.object(StatusCode::OK, read(scale, &changed.object))
    }
}

/// A change of an object's Scale: another Scale, or a patch.
struct Change<'a> {
    scale: &'a Scale,
    ty: &'static Type,
    name: &'a str,
    body: Option<&'a Value>,
    patch: Option<(Kind, &'a [u8])>,
    force: bool,
    codec: &'a Codec,
    version: usize,
    tracker: Tracker,
    admission: Chain,
    ctx: &'a Ctx,
    warnings: &'a Warnings,
}

impl Change<'_> {
    /// Changes an object (hub version). Admission mutates the Scale, not the object.
    async fn transform(&self, old: Arc<Value>) -> Result<Value, Status> {
        let shown = read(self.scale, &old);
        let live = self.codec.from_hub(self.version, Value::clone(&old)).map_err(undecodable)?;
        // Who sets replicas here owns the object's own field.
        let (mut new, wished) = match self.patch {
            Some((Kind::Apply, bytes)) => {
                let new = self.applied(&live, &configuration(bytes, self.name)?)?;
                let wished = read(self.scale, &new);
                (new, wished)
            }
            _ => {
                let wished = self.wished(&shown)?;
                let mut new = live.clone();
                write(self.scale, &mut new, &wished);
                self.tracker.update(&live, &mut new);
                (new, wished)
            }
        };
        let mut review = engine::review(self.ctx, Operation::Update, wished.clone(), Arc::new(shown));
        self.admission.mutate(&mut review).await?;
        self.warnings.extend(review.warnings);
        let admitted = review.object;
        check(&admitted)?;
        let (wanted, uid) = (meta::text(&admitted, "uid"), meta::text(&old, "uid"));
        if !wanted.is_empty() && wanted != uid && !self.ctx.endpoint.custom {
            let why =
                format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
            let endpoint = &self.ctx.endpoint;
            let resource = format!("{}/scale", endpoint.resource);
            return Err(Status::conflict(&endpoint.group, &resource, self.name, why));
        }
        if admitted != wished {
            write(self.scale, &mut new, &admitted);
        }
        self.codec.to_hub(self.version, new).map_err(undecodable)
    }

    /// The Scale that is sent, or what a patch makes of the one there is.
    fn wished(&self, shown: &Value) -> Result<Value, Status> {
        let (kind, bytes) = match (self.body, self.patch) {
            (Some(body), _) => return Ok(body.clone()),
            (None, Some(patch)) => patch,
            (None, None) => return Err(missing()),
        };
        let (patched, _) = kind.apply(&proto::json::print(shown, self.ty), bytes, Some(self.ty))?;
        let canonical = proto::json::canonical(&patched, self.ty);
        let wished = canonical.map_err(|e| Status::bad_request(e.to_string()))?.value;
        super::write::check_name(&wished, self.name)?;
        Ok(wished)
    }

    /// The object with an applied Scale.
    fn applied(&self, live: &Value, wished: &Value) -> Result<Value, Status> {
        super::write::check_name(wished, self.name)?;
        let mut config = json!({"apiVersion": live["apiVersion"], "kind": live["kind"]});
        config["metadata"] = json!({"name": self.name});
        if wished.pointer("/spec/replicas").is_some() {
            write(self.scale, &mut config, wished);
        }
        let merged = self.tracker.apply(live, &config, self.force)?;
        match codec::schema_of(&self.codec.versions[self.version]) {
            None => Ok(merged),
            Some(ty) => {
                let canonical = proto::json::canonical(&merged, ty);
                canonical.map(|d| d.value).map_err(|e| Status::bad_request(e.to_string()))
            }
        }
    }
}
