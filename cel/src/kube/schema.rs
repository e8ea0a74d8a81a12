//! Structural schemas of custom resources, as far as expressions need them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

/// A schema.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// `type`
    pub ty: SchemaType,
    /// `format`, if it changes the type of values.
    pub format: Format,
    /// `nullable`
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `properties`; those of embedded resources have `apiVersion`, `kind` and `metadata`.
    pub properties: Option<BTreeMap<String, Arc<Schema>>>,
    /// `additionalProperties`, if they have a schema.
    pub additional: Option<Arc<Schema>>,
    /// `items`
    pub items: Option<Arc<Schema>>,
    /// `required`
    pub required: Vec<String>,
    /// Whether there is a `default`.
    pub has_default: bool,
    /// The length of the longest text of `enum`, if there is one.
    pub longest_enum: Option<i64>,
    /// `maxLength`
    pub max_length: Option<i64>,
    /// `maxItems`
    pub max_items: Option<i64>,
    /// `maxProperties`
    pub max_properties: Option<i64>,
    /// `x-kubernetes-list-type`
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`
    pub list_map_keys: Vec<String>,
    /// Whether `apiVersion`, `kind` and `metadata` are not the schema's own.
    pub added_meta: bool,
    /// Whether old and new values of the map's keys belong together: `x-kubernetes-map-type`.
    pub correlatable: bool,
}

/// The types of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaType {
    /// No type is given.
    #[default]
    None,
    /// `object`
    Object,
    /// `array`
    Array,
    /// `string`
    String,
    /// `number`
    Number,
    /// `integer`
    Integer,
    /// `boolean`
    Boolean,
}

impl SchemaType {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            SchemaType::None => "",
            SchemaType::Object => "object",
            SchemaType::Array => "array",
            SchemaType::String => "string",
            SchemaType::Number => "number",
            SchemaType::Integer => "integer",
            SchemaType::Boolean => "boolean",
        }
    }
}

/// Formats of texts that are values of other types in expressions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text.
    #[default]
    None,
    /// `byte`
    Byte,
    /// `duration`
    Duration,
    /// `date`
    Date,
    /// `date-time`
    DateTime,
}

/// How the elements of a list belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// By position.
    #[default]
    Atomic,
    /// By value.
    Set,
    /// By key.
    Map,
}

impl Schema {
    /// Reads a structural schema. With `root`, it is that of a whole resource, which has `apiVersion`, `kind` and
    /// `metadata`.
    pub fn new(json: &Json, root: bool) -> Schema {
        let text = |name: &str| json.get(name).and_then(Json::as_str).unwrap_or_default();
        let flag = |name: &str| json.get(name).and_then(Json::as_bool).unwrap_or_default();
        let number = |name: &str| json.get(name).and_then(Json::as_i64);
        let texts = |name: &str| -> Vec<String> {
            let items = json.get(name).and_then(Json::as_array);
            items.into_iter().flatten().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
        };
        let ty = match text("type") {
            "object" => SchemaType::Object,
            "array" => SchemaType::Array,
            "string" => SchemaType::String,
            "number" => SchemaType::Number,
            "integer" => SchemaType::Integer,
            "boolean" => SchemaType::Boolean,
            _ => SchemaType::None,
        };
        let format = match text("format") {
            "byte" => Format::Byte,
            "duration" => Format::Duration,
            "date" => Format::Date,
            "date-time" => Format::DateTime,
            _ => Format::None,
        };
        let embedded = flag("x-kubernetes-embedded-resource");
        let below = |json: &Json| Arc::new(Schema::new(json, false));
        let mut properties =
            json.get("properties").and_then(Json::as_object).filter(|properties| !properties.is_empty()).map(
                |properties| properties.iter().map(|(name, json)| (name.clone(), below(json))).collect(),
            );
        let added_meta = (embedded || root) && with_meta(properties.get_or_insert_default());
        let longest_enum = json.get("enum").and_then(Json::as_array).filter(|values| !values.is_empty());
        Schema {
            ty,
            format,
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded,
            properties,
            additional: json.get("additionalProperties").filter(|of| of.is_object()).map(below),
            items: json.get("items").filter(|of| of.is_object()).map(below),
            required: texts("required"),
            has_default: json.get("default").is_some(),
            longest_enum: longest_enum.map(|values| {
                let lengths = values.iter().filter_map(Json::as_str).map(|text| text.len() as i64);
                lengths.max().unwrap_or(0)
            }),
            max_length: number("maxLength"),
            max_items: number("maxItems"),
            max_properties: number("maxProperties"),
            list_type: match text("x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_map_keys: texts("x-kubernetes-list-map-keys"),
            added_meta,
            correlatable: matches!(text("x-kubernetes-map-type"), "" | "granular" | "atomic"),
        }
    }

    /// The schema of a property or of a value of a map.
    pub fn property(&self, name: &str) -> Option<&Arc<Schema>> {
        match &self.properties {
            Some(properties) => properties.get(name),
            None => self.additional.as_ref(),
        }
    }
}

/// Adds what every resource has, unless the schema says as much already; whether something was added.
fn with_meta(properties: &mut BTreeMap<String, Arc<Schema>>) -> bool {
    let text = || Arc::new(Schema { ty: SchemaType::String, correlatable: true, ..Schema::default() });
    let is = |name: &str, ty: SchemaType| properties.get(name).is_some_and(|schema| schema.ty == ty);
    let names = properties.get("metadata").and_then(|metadata| metadata.properties.as_ref());
    let has_names = names.is_some_and(|names| {
        ["name", "generateName"]
            .iter()
            .all(|name| names.get(*name).is_some_and(|of| of.ty == SchemaType::String))
    });
    if has_names
        && is("kind", SchemaType::String)
        && is("apiVersion", SchemaType::String)
        && is("metadata", SchemaType::Object)
    {
        return false;
    }
    let names = ["name", "generateName"].into_iter().map(|name| (name.to_owned(), text())).collect();
    let metadata =
        Schema { ty: SchemaType::Object, properties: Some(names), correlatable: true, ..Schema::default() };
    properties.insert("apiVersion".into(), text());
    properties.insert("kind".into(), text());
    properties.insert("metadata".into(), metadata.into());
    true
}
