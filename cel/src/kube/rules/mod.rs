//! Rules of custom resources (`x-kubernetes-validations`).
//!
//! [`check`] finds what is wrong with the rules of a definition: rules that don't compile, and those that may cost too
//! much. [`Rules`] are the compiled rules of one version, against which objects are validated.

mod compile;
mod correlate;
mod definition;
mod field_path;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::field::{Error, ErrorType, Errors, Path};
use serde_json::Value as Json;

use self::compile::{Compiled, compile};
use super::escape::escape;
use super::schema::Schema;
use super::types::Declared;
use crate::cost::RUNTIME_BUDGET;

pub use definition::check;

const KEY: &str = "x-kubernetes-validations";

/// The compiled rules of one version of a custom resource.
pub struct Rules(Node);

/// What a validation found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub errors: Errors,
    /// What is wrong with values that an update left as they were.
    pub warnings: Vec<String>,
}

/// The rules of a schema and of those below it.
struct Node {
    schema: Arc<Schema>,
    rules: Vec<Compiled>,
    /// Whether values of the schema have no type in expressions.
    untyped: bool,
    properties: BTreeMap<String, Node>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
    all_of: Vec<Node>,
}

impl Rules {
    /// Compiles the rules of a version's schema; `None` if it has none.
    pub fn new(schema: &Json) -> Option<Rules> {
        if !has_rules(schema) {
            return None;
        }
        let typed = Arc::new(Schema::new(schema, true));
        let declared = Declared::new(&typed).map(Arc::new);
        Node::new(schema, &typed, declared.as_ref()).map(Rules)
    }

    /// Validates an object, against the old one if it is an update. Together the rules may cost as much as `budget`.
    pub fn validate(&self, path: &Path, object: &Json, old: Option<&Json>, budget: i64) -> Findings {
        validate::validate(&self.0, path, object, old, budget)
    }

    /// Validates an object that has been validated against the schema, with these errors: some leave too little
    /// certain for rules to be run.
    pub fn validate_after(&self, errors: &Errors, object: &Json, old: Option<&Json>) -> Findings {
        let blocking = |error: &Error| {
            use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        if !errors.iter().any(blocking) {
            return self.validate(&Path::default(), object, old, RUNTIME_BUDGET);
        }
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        Findings { errors: vec![Error::invalid(&Path::default(), Json::Null, detail)], warnings: Vec::new() }
    }
}

fn has_rules(schema: &Json) -> bool {
    let below = |name: &str| schema.get(name).is_some_and(has_rules);
    rules_of(schema).next().is_some()
        || below("items")
        || below("additionalProperties")
        || children(schema, "properties").any(|(_, schema)| has_rules(schema))
}

fn rules_of(schema: &Json) -> impl Iterator<Item = &Json> {
    schema.get(KEY).and_then(Json::as_array).into_iter().flatten()
}

fn children<'a>(schema: &'a Json, name: &str) -> impl Iterator<Item = (&'a String, &'a Json)> {
    schema.get(name).and_then(Json::as_object).into_iter().flatten()
}

impl Node {
    /// The rules in `json`, which are about values of `schema`. They differ only within `allOf`.
    fn new(json: &Json, schema: &Arc<Schema>, declared: Option<&Arc<Declared>>) -> Option<Node> {
        let has_own = rules_of(json).next().is_some();
        let rules: Vec<Compiled> = match declared {
            Some(declared) => compile(rules_of(json), schema, declared),
            None => Vec::new(),
        };
        let element = declared.and_then(|declared| declared.element());
        let below = |name: &str, schema: &Option<Arc<Schema>>| {
            let json = json.get(name).filter(|json| json.is_object())?;
            Node::new(json, schema.as_ref()?, element).map(Box::new)
        };
        let mut properties = BTreeMap::new();
        for (name, json) in children(json, "properties") {
            let Some(property) = schema.properties.as_ref().and_then(|all| all.get(name)) else { continue };
            let own;
            let declared = match escape(name) {
                Some(identifier) => declared.and_then(|declared| declared.field(&identifier)),
                None => {
                    own = Declared::new(property).map(Arc::new);
                    own.as_ref()
                }
            };
            if declared.is_some()
                && let Some(node) = Node::new(json, property, declared)
            {
                properties.insert(name.clone(), node);
            }
        }
        let all_of = json.get("allOf").and_then(Json::as_array).into_iter().flatten();
        let node = Node {
            schema: Arc::clone(schema),
            untyped: has_own && declared.is_none(),
            rules,
            properties,
            additional: below("additionalProperties", &schema.additional),
            items: below("items", &schema.items),
            all_of: all_of.filter_map(|json| Node::new(json, schema, declared)).collect(),
        };
        let is_empty = node.rules.is_empty()
            && !node.untyped
            && node.properties.is_empty()
            && node.additional.is_none()
            && node.items.is_none()
            && node.all_of.is_empty();
        (!is_empty).then_some(node)
    }
}
