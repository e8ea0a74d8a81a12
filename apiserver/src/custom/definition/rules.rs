//! Which checks a definition must pass: an update need not mend what an older server accepted.

use proto::field::Path;
use proto::view::at;
use serde_json::Value;

use super::conversion;
use super::schema::{keys_of_items, not_atomic};
use super::spec::Spec;
use crate::custom::coerce;
use crate::custom::conditions;
use crate::custom::definition::certificates;
use crate::custom::schema::{Schema, structural};

/// The checks that depend on what was there before.
pub(super) struct Rules {
    pub(super) require_recognized_review: bool,
    pub(super) require_immutable_names: bool,
    pub(super) require_schema: bool,
    pub(super) require_valid_types: bool,
    pub(super) require_structural: bool,
    pub(super) require_pruned_defaults: bool,
    pub(super) require_atomic_sets: bool,
    pub(super) require_map_keys: bool,
    pub(super) allow_invalid_bundle: bool,
    /// Versions ("" for all at once) that may keep more selectable fields than are permitted.
    pub(super) allow_many_selectable: Vec<String>,
}

impl Rules {
    /// For a new definition.
    pub(super) fn for_create() -> Rules {
        Rules {
            require_recognized_review: true,
            require_immutable_names: false,
            require_schema: true,
            require_valid_types: true,
            require_structural: true,
            require_pruned_defaults: true,
            require_atomic_sets: true,
            require_map_keys: true,
            // It is not established yet.
            allow_invalid_bundle: true,
            allow_many_selectable: Vec::new(),
        }
    }

    /// For a change of `old`.
    pub(super) fn for_update(new: &Spec, old: &Spec, old_definition: &Value) -> Rules {
        let any = |test: &mut dyn FnMut(&Schema) -> bool| old.schemas().any(|schema| schema.any(test));
        let whole = |test: fn(&Schema) -> bool| old.schemas().any(test);
        let conversion = at(old_definition, &["spec", "conversion"]);
        let versions = at(conversion, &["webhook", "conversionReviewVersions"]);
        let established = conditions::is_true(old_definition, "Established");
        Rules {
            require_recognized_review: conversion.is_null() || conversion::is_recognized_or_empty(versions),
            require_immutable_names: established,
            require_schema: old.has_all_schemas(),
            require_valid_types: !any(&mut |s| {
                !s.ty.is_empty()
                    && !matches!(
                        s.ty.as_str(),
                        "array" | "boolean" | "integer" | "number" | "object" | "string"
                    )
            }),
            require_structural: !whole(is_unstructured),
            require_pruned_defaults: !whole(has_unpruned_defaults),
            require_atomic_sets: !any(&mut |s| {
                s.list_type.as_deref() == Some("set") && s.item().and_then(not_atomic).is_some()
            }),
            require_map_keys: !any(&mut |s| !keys_of_items(&Path::default(), s).is_empty()),
            allow_invalid_bundle: !established || certificates::of_definition(old_definition).is_err(),
            allow_many_selectable: new.kept_many_selectable(old),
        }
    }
}

fn is_unstructured(schema: &Schema) -> bool {
    structural::unsupported(schema).is_some() || !structural::validate(&Path::default(), schema).is_empty()
}

fn has_unpruned_defaults(schema: &Schema) -> bool {
    if is_unstructured(schema) {
        return false;
    }
    let mut pruned = schema.clone();
    coerce::prune_defaults(&mut pruned);
    pruned != *schema
}
