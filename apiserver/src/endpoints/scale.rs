//! The subresource scale: a view of any object that has a number of replicas.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::StatusCode;
use proto::field::{Error, Path};
use proto::labels::Selector;
use proto::schema;
use proto::status::Status;
use proto::view;
use proto::yaml;
use serde_json::{Value, json};

use super::decode::{self, Expected};
use super::options::WriteOptions;
use super::patching::Kind;
use super::{Target, missing, negotiate};
use crate::engine::{At, Updating, meta, undecodable};
use crate::registry::{Endpoint, Scale, ScaleSelector, columns};
use crate::server::Response;
use crate::storage::codec;

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

/// Writes a Scale's wish into the object.
fn write(scale: &Scale, object: &mut Value, wished: &Value) -> Result<(), Status> {
    let replicas = view::int_at(wished, &["spec", "replicas"]);
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let error = Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", meta::text(wished, "name"), &[error]));
    }
    let path: Vec<&str> = scale.spec_replicas.split('.').collect();
    view::set_at(object, &path, replicas.into());
    meta::copy(object, wished, "resourceVersion");
    Ok(())
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
            None => Some(decode::object(format, &bytes, expected, options.strictness)?.value),
            Some(_) => None,
        };
        let ctx = self.ctx(if patching { "patch" } else { "update" }, options.object);
        let how = Updating { hooks: &store.codec.storage.hooks, force_create: false, admit: true, uid: None };
        let version = self.render(&store)?.version;
        let tracker = self.tracker(&options.manager, &store, version, how.hooks);
        let (codec, force) = (store.codec.clone(), options.force.unwrap_or(false));
        let mut transform = |old: Arc<Value>| -> BoxFuture<'static, Result<Value, Status>> {
            let wished = match (&body, patch) {
                (Some(body), _) => Ok(body.clone()),
                (None, Some(Kind::Apply)) => configuration(&bytes, &name),
                (None, Some(kind)) => {
                    let printed = proto::json::print(&read(scale, &old), ty);
                    kind.apply(&printed, &bytes, Some(ty)).and_then(|(patched, _)| {
                        let canonical = proto::json::canonical(&patched, ty);
                        canonical.map(|d| d.value).map_err(|e| Status::bad_request(e.to_string()))
                    })
                }
                (None, None) => Err(missing()),
            };
            let made = wished.and_then(|wished| {
                super::write::check_name(&wished, &name)?;
                // Who sets replicas here owns the object's own field.
                let live = codec.from_hub(version, Value::clone(&old)).map_err(undecodable)?;
                let mut new = live.clone();
                if patch == Some(Kind::Apply) {
                    let ty = codec::schema_of(&codec.versions[version]);
                    let mut config = json!({"apiVersion": live["apiVersion"], "kind": live["kind"]});
                    config["metadata"] = json!({"name": name});
                    if wished.pointer("/spec/replicas").is_some() {
                        write(scale, &mut config, &wished)?;
                    }
                    let merged = tracker.apply(&live, &config, force)?;
                    let canonical = ty.map(|ty| proto::json::canonical(&merged, ty)).transpose();
                    new = canonical
                        .map_err(|e| Status::bad_request(e.to_string()))?
                        .map_or(merged, |d| d.value);
                } else {
                    write(scale, &mut new, &wished)?;
                    tracker.update(&live, &mut new);
                }
                codec.to_hub(version, new).map_err(undecodable)
            });
            Box::pin(std::future::ready(made))
        };
        let changed = self.app.engine.update(&store, &ctx, &how, &mut transform).await?;
        self.warnings.extend(changed.warnings);
        self.shape(shown)?.object(StatusCode::OK, read(scale, &changed.object))
    }
}
