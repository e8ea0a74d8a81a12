//! Deleting objects: at once, gracefully, or after finalizers.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proto::field::{Error, Path};
use proto::status::{Details, Status};
use proto::view;
use serde_json::{Value, json};

use super::Engine;
use super::create::review;
use super::meta::{self, FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use super::store::{Store, unavailable, undecodable};
use crate::admission::Operation;
use crate::cache::entry::Entry;
use crate::registry::{Ctx, Hooks};
use crate::storage::codec::set_revision;
use crate::storage::etcd::Written;
use crate::storage::keys;

/// How a deletion ended.
#[derive(Debug)]
pub struct Deletion {
    /// The object as it was deleted, or as it is while it waits.
    pub object: Arc<Value>,
    /// Whether it is gone.
    pub gone: bool,
    /// Whether the answer is a Status rather than the object.
    pub as_status: bool,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

impl Deletion {
    /// The Status that tells what was deleted.
    pub fn status(&self, group: &str, resource: &str) -> Status {
        Status::success(Some(Details {
            name: meta::text(&self.object, "name").to_owned(),
            group: group.to_owned(),
            kind: resource.to_owned(),
            uid: meta::text(&self.object, "uid").to_owned(),
            ..Details::default()
        }))
    }
}

/// What a deletion does to the object as it is.
enum Plan {
    /// Take it out.
    Remove,
    /// Store this; then take it out if it has no grace left to wait for.
    Mark { object: Value, then_remove: bool },
    /// It is being deleted already.
    Pending,
}

impl Engine {
    /// Deletes the object that the context names, with these DeleteOptions.
    pub async fn delete(
        &self,
        store: &Store,
        ctx: &Ctx,
        options: &Value,
        admit: bool,
    ) -> Result<Deletion, Status> {
        validate_options(options)?;
        let key = keys::relative(&ctx.namespace, &ctx.name);
        let cached = store.row.as_ref().and_then(|row| row.get(&key));
        let mut fresh = cached.is_none();
        let mut current = match cached {
            Some(entry) => Some(entry),
            None => store.fetch(&key).await?,
        };
        let mut marked = None;
        loop {
            let Some(entry) = &current else {
                // Someone else may have finished what we began: then it is done.
                return match marked {
                    Some(object) => Ok(deleted(object, store, Vec::new())),
                    None => Err(Status::not_found(&ctx.endpoint.group, &ctx.endpoint.resource, &ctx.name)),
                };
            };
            match self.delete_once(store, ctx, options, admit, &key, entry, marked.is_some()).await {
                Ok(Outcome::Done(deletion)) => return Ok(deletion),
                Ok(Outcome::Again(entry, object)) => {
                    current = entry;
                    fresh = true;
                    marked = object.or(marked);
                }
                Err(status) if !fresh => {
                    let before = entry.revision;
                    current = store.fetch(&key).await?;
                    fresh = true;
                    if current.as_ref().is_some_and(|now| now.revision == before) {
                        return Err(status);
                    }
                }
                Err(status) => return Err(status),
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn delete_once(
        &self,
        store: &Store,
        ctx: &Ctx,
        options: &Value,
        admit: bool,
        key: &str,
        entry: &Arc<Entry>,
        marked: bool,
    ) -> Result<Outcome, Status> {
        store.prepare(&mut [entry].into_iter()).await?;
        let mut old = entry.decode(&store.codec).map_err(undecodable)?;
        let mut warnings = Vec::new();
        let silent =
            ["propagationPolicy", "orphanDependents"].iter().all(|field| options.get(field).is_none());
        warnings.extend(store.codec.storage.hooks.delete_warning.filter(|_| silent).map(str::to_owned));
        if !marked {
            check_preconditions(store, &old, options)?;
            if admit {
                let shared = Arc::new(old);
                let mut review = review(ctx, Operation::Delete, Value::Null, shared.clone());
                self.admission().mutate(&mut review).await?;
                self.admission().validate(&mut review).await?;
                warnings.append(&mut review.warnings);
                drop(review);
                old = Arc::unwrap_or_clone(shared);
            }
        }
        let full = store.keys.full(key);
        let again = |kv: Option<_>, object| -> Result<Outcome, Status> {
            Ok(Outcome::Again(kv.map(|kv| store.entry(kv)).transpose()?, object))
        };
        let hooks = &store.codec.storage.hooks;
        match plan(hooks, ctx, old.clone(), options)? {
            Plan::Pending => {
                let mut deletion = deleted(old, store, warnings);
                deletion.gone = false;
                Ok(Outcome::Done(deletion))
            }
            Plan::Remove => {
                if !ctx.dry_run {
                    match store.etcd.delete(&full, entry.revision).await.map_err(unavailable)? {
                        Written::Done(revision) => set_revision(&mut old, revision),
                        Written::Lost(kv) => return again(kv, None),
                    }
                    if let Some(after) = hooks.after_delete {
                        after(ctx, &old).await;
                    }
                }
                Ok(Outcome::Done(deleted(old, store, warnings)))
            }
            Plan::Mark { mut object, then_remove } => {
                if !ctx.dry_run {
                    let bytes = store.encode(&mut object).await?;
                    if bytes != entry.stored {
                        match store.put(key, entry.revision, &object, bytes, entry.lease, false).await? {
                            Written::Done(revision) => set_revision(&mut object, revision),
                            Written::Lost(kv) => return again(kv, None),
                        }
                        if then_remove {
                            return Ok(Outcome::Again(store.fetch(key).await?, Some(object)));
                        }
                    }
                }
                if let Some(decorate) = hooks.decorate {
                    decorate(&mut object);
                }
                Ok(Outcome::Done(Deletion {
                    object: Arc::new(object),
                    gone: then_remove,
                    as_status: false,
                    warnings,
                }))
            }
        }
    }
}

enum Outcome {
    Done(Deletion),
    /// Look again at what is there now; the object as this deletion marked it.
    Again(Option<Arc<Entry>>, Option<Value>),
}

fn deleted(mut object: Value, store: &Store, warnings: Vec<String>) -> Deletion {
    let hooks = &store.codec.storage.hooks;
    if let Some(decorate) = hooks.decorate {
        decorate(&mut object);
    }
    Deletion { object: Arc::new(object), gone: true, as_status: !hooks.return_deleted, warnings }
}

/// Decides what a deletion does to the object.
fn plan(hooks: &Hooks, ctx: &Ctx, mut object: Value, options: &Value) -> Result<Plan, Status> {
    let mut options = options.clone();
    if options.get("gracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0) {
        view::set_at(&mut options, &["gracePeriodSeconds"], 1.into());
    }
    let graceful = match grace(hooks, ctx, &mut object, &mut options)? {
        Grace::Pending => return Ok(Plan::Pending),
        Grace::Wait(seconds) => Some(seconds),
        Grace::None => None,
    };
    set_collection_finalizers(hooks, &mut object, &options);
    let held = !meta::finalizers(&object).is_empty() || hooks.may_delete.is_some_and(|may| !may(&object));
    match graceful {
        Some(seconds) => Ok(Plan::Mark { object, then_remove: seconds == 0 && !held }),
        None if held => {
            let first = !meta::is_deleting(&object);
            let generation = meta::generation(&object);
            if first && generation > 0 {
                meta::raise_generation(&mut object, generation);
            }
            let later = parse_time(meta::text(&object, "deletionTimestamp")).is_none_or(|at| at > ctx.now);
            if later {
                meta::set(&mut object, "deletionTimestamp", meta::time(ctx.now));
            }
            meta::set(&mut object, "deletionGracePeriodSeconds", 0);
            if let Some(begin) = hooks.begin_delete.filter(|_| first) {
                begin(ctx, &mut object);
            }
            Ok(Plan::Mark { object, then_remove: false })
        }
        None => Ok(Plan::Remove),
    }
}

enum Grace {
    /// Deletion is immediate.
    None,
    /// Deletion waits this long.
    Wait(i64),
    /// It is waiting already, and no less is asked for.
    Pending,
}

fn grace(hooks: &Hooks, ctx: &Ctx, object: &mut Value, options: &mut Value) -> Result<Grace, Status> {
    let Some(graceful) = hooks.graceful_delete else { return Ok(Grace::None) };
    let wanted = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    if let Some(at) = parse_time(meta::text(object, "deletionTimestamp")) {
        let left = meta::get(object, "deletionGracePeriodSeconds").as_i64().unwrap_or(0);
        if left == 0 {
            return Ok(Grace::None);
        }
        let Some(mut period) = wanted.filter(|p| *p < left) else { return Ok(Grace::Pending) };
        let shift = SignedDuration::from_secs(period - left);
        let mut at = at.checked_add(shift).unwrap_or(ctx.now);
        if at < ctx.now {
            at = ctx.now;
            // It was to be graceful, but its time is over: the least that still is.
            if period != 0 {
                period = 1;
            }
        }
        meta::set(object, "deletionTimestamp", meta::time(at));
        meta::set(object, "deletionGracePeriodSeconds", period);
        return Ok(Grace::Wait(period));
    }
    if !graceful(ctx, object, options) {
        return Ok(Grace::None);
    }
    let Some(period) = options.get("gracePeriodSeconds").and_then(Value::as_i64) else {
        return Err(Status::internal("options.GracePeriodSeconds should not be nil"));
    };
    let at = ctx.now.checked_add(SignedDuration::from_secs(period)).unwrap_or(ctx.now);
    meta::set(object, "deletionTimestamp", meta::time(at));
    meta::set(object, "deletionGracePeriodSeconds", period);
    let generation = meta::generation(object);
    if generation > 0 {
        meta::raise_generation(object, generation);
    }
    if let Some(begin) = hooks.begin_delete {
        begin(ctx, object);
    }
    Ok(Grace::Wait(period))
}

fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Adds or removes the finalizers by which the garbage collector knows what to do with dependents.
fn set_collection_finalizers(hooks: &Hooks, object: &mut Value, options: &Value) {
    let has = |name: &str| meta::finalizers(object).contains(&name);
    let explicit = options.get("orphanDependents").and_then(Value::as_bool);
    let policy = options.get("propagationPolicy").and_then(Value::as_str);
    let (orphan, foreground) = match (explicit, policy) {
        (Some(orphan), _) => (orphan, false),
        (_, Some("Orphan")) => (true, false),
        (_, Some("Foreground")) => (false, true),
        (_, Some("Background")) => (false, false),
        _ if has(FINALIZER_ORPHAN) => (true, false),
        _ if has(FINALIZER_FOREGROUND) => (false, true),
        _ => (hooks.orphan_dependents, false),
    };
    if (orphan, foreground) == (has(FINALIZER_ORPHAN), has(FINALIZER_FOREGROUND)) {
        return;
    }
    let kept =
        meta::finalizers(object).into_iter().filter(|f| *f != FINALIZER_ORPHAN && *f != FINALIZER_FOREGROUND);
    let mut finalizers: Vec<Value> = kept.map(Value::from).collect();
    if orphan {
        finalizers.push(FINALIZER_ORPHAN.into());
    }
    if foreground {
        finalizers.push(FINALIZER_FOREGROUND.into());
    }
    let value = if finalizers.is_empty() { Value::Null } else { Value::Array(finalizers) };
    meta::set(object, "finalizers", value);
}

fn validate_options(options: &Value) -> Result<(), Status> {
    let mut errors = Vec::new();
    let policy = options.get("propagationPolicy").and_then(Value::as_str);
    let path = Path::new("propagationPolicy");
    if let Some(policy) = policy {
        if !options.get("orphanDependents").unwrap_or(&Value::Null).is_null() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(Error::invalid(&path, policy, why));
        }
        let valid = ["Foreground", "Background", "Orphan"];
        if !valid.contains(&policy) {
            errors.push(Error::not_supported(&path, policy, &["Foreground", "Background", "Orphan", "nil"]));
        }
    }
    match options.get("dryRun").and_then(Value::as_array) {
        Some(list) if list.iter().any(|v| v != "All") => {
            errors.push(Error::not_supported(&Path::new("dryRun"), json!(list), &["All"]));
        }
        _ => {}
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors)) }
}

fn check_preconditions(store: &Store, object: &Value, options: &Value) -> Result<(), Status> {
    let wanted = |name: &str| options.get("preconditions").and_then(|p| p.get(name)).and_then(Value::as_str);
    let storage = &store.codec.storage;
    let conflict =
        |why: String| Err(Status::conflict(&storage.group, &storage.kind, meta::text(object, "name"), why));
    if let Some(uid) = wanted("uid").filter(|uid| *uid != meta::text(object, "uid")) {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            meta::text(object, "uid")
        ));
    }
    if let Some(revision) = wanted("resourceVersion").filter(|r| *r != meta::text(object, "resourceVersion"))
    {
        return conflict(format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record ({}). The object might have been modified",
            meta::text(object, "resourceVersion")
        ));
    }
    Ok(())
}
