//! Embedded resources: what their type and metadata say.

use proto::field::{Error, Errors, Path};
use proto::{content, go};
use serde_json::Value;

use super::Schema;
use crate::custom::coerce;
use crate::engine::meta;
use crate::registry::Hooks;

/// What is wrong with the embedded resources in a value.
pub(crate) fn embedded(path: &Path, value: &Value, schema: &Schema) -> Errors {
    let mut errors = Errors::new();
    walk(path, value, schema, &mut errors);
    errors
}

fn walk(path: &Path, value: &Value, schema: &Schema, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            if schema.embedded_resource {
                resource(path, value, errors);
            }
            for (name, field) in fields {
                if let Some(property) = schema.properties.get(name) {
                    walk(&path.child_named(name), field, property, errors);
                } else if let Some(more) = schema.additional() {
                    walk(&path.key(name), field, more, errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.item() {
                items.iter().enumerate().for_each(|(i, item)| walk(&path.index(i), item, of, errors));
            }
        }
        _ => {}
    }
}

fn resource(path: &Path, value: &Value, errors: &mut Errors) {
    let (api_version, kind) = (path.child("apiVersion"), path.child("kind"));
    match value.get("apiVersion") {
        None => errors.push(Error::required(&api_version, "")),
        Some(Value::String(text)) if text.is_empty() => {
            errors.push(Error::invalid(&api_version, "", "must not be empty"));
        }
        Some(Value::String(text)) if text.matches('/').count() > 1 => {
            let detail = format!("unexpected GroupVersion string: {text}");
            errors.push(Error::invalid(&api_version, text.as_str(), detail));
        }
        Some(Value::String(_)) => {}
        Some(other) => errors.push(Error::invalid(&api_version, other.clone(), "must be a string")),
    }
    match value.get("kind") {
        None => errors.push(Error::required(&kind, "")),
        Some(Value::String(text)) if text.is_empty() => {
            errors.push(Error::invalid(&kind, "", "must not be empty"));
        }
        Some(Value::String(text)) => {
            let messages = content::is_dns1035_label(&text.to_lowercase());
            if !messages.is_empty() {
                let detail =
                    format!("may have mixed case, but should otherwise match: {}", messages.join(","));
                errors.push(Error::invalid(&kind, text.as_str(), detail));
            }
        }
        Some(other) => errors.push(Error::invalid(&kind, other.clone(), "must be a string")),
    }
    let Some(metadata) = value.get("metadata") else { return };
    let at = path.child("metadata");
    match coerce::canonical(metadata) {
        Err(error) => errors.push(Error::invalid(&at, metadata.clone(), error)),
        Ok((mut metadata, _)) => {
            if let Some(fields) = metadata.as_object_mut() {
                fields.entry("name").or_insert_with(|| "fakename".into());
            }
            let namespaced = metadata.get("namespace").is_some();
            let names =
                Hooks { validate_name: |name, _| content::is_path_segment_name(name), ..Hooks::default() };
            let whole = serde_json::json!({"metadata": metadata});
            errors.extend(meta::validate(&whole, namespaced, &names).into_iter().map(|error| {
                let below = error.path.strip_prefix("metadata").unwrap_or(&error.path);
                Error { path: format!("{at}{below}"), ..error }
            }));
        }
    }
}

/// The text of a value that has the wrong type, as Go's accessors for nested fields tell it.
pub(crate) fn accessor_error(path: &str, value: &Value, wanted: &str) -> String {
    let (go, shown) = (go::type_of(value), go::text(value));
    format!("{path} accessor error: {shown} is of the type {go}, expected {wanted}")
}
