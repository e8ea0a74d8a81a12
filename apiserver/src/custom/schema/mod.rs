//! The JSON schemas of custom resources, as definitions carry them (JSONSchemaProps of apiextensions.k8s.io/v1).
//!
//! A schema is parsed once, when its definition is published; validation, pruning, defaulting and OpenAPI read the struct.

mod formats;
pub(crate) mod pattern;
pub(super) mod structural;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use formats::{Format, is_supported as format_is_supported};

fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One schema. Absent fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Schema {
    #[serde(skip_serializing_if = "unset")]
    pub(crate) id: String,
    #[serde(rename = "$schema", skip_serializing_if = "unset")]
    pub(crate) schema_url: String,
    #[serde(rename = "$ref", skip_serializing_if = "unset")]
    pub(crate) reference: Option<String>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) description: String,
    #[serde(rename = "type", skip_serializing_if = "unset")]
    pub(crate) ty: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) format: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) title: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) default: Option<Value>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) maximum: Option<Number>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) exclusive_maximum: bool,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) minimum: Option<Number>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) exclusive_minimum: bool,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) max_length: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) min_length: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) pattern: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) max_items: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) min_items: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) unique_items: bool,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) multiple_of: Option<Number>,
    #[serde(rename = "enum", skip_serializing_if = "unset")]
    pub(crate) values: Vec<Value>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) max_properties: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) min_properties: Option<i64>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) required: Vec<String>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) items: Option<Items>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) all_of: Vec<Schema>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) one_of: Vec<Schema>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) any_of: Vec<Schema>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) not: Option<Box<Schema>>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) properties: BTreeMap<String, Schema>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) additional_properties: Option<SchemaOrBool>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) pattern_properties: BTreeMap<String, Schema>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) dependencies: Option<BTreeMap<String, SchemaOrNames>>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) additional_items: Option<SchemaOrBool>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) definitions: BTreeMap<String, Schema>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) external_docs: Option<Value>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) example: Option<Value>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) nullable: bool,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields", skip_serializing_if = "unset")]
    pub(crate) preserve_unknown_fields: Option<bool>,
    #[serde(rename = "x-kubernetes-embedded-resource", skip_serializing_if = "unset")]
    pub(crate) embedded_resource: bool,
    #[serde(rename = "x-kubernetes-int-or-string", skip_serializing_if = "unset")]
    pub(crate) int_or_string: bool,
    #[serde(rename = "x-kubernetes-list-map-keys", skip_serializing_if = "unset")]
    pub(crate) list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-list-type", skip_serializing_if = "unset")]
    pub(crate) list_type: Option<String>,
    #[serde(rename = "x-kubernetes-map-type", skip_serializing_if = "unset")]
    pub(crate) map_type: Option<String>,
    #[serde(rename = "x-kubernetes-validations", skip_serializing_if = "unset")]
    pub(crate) validations: Vec<Rule>,
}

/// A number of a schema: integers keep their form when they are printed.
pub(crate) type Number = serde_json::Number;

/// A validation rule in CEL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) rule: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) message: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) message_expression: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) field_path: String,
    #[serde(skip_serializing_if = "unset")]
    pub(crate) optional_old_self: Option<bool>,
}

/// The schema of items: one for all, or (not supported) one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Items {
    Each(Vec<Schema>),
    All(Box<Schema>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SchemaOrBool {
    Bool(bool),
    Schema(Box<Schema>),
}

impl SchemaOrBool {
    /// The schema, if it is one.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        match self {
            SchemaOrBool::Schema(schema) => Some(schema),
            SchemaOrBool::Bool(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SchemaOrNames {
    Names(Vec<String>),
    Schema(Box<Schema>),
}

impl Schema {
    /// Parses a schema in its canonical form; what is none of it reads as empty.
    pub(crate) fn parse(value: &Value) -> Schema {
        Schema::deserialize(value).unwrap_or_else(|error| {
            tracing::error!(%error, "a JSON schema can't be read");
            Schema::default()
        })
    }

    /// The schema of all items.
    pub(crate) fn item(&self) -> Option<&Schema> {
        match &self.items {
            Some(Items::All(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema of values that have no property of their own.
    pub(crate) fn additional(&self) -> Option<&Schema> {
        self.additional_properties.as_ref()?.schema()
    }

    /// Whether fields that the schema doesn't list are kept.
    pub(crate) fn preserves(&self) -> bool {
        self.preserve_unknown_fields == Some(true)
    }

    /// How lists merge: `atomic` by default.
    pub(crate) fn list_type(&self) -> &str {
        self.list_type.as_deref().unwrap_or("atomic")
    }

    /// Whether the predicate holds for this schema or one in it.
    pub(crate) fn any(&self, test: &mut dyn FnMut(&Schema) -> bool) -> bool {
        if test(self) {
            return true;
        }
        let mut below = |schema: &Schema| schema.any(test);
        let items = match &self.items {
            Some(Items::All(schema)) => below(schema),
            Some(Items::Each(list)) => list.iter().any(&mut below),
            None => false,
        };
        let or_bool = |schema: &Option<SchemaOrBool>, below: &mut dyn FnMut(&Schema) -> bool| {
            schema.as_ref().and_then(SchemaOrBool::schema).is_some_and(below)
        };
        let dependencies = self.dependencies.iter().flat_map(BTreeMap::values);
        items
            || self.all_of.iter().any(&mut below)
            || self.any_of.iter().any(&mut below)
            || self.one_of.iter().any(&mut below)
            || self.not.as_deref().is_some_and(&mut below)
            || self.properties.values().any(&mut below)
            || or_bool(&self.additional_properties, &mut below)
            || self.pattern_properties.values().any(&mut below)
            || or_bool(&self.additional_items, &mut below)
            || self.definitions.values().any(&mut below)
            || dependencies
                .filter_map(|d| match d {
                    SchemaOrNames::Schema(schema) => Some(&**schema),
                    SchemaOrNames::Names(_) => None,
                })
                .any(&mut below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemas_print_as_they_were_read() {
        let value = json!({
            "type": "object", "required": ["a"], "x-kubernetes-validations": [{"rule": "true"}],
            "properties": {
                "a": {"type": "integer", "minimum": 1, "maximum": 2.5, "default": 1, "enum": [1, null]},
                "b": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "c": {"type": "object", "additionalProperties": true},
                "d": {"x-kubernetes-preserve-unknown-fields": true, "anyOf": [{"not": {"format": "date"}}]},
            },
        });
        let schema = Schema::parse(&value);
        assert_eq!(serde_json::to_value(&schema).expect("prints"), value);
        assert!(schema.any(&mut |s| s.format == "date"));
        assert!(!schema.any(&mut |s| s.unique_items));
    }
}
