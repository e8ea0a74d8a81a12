//! create, update and delete.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::StatusCode;
use proto::schema;
use proto::status::Status;
use serde_json::{Value, json};

use super::decode::{self, Expected};
use super::negotiate;
use super::options::{Strictness, WriteOptions};
use super::tracking::Tracker;
use super::{Target, answer, missing};
use crate::audit;
use crate::engine::{Changed, Store, Updating, meta, undecodable};
use crate::registry::{Endpoint, Hooks};
use crate::server::Response;

const RACE: &str = "the object was deleted while it was read";

impl Target {
    pub(super) async fn create(mut self) -> Result<Response, Status> {
        let store = self.store()?;
        let endpoint = self.served.endpoint.clone();
        let options = WriteOptions::parse(&self.passed.query, "CreateOptions", false)?;
        let decoded = self.body(&endpoint, options.strictness).await?;
        let (mut object, mut warnings) = (decoded.value, decoded.warnings);
        audit::current(|record| record.request_object(&object));
        meta::match_namespace(&mut object, self.namespace())?;
        if !self.info().name.is_empty() {
            return Err(missing());
        }
        warnings.extend(dedup_owners(&mut object));
        let render = self.render(&store)?;
        let tracker = self.tracker(&options.manager, &store, render.version, &store.codec.storage.hooks);
        tracker.update(&Value::Null, &mut object);
        let hub = store.codec.to_hub(render.version, object).map_err(undecodable)?;
        let ctx = self.ctx("create", options.object);
        let created = match self.app.engine.create(&store, &ctx, hub, true).await {
            Ok(created) => created,
            Err(status) => return Err(status.warning(warnings)),
        };
        let mut response = render.hub(StatusCode::CREATED, Arc::unwrap_or_clone(created.object))?;
        warnings.extend(created.warnings);
        answer::warn(&mut response, &warnings);
        Ok(response)
    }

    /// PUT; through a subresource's hooks, or the row's own.
    pub(super) async fn update(mut self, hooks: Option<&Hooks>) -> Result<Response, Status> {
        let store = self.store()?;
        let endpoint = self.served.endpoint.clone();
        let options = WriteOptions::parse(&self.passed.query, "UpdateOptions", false)?;
        let decoded = self.body(&endpoint, options.strictness).await?;
        let (mut object, mut warnings) = (decoded.value, decoded.warnings);
        audit::current(|record| record.request_object(&object));
        check_name(&object, &self.info().name, self.namespace())?;
        meta::match_namespace(&mut object, self.namespace())?;
        warnings.extend(dedup_owners(&mut object));
        let version = self.render(&store)?.version;
        let hooks = hooks.unwrap_or(&store.codec.storage.hooks);
        let tracker = self.tracker(&options.manager, &store, version, hooks);
        let ctx = self.ctx("update", options.object);
        let uid = meta::text(&object, "uid").to_owned();
        let how = Updating { hooks, force_create: false, admit: true, uid: (!uid.is_empty()).then_some(uid) };
        let codec = store.codec.clone();
        let mut transform = |old: Arc<Value>| -> BoxFuture<'static, Result<Value, Status>> {
            let made = || {
                let live = match &*old {
                    Value::Null => Value::Null,
                    old => codec.from_hub(version, old.clone()).map_err(undecodable)?,
                };
                let mut new = object.clone();
                tracker.update(&live, &mut new);
                codec.to_hub(version, new).map_err(undecodable)
            };
            Box::pin(std::future::ready(made()))
        };
        let changed = match self.app.engine.update(&store, &ctx, &how, &mut transform).await {
            Ok(changed) => changed,
            Err(status) => return Err(status.warning(warnings)),
        };
        self.changed(&store, changed, warnings)
    }

    fn tracker(&self, manager: &str, store: &Arc<Store>, version: usize, hooks: &Hooks) -> Tracker {
        let headers = self.passed.request.headers();
        Tracker::new(manager, headers, &store.codec, version, &self.info().subresource, hooks)
    }

    /// The answer to a change.
    pub(super) fn changed(
        &self,
        store: &Arc<Store>,
        changed: Changed,
        mut warnings: Vec<String>,
    ) -> Result<Response, Status> {
        let code = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = self.render(store)?.hub(code, Arc::unwrap_or_clone(changed.object))?;
        warnings.extend(changed.warnings);
        answer::warn(&mut response, &warnings);
        Ok(response)
    }

    /// status and the like.
    pub(super) async fn object_subresource(self, hooks: &Hooks) -> Result<Response, Status> {
        match self.info().verb.as_str() {
            "get" => self.get().await,
            "update" => self.update(Some(hooks)).await,
            "patch" => self.patch(Some(hooks)).await,
            _ => Err(missing()),
        }
    }

    pub(super) async fn delete(mut self) -> Result<Response, Status> {
        let store = self.store()?;
        let options = self.delete_options().await?;
        let ctx = self.ctx("delete", options.clone());
        let deletion = self.app.engine.delete(&store, &ctx, &options, true).await?;
        let warnings = deletion.warnings.clone();
        let mut response = if deletion.as_status {
            let mut status = deletion.status(&ctx.endpoint.group, &ctx.endpoint.resource);
            status.code = 0;
            let value = serde_json::to_value(&status).map_err(|_| Status::internal(RACE))?;
            answer::meta_object(StatusCode::OK, self.output, "Status", &value)
        } else {
            let cascading = options.get("orphanDependents").and_then(Value::as_bool) == Some(false);
            let code = if !deletion.gone && cascading { StatusCode::ACCEPTED } else { StatusCode::OK };
            self.render(&store)?.hub(code, Arc::unwrap_or_clone(deletion.object))?
        };
        answer::warn(&mut response, &warnings);
        Ok(response)
    }

    /// DeleteOptions from the body, or else from the query.
    pub(super) async fn delete_options(&mut self) -> Result<Value, Status> {
        let format = negotiate::input(self.passed.request.headers(), false)?;
        let bytes = decode::read(self.take_body()).await?;
        let ty = schema::lookup("meta.k8s.io", "v1", "DeleteOptions");
        if !bytes.is_empty() {
            // The kind may be of any group that serves it.
            let api_version = match proto::json::type_meta(&bytes) {
                Ok((version, _)) if !version.is_empty() => version,
                _ => match proto::protobuf::unwrap(&bytes) {
                    Ok(unknown) => unknown.api_version,
                    Err(_) => "meta.k8s.io/v1".to_owned(),
                },
            };
            let expected = Expected { api_version: &api_version, kind: "DeleteOptions", ty };
            let options = decode::object(format, &bytes, expected, Strictness::Ignore)?.value;
            audit::current(|record| record.request_object(&options));
            return Ok(options);
        }
        let query = &self.passed.query;
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(text) = query.non_empty("gracePeriodSeconds") {
            let seconds: i64 = text.parse().map_err(|_| {
                Status::bad_request(format!(
                    "strconv.ParseInt: parsing {}: invalid syntax",
                    proto::field::quote(text)
                ))
            })?;
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(orphan) = query.flag("orphanDependents") {
            options["orphanDependents"] = orphan.into();
        }
        if let Some(policy) = query.non_empty("propagationPolicy") {
            options["propagationPolicy"] = policy.into();
        }
        let dry_run: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        if !dry_run.is_empty() {
            options["dryRun"] = json!(dry_run);
        }
        Ok(options)
    }

    pub(super) fn take_body(&mut self) -> BodyOf {
        let request = std::mem::replace(&mut self.passed.request, http::Request::new(None));
        let (parts, body) = request.into_parts();
        self.passed.request = http::Request::from_parts(parts, None);
        body
    }

    /// The object in the body, defaulted, in the endpoint's version.
    pub(super) async fn body(
        &mut self,
        endpoint: &Endpoint,
        strictness: Strictness,
    ) -> Result<decode::Decoded, Status> {
        let format = negotiate::input(self.passed.request.headers(), endpoint.custom)?;
        let bytes = decode::read(self.take_body()).await?;
        decode::endpoint_object(format, &bytes, endpoint, strictness)
    }
}

type BodyOf = Option<hyper::body::Incoming>;

/// The names in the body must be those in the path.
pub(super) fn check_name(object: &Value, name: &str, namespace: &str) -> Result<(), Status> {
    let (own_name, own_namespace) = (meta::text(object, "name"), meta::text(object, "namespace"));
    if own_name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if own_name != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({own_name}) does not match the name on the URL ({name})"
        )));
    }
    if !namespace.is_empty() && !own_namespace.is_empty() && own_namespace != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({own_namespace}) does not match the namespace on the request ({namespace})"
        )));
    }
    Ok(())
}

/// Takes out repeated owner references: the warning about it.
pub(super) fn dedup_owners(object: &mut Value) -> Option<String> {
    let references = object.pointer_mut("/metadata/ownerReferences")?.as_array_mut()?;
    let before = references.len();
    let mut seen: Vec<Value> = Vec::with_capacity(before);
    references.retain(|r| {
        let new = !seen.contains(r);
        if new {
            seen.push(r.clone());
        }
        new
    });
    (references.len() < before).then(|| {
        "metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests".to_owned()
    })
}
