//! create, update and delete.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::StatusCode;
use proto::status::Status;
use serde_json::{Value, json};

use super::decode;
use super::negotiate;
use super::options::{Strictness, WriteOptions, parse_integer};
use super::tracking::Tracker;
use super::{Target, answer, missing};
use crate::audit;
use crate::engine::{Admit, Changed, Store, Updating, meta, undecodable};
use crate::registry::{Endpoint, Hooks};
use crate::server::Response;

const RACE: &str = "the object was deleted while it was read";

impl Target {
    pub(super) async fn create(mut self) -> Result<Response, Status> {
        let store = self.store()?;
        let endpoint = self.served.endpoint.clone();
        let options = WriteOptions::parse(&self.passed.query, "CreateOptions", false)?;
        let decoded = self.body(&endpoint, options.strictness).await?;
        let mut object = decoded.value;
        self.warnings.extend(decoded.warnings);
        audit::current(|record| record.request_object(&object));
        meta::match_namespace(&mut object, self.namespace())?;
        self.warnings.extend(dedup_owners(&mut object));
        meta::wipe(&mut object);
        let render = self.render(&store)?;
        let tracker = self.tracker(&options.manager, &store, render.version, &store.codec.storage.hooks);
        tracker.update(&Value::Null, &mut object);
        let hub = store.codec.to_hub(render.version, object).map_err(undecodable)?;
        let ctx = self.ctx("create", options.object);
        let created = self.app.engine.create(&store, &ctx, hub, true).await?;
        self.warnings.extend(created.warnings);
        render.hub(StatusCode::CREATED, Arc::unwrap_or_clone(created.object))
    }

    /// PUT; through a subresource's hooks, or the row's own.
    pub(super) async fn update(mut self, hooks: Option<&Hooks>) -> Result<Response, Status> {
        let store = self.store()?;
        let endpoint = self.served.endpoint.clone();
        let options = WriteOptions::parse(&self.passed.query, "UpdateOptions", false)?;
        let decoded = self.body(&endpoint, options.strictness).await?;
        let mut object = decoded.value;
        self.warnings.extend(decoded.warnings);
        audit::current(|record| record.request_object(&object));
        meta::match_namespace(&mut object, self.namespace())?;
        check_name(&object, &self.info().name)?;
        self.warnings.extend(dedup_owners(&mut object));
        let version = self.render(&store)?.version;
        let hooks = hooks.unwrap_or(&store.codec.storage.hooks);
        let tracker = self.tracker(&options.manager, &store, version, hooks);
        let ctx = self.ctx("update", options.object);
        let uid = meta::text(&object, "uid").to_owned();
        let how = Updating {
            hooks,
            force_create: false,
            admit: Admit::Objects,
            uid: (!uid.is_empty()).then_some(uid),
        };
        let codec = store.codec.clone();
        let mut transform = |old: Arc<Value>| -> BoxFuture<'_, Result<Value, Status>> {
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
        let changed = self.app.engine.update(&store, &ctx, &how, &mut transform).await?;
        self.changed(&store, changed)
    }

    pub(super) fn tracker(
        &self,
        manager: &str,
        store: &Arc<Store>,
        version: usize,
        hooks: &Hooks,
    ) -> Tracker {
        let headers = self.passed.request.headers();
        Tracker::new(manager, headers, &store.codec, version, &self.info().subresource, hooks)
    }

    /// The answer to a change.
    pub(super) fn changed(&self, store: &Arc<Store>, changed: Changed) -> Result<Response, Status> {
        let code = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
        self.warnings.extend(changed.warnings);
        self.render(store)?.hub(code, Arc::unwrap_or_clone(changed.object))
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
        self.warnings.extend(deletion.warnings.clone());
        if deletion.as_status {
            let mut status = deletion.status(&ctx.endpoint.group, &ctx.endpoint.resource);
            status.code = 0;
            let value = serde_json::to_value(&status).map_err(|_| Status::internal(RACE))?;
            Ok(answer::meta_object(StatusCode::OK, self.output, "Status", &value))
        } else {
            let cascading = options.get("orphanDependents").and_then(Value::as_bool) == Some(false);
            let code = if !deletion.gone && cascading { StatusCode::ACCEPTED } else { StatusCode::OK };
            self.render(&store)?.hub(code, Arc::unwrap_or_clone(deletion.object))
        }
    }

    /// DeleteOptions from the body, or else from the query.
    pub(super) async fn delete_options(&mut self) -> Result<Value, Status> {
        let format = negotiate::input(self.passed.request.headers(), false)?;
        let bytes = decode::read(self.take_body()).await?;
        if !bytes.is_empty() {
            let options = decode::delete_options(format, &bytes)?;
            audit::current(|record| record.request_object(&options));
            return Ok(options);
        }
        let query = &self.passed.query;
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(text) = query.non_empty("gracePeriodSeconds") {
            options["gracePeriodSeconds"] = parse_integer(text)?.into();
        }
        if let Some(orphan) = query.flag("orphanDependents") {
            options["orphanDependents"] = orphan.into();
        }
        if let Some(policy) = query.non_empty("propagationPolicy") {
            options["propagationPolicy"] = policy.into();
        }
        let dry_run: Vec<&str> = query.all("dryRun").collect();
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

/// The name in the body must be that in the path.
pub(super) fn check_name(object: &Value, name: &str) -> Result<(), Status> {
    let own_name = meta::text(object, "name");
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
    Ok(())
}

/// Takes out repeated owner references: the warning about it.
pub(super) fn dedup_owners(object: &mut Value) -> Option<String> {
    let references = object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let (mut seen, mut repeated) = (HashSet::new(), Vec::new());
    references.retain(|reference| {
        let new = seen.insert(reference.to_string());
        if !new {
            repeated.push(reference.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        new
    });
    (!repeated.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        )
    })
}
