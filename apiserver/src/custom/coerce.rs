//! Custom resources in the form they are handled in: unknown fields pruned, nulls that mean nothing dropped, metadata of the
//! shape that all objects have, defaults filled in.

use proto::field::{Error, Path};
use proto::json;
use proto::schema::lookup;
use serde_json::{Map, Value};

use super::schema::{Schema, SchemaOrBool};

const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Coerces a decoded object; the paths of the fields it loses, as strict decoding names them. What was stored (`stored`) may have
/// metadata of any shape, which is dropped; of a request it is an error.
pub(crate) fn object(value: &mut Value, schema: &Schema, stored: bool) -> Result<Vec<String>, Error> {
    let mut unknown = Vec::new();
    if let Value::Object(fields) = value {
        metadata(fields, &Path::default(), stored, &mut unknown)?;
    }
    let mut pruned = prune(value, schema, true);
    pruned.sort();
    unknown.append(&mut pruned);
    drop_nulls(value, schema);
    let mut embedded = Vec::new();
    embedded_metadata(value, schema, &Path::default(), stored, &mut embedded)?;
    embedded.sort();
    unknown.append(&mut embedded);
    Ok(unknown)
}

/// Drops the fields that the schema doesn't list, but for those of `resource`s, and answers with their paths.
pub(super) fn prune(value: &mut Value, schema: &Schema, resource: bool) -> Vec<String> {
    let mut walk = Prune { path: String::new(), dropped: Vec::new() };
    walk.value(value, Some(schema), resource);
    walk.dropped
}

struct Prune {
    path: String,
    dropped: Vec<String>,
}

impl Prune {
    fn value(&mut self, value: &mut Value, schema: Option<&Schema>, resource: bool) {
        let preserves = schema.is_some_and(Schema::preserves);
        let resource = resource || schema.is_some_and(|s| s.embedded_resource);
        match value {
            Value::Object(fields) => {
                let mut unknown = Vec::new();
                for (name, field) in fields.iter_mut() {
                    if resource && META_FIELDS.contains(&name.as_str()) {
                        continue;
                    }
                    let property = schema.and_then(|s| s.properties.get(name));
                    match (property, schema.and_then(|s| s.additional_properties.as_ref())) {
                        (Some(property), _) => self.below(name, |w| w.value(field, Some(property), false)),
                        (None, Some(more)) => self.below(name, |w| w.value(field, more.schema(), false)),
                        (None, None) if preserves => {}
                        (None, None) => unknown.push(name.clone()),
                    }
                }
                for name in unknown {
                    fields.remove(&name);
                    self.below(&name, |walk| walk.dropped.push(walk.path.clone()));
                }
            }
            Value::Array(items) => {
                let of = schema.and_then(Schema::item);
                if preserves && of.is_none() {
                    return;
                }
                for (index, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.value(item, of, false);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn below(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        visit(self);
        self.path.truncate(length);
    }
}

/// Drops nulls where the schema neither permits them nor has a default to put in their place.
pub(super) fn drop_nulls(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => {
            let of = |name: &str| schema.properties.get(name).or_else(|| schema.additional());
            fields.retain(|name, value| {
                !value.is_null() || of(name).is_none_or(|s| s.nullable || s.default.is_some())
            });
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = of(name) {
                    drop_nulls(value, schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.item() {
                items.iter_mut().for_each(|item| drop_nulls(item, schema));
            }
        }
        _ => {}
    }
}

/// Fills in defaults, also for nulls that the schema doesn't permit.
pub(super) fn default(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if fields.get(name).is_none_or(|value| value.is_null() && !property.nullable) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    self::default(value, property);
                } else if let Some(SchemaOrBool::Schema(more)) = &schema.additional_properties {
                    default_element(value, more);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.item() {
                items.iter_mut().for_each(|item| default_element(item, schema));
            }
        }
        _ => {}
    }
}

fn default_element(value: &mut Value, schema: &Schema) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    default(value, schema);
}

/// Prunes the defaults of a schema themselves.
pub(super) fn prune_defaults(schema: &mut Schema) {
    if let Some(mut default) = schema.default.take() {
        // Nothing to report: what is dropped was accepted before this was checked.
        let _ = embedded_metadata(&mut default, schema, &Path::default(), true, &mut Vec::new());
        prune(&mut default, schema, schema.embedded_resource);
        schema.default = Some(default);
    }
    if let Some(SchemaOrBool::Schema(more)) = &mut schema.additional_properties {
        prune_defaults(more);
    }
    if let Some(super::schema::Items::All(items)) = &mut schema.items {
        prune_defaults(items);
    }
    schema.properties.values_mut().for_each(prune_defaults);
}

/// Gives embedded resources metadata of the right shape; the paths of unknown fields of metadata are added.
pub(super) fn embedded_metadata(
    value: &mut Value,
    schema: &Schema,
    path: &Path,
    drop_invalid: bool,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    match value {
        Value::Object(fields) => {
            if schema.embedded_resource {
                for name in ["apiVersion", "kind"] {
                    match fields.get(name) {
                        Some(value) if !value.is_string() && !drop_invalid => {
                            return Err(Error::invalid(&path.child(name), value.clone(), "must be a string"));
                        }
                        Some(value) if !value.is_string() => {
                            fields.remove(name);
                        }
                        _ => {}
                    }
                }
                metadata(fields, path, drop_invalid, unknown)?;
            }
            for (name, value) in fields.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    embedded_metadata(value, property, &path.child_named(name), drop_invalid, unknown)?;
                } else if let Some(more) = schema.additional() {
                    embedded_metadata(value, more, &path.key(name), drop_invalid, unknown)?;
                }
            }
        }
        Value::Array(items) => {
            let Some(of) = schema.item() else { return Ok(()) };
            for (i, item) in items.iter_mut().enumerate() {
                embedded_metadata(item, of, &path.index(i), drop_invalid, unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Gives an object's metadata the shape of ObjectMeta.
fn metadata(
    fields: &mut Map<String, Value>,
    path: &Path,
    drop_invalid: bool,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    let Some(metadata) = fields.get_mut("metadata") else { return Ok(()) };
    if drop_invalid && is_shaped(metadata) {
        return Ok(());
    }
    let at = path.child("metadata");
    let good = match canonical(metadata) {
        Ok(decoded) => decoded,
        Err(error) if !drop_invalid => return Err(Error::invalid(&at, metadata.clone(), error)),
        Err(_) => {
            let own = metadata.as_object().cloned().unwrap_or_default();
            let mut kept = Map::new();
            for (name, value) in own {
                let one = Value::Object(Map::from_iter([(name, value)]));
                if let Ok((Value::Object(good), _)) = canonical(&one) {
                    kept.extend(good);
                }
            }
            (Value::Object(kept), Vec::new())
        }
    };
    *metadata = good.0;
    unknown.extend(good.1.into_iter().map(|field| format!("{at}.{field}")));
    Ok(())
}

/// Whether stored metadata surely is in order, as what this server wrote is: then it need not be looked at closer.
fn is_shaped(metadata: &Value) -> bool {
    let texts = |value: &Value| value.as_object().is_some_and(|map| map.values().all(Value::is_string));
    let list = |value: &Value, item: fn(&Value) -> bool| value.as_array().is_some_and(|l| l.iter().all(item));
    metadata.as_object().is_some_and(|fields| {
        fields.iter().all(|(name, value)| match name.as_str() {
            "name" | "generateName" | "namespace" | "uid" | "resourceVersion" | "creationTimestamp"
            | "deletionTimestamp" => value.is_string(),
            "generation" | "deletionGracePeriodSeconds" => value.is_i64(),
            "labels" | "annotations" => texts(value),
            "finalizers" => list(value, Value::is_string),
            "ownerReferences" | "managedFields" => list(value, Value::is_object),
            _ => false,
        })
    })
}

/// The metadata as ObjectMeta has it, and the paths of its unknown fields; or Go's text for what is wrong with it.
pub(super) fn canonical(metadata: &Value) -> Result<(Value, Vec<String>), String> {
    let Some(ty) = lookup("meta.k8s.io", "v1", "PartialObjectMetadata") else {
        return Ok((metadata.clone(), Vec::new()));
    };
    let whole = Value::Object(Map::from_iter([("metadata".to_owned(), metadata.clone())]));
    let mut decoded = json::canonical(&whole, ty).map_err(|error| error.to_string())?;
    let unknown = decoded.strict.iter().filter_map(|text| {
        let field = text.strip_prefix("unknown field \"metadata.")?.strip_suffix('"')?;
        Some(field.to_owned())
    });
    let unknown = unknown.collect();
    let metadata = decoded.value.get_mut("metadata").map(Value::take);
    Ok((metadata.unwrap_or_else(|| Value::Object(Map::new())), unknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn widget() -> Schema {
        Schema::parse(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
                "size": {"type": "integer", "default": 3},
                "note": {"type": "string", "nullable": true},
                "plain": {"type": "string"},
                "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                    "known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
                "anything": {"x-kubernetes-preserve-unknown-fields": true},
                "rules": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}},
                "names": {"type": "array", "items": {"type": "string", "default": "n"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "open": {"type": "object", "additionalProperties": true}
            }}}}),
        )
    }

    #[test]
    fn unknown_fields_are_pruned_and_told() {
        let mut value = json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "a", "nope": 1},
            "extra": 1, "spec": {"size": 0, "foo": 1, "raw": {"x": {"y": 1}, "known": {"a": "1", "b": 2}},
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "no": 1}, "spec": {"x": 1}},
            "anything": {"deep": [1]}, "rules": [{"name": "r", "z": 1}], "labels": {"any": "1"}}});
        let unknown = object(&mut value, &widget(), false).expect("coerced");
        assert_eq!(
            unknown,
            [
                "metadata.nope",
                "extra",
                "spec.foo",
                "spec.raw.known.b",
                "spec.rules[0].z",
                "spec.template.spec.x",
                "spec.template.metadata.no",
            ]
        );
        assert_eq!(value["spec"]["raw"], json!({"x": {"y": 1}, "known": {"a": "1"}}));
        assert_eq!(value["spec"]["template"]["metadata"], json!({"name": "p"}));
        assert_eq!(value["spec"]["size"], 0);
    }

    #[test]
    fn values_of_open_maps_lose_what_has_no_schema() {
        let mut value = json!({"spec": {"open": {"a": 1, "b": {"c": 1}, "d": [{"e": 1}, 2]}}});
        prune(&mut value, &widget(), true);
        assert_eq!(value, json!({"spec": {"open": {"a": 1, "b": {}, "d": [{}, 2]}}}));
    }

    #[test]
    fn defaults_fill_what_is_absent_and_nulls_go() {
        let mut value = json!({"metadata": {"name": "a"}});
        default(&mut value, &widget());
        assert_eq!(value, json!({"metadata": {"name": "a"}, "spec": {"size": 3}}));
        let mut value = json!({"spec": {"size": null, "note": null, "plain": null, "rules": [{}],
            "labels": {"a": null}, "names": [null, "m"]}});
        drop_nulls(&mut value, &widget());
        default(&mut value, &widget());
        let want = json!({"spec": {"size": 3, "note": null, "rules": [{"name": "x"}], "labels": {}, "names": ["n", "m"]}});
        assert_eq!(value, want);
    }

    #[test]
    fn metadata_of_requests_must_be_right_and_of_stored_objects_is_made_so() {
        let bad = json!({"metadata": {"name": "a", "labels": {"x": 1}}});
        let mut value = bad.clone();
        let error = object(&mut value, &Schema::default(), false).expect_err("refused");
        assert_eq!(error.path, "metadata");
        assert!(error.detail.starts_with("json: cannot unmarshal number"), "{}", error.detail);
        let mut value = bad;
        object(&mut value, &Schema::default(), true).expect("coerced");
        assert_eq!(value, json!({"metadata": {"name": "a"}}));
    }

    #[test]
    fn defaults_are_pruned_too() {
        let mut schema =
            Schema::parse(&json!({"properties": {"a": {"type": "object", "default": {"b": 1, "c": 2},
            "properties": {"b": {"type": "integer"}}}}}));
        prune_defaults(&mut schema);
        assert_eq!(schema.properties["a"].default, Some(json!({"b": 1})));
    }
}
