//! Creating objects.

use std::sync::Arc;

use proto::status::Status;
use serde_json::Value;

use super::store::Store;
use super::{Engine, meta, shown};
use crate::admission::{Operation, Reinvocation, Review};
use crate::cache::entry::Entry;
use crate::registry::{Ctx, Hooks, Reservation};
use crate::storage::codec::set_revision;
use crate::storage::etcd::Written;
use crate::storage::keys;

/// How many generated names are tried.
const NAME_ATTEMPTS: usize = 8;

/// An object that was created.
#[derive(Debug)]
pub struct Creation {
    /// The object, in the hub version.
    pub object: Arc<Value>,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Creates an object (hub version). With `admit`, after admission.
    pub async fn create(
        &self,
        store: &Store,
        ctx: &Ctx,
        mut object: Value,
        admit: bool,
    ) -> Result<Creation, Status> {
        let mut review = admit.then(|| review(ctx, Operation::Create, Value::Null, Arc::new(Value::Null)));
        if let Some(review) = &mut review {
            review.object = object;
            review.name = meta::text(&review.object, "name").to_owned();
            self.admission().mutate(review).await?;
            object = std::mem::take(&mut review.object);
        }
        let generated =
            meta::text(&object, "name").is_empty() && !meta::text(&object, "generateName").is_empty();
        let attempts = if generated { NAME_ATTEMPTS } else { 1 };
        for _ in 1..attempts {
            match self.create_once(store, ctx, object.clone(), &mut review).await {
                Err(status) if status.is_already_exists() => {}
                done => return done,
            }
        }
        self.create_once(store, ctx, object, &mut review).await
    }

    async fn create_once(
        &self,
        store: &Store,
        ctx: &Ctx,
        mut object: Value,
        review: &mut Option<Review>,
    ) -> Result<Creation, Status> {
        let hooks = &store.codec.storage.hooks;
        let generated = prepare_new(&mut object, ctx);
        let mut ctx = ctx.clone();
        ctx.name = meta::text(&object, "name").to_owned();
        let reservation = begin(hooks, &ctx, &mut object, None).await?;
        let done = self.create_prepared(store, &ctx, object, generated, review).await;
        settle(reservation, done.is_ok() && !ctx.dry_run).await;
        done
    }

    async fn create_prepared(
        &self,
        store: &Store,
        ctx: &Ctx,
        mut object: Value,
        generated: bool,
        review: &mut Option<Review>,
    ) -> Result<Creation, Status> {
        let mut warnings = before_create(store, ctx, &mut object).await?;
        match self.store_new(store, ctx, object, generated, review).await {
            Ok(object) => {
                warnings.extend(review.iter_mut().flat_map(|review| std::mem::take(&mut review.warnings)));
                Ok(Creation { object: Arc::new(object), warnings })
            }
            Err(status) => Err(status.warning(warnings)),
        }
    }

    async fn store_new(
        &self,
        store: &Store,
        ctx: &Ctx,
        mut object: Value,
        generated: bool,
        review: &mut Option<Review>,
    ) -> Result<Value, Status> {
        if let Some(review) = review {
            review.name = ctx.name.clone();
            review.object = object;
            self.admission().validate(review).await?;
            object = std::mem::take(&mut review.object);
        }
        let key = keys::relative(meta::text(&object, "namespace"), &ctx.name);
        let (group, resource) = (&ctx.endpoint.group, &ctx.endpoint.resource);
        let taken = |there: Option<Arc<Entry>>| {
            let mut status = match generated {
                true => Status::generate_name_conflict(group, resource, &ctx.name, 1),
                false => Status::already_exists(group, resource, &ctx.name),
            };
            let there = there.and_then(|entry| entry.decode(&store.codec).ok());
            if there.is_some_and(|object| meta::is_deleting(&object)) {
                status.message = format!("object is being deleted: {}", status.message);
            }
            status
        };
        let bytes = store.encode(&mut object).await?;
        if ctx.dry_run {
            let there = store.fetch(&key).await?;
            if there.is_some() {
                return Err(taken(there));
            }
        } else {
            let lease = store.lease_for(&object).await?;
            match store.put(&key, 0, &object, bytes, lease, review.is_some()).await? {
                Written::Done(revision) => set_revision(&mut object, revision),
                Written::Lost(kv) => return Err(taken(kv.map(|kv| store.entry(kv)).transpose()?)),
            }
        }
        if let Some(decorate) = store.codec.storage.hooks.decorate {
            decorate(&mut object);
        }
        Ok(object)
    }
}

/// Fills in metadata and the name; whether the name was generated.
pub(super) fn prepare_new(object: &mut Value, ctx: &Ctx) -> bool {
    meta::set(object, "resourceVersion", Value::Null);
    meta::fill(object, ctx.now);
    let generated = meta::text(object, "name").is_empty() && !meta::text(object, "generateName").is_empty();
    if generated {
        let name = meta::generate_name(meta::text(object, "generateName"));
        meta::set(object, "name", name);
    }
    generated
}

/// Hooks and validation of a new object: its warnings.
pub(super) async fn before_create(
    store: &Store,
    ctx: &Ctx,
    object: &mut Value,
) -> Result<Vec<String>, Status> {
    let storage = &store.codec.storage;
    let hooks = &storage.hooks;
    let namespace = if storage.namespaced { ctx.namespace.as_str() } else { "" };
    meta::match_namespace(object, namespace)?;
    (hooks.prepare_create)(ctx, object);
    storage.disabled.drop(object, &Value::Null);
    let mut errors = meta::validate(object, storage.namespaced, hooks);
    errors.extend((hooks.validate)(ctx, object));
    if let (Some(ask), true) = (hooks.ask, errors.is_empty()) {
        errors = ask(ctx, object, &Value::Null).await;
    }
    if !errors.is_empty() {
        return Err(shown::refusal(storage, object, errors));
    }
    let warnings = (hooks.warnings)(ctx, object);
    (hooks.canonicalize)(object);
    Ok(warnings)
}

/// A review of this request.
pub fn review(ctx: &Ctx, operation: Operation, object: Value, old: Arc<Value>) -> Review {
    let endpoint = &ctx.endpoint;
    let mut kind = (endpoint.group.to_string(), endpoint.version.to_string(), endpoint.kind.to_string());
    if let Some((g, v, k)) = endpoint.subresource(&ctx.subresource).and_then(|s| s.kind.as_ref()) {
        kind = (g.to_string(), v.to_string(), k.to_string());
    }
    Review {
        operation,
        endpoint: endpoint.clone(),
        kind,
        subresource: ctx.subresource.clone(),
        namespace: ctx.namespace.clone(),
        name: ctx.name.clone(),
        user: ctx.user.clone(),
        object,
        old,
        options: options_of(operation, &ctx.options),
        dry_run: ctx.dry_run,
        warnings: Vec::new(),
        annotations: Vec::new(),
        reinvocation: Reinvocation::default(),
    }
}

/// The options of what is done to an object, which a patch and a PUT of a new object come with others for.
fn options_of(operation: Operation, given: &Value) -> Value {
    let mut options = given.clone();
    if let Some(fields) = options.as_object_mut().filter(|_| operation != Operation::Delete) {
        let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
        fields.insert("kind".to_owned(), kind.into());
        fields.remove("force");
    }
    options
}

/// Allocates what the row's hook wants.
pub(super) async fn begin(
    hooks: &Hooks,
    ctx: &Ctx,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Box<dyn Reservation>>, Status> {
    match hooks.begin {
        Some(begin) => begin(ctx, object, old).await.map(Some),
        None => Ok(None),
    }
}

/// Settles allocations after the write.
pub(super) async fn settle(reservation: Option<Box<dyn Reservation>>, stored: bool) {
    match reservation {
        Some(reservation) if stored => reservation.commit().await,
        Some(reservation) => reservation.revert().await,
        None => {}
    }
}
