//! Which schemas are structural: the shape of objects stands apart from the conditions on values, so that fields can be
//! pruned and defaulted without evaluating any condition.

use super::{Items, Schema, SchemaOrBool, pattern};
use proto::field::{Error, Errors, Path};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What makes the schema impossible to read as a structural one at all.
pub(crate) fn unsupported(schema: &Schema) -> Option<String> {
    let mut found = None;
    let mut own = |schema: &Schema| {
        let name = if !schema.id.is_empty() {
            "id"
        } else if !schema.schema_url.is_empty() {
            "schema"
        } else if schema.reference.as_ref().is_some_and(|r| !r.is_empty()) {
            "$ref"
        } else if !schema.pattern_properties.is_empty() {
            "patternProperties"
        } else if schema.dependencies.as_ref().is_some_and(|d| !d.is_empty()) {
            "dependencies"
        } else if schema.additional_items.is_some() {
            "additionalItems"
        } else if !schema.definitions.is_empty() {
            "definitions"
        } else if matches!(&schema.items, Some(Items::Each(list)) if !list.is_empty()) {
            found = Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
            return true;
        } else if schema.preserve_unknown_fields == Some(false) {
            found = Some(
                "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned(),
            );
            return true;
        } else {
            return false;
        };
        found = Some(format!("OpenAPIV3Schema '{name}' is not supported"));
        true
    };
    schema.any(&mut own);
    found
}

/// What is wrong with a schema that should be structural.
pub(crate) fn validate(path: &Path, schema: &Schema) -> Errors {
    let mut errors = Errors::new();
    invariants(schema, Level::Root, path, &mut errors);
    conditions_are_complete(schema, schema, path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn invariants(schema: &Schema, level: Level, path: &Path, errors: &mut Errors) {
    if schema.ty == "array" && schema.item().is_none() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = schema.item() {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    if let Some(additional) = &schema.additional_properties {
        let at = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&at, "must not be used at the root"));
        }
        if let SchemaOrBool::Schema(additional) = additional {
            invariants(additional, Level::Field, &at, errors);
        }
    }
    if schema.int_or_string && schema.preserves() {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&at, true, "must be false if x-kubernetes-int-or-string is true"));
    }
    if schema.int_or_string && schema.embedded_resource {
        let at = path.child("x-kubernetes-embedded-resource");
        errors.push(Error::invalid(&at, true, "must be false if x-kubernetes-int-or-string is true"));
    }
    let first_all_of = schema.all_of.first().is_some_and(|first| is_int_or_string(&first.any_of));
    conditions(schema, is_int_or_string(&schema.any_of), first_all_of, path, errors);
    types(schema, level, path, errors);
    metadata(schema, level, path, errors);
}

/// The two conditions that int-or-string fields may spell out.
fn is_int_or_string(any_of: &[Schema]) -> bool {
    let ty = |ty: &str| Schema { ty: ty.to_owned(), ..Schema::default() };
    matches!(any_of, [first, second] if *first == ty("integer") && *second == ty("string"))
}

fn types(schema: &Schema, level: Level, path: &Path, errors: &mut Errors) {
    let at = path.child("type");
    if schema.embedded_resource && schema.ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match schema.ty.as_str() {
            "" => Error::required(&at, detail),
            ty => Error::invalid(&at, ty, detail),
        });
    } else if schema.ty.is_empty() && !schema.int_or_string && !schema.preserves() {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&at, detail));
    }
    if schema.embedded_resource && schema.additional_properties.is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
    }
    if level == Level::Root && !schema.ty.is_empty() && schema.ty != "object" {
        errors.push(Error::invalid(&at, schema.ty.as_str(), "must be object at the root"));
    }
}

/// What may be said about the fields that all objects have.
fn metadata(schema: &Schema, level: Level, path: &Path, errors: &mut Errors) {
    let is_resource = level == Level::Root || schema.embedded_resource;
    let properties = path.child("properties");
    for name in ["kind", "apiVersion"] {
        if let Some(property) = schema.properties.get(name).filter(|p| is_resource && p.ty != "string") {
            let at = properties.key(name).child("type");
            errors.push(Error::invalid(&at, property.ty.as_str(), "must be string"));
        }
    }
    if let Some(metadata) = schema.properties.get("metadata") {
        let at = properties.key("metadata");
        if is_resource && metadata.ty != "object" {
            errors.push(Error::invalid(&at.child("type"), metadata.ty.as_str(), "must be object"));
        }
        if level == Level::Root {
            let mut rest = metadata.clone();
            if rest.properties.keys().all(|name| name == "name" || name == "generateName") {
                rest.properties.clear();
            }
            rest.ty.clear();
            rest.default = None;
            if rest != Schema::default() {
                errors.push(Error::forbidden(
                    &at,
                    "must not specify anything other than name and generateName, but metadata is implicitly specified",
                ));
            }
        }
    }
    if schema.embedded_resource && !schema.preserves() && schema.properties.is_empty() {
        errors.push(Error::required(
            &properties,
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

/// The conditions on the values of one schema, and those nested in them.
fn conditions(schema: &Schema, skip_any_of: bool, skip_first_all_of: bool, path: &Path, errors: &mut Errors) {
    if !skip_any_of {
        for (i, part) in schema.any_of.iter().enumerate() {
            nested(part, false, &path.child("anyOf").index(i), errors);
        }
    }
    for (i, part) in schema.all_of.iter().enumerate() {
        nested(part, skip_first_all_of && i == 0, &path.child("allOf").index(i), errors);
    }
    for (i, part) in schema.one_of.iter().enumerate() {
        nested(part, false, &path.child("oneOf").index(i), errors);
    }
    if let Some(part) = &schema.not {
        nested(part, false, &path.child("not"), errors);
    }
    if !schema.pattern.is_empty()
        && let Err(error) = pattern::compile(&schema.pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(Error::invalid(&path.child("pattern"), schema.pattern.as_str(), detail));
    }
}

/// A schema that only may put conditions on values.
fn nested(schema: &Schema, skip_any_of: bool, path: &Path, errors: &mut Errors) {
    conditions(schema, skip_any_of, false, path, errors);
    if let Some(items) = schema.item() {
        nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        nested(property, false, &path.child("properties").key(name), errors);
    }
    let allows = !matches!(schema.additional_properties, None | Some(SchemaOrBool::Bool(false)));
    let forbidden: [(&'static str, bool, &str); 13] = [
        ("type", !schema.ty.is_empty(), "must be empty to be structural"),
        ("additionalProperties", allows, "must be undefined to be structural"),
        ("default", schema.default.is_some(), "must be undefined to be structural"),
        ("title", !schema.title.is_empty(), "must be empty to be structural"),
        ("description", !schema.description.is_empty(), "must be empty to be structural"),
        ("nullable", schema.nullable, "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", schema.preserves(), "must be false to be structural"),
        ("x-kubernetes-embedded-resource", schema.embedded_resource, "must be false to be structural"),
        ("x-kubernetes-int-or-string", schema.int_or_string, "must be false to be structural"),
        ("x-kubernetes-list-map-keys", !schema.list_map_keys.is_empty(), "must be empty to be structural"),
        ("x-kubernetes-list-type", schema.list_type.is_some(), "must be undefined to be structural"),
        ("x-kubernetes-map-type", schema.map_type.is_some(), "must be undefined to be structural"),
        ("x-kubernetes-validations", !schema.validations.is_empty(), "must be empty to be structural"),
    ];
    for (name, present, detail) in forbidden {
        if present {
            errors.push(Error::forbidden(&path.child(name), detail));
        }
    }
    if schema.properties.contains_key("metadata") {
        let at = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&at, "must not be specified in a nested context"));
    }
}

/// Whatever conditions speak of must be part of the shape.
fn conditions_are_complete(part: &Schema, shape: &Schema, at: &Path, from: &Path, errors: &mut Errors) {
    if let Some(not) = &part.not {
        nested_is_complete(not, Some(shape), at, &from.child("not"), errors);
    }
    for (name, parts) in [("allOf", &part.all_of), ("anyOf", &part.any_of), ("oneOf", &part.one_of)] {
        for (i, part) in parts.iter().enumerate() {
            nested_is_complete(part, Some(shape), at, &from.child(name).index(i), errors);
        }
    }
}

fn nested_is_complete(part: &Schema, shape: Option<&Schema>, at: &Path, from: &Path, errors: &mut Errors) {
    let Some(shape) = shape else {
        errors.push(Error::required(at, format!("because it is defined in {from}")));
        return;
    };
    conditions_are_complete(part, shape, at, from, errors);
    if let Some(items) = part.item() {
        nested_is_complete(items, shape.item(), &at.child("items"), &from.child("items"), errors);
    }
    for (name, property) in &part.properties {
        let (at, from) = (at.child("properties").key(name), from.child("properties").key(name));
        nested_is_complete(property, shape.properties.get(name), &at, &from, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn texts(schema: Value) -> Vec<String> {
        let schema = Schema::parse(&schema);
        assert_eq!(unsupported(&schema), None);
        validate(&Path::default(), &schema).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn structure_is_demanded() {
        let none: [&str; 0] = [];
        let port =
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
        assert_eq!(texts(json!({"type": "object", "properties": {"port": port}})), none);
        assert_eq!(
            texts(json!({"properties": {"a": {}, "l": {"type": "array"}}, "additionalProperties": true})),
            [
                "additionalProperties: Forbidden: must not be used at the root",
                "properties[a].type: Required value: must not be empty for specified object fields",
                "properties[l].items: Required value: must be specified",
                "type: Required value: must not be empty at the root",
            ]
        );
        assert_eq!(
            texts(json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}],
                "properties": {"e": {"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}})),
            [
                "anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
                "properties[a]: Required value: because it is defined in anyOf[0].properties[a]",
                "properties[e].type: Required value: must be object if x-kubernetes-embedded-resource is true",
            ]
        );
        assert_eq!(
            texts(json!({"type": "object", "properties": {
                "metadata": {"type": "object", "properties": {"name": {"type": "string"}, "labels": {"type": "object"}}},
                "p": {"type": "string", "pattern": "a("}}})),
            [
                "properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
                "properties[p].pattern: Invalid value: \"a(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `a(`",
            ]
        );
    }

    #[test]
    fn what_has_no_structure_is_named() {
        let text = |schema: Value| unsupported(&Schema::parse(&schema));
        assert_eq!(
            text(json!({"properties": {"a": {"$ref": "#/x"}}})).as_deref(),
            Some("OpenAPIV3Schema '$ref' is not supported")
        );
        assert_eq!(
            text(json!({"items": [{"type": "string"}]})).as_deref(),
            Some("OpenAPIV3Schema 'items' must be a schema, but is an array")
        );
    }
}
