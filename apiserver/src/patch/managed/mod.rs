//! Managed fields: who set which field of an object, and server-side apply, which is built on that.
//!
//! [`update`] records a create, update or patch; [`apply`] merges a configuration. Both take and give canonical or
//! printed trees in the version of the request; neither knows a clock or a store.

use std::sync::LazyLock;

use proto::json;
use proto::schema::{Ref, Type};
use serde_json::{Map, Value, json};

use super::Error;
use super::fields::Set;

mod cap;
mod conflicts;
mod entries;
mod last_applied;
#[cfg(test)]
mod tests;
mod updater;

pub use conflicts::Conflicts;
use entries::{Entry, Key, Managers, Operation};

/// The fields that no manager ever owns.
static STRIPPED: LazyLock<Set> = LazyLock::new(|| Set::of(STRIPPED_PATHS));
const STRIPPED_PATHS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
];

/// Converts objects between the versions of their kind.
pub trait Versions {
    /// The object in another `apiVersion` as printed, with that version's type; `None` if there is no such version.
    fn convert(&self, printed: &Value, api_version: &str) -> Option<(Value, Ref<Type>)>;
}

/// A request as the tracking of fields sees it.
pub struct Request<'a> {
    /// The field manager; empty for an unknown one.
    pub manager: &'a str,
    /// The `apiVersion` of the request.
    pub api_version: &'a str,
    /// The kind of the request.
    pub kind: &'a str,
    /// The subresource; empty for the main resource.
    pub subresource: &'a str,
    /// The type of the objects in the request's version.
    pub ty: &'a Type,
    /// Whether the objects are custom resources, which are printed as they are.
    pub custom: bool,
    /// Fields that requests to this resource can't change, so that nobody comes to own them by it.
    pub reset: Option<&'a Set>,
    /// The present, as `metav1.Time` prints it.
    pub now: &'a str,
    /// Conversion to other versions.
    pub versions: &'a dyn Versions,
}

impl Request<'_> {
    fn print(&self, object: &Value) -> Value {
        if self.custom { object.clone() } else { json::print(object, self.ty) }
    }

    /// An object of the kind with nothing set, printed.
    fn empty(&self) -> Value {
        if self.custom {
            json!({"apiVersion": self.api_version, "kind": self.kind})
        } else {
            json::print(&Value::Object(Map::new()), self.ty)
        }
    }

    fn key(&self, manager: &str, operation: Operation) -> Key {
        Key {
            manager: if manager.is_empty() { "unknown".to_owned() } else { manager.to_owned() },
            operation,
            api_version: if operation == Operation::Update {
                self.api_version.to_owned()
            } else {
                String::new()
            },
            subresource: self.subresource.to_owned(),
        }
    }
}

/// Records what a create (`live` is `None`), update or patch changed in `new`'s `metadata.managedFields`.
pub fn update(live: Option<&Value>, new: &mut Value, request: &Request<'_>) {
    let managers = starting_point(live, new, request);
    set_managed_fields(new, None);
    let is_create = live.and_then(|live| live.pointer("/metadata/uid")).is_none();
    if managers.is_empty() && !is_create {
        // Nothing was tracked before, so what there is belongs to nobody until someone applies.
        return;
    }
    let mut old = live.map_or_else(|| request.empty(), |live| request.print(live));
    set_managed_fields(&mut old, None);
    let printed = request.print(new);
    let managers = tracked_update(&old, &printed, managers, request.manager, request);
    set_managed_fields(new, managers.encode());
}

/// The managers to start from: those that the request's object names, else the live object's.
fn starting_point(live: Option<&Value>, new: &Value, request: &Request<'_>) -> Managers {
    let of_live = || live.and_then(|live| Managers::decode(live.pointer("/metadata/managedFields")).ok());
    if !request.subresource.is_empty() {
        return of_live().unwrap_or_default();
    }
    let given = new.pointer("/metadata/managedFields").and_then(Value::as_array);
    let reset = given.is_some_and(|list| match list.as_slice() {
        [] => true,
        [only] => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    });
    if reset {
        return Managers::default();
    }
    match Managers::decode(new.pointer("/metadata/managedFields")) {
        Ok(managers) if !managers.is_empty() => managers,
        _ => of_live().unwrap_or_default(),
    }
}

fn tracked_update(
    old: &Value,
    new: &Value,
    managers: Managers,
    manager: &str,
    request: &Request<'_>,
) -> Managers {
    let own = request.key(manager, Operation::Update);
    let (mut managers, changed) = updater::update(old, new, managers, request);
    let changed = changed.difference(&STRIPPED);
    if !changed.is_empty() {
        let entry = managers.0.entry(own).or_insert_with(|| Entry {
            api_version: request.api_version.to_owned(),
            time: None,
            set: Set::default(),
        });
        entry.set.add(changed);
        entry.time = Some(request.now.to_owned());
    }
    cap::cap(&mut managers);
    managers
}

/// Merges an applied configuration into the live object (`None` if there is none yet). The configuration must be
/// the tree that the client sent. Returns the printed result with its managed fields.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    force: bool,
    request: &Request<'_>,
) -> Result<Value, Error> {
    check_config(config, request)?;
    let mut old = live.map_or_else(|| request.empty(), |live| request.print(live));
    let mut managers = Managers::decode(old.pointer("/metadata/managedFields"))
        .map_err(|error| Error::Internal(format!("failed to decode managed fields: {error}")))?;
    set_managed_fields(&mut old, None);
    if managers.is_empty() {
        managers = tracked_update(&request.empty(), &old, managers, "before-first-apply", request);
    }
    super::typed::validate(config, request.ty).map_err(|error| {
        Error::Internal(format!(
            "failed to create typed patch object ({}): {error}",
            describe(config, request)
        ))
    })?;
    let attempt = |force| updater::apply(&old, config, managers.clone(), force, request);
    let result = match attempt(force) {
        Err(Error::Conflict(conflicts)) if request.manager == "kubectl" => {
            match last_applied::remaining_conflicts(&conflicts, &old, request) {
                Some(rest) if rest.is_empty() => attempt(true),
                Some(rest) => Err(Error::Conflict(rest)),
                None => Err(Error::Conflict(conflicts)),
            }
        }
        result => result,
    };
    let (merged, mut managers) = result?;
    let own = request.key(request.manager, Operation::Apply);
    if let Some(entry) = managers.0.get_mut(&own) {
        entry.set = std::mem::take(&mut entry.set).difference(&STRIPPED);
        if merged.is_some() {
            entry.time = Some(request.now.to_owned());
        }
        if entry.set.is_empty() {
            managers.0.remove(&own);
        }
    }
    let mut merged = merged.unwrap_or(old);
    if request.manager == "kubectl" {
        last_applied::refresh(&mut merged, config);
    }
    set_managed_fields(&mut merged, managers.encode());
    Ok(merged)
}

fn check_config(config: &Value, request: &Request<'_>) -> Result<(), Error> {
    let text = |name| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if (api_version, kind) != (request.api_version, request.kind) {
        let shown =
            if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") };
        return Err(Error::BadRequest(format!("invalid object type: {shown}, Kind={kind}")));
    }
    match config.pointer("/metadata/managedFields") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(Error::BadRequest("metadata.managedFields must be nil".to_owned())),
    }
}

fn describe(object: &Value, request: &Request<'_>) -> String {
    let text = |name| object.pointer(name).and_then(Value::as_str).unwrap_or_default();
    let version = request.api_version;
    let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
    format!("{}/{}; {version}, Kind={}", text("/metadata/namespace"), text("/metadata/name"), request.kind)
}

fn set_managed_fields(object: &mut Value, entries: Option<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(entries) = entries {
            metadata.insert("managedFields".to_owned(), entries);
        }
    } else if let Some(entries) = entries {
        object.insert("metadata".to_owned(), json!({"managedFields": entries}));
    }
}
