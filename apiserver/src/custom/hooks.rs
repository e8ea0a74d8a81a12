//! Hooks of custom resources, and of the deletion of their definitions.

use std::sync::Arc;

use jiff::Timestamp;
use proto::field::Errors;
use proto::view::{at, set_at};
use serde_json::{Value, json};

use super::rows::Custom;
use super::{FINALIZER, validate};
use crate::engine::meta;
use crate::registry::{Ctx, Hooks};

fn custom(ctx: &Ctx) -> Option<Arc<Custom>> {
    ctx.storage.as_ref()?.data.clone()?.downcast().ok()
}

fn has_status(ctx: &Ctx) -> bool {
    custom(ctx).is_some_and(|c| c.status)
}

fn check(ctx: &Ctx, object: &Value) -> Errors {
    let custom = custom(ctx);
    let schema = custom.as_ref().and_then(|c| c.schemas.get(ctx.endpoint.version.as_ref()));
    schema.map(|schema| validate::object(object, schema)).unwrap_or_default()
}

/// Everything but metadata and status: what a generation counts the changes of.
fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.remove("metadata");
        fields.remove("status");
    }
    content
}

/// Hooks of the resource itself.
pub(super) fn main() -> Hooks {
    Hooks {
        standard_finalizers: false,
        prepare_create: |ctx, new| {
            if has_status(ctx) {
                set_at(new, &["status"], Value::Null);
            }
            meta::set(new, "generation", 1);
        },
        prepare_update: |ctx, new, old| {
            if has_status(ctx) {
                set_at(new, &["status"], at(old, &["status"]).clone());
            }
            let (mut before, mut after) = (content(old), content(new));
            if !has_status(ctx) {
                before["status"] = at(old, &["status"]).clone();
                after["status"] = at(new, &["status"]).clone();
            }
            if before != after {
                let generation = meta::get(old, "generation").as_i64().unwrap_or_default();
                meta::set(new, "generation", generation + 1);
            }
        },
        validate: check,
        validate_update: |ctx, new, _| check(ctx, new),
        allow_unconditional_update: false,
        return_deleted: false,
        ..Hooks::default()
    }
}

/// Hooks of the subresource status: nothing else changes, but for managedFields.
pub(super) fn status() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| {
            let status = at(new, &["status"]).clone();
            let managed = meta::get(new, "managedFields").clone();
            let revision = meta::get(new, "resourceVersion").clone();
            *new = old.clone();
            set_at(new, &["status"], status);
            meta::set(new, "managedFields", managed);
            meta::set(new, "resourceVersion", revision);
        },
        validate_update: |ctx, new, _| check(ctx, new),
        reset_fields: &[&["metadata"], &["spec"]],
        allow_unconditional_update: false,
        ..Hooks::default()
    }
}

/// A definition stays until its deletion has begun and its objects are gone.
pub fn may_delete(definition: &Value) -> bool {
    meta::is_deleting(definition)
}

/// The first step of a definition's deletion.
pub fn begin_deletion(_: &Ctx, definition: &mut Value) {
    let mut finalizers: Vec<Value> = meta::finalizers(definition).into_iter().map(Value::from).collect();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    meta::set(definition, "finalizers", finalizers);
    let mut conditions = at(definition, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    conditions.retain(|c| c["type"] != "Terminating");
    conditions.push(json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        "lastTransitionTime": meta::time(Timestamp::now()),
    }));
    set_at(definition, &["status", "conditions"], conditions.into());
}
