//! What most kinds do to an object before it is stored: who owns the status, and when the generation rises.

use proto::view::{at, remove_at, set_at};
use serde_json::Value;

use super::{Ctx, Hooks};
use crate::engine::meta;

/// Hooks of a kind whose status only its subresource writes.
pub(crate) fn with_status() -> Hooks {
    Hooks {
        prepare_create: |_, new| drop_status(new),
        prepare_update: |_, new, old| keep(new, old, &["status"]),
        reset_fields: &[&["status"]],
        ..Hooks::default()
    }
}

/// The same for a kind that also counts changes of its spec.
pub(crate) fn with_generation() -> Hooks {
    Hooks {
        prepare_create: |_, new| {
            drop_status(new);
            first_generation(new);
        },
        prepare_update: |_, new, old| {
            keep(new, old, &["status"]);
            count_changes(new, old, &["spec"]);
        },
        ..with_status()
    }
}

/// Hooks of a kind without status that counts changes of its spec.
pub(crate) fn generation_only() -> Hooks {
    Hooks {
        prepare_create: |_, new| first_generation(new),
        prepare_update: |_, new, old| count_changes(new, old, &["spec"]),
        ..Hooks::default()
    }
}

/// Hooks of the subresource `status`: the spec stays as it is.
pub(crate) fn status() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| keep(new, old, &["spec"]),
        reset_fields: &[&["spec"]],
        ..Hooks::default()
    }
}

/// Hooks of the subresource `status` where also the metadata stays as it is.
pub(crate) fn status_only() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| {
            keep(new, old, &["spec"]);
            keep_metadata(new, old);
        },
        reset_fields: &[&["metadata"], &["spec"]],
        ..Hooks::default()
    }
}

/// The name rule of a kind whose names are DNS labels.
pub(crate) fn label_name(name: &str, prefix: bool) -> Vec<String> {
    super::checks::name_with(proto::content::is_dns1123_label, name, prefix)
}

/// The name rule of a kind whose names are segments of URL paths.
pub(crate) fn path_segment_name(name: &str, _prefix: bool) -> Vec<String> {
    proto::content::is_path_segment_name(name)
}

/// Removes the status.
pub(crate) fn drop_status(new: &mut Value) {
    remove_at(new, &["status"]);
}

/// Restores a field from the old object.
pub(crate) fn keep(new: &mut Value, old: &Value, path: &[&str]) {
    set_at(new, path, at(old, path).clone());
}

/// Restores all metadata that a status update may not change.
pub(crate) fn keep_metadata(new: &mut Value, old: &Value) {
    const FIELDS: [&str; 6] =
        ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"];
    for field in FIELDS {
        keep(new, old, &["metadata", field]);
    }
}

/// Removes a field that a feature adds, unless the feature is on or the old object has the field.
pub(crate) fn drop_unless(on: bool, new: &mut Value, old: &Value, path: &[&str]) {
    let used = match at(old, path) {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    if !on && !used {
        remove_at(new, path);
    }
}

/// A new object is of generation 1.
pub(crate) fn first_generation(new: &mut Value) {
    set_at(new, &["metadata", "generation"], Value::from(1));
}

/// Raises the generation if one of these fields changed.
pub(crate) fn count_changes(new: &mut Value, old: &Value, fields: &[&str]) {
    if fields.iter().any(|field| at(new, &[field]) != at(old, &[field])) {
        meta::raise_generation(new, meta::generation(old));
    }
}

/// Whether this change raised the generation.
pub(crate) fn generation_changes(new: &Value, old: &Value) -> bool {
    const GENERATION: [&str; 2] = ["metadata", "generation"];
    at(new, &GENERATION) != at(old, &GENERATION)
}

/// The warning for a name that becomes a host name without being a DNS label.
pub(crate) fn host_name_warning(what: &str, name: &str) -> Vec<String> {
    let messages = proto::content::is_dns1123_label(name);
    if messages.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: [{}]",
        messages.join(" ")
    )]
}

/// The warning on create for a controller whose pods are named after it.
pub(crate) fn pod_name_warning(_: &Ctx, new: &Value) -> Vec<String> {
    host_name_warning("Pod names and hostnames", proto::view::text_at(new, &["metadata", "name"]))
}
