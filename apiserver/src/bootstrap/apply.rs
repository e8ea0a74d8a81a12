//! Writes default objects: reads what exists once, then writes what is missing in parallel.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use proto::labels;
use proto::status::Status;
use serde_json::{Value, json};

use super::all;
use super::rbac::reconcile::Action;
use crate::registry::Local;

/// A resource.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
}

/// Decides what to do with an object that may exist.
pub(super) type Plan = fn(&Value, Option<&Value>) -> Action;

/// Creates those that don't exist; leaves the others as they are.
pub(super) async fn create_if_absent(
    local: &dyn Local,
    kind: Kind,
    objects: Vec<Value>,
) -> Result<(), Status> {
    let plan: Plan = |desired, existing| match existing {
        None => Action::Create(desired.clone()),
        Some(_) => Action::None,
    };
    all(join_all(objects.iter().map(|object| reconcile(local, kind, object, None, plan))).await)
}

/// Brings all objects to what the plan wants.
pub(super) async fn reconcile_all(
    local: &dyn Local,
    kind: Kind,
    objects: Vec<Value>,
    plan: Plan,
) -> Result<(), Status> {
    let everything = labels::Selector::everything();
    let existing = local.list(kind.group, kind.resource, "", &everything, true).await?;
    let existing: HashMap<(String, String), Arc<Value>> =
        existing.into_iter().map(|object| (key(&object), object)).collect();
    let writes = objects.iter().map(|object| {
        let existing = existing.get(&key(object)).map(|object| &**object);
        reconcile(local, kind, object, existing, plan)
    });
    all(join_all(writes).await)
}

async fn reconcile(
    local: &dyn Local,
    kind: Kind,
    desired: &Value,
    existing: Option<&Value>,
    plan: Plan,
) -> Result<(), Status> {
    let (namespace, name) = key(desired);
    match plan(desired, existing) {
        Action::None => Ok(()),
        Action::Create(object) => match local.create(kind.group, kind.resource, object).await {
            // Someone else was faster: then it exists, which is what counts.
            Err(error) if error.is_already_exists() => Ok(()),
            result => result.map(drop),
        },
        Action::Update(_) => {
            // Planned again on what is stored when the write happens.
            let mut change = |current: &Value| match plan(desired, Some(current)) {
                Action::Update(updated) => Ok(updated),
                _ => Ok(current.clone()),
            };
            local.update(kind.group, kind.resource, "", &namespace, &name, &mut change).await.map(drop)
        }
        Action::Recreate(object) => {
            let uid = existing.map(|object| object["metadata"]["uid"].clone());
            let options = json!({ "preconditions": { "uid": uid } });
            match local.delete(kind.group, kind.resource, &namespace, &name, options).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
            local.create(kind.group, kind.resource, object).await.map(drop)
        }
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
