//! Schemas of models: a walk over the schema table.

use proto::schema::{self, Field, Flags, List, ListKind, Map as MapOf, Shape, Type};
use serde_json::{Map, Value, json};

use super::{Dialect, names};
use crate::registry::Endpoint;

const META: &str = "k8s.io/apimachinery/pkg/apis/meta/v1";
const EXTENSIONS: &str = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1";

/// The kinds that belong to every group and version.
const EVERYWHERE: &[&str] = &[
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "WatchEvent",
];

/// The schemas that paths refer to, and those that these refer to in turn.
pub(super) fn reachable(
    paths: &Map<String, Value>,
    rows: &[std::sync::Arc<Endpoint>],
    dialect: Dialect,
) -> Map<String, Value> {
    let mut index = Index::new(rows, dialect);
    let mut schemas = Map::new();
    let mut wanted = Vec::new();
    paths.values().for_each(|path| references(path, &mut wanted));
    while let Some(model) = wanted.pop() {
        if schemas.contains_key(&model) {
            continue;
        }
        let schema = index.schema(&model).unwrap_or_else(|| json!({"type": "object"}));
        references(&schema, &mut wanted);
        schemas.insert(model, schema);
    }
    schemas
}

/// The models that a value refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if name == "$ref" => {
                        found.extend(text.rsplit('/').next().map(str::to_owned));
                    }
                    value => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Finds models by name.
struct Index<'a> {
    types: std::collections::HashMap<String, &'static Type>,
    rows: &'a [std::sync::Arc<Endpoint>],
    /// The groups and versions of the document.
    versions: Vec<(&'a str, &'a str)>,
    dialect: Dialect,
}

impl<'a> Index<'a> {
    fn new(rows: &'a [std::sync::Arc<Endpoint>], dialect: Dialect) -> Self {
        let mut versions: Vec<(&str, &str)> =
            rows.iter().map(|row| (row.group.as_ref(), row.version.as_ref())).collect();
        versions.sort_unstable();
        versions.dedup();
        let mut types = std::collections::HashMap::new();
        for kind in schema::kinds() {
            known(kind.ty, &mut types);
        }
        Index { types, rows, versions, dialect }
    }

    fn schema(&mut self, model: &str) -> Option<Value> {
        if let Some(ty) = self.types.get(model) {
            let mut schema = object(ty, self.dialect);
            let kinds = self.kinds(ty);
            if !kinds.is_empty() {
                schema["x-kubernetes-group-version-kind"] = Value::Array(kinds);
            }
            return Some(schema);
        }
        self.custom(model).or_else(|| special(model, self.dialect))
    }

    /// The groups, versions and kinds that a type is registered as.
    fn kinds(&self, ty: &Type) -> Vec<Value> {
        if ty.package == META && EVERYWHERE.contains(&ty.name.as_ref()) {
            let kind = |(group, version): &(&str, &str)| json!({"group": group, "version": version, "kind": ty.name});
            return self.versions.iter().map(kind).collect();
        }
        let of =
            schema::kinds().iter().filter(|kind| std::ptr::eq(kind.ty, ty) && kind.group != "meta.k8s.io");
        of.map(|kind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind})).collect()
    }

    fn custom(&self, model: &str) -> Option<Value> {
        let metadata = |name: &str| {
            let reference = self.dialect.reference(&names::model(META, name));
            if self.dialect == Dialect::V3 { json!({"allOf": [reference]}) } else { reference }
        };
        for row in self.rows.iter().filter(|row| row.custom) {
            let kind = |kind: &str| json!([{"group": row.group, "version": row.version, "kind": kind}]);
            if model == names::custom(&row.group, &row.version, &row.kind) {
                let mut schema =
                    row.published.as_deref().cloned().unwrap_or_else(|| json!({"type": "object"}));
                let closed = schema.get("properties").is_some();
                if let (Dialect::V2, true) = (self.dialect, closed) {
                    simplify(&mut schema);
                }
                if closed {
                    schema["properties"]["apiVersion"] = json!({"type": "string"});
                    schema["properties"]["kind"] = json!({"type": "string"});
                    schema["properties"]["metadata"] = metadata("ObjectMeta");
                }
                schema["x-kubernetes-group-version-kind"] = kind(&row.kind);
                return Some(schema);
            }
            if model == names::custom(&row.group, &row.version, &row.list_kind) {
                let items = self.dialect.reference(&names::custom(&row.group, &row.version, &row.kind));
                return Some(json!({
                    "type": "object",
                    "required": ["items"],
                    "properties": {
                        "apiVersion": {"type": "string"}, "kind": {"type": "string"},
                        "items": {"type": "array", "items": items}, "metadata": metadata("ListMeta"),
                    },
                    "x-kubernetes-group-version-kind": kind(&row.list_kind),
                }));
            }
        }
        None
    }
}

/// Takes what version 2 can't express out of a custom resource's schema.
fn simplify(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if map.remove("nullable") == Some(Value::Bool(true)) {
        // Version 2 has no nulls: such a value may be anything.
        for name in ["type", "items", "properties", "additionalProperties"] {
            map.remove(name);
        }
    }
    for name in ["oneOf", "anyOf", "allOf", "not", "default"] {
        map.remove(name);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    for name in ["items", "additionalProperties"] {
        map.get_mut(name).into_iter().for_each(simplify);
    }
}

fn known(ty: &'static Type, types: &mut std::collections::HashMap<String, &'static Type>) {
    if types.insert(names::of_type(ty), ty).is_some() {
        return;
    }
    for field in ty.fields.iter() {
        known_below(&field.shape, types);
    }
}

fn known_below(shape: &'static Shape, types: &mut std::collections::HashMap<String, &'static Type>) {
    match shape {
        Shape::Struct(schema::Ref::Static(ty))
        | Shape::SchemaOrBool(schema::Ref::Static(ty))
        | Shape::SchemaOrArray(schema::Ref::Static(ty))
        | Shape::SchemaOrStrings(schema::Ref::Static(ty)) => known(ty, types),
        Shape::List(schema::Ref::Static(list)) => known_below(&list.items, types),
        Shape::Map(schema::Ref::Static(map)) => known_below(&map.values, types),
        _ => {}
    }
}

/// The schema of a struct.
fn object(ty: &Type, dialect: Dialect) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    ty.each_field(&mut |field| {
        properties.insert(field.name.to_string(), property(field, dialect));
        if field.flags.has(Flags::REQUIRED) {
            required.push(Value::from(field.name.as_ref()));
        }
    });
    let mut schema = Map::new();
    schema.insert("type".to_owned(), Value::from("object"));
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), Value::Object(properties));
    }
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::Array(required));
    }
    if ty.atomic {
        schema.insert("x-kubernetes-map-type".to_owned(), Value::from("atomic"));
    }
    Value::Object(schema)
}

fn property(field: &Field, dialect: Dialect) -> Value {
    let mut schema = shape(&field.shape, dialect);
    if dialect == Dialect::V3 {
        // A reference stands alone in version 3.
        if schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        if let Some(default) = default(field) {
            schema["default"] = default;
        }
    }
    if !field.values().is_empty() {
        schema["enum"] = field.values().iter().map(|value| Value::from(value.as_ref())).collect();
    }
    if field.flags.has(Flags::ATOMIC) {
        schema["x-kubernetes-map-type"] = Value::from("atomic");
    }
    if field.flags.has(Flags::GRANULAR) {
        schema["x-kubernetes-map-type"] = Value::from("granular");
    }
    let strategies = [
        (Flags::PATCH_MERGE, "merge"),
        (Flags::PATCH_REPLACE, "replace"),
        (Flags::PATCH_RETAIN_KEYS, "retainKeys"),
    ];
    let strategy: Vec<&str> =
        strategies.iter().filter(|(flag, _)| field.flags.has(*flag)).map(|(_, name)| *name).collect();
    if !strategy.is_empty() {
        schema["x-kubernetes-patch-strategy"] = Value::from(strategy.join(","));
    }
    if let Some(key) = field.merge_key() {
        schema["x-kubernetes-patch-merge-key"] = Value::from(key);
    }
    schema
}

/// The default that version 3 shows: the field's own, or the zero value of one that is always printed.
fn default(field: &Field) -> Option<Value> {
    if let Some(default) = field.default() {
        return Some(default);
    }
    if field.pointer() {
        return None;
    }
    let printed = !field.flags.has(Flags::OMITEMPTY);
    match &field.shape {
        Shape::Struct(_) => Some(json!({})),
        Shape::String if printed => Some(Value::from("")),
        Shape::Bool if printed => Some(Value::Bool(false)),
        Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64 | Shape::Float64 if printed => {
            Some(Value::from(0))
        }
        _ => None,
    }
}

fn shape(shape_of: &Shape, dialect: Dialect) -> Value {
    let meta = |name| dialect.reference(&names::model(META, name));
    let extension = |name| dialect.reference(&names::model(EXTENSIONS, name));
    let machinery =
        |path: &str, name| dialect.reference(&names::model(&format!("k8s.io/apimachinery/pkg/{path}"), name));
    match shape_of {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 | Shape::Uint64 => json!({"type": "integer", "format": "int64"}),
        Shape::Uint32 => json!({"type": "integer", "format": "int64"}),
        Shape::Float64 => json!({"type": "number", "format": "double"}),
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Time => meta("Time"),
        Shape::MicroTime => meta("MicroTime"),
        Shape::Duration => meta("Duration"),
        Shape::FieldsV1 => meta("FieldsV1"),
        Shape::Quantity => machinery("api/resource", "Quantity"),
        Shape::IntOrString => machinery("util/intstr", "IntOrString"),
        Shape::RawExtension => machinery("runtime", "RawExtension"),
        Shape::Json => extension("JSON"),
        Shape::SchemaOrBool(_) => extension("JSONSchemaPropsOrBool"),
        Shape::SchemaOrArray(_) => extension("JSONSchemaPropsOrArray"),
        Shape::SchemaOrStrings(_) => extension("JSONSchemaPropsOrStringArray"),
        Shape::Any => json!({"type": "object"}),
        Shape::Struct(ty) => dialect.reference(&names::of_type(ty)),
        Shape::List(list) => list_schema(list, dialect),
        Shape::Map(map) => map_schema(map, dialect),
    }
}

fn list_schema(list: &List, dialect: Dialect) -> Value {
    let mut items = shape(&list.items, dialect);
    if !list.item_values.is_empty() {
        items["enum"] = list.item_values.iter().map(|value| Value::from(value.as_ref())).collect();
    }
    let mut schema = json!({"type": "array", "items": items});
    let kind = match list.kind {
        ListKind::Unset => return schema,
        ListKind::Atomic => "atomic",
        ListKind::Set => "set",
        ListKind::Map => "map",
    };
    schema["x-kubernetes-list-type"] = Value::from(kind);
    if !list.keys.is_empty() {
        schema["x-kubernetes-list-map-keys"] =
            list.keys.iter().map(|key| Value::from(key.as_ref())).collect();
    }
    schema
}

fn map_schema(map: &MapOf, dialect: Dialect) -> Value {
    json!({"type": "object", "additionalProperties": shape(&map.values, dialect)})
}

/// The models that aren't structs.
fn special(model: &str, dialect: Dialect) -> Option<Value> {
    Some(match model.rsplit('.').next()? {
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string"}),
        "Patch" | "FieldsV1" | "RawExtension" => json!({"type": "object"}),
        "Quantity" if dialect == Dialect::V3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "Quantity" => json!({"type": "string"}),
        "IntOrString" if dialect == Dialect::V3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        "IntOrString" => json!({"type": "string", "format": "int-or-string"}),
        "JSON" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray" => {
            json!({})
        }
        _ => return None,
    })
}
