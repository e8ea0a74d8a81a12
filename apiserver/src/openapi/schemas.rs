//! Schemas of models: a walk over the schema table.

use std::collections::{BTreeSet, HashMap, HashSet};

use proto::schema::{self, Field, Flags, List, ListKind, Map as MapOf, Shape, Type};
use serde_json::{Map, Value, json};

use super::paths::Row;
use super::{Dialect, docs, names};

const META: &str = "k8s.io/apimachinery/pkg/apis/meta/v1";
const EXTENSIONS: &str = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1";
const DEFINITION: &str = "CustomResourceDefinition";
const LIST: &str = "CustomResourceDefinitionList";

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

/// The schemas of models, and of those that they refer to in turn.
pub(super) fn reachable(
    mut wanted: Vec<String>,
    rows: &[Row],
    dialect: Dialect,
    put: &mut dyn FnMut(&str, Value),
) {
    let index = Index::new(rows, dialect);
    let mut done = HashSet::new();
    while let Some(model) = wanted.pop() {
        if done.contains(&model) {
            continue;
        }
        let schema = index.schema(&model).unwrap_or_else(|| json!({"type": "object"}));
        references(&schema, &mut wanted);
        put(&model, schema);
        done.insert(model);
    }
}

/// The models that a value refers to.
pub(super) fn references(value: &Value, found: &mut Vec<String>) {
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
    types: HashMap<String, &'static Type>,
    rows: &'a [Row],
    /// The groups and versions that have the kinds of every group.
    versions: BTreeSet<(&'a str, &'a str)>,
    dialect: Dialect,
}

impl<'a> Index<'a> {
    fn new(rows: &'a [Row], dialect: Dialect) -> Self {
        let mut types = HashMap::new();
        let mut versions = BTreeSet::from([("", "v1")]);
        for kind in schema::kinds() {
            known(kind.ty, &mut types);
            if dialect == Dialect::V2 && kind.group != "meta.k8s.io" {
                versions.insert((kind.group, kind.version));
            }
        }
        if dialect == Dialect::V3 {
            versions.extend(rows.iter().map(|row| (&*row.endpoint.group, &*row.endpoint.version)));
        }
        Index { types, rows, versions, dialect }
    }

    fn schema(&self, model: &str) -> Option<Value> {
        if let Some(ty) = self.types.get(model) {
            let mut schema = object(ty, self.dialect);
            let kinds = self.kinds(ty);
            if !kinds.is_empty() {
                schema["x-kubernetes-group-version-kind"] = Value::Array(kinds);
            }
            return Some(schema);
        }
        self.custom(model).or_else(|| {
            let mut schema = special(model, self.dialect)?;
            describe(&mut schema, docs::of_model(model));
            Some(schema)
        })
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
        let row = self.rows.iter().map(|row| &*row.endpoint).filter(|row| row.custom).find(|row| {
            let own = |kind: &str| model == names::custom(&row.group, &row.version, kind);
            own(&row.kind) || own(&row.list_kind)
        })?;
        let version = crate::custom::Version::of(row);
        let single = model == names::custom(&row.group, &row.version, &row.kind);
        let (kind, mut schema) = match single {
            true => (&row.kind, self.custom_object(version)),
            false => (&row.list_kind, self.custom_list(row)),
        };
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": row.group, "version": row.version, "kind": kind}]);
        let selectable = version.map_or(&[][..], |version| &version.selectable);
        if !selectable.is_empty() {
            schema["x-kubernetes-selectable-fields"] =
                selectable.iter().map(|path| json!({"fieldPath": path})).collect();
        }
        Some(schema)
    }

    fn custom_object(&self, version: Option<&crate::custom::Version>) -> Value {
        let open = || json!({"type": "object"});
        let Some(version) = version.filter(|version| version.has_schema) else { return open() };
        let mut schema = serde_json::to_value(&version.schema).unwrap_or_else(|_| open());
        if self.dialect == Dialect::V2 {
            // Clients of version 2 would refuse the fields they don't know.
            if version.preserves_all || preserves(&schema) {
                return open();
            }
            simplify(&mut schema);
        }
        self.embed(&mut schema);
        self.add_meta(&mut schema, "ObjectMeta");
        schema
    }

    fn custom_list(&self, row: &crate::registry::Endpoint) -> Value {
        let items = self.dialect.reference(&names::custom(&row.group, &row.version, &row.kind));
        let description = format!(
            "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
            row.resource
        );
        let mut schema = json!({
            "type": "object",
            "description": format!("{} is a list of {}", row.list_kind, row.kind),
            "required": ["items"],
            "properties": {"items": {"type": "array", "items": items, "description": description}},
        });
        self.add_meta(&mut schema, "ListMeta");
        schema
    }

    /// Adds what every object has.
    fn add_meta(&self, schema: &mut Value, metadata: &str) {
        let list = metadata == "ListMeta";
        let of = self.types.get(&names::model(EXTENSIONS, if list { LIST } else { DEFINITION }));
        let described = |field: &str| of.map_or_else(String::new, |ty| docs::of_field(ty, field));
        for field in ["apiVersion", "kind"] {
            let mut property = json!({"type": "string"});
            describe(&mut property, described(field));
            schema["properties"][field] = property;
        }
        let mut reference = self.dialect.reference(&names::model(META, metadata));
        describe(&mut reference, described("metadata"));
        schema["properties"]["metadata"] = self.dialect.wrapped(reference);
    }

    /// Adds what every object has to the resources embedded in a custom one.
    fn embed(&self, schema: &mut Value) {
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.values_mut().for_each(|property| self.embed(property));
        }
        for name in ["items", "additionalProperties"] {
            schema.get_mut(name).into_iter().for_each(|below| self.embed(below));
        }
        let embedded = schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
        if !embedded || (self.dialect == Dialect::V2 && preserves(schema)) {
            return;
        }
        self.add_meta(schema, "ObjectMeta");
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        for field in ["kind", "apiVersion"] {
            if !required.iter().any(|own| own == field) {
                required.push(Value::from(field));
            }
        }
        schema["required"] = Value::Array(required);
    }
}

fn preserves(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

/// Takes what version 2 or its clients can't take out of a custom resource's schema.
fn simplify(schema: &mut Value) {
    let preserves = preserves(schema);
    let Value::Object(map) = schema else { return };
    for name in ["oneOf", "anyOf", "allOf", "not", "default"] {
        map.remove(name);
    }
    let nullable = map.remove("nullable") == Some(Value::Bool(true));
    if nullable || preserves {
        // Such a value may be anything.
        map.remove("items");
        map.remove("properties");
    }
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if nullable || (kind == "array" && !map.contains_key("items")) || (kind == "object" && preserves) {
        map.remove("type");
    }
    let is_nullable = |schema: &Value| schema.get("nullable") == Some(&Value::Bool(true));
    if map.get("additionalProperties").is_some_and(is_nullable) {
        map.remove("required");
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        let nullable: Vec<String> =
            properties.iter().filter(|(_, below)| is_nullable(below)).map(|(name, _)| name.clone()).collect();
        properties.values_mut().for_each(simplify);
        if let Some(Value::Array(required)) = map.get_mut("required") {
            required.retain(|name| !nullable.iter().any(|own| name == own));
            if required.is_empty() {
                map.remove("required");
            }
        }
    }
    for name in ["items", "additionalProperties"] {
        map.get_mut(name).into_iter().for_each(simplify);
    }
}

fn known(ty: &'static Type, types: &mut HashMap<String, &'static Type>) {
    if types.insert(names::of_type(ty), ty).is_some() {
        return;
    }
    for field in ty.fields.iter() {
        known_below(&field.shape, types);
    }
}

fn known_below(shape: &'static Shape, types: &mut HashMap<String, &'static Type>) {
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
        let description = docs::of_field(ty, &field.name);
        properties.insert(field.name.to_string(), property(field, description, dialect));
        if field.flags.has(Flags::REQUIRED) {
            required.push(Value::from(field.name.as_ref()));
        }
    });
    let mut schema = Map::new();
    let description = docs::of_model(&names::of_type(ty));
    if !description.is_empty() {
        schema.insert("description".to_owned(), Value::from(description));
    }
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

fn property(field: &Field, description: String, dialect: Dialect) -> Value {
    let mut schema = shape(&field.shape, dialect);
    describe(&mut schema, description);
    if dialect == Dialect::V3
        && let Some(default) = default(field)
    {
        schema["default"] = default;
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
    dialect.wrapped(schema)
}

/// Adds a description if there is one.
fn describe(schema: &mut Value, description: String) {
    if !description.is_empty() {
        schema["description"] = Value::from(description);
    }
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
        "Info" => version_info(),
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

/// The version of a server, which no kind has.
fn version_info() -> Value {
    let always = [
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    let sometimes = ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
    let always_shown =
        always.iter().map(|name| ((*name).to_owned(), json!({"type": "string", "default": ""})));
    let sometimes_shown = sometimes.iter().map(|name| ((*name).to_owned(), json!({"type": "string"})));
    let properties: Map<String, Value> = always_shown.chain(sometimes_shown).collect();
    json!({"type": "object", "required": always, "properties": properties})
}
