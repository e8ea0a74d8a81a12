//! Defaults in schemas must be what the schema accepts.

use proto::field::{Error, Errors, Path, aggregate};
use serde_json::{Value, json};

use crate::custom::schema::Schema;
use crate::custom::{coerce, validate};

/// What is wrong with the defaults of a resource's schema.
pub(super) fn validate(path: &Path, schema: &Schema, require_pruned: bool) -> Errors {
    let root = Schema { embedded_resource: true, ..schema.clone() };
    let mut errors = Errors::new();
    let place = Place { root: &root, steps: &[], inside_meta: false };
    walk(path, &root, place, require_pruned, &mut errors);
    errors
}

/// Where a schema stands in the resource it is part of.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The schema of the innermost resource.
    root: &'a Schema,
    /// Fields from there; `None` for the items of a list.
    steps: &'a [Option<String>],
    inside_meta: bool,
}

impl Place<'_> {
    /// A resource that has nothing but this value.
    fn resource(&self, value: &Value) -> Value {
        let mut whole = self.steps.iter().rev().fold(value.clone(), |inner, step| match step {
            Some(name) => json!({name: inner}),
            None => json!([inner]),
        });
        if let Value::Object(fields) = &mut whole {
            fields.entry("kind").or_insert_with(|| "Validation".into());
            fields.entry("apiVersion").or_insert_with(|| "validation/v1".into());
        }
        whole
    }
}

fn walk(path: &Path, schema: &Schema, place: Place<'_>, require_pruned: bool, errors: &mut Errors) {
    let place = match schema.embedded_resource {
        true => Place { root: schema, steps: &[], inside_meta: false },
        false => place,
    };
    if let Some(default) = &schema.default {
        let at = path.child("default");
        if place.inside_meta {
            in_metadata(&at, default, schema, place, errors);
        } else {
            on_its_own(&at, default, schema, require_pruned, errors);
        }
    }
    let below = |step: Option<&str>, inside_meta: bool, visit: &mut dyn FnMut(Place<'_>)| {
        let mut steps = place.steps.to_vec();
        steps.push(step.map(str::to_owned));
        visit(Place { root: place.root, steps: &steps, inside_meta });
    };
    if let Some(items) = schema.item() {
        below(None, place.inside_meta, &mut |place| {
            walk(&path.child("items"), items, place, require_pruned, errors);
        });
    }
    for (name, property) in &schema.properties {
        let is_meta = matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        let inside_meta = place.inside_meta || schema.embedded_resource && is_meta;
        below(Some(name), inside_meta, &mut |place| {
            walk(&path.child("properties").key(name), property, place, require_pruned, errors);
        });
    }
}

fn on_its_own(path: &Path, default: &Value, schema: &Schema, require_pruned: bool, errors: &mut Errors) {
    if require_pruned {
        let mut pruned = default.clone();
        coerce::prune(&mut pruned, schema, schema.embedded_resource);
        if pruned != *default {
            errors.push(Error::invalid(path, default.clone(), "must not have unknown fields"));
        }
    }
    let mut coerced = default.clone();
    if let Err(error) = coerce::embedded_metadata(&mut coerced, schema, path, false, &mut Vec::new()) {
        errors.push(error);
        return;
    }
    let found = validate::embedded(path, default, schema);
    errors.extend(match found.is_empty() {
        true => validate::value(path, default, schema),
        false => found,
    });
}

fn in_metadata(path: &Path, default: &Value, schema: &Schema, place: Place<'_>, errors: &mut Errors) {
    let mut whole = place.resource(default);
    let root = Schema { embedded_resource: true, ..place.root.clone() };
    let none = Path::default();
    let mut bad = |text: &dyn std::fmt::Display| {
        let detail = format!("must result in valid metadata: {text}");
        errors.push(Error::invalid(path, default.clone(), detail));
    };
    if let Err(error) = coerce::embedded_metadata(&mut whole, &root, &none, false, &mut Vec::new()) {
        bad(&error);
        return;
    }
    let found = validate::embedded(&none, &whole, &root);
    if !found.is_empty() {
        bad(&aggregate(&found));
        return;
    }
    errors.extend(validate::value(path, default, schema));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_checked() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {
            "good": {"type": "integer", "default": 1},
            "bad": {"type": "integer", "default": "x"},
            "more": {"type": "object", "default": {"x": 1}, "properties": {}},
            "list": {"type": "array", "items": {"type": "string", "maxLength": 1, "default": "ab"}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"metadata": {"type": "object", "properties": {
                    "name": {"type": "string", "default": "A/b"}, "namespace": {"type": "string", "default": "n"}}}}},
        }}));
        let errors = validate(&Path::new("s"), &schema, true);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "s.properties[bad].default: Invalid value: \"string\": s.properties[bad].default in body must be of type integer: \"string\"",
                "s.properties[list].items.default: Too long: may not be more than 1 byte",
                "s.properties[more].default: Invalid value: {\"x\":1}: must not have unknown fields",
                "s.properties[pod].properties[metadata].properties[name].default: Invalid value: \"A/b\": must result in valid metadata: metadata.name: Invalid value: \"A/b\": may not contain '/'",
            ]
            .map(|t| t.replace("s.properties[bad].default in body", " in body"))
        );
    }
}
