//! Changing objects: read, transform, check and write, again and again until no one else has written in between.

use std::sync::Arc;

use futures::future::BoxFuture;
use proto::field::{Error, Path};
use proto::status::Status;
use serde_json::Value;

use super::create::{before_create, begin, prepare_new, review, settle};
use super::store::{Store, unavailable, undecodable};
use super::{Engine, meta, shown};
use crate::admission::Operation;
use crate::cache::entry::Entry;
use crate::registry::{Ctx, Hooks};
use crate::storage::codec::set_revision;
use crate::storage::etcd::Written;
use crate::storage::keys;

const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Makes the new object (hub version) from the one that is there (null if there is none). May be called several times.
pub type Transform<'a> = dyn FnMut(Arc<Value>) -> BoxFuture<'a, Result<Value, Status>> + Send + 'a;

/// What admission sees of an update.
#[derive(Clone, Copy)]
pub enum Admit<'a> {
    /// Nothing.
    Nothing,
    /// The objects.
    Objects,
    /// Something that is made of the objects. The transform lets it be mutated, since it knows the way back.
    Views(&'a (dyn Fn(&Value) -> Value + Sync)),
}

/// How an update is to be done.
pub struct Updating<'a> {
    /// Hooks of the row, or of the subresource.
    pub hooks: &'a Hooks,
    /// Whether an absent object is created, whatever the hooks say (server-side apply).
    pub force_create: bool,
    /// What admission sees.
    pub admit: Admit<'a>,
    /// The object must have this uid.
    pub uid: Option<String>,
}

impl Updating<'_> {
    fn admits(&self) -> bool {
        !matches!(self.admit, Admit::Nothing)
    }
}

/// An object that was changed.
#[derive(Debug)]
pub struct Changed {
    /// The object, in the hub version.
    pub object: Arc<Value>,
    /// Whether it is new.
    pub created: bool,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

/// The object as it is, as far as is known.
struct Current {
    entry: Option<Arc<Entry>>,
    /// Whether it was read from etcd after the request came.
    fresh: bool,
}

/// How one attempt ended.
enum Attempt {
    Done(Changed),
    /// Somebody else wrote: this is what is there.
    Lost(Current),
}

impl Engine {
    /// Updates the object that the context names.
    pub async fn update(
        &self,
        store: &Store,
        ctx: &Ctx,
        how: &Updating<'_>,
        transform: &mut Transform<'_>,
    ) -> Result<Changed, Status> {
        let key = keys::relative(&ctx.namespace, &ctx.name);
        let cached = store.row.as_ref().and_then(|row| row.get(&key));
        let mut current = match cached {
            Some(entry) => Current { entry: Some(entry), fresh: false },
            None => Current { entry: store.fetch(&key).await?, fresh: true },
        };
        loop {
            match self.attempt(store, ctx, how, transform, &key, &current).await {
                Ok(Attempt::Done(changed)) => return Ok(changed),
                Ok(Attempt::Lost(now)) => current = now,
                // What was seen may be stale: then it is tried again, or else webhooks would be asked twice.
                Err(status) if !current.fresh => {
                    let before = current.entry.as_ref().map(|e| e.revision);
                    current = Current { entry: store.fetch(&key).await?, fresh: true };
                    if current.entry.as_ref().map(|e| e.revision) == before {
                        return Err(status);
                    }
                }
                Err(status) => return Err(status),
            }
        }
    }

    async fn attempt(
        &self,
        store: &Store,
        ctx: &Ctx,
        how: &Updating<'_>,
        transform: &mut Transform<'_>,
        key: &str,
        current: &Current,
    ) -> Result<Attempt, Status> {
        let Some(entry) = &current.entry else {
            return self.create_absent(store, ctx, how, transform, key).await;
        };
        store.prepare(&mut [entry].into_iter()).await?;
        let old = Arc::new(entry.decode(&store.codec).map_err(undecodable)?);
        if let Some(uid) = how.uid.as_deref().filter(|uid| *uid != meta::text(&old, "uid")) {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                store.keys.full(key),
                meta::text(&old, "uid")
            );
            return Err(Status::conflict(&ctx.endpoint.group, &ctx.endpoint.resource, &ctx.name, why));
        }
        let mut new = transform(old.clone()).await?;
        let mut seen = match how.admit {
            Admit::Nothing => None,
            Admit::Objects => Some(review(ctx, Operation::Update, Value::Null, old.clone())),
            Admit::Views(view) => Some(review(ctx, Operation::Update, Value::Null, Arc::new(view(&old)))),
        };
        if let (Some(review), Admit::Objects) = (&mut seen, how.admit) {
            review.object = new;
            self.admission().mutate(review).await?;
            new = std::mem::take(&mut review.object);
        }
        match meta::revision(&new)? {
            0 if how.hooks.allow_unconditional_update => set_revision(&mut new, entry.revision),
            0 => {
                let path = Path::new("metadata").child("resourceVersion");
                let error = Error::invalid(&path, 0, "must be specified for an update");
                return Err(Status::invalid(
                    &ctx.endpoint.group,
                    &ctx.endpoint.resource,
                    &ctx.name,
                    &[error],
                ));
            }
            revision if revision != entry.revision => {
                return Err(Status::conflict(
                    &ctx.endpoint.group,
                    &ctx.endpoint.resource,
                    &ctx.name,
                    MODIFIED,
                ));
            }
            _ => {}
        }
        let reservation = begin(how.hooks, ctx, &mut new, Some(&old)).await?;
        let done = async {
            let mut warnings = before_update(store, how.hooks, ctx, &mut new, &old).await?;
            keep_managed_times(&mut new, &old);
            if let Some(review) = &mut seen {
                review.object = match how.admit {
                    Admit::Views(view) => view(&new),
                    _ => std::mem::take(&mut new),
                };
                if let Err(status) = self.admission().validate(review).await {
                    return Err(status.warning(warnings));
                }
                if matches!(how.admit, Admit::Objects) {
                    new = std::mem::take(&mut review.object);
                }
                warnings.append(&mut review.warnings);
            }
            self.write(store, ctx, key, current, entry, new, &old, warnings, how.admits()).await
        }
        .await;
        let stored = matches!(done, Ok(Attempt::Done(_))) && !ctx.dry_run;
        settle(reservation, stored).await;
        done
    }

    #[allow(clippy::too_many_arguments)]
    async fn write(
        &self,
        store: &Store,
        ctx: &Ctx,
        key: &str,
        current: &Current,
        entry: &Arc<Entry>,
        mut new: Value,
        old: &Value,
        warnings: Vec<String>,
        admitted: bool,
    ) -> Result<Attempt, Status> {
        let hooks = &store.codec.storage.hooks;
        let full = store.keys.full(key);
        let lost = |kv: Option<_>| -> Result<Attempt, Status> {
            let entry = kv.map(|kv| store.entry(kv)).transpose()?;
            Ok(Attempt::Lost(Current { entry, fresh: true }))
        };
        let finished = |mut object: Value| {
            if let Some(decorate) = hooks.decorate {
                decorate(&mut object);
            }
            Ok(Attempt::Done(Changed { object: Arc::new(object), created: false, warnings }))
        };
        if ctx.dry_run {
            store.encode(&mut new).await?;
            return finished(new);
        }
        if deletes(&new, old, hooks) {
            if let Written::Lost(kv) = store.etcd.delete(&full, entry.revision).await.map_err(unavailable)? {
                return lost(kv);
            }
            if let Some(after) = hooks.after_delete {
                after(ctx, &new).await;
            }
            return finished(new);
        }
        let bytes = store.encode(&mut new).await?;
        if bytes == entry.stored && !entry.stale && store.codec.storage.ttl.is_none() {
            if !current.fresh {
                // Nothing to write, but is that so of the current object too?
                let now = store.fetch(key).await?;
                if now.as_ref().is_none_or(|now| now.revision != entry.revision) {
                    return Ok(Attempt::Lost(Current { entry: now, fresh: true }));
                }
            }
            return finished(new);
        }
        let lease = store.lease_for(&new).await?;
        match store.put(key, entry.revision, &new, bytes, lease, admitted).await? {
            Written::Done(revision) => {
                set_revision(&mut new, revision);
                finished(new)
            }
            Written::Lost(kv) => lost(kv),
        }
    }

    async fn create_absent(
        &self,
        store: &Store,
        ctx: &Ctx,
        how: &Updating<'_>,
        transform: &mut Transform<'_>,
        key: &str,
    ) -> Result<Attempt, Status> {
        if !how.hooks.allow_create_on_update && !how.force_create {
            return Err(Status::not_found(&ctx.endpoint.group, &ctx.endpoint.resource, &ctx.name));
        }
        let mut new = transform(Arc::new(Value::Null)).await?;
        let wanted = how.uid.as_deref().unwrap_or(meta::text(&new, "uid"));
        if !wanted.is_empty() && (how.uid.is_some() || how.force_create) {
            // Whoever names a uid means an object that was there.
            let why = format!(
                "uid mismatch: the provided object specified uid {wanted}, and no existing object was found"
            );
            return Err(Status::conflict(store.group(), store.resource(), &ctx.name, why));
        }
        let mut seen =
            how.admits().then(|| review(ctx, Operation::Create, Value::Null, Arc::new(Value::Null)));
        if let Some(review) = &mut seen {
            review.object = new;
            self.admission().mutate(review).await?;
            new = std::mem::take(&mut review.object);
        }
        prepare_new(&mut new, ctx);
        let reservation = begin(&store.codec.storage.hooks, ctx, &mut new, None).await?;
        let done = async {
            let mut warnings = before_create(store, ctx, &mut new).await?;
            if let Some(review) = &mut seen {
                review.object = std::mem::take(&mut new);
                self.admission().validate(review).await?;
                new = std::mem::take(&mut review.object);
                warnings.append(&mut review.warnings);
            }
            let bytes = store.encode(&mut new).await?;
            if !ctx.dry_run {
                let lease = store.lease_for(&new).await?;
                match store.put(key, 0, &new, bytes, lease, how.admits()).await? {
                    Written::Done(revision) => set_revision(&mut new, revision),
                    Written::Lost(kv) => {
                        let entry = kv.map(|kv| store.entry(kv)).transpose()?;
                        return Ok(Attempt::Lost(Current { entry, fresh: true }));
                    }
                }
            }
            if let Some(decorate) = store.codec.storage.hooks.decorate {
                decorate(&mut new);
            }
            Ok(Attempt::Done(Changed { object: Arc::new(new), created: true, warnings }))
        }
        .await;
        settle(reservation, matches!(done, Ok(Attempt::Done(_))) && !ctx.dry_run).await;
        done
    }
}

/// Hooks and validation of a change: its warnings.
async fn before_update(
    store: &Store,
    hooks: &Hooks,
    ctx: &Ctx,
    new: &mut Value,
    old: &Value,
) -> Result<Vec<String>, Status> {
    let storage = &store.codec.storage;
    let namespace = if storage.namespaced { ctx.namespace.as_str() } else { "" };
    meta::match_namespace(new, namespace)?;
    meta::copy(new, old, "generation");
    (hooks.prepare_update)(ctx, new, old);
    storage.disabled.drop(new, old);
    if meta::text(new, "uid").is_empty() {
        meta::copy(new, old, "uid");
    }
    meta::copy(new, old, "creationTimestamp");
    meta::set(new, "selfLink", Value::Null);
    if meta::is_deleting(old) {
        meta::copy(new, old, "deletionTimestamp");
    }
    if meta::get(new, "deletionGracePeriodSeconds").is_null() {
        meta::copy(new, old, "deletionGracePeriodSeconds");
    }
    // Names are judged as the row does, also when a subresource's hooks are at work.
    let mut errors = meta::validate(new, storage.namespaced, &storage.hooks);
    errors.extend(meta::validate_update(new, old));
    errors.extend((hooks.validate_update)(ctx, new, old));
    if let (Some(ask), true) = (hooks.ask, errors.is_empty()) {
        errors = ask(ctx, new, old).await;
    }
    if !errors.is_empty() {
        return Err(shown::refusal(storage, new, errors));
    }
    let warnings = (hooks.warnings_update)(ctx, new, old);
    (hooks.canonicalize)(new);
    Ok(warnings)
}

/// Whether this update, by taking the last finalizer off, completes a deletion.
fn deletes(new: &Value, old: &Value, hooks: &Hooks) -> bool {
    let grace = meta::get(old, "deletionGracePeriodSeconds").as_i64().unwrap_or(0);
    meta::finalizers(new).is_empty()
        && meta::is_deleting(old)
        && grace == 0
        && hooks.may_delete.is_none_or(|may| may(new))
}

/// Takes over the times of managedFields when nothing else has changed, so that the change is none.
fn keep_managed_times(new: &mut Value, old: &Value) {
    let (Some(entries), Some(before)) =
        (meta::get(new, "managedFields").as_array(), meta::get(old, "managedFields").as_array())
    else {
        return;
    };
    let timeless = |e: &Value| {
        let mut e = e.clone();
        e.as_object_mut().map(|e| e.remove("time"));
        e
    };
    let same =
        entries.len() == before.len() && entries.iter().zip(before).all(|(a, b)| timeless(a) == timeless(b));
    if !same || entries == before {
        return;
    }
    let kept = Value::Array(before.clone());
    let times = Value::Array(entries.clone());
    meta::set(new, "managedFields", kept);
    let unchanged = {
        let version =
            (meta::text(new, "resourceVersion") == meta::text(old, "resourceVersion")).then_some(());
        version.is_some() && new == old
    };
    if !unchanged {
        meta::set(new, "managedFields", times);
    }
}
