//! Types of custom resources, from their structural schemas.
//!
//! A custom resource has no Go struct: all of its fields count as pointers, so that zero values are kept, and only
//! fields that are `nullable` may hold nulls.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::{Default, Extra, Field, Flags, List, ListKind, Map, Name, Ref, Shape, Type, Unknown, generated};

const META_FIELDS: &[&str] = &["apiVersion", "kind", "metadata"];

/// The type of a custom resource, from the JSON schema of one of its versions.
pub fn structural(group: &str, version: &str, kind: &str, schema: &Value) -> Type {
    let unknown =
        if is(schema, "x-kubernetes-preserve-unknown-fields") { Unknown::Preserve } else { Unknown::Drop };
    let package = Name::Owned(format!("{group}/{version}"));
    object(kind.to_owned().into(), &package, schema, unknown, true)
}

fn is(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn object(name: Name, package: &Name, schema: &Value, unknown: Unknown, is_object: bool) -> Type {
    let mut fields = Vec::new();
    if is_object {
        for name in ["apiVersion", "kind"] {
            fields.push(field(name.into(), Flags::NONE, Shape::String, None));
        }
        let metadata = Shape::Struct(Ref::Static(&generated::meta::v1::ObjectMeta));
        fields.push(field("metadata".into(), Flags::NONE, metadata, None));
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if is_object && META_FIELDS.contains(&name.as_str()) {
            continue;
        }
        let required = schema.get("required").and_then(Value::as_array);
        let mut flags = Flags::NONE;
        if required.is_some_and(|required| required.iter().any(|other| other == name)) {
            flags = flags.or(Flags::REQUIRED);
        }
        if is(property, "nullable") {
            flags = flags.or(Flags::NULLABLE);
        }
        if text(property, "x-kubernetes-map-type") == "atomic" {
            flags = flags.or(Flags::ATOMIC);
        }
        let default = property.get("default").cloned();
        fields.push(field(name.clone().into(), flags, shape(name, package, property), default));
    }
    let atomic = text(schema, "x-kubernetes-map-type") == "atomic";
    Type {
        name,
        package: package.clone(),
        atomic,
        unknown,
        fields: fields.into(),
        by_number: Cow::Borrowed(&[]),
    }
}

fn field(name: Name, flags: Flags, shape: Shape, default: Option<Value>) -> Field {
    let extra = default
        .map(|value| Ref::from(Extra { default: Default::Value(Arc::new(value)), ..Extra::default() }));
    Field { name, number: 0, flags: flags.or(Flags::POINTER).or(Flags::OMITEMPTY), shape, extra }
}

fn shape(name: &str, package: &Name, schema: &Value) -> Shape {
    if is(schema, "x-kubernetes-int-or-string") {
        return Shape::IntOrString;
    }
    let preserve = is(schema, "x-kubernetes-preserve-unknown-fields");
    match text(schema, "type") {
        "boolean" => Shape::Bool,
        "integer" => Shape::Int64,
        "number" => Shape::Float64,
        "string" => Shape::String,
        "array" => Shape::List(list(name, package, schema).into()),
        "object" => {
            let embedded = is(schema, "x-kubernetes-embedded-resource");
            match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => {
                    let nullable = is(values, "nullable");
                    let values = shape(name, package, values);
                    Shape::Map(Map { values, nullable, key_go_type: Name::Borrowed("") }.into())
                }
                Some(Value::Bool(true)) => Shape::Map(
                    Map { values: Shape::Any, nullable: true, key_go_type: Name::Borrowed("") }.into(),
                ),
                _ => {
                    let unknown = match (preserve, embedded) {
                        (true, true) => Unknown::PreserveEmbedded,
                        (true, false) => Unknown::Preserve,
                        (false, true) => Unknown::Embedded,
                        (false, false) => Unknown::Drop,
                    };
                    Shape::Struct(object(name.to_owned().into(), package, schema, unknown, embedded).into())
                }
            }
        }
        _ => Shape::Any,
    }
}

fn list(name: &str, package: &Name, schema: &Value) -> List {
    let none = Value::Null;
    let items = schema.get("items").unwrap_or(&none);
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    let keys: Vec<Name> =
        keys.into_iter().flatten().filter_map(|key| Some(Name::Owned(key.as_str()?.to_owned()))).collect();
    List {
        items: shape(name, package, items),
        kind: match text(schema, "x-kubernetes-list-type") {
            "set" => ListKind::Set,
            "map" => ListKind::Map,
            "atomic" => ListKind::Atomic,
            _ => ListKind::Unset,
        },
        keys: keys.into(),
        wrapped: false,
        nullable: is(items, "nullable"),
        item_go_type: Name::Borrowed(""),
        item_values: Cow::Borrowed(&[]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::default;

    fn widget() -> Type {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
            "size": {"type": "integer", "default": 3},
            "note": {"type": "string", "nullable": true},
            "plain": {"type": "string"},
            "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true},
            "anything": {"x-kubernetes-preserve-unknown-fields": true},
            "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}}
        }}}});
        structural("example.org", "v1", "Widget", &schema)
    }

    #[test]
    fn defaults_fill_what_is_absent() {
        let ty = widget();
        let mut value = json!({"metadata": {"name": "a"}});
        default(&mut value, &ty);
        assert_eq!(value, json!({"metadata": {"name": "a"}, "spec": {"size": 3}}));
        let mut value = json!({"spec": {"size": 1, "rules": [{}]}});
        default(&mut value, &ty);
        assert_eq!(value, json!({"spec": {"size": 1, "rules": [{"name": "x"}]}}));
    }
}
