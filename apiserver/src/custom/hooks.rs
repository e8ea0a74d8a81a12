//! Hooks of custom resources.

use futures::future::BoxFuture;
use proto::content;
use proto::field::{Error, Errors, Path};
use proto::status::Status;
use proto::view::{at, set_at};
use serde_json::Value;

use super::rules;
use super::validate;
use super::version::{Scale, Version};
use crate::engine::meta;
use crate::registry::{Ctx, Hooks, Reservation};

fn has_status(ctx: &Ctx) -> bool {
    Version::of(&ctx.endpoint).is_some_and(|version| version.status)
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
            if !same_content(new, old) {
                meta::raise_generation(new, meta::generation(old));
            }
        },
        validate: |ctx, new| {
            let Some(version) = Version::of(&ctx.endpoint) else { return Errors::new() };
            let root = Path::default();
            let mut errors = Errors::new();
            if version.has_schema {
                errors.extend(validate::value(&root, new, &version.schema));
            }
            if let Some(scale) = &version.scale {
                scale_spec(new, scale, &mut errors);
                scale_status(new, scale, &mut errors);
            }
            errors.extend(validate::embedded(&root, new, &version.schema));
            errors.extend(validate::sets_and_maps(&root, new, &version.schema));
            rules::apply(version, new, None, &mut errors);
            errors
        },
        validate_update: |ctx, new, old| {
            let Some(version) = Version::of(&ctx.endpoint) else { return Errors::new() };
            let root = Path::default();
            let mut errors = Errors::new();
            if version.has_schema {
                errors.extend(validate::update(&root, new, old, &version.schema));
            }
            if let Some(scale) = &version.scale {
                scale_spec(new, scale, &mut errors);
                scale_status(new, scale, &mut errors);
            }
            errors.extend(validate::embedded(&root, new, &version.schema));
            errors.extend(new_repetitions(new, old, version));
            rules::apply(version, new, Some(old), &mut errors);
            errors
        },
        warnings: |_, new| finalizer_warnings(new, &[]),
        warnings_update: |ctx, new, old| {
            let mut warnings = finalizer_warnings(new, &meta::finalizers(old));
            warnings.extend(broken_before(ctx, new, old));
            warnings
        },
        begin: Some(refuse_when_terminating),
        reset_fields: &[&["status"]],
        allow_unconditional_update: false,
        ..Hooks::default()
    }
}

/// Nothing is created any more once the definition is being deleted.
fn refuse_when_terminating<'a>(
    ctx: &'a Ctx,
    _: &'a mut Value,
    old: Option<&'a Value>,
) -> BoxFuture<'a, Result<Box<dyn Reservation>, Status>> {
    let terminating = Version::of(&ctx.endpoint).is_some_and(Version::is_terminating);
    Box::pin(std::future::ready(match terminating && old.is_none() {
        true => {
            let why = "create not allowed while custom resource definition is terminating";
            Err(Status::forbidden(&ctx.endpoint.group, &ctx.endpoint.resource, &ctx.name, why))
        }
        false => Ok(Box::new(Nothing) as Box<dyn Reservation>),
    }))
}

/// A reservation of nothing.
struct Nothing;

impl Reservation for Nothing {
    fn commit(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn revert(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
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
        validate_update: |ctx, new, old| {
            let Some(version) = Version::of(&ctx.endpoint) else { return Errors::new() };
            let mut errors = Errors::new();
            if let (Some(status), Some(schema)) = (new.get("status"), version.schema.properties.get("status"))
            {
                let path = Path::new("status");
                errors.extend(match old.get("status") {
                    Some(old) => validate::update(&path, status, old, schema),
                    None => validate::value(&path, status, schema),
                });
            }
            if let Some(scale) = &version.scale {
                scale_status(new, scale, &mut errors);
            }
            errors.extend(new_repetitions(new, old, version));
            rules::apply(version, new, Some(old), &mut errors);
            errors
        },
        warnings_update: broken_before,
        reset_fields: &[&["metadata"], &["spec"]],
        allow_unconditional_update: false,
        ..Hooks::default()
    }
}

/// What the rules have against values that an update leaves as they were: that is told, and not refused.
fn broken_before(ctx: &Ctx, new: &Value, old: &Value) -> Vec<String> {
    Version::of(&ctx.endpoint).map_or_else(Vec::new, |version| rules::broken_before(version, new, old))
}

/// Whether nothing but metadata differs.
fn same_content(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new == old };
    let content =
        |fields: &serde_json::Map<String, Value>| fields.keys().filter(|name| *name != "metadata").count();
    content(new) == content(old)
        && new.iter().all(|(name, value)| name == "metadata" || old.get(name) == Some(value))
}

/// Repetitions in sets and maps, unless there were some before.
fn new_repetitions(new: &Value, old: &Value, version: &Version) -> Errors {
    let root = Path::default();
    let found = validate::sets_and_maps(&root, new, &version.schema);
    if !found.is_empty() && !validate::sets_and_maps(&root, old, &version.schema).is_empty() {
        return Errors::new();
    }
    found
}

/// The value at a path with a dot in front; or what is in the way of it, as Go's accessors tell it.
fn nested<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    let mut walked = String::new();
    for name in path.trim_start_matches('.').split('.') {
        walked.push('.');
        walked.push_str(name);
        match value {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(name) {
                Some(next) => value = next,
                None => return Ok(None),
            },
            _ => return Err(validate::accessor_error(&walked, value, "map[string]interface{}")),
        }
    }
    Ok(Some(value))
}

fn replicas(object: &Value, path: &str, errors: &mut Errors) {
    let at = Path::default().child_named(path);
    let found = nested(object, path).and_then(|value| match value {
        None => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| validate::accessor_error(path, value, "int64")),
    });
    match found {
        Err(text) => errors.push(Error::invalid(&at, 0, text)),
        Ok(n) if n < 0 => errors.push(Error::invalid(&at, n, "should be a non-negative integer")),
        Ok(n) if n > i64::from(i32::MAX) => {
            let detail = format!("should be less than or equal to {}", i32::MAX);
            errors.push(Error::invalid(&at, n, detail));
        }
        Ok(_) => {}
    }
}

fn scale_spec(object: &Value, scale: &Scale, errors: &mut Errors) {
    replicas(object, &scale.spec_replicas, errors);
}

fn scale_status(object: &Value, scale: &Scale, errors: &mut Errors) {
    replicas(object, &scale.status_replicas, errors);
    if scale.selector.is_empty() {
        return;
    }
    let found = nested(object, &scale.selector).and_then(|value| match value {
        Some(value) if !value.is_string() => Err(validate::accessor_error(&scale.selector, value, "string")),
        _ => Ok(()),
    });
    if let Err(text) = found {
        errors.push(Error::invalid(&Path::default().child_named(&scale.selector), "", text));
    }
}

/// Warnings about finalizers that are new and not qualified.
fn finalizer_warnings(new: &Value, before: &[&str]) -> Vec<String> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let mut added: Vec<&str> = meta::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
    added.sort_unstable();
    added.dedup();
    let mut warnings = Vec::new();
    for name in added {
        let quoted = proto::field::quote(name);
        let mut warn = |text: &str| warnings.push(format!("metadata.finalizers: {quoted}: {text}"));
        content::is_qualified_name(name).iter().for_each(|text| warn(text));
        if !name.contains('/') && !STANDARD.contains(&name) {
            warn(match name.contains('.') {
                true => {
                    "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
                }
                false => {
                    "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
                }
            });
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn replicas_are_numbers() {
        let texts = |object: Value| {
            let mut errors = Errors::new();
            replicas(&object, ".spec.replicas", &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(texts(json!({"spec": {"replicas": 3}})), none);
        assert_eq!(texts(json!({})), none);
        assert_eq!(
            texts(json!({"spec": {"replicas": -1}})),
            [".spec.replicas: Invalid value: -1: should be a non-negative integer"]
        );
        assert_eq!(
            texts(json!({"spec": {"replicas": "x"}})),
            [
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: x is of the type string, expected int64"
            ]
        );
        assert_eq!(
            texts(json!({"spec": {"replicas": 3_000_000_000_i64}})),
            [".spec.replicas: Invalid value: 3000000000: should be less than or equal to 2147483647"]
        );
    }

    #[test]
    fn finalizers_are_warned_about() {
        let object = json!({"metadata": {"finalizers": ["a.b/c", "short", "example.com", "orphan"]}});
        assert_eq!(
            finalizer_warnings(&object, &["short"]),
            [
                "metadata.finalizers: \"example.com\": prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
            ]
        );
    }

    #[test]
    fn metadata_is_no_content() {
        let a = json!({"metadata": {"name": "a"}, "spec": 1});
        assert!(same_content(&a, &json!({"metadata": {"name": "b"}, "spec": 1})));
        assert!(!same_content(&a, &json!({"metadata": {"name": "a"}, "spec": 1, "data": 1})));
    }
}
