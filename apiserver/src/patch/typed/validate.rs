//! Checking that a configuration can be merged at all: types, known fields, no two items with one key.

use std::collections::BTreeSet;

use proto::go;
use proto::schema::{List, Type};
use serde_json::Value;

use super::{Atom, Entries, Node, Scalars, associative, item_element};
use crate::patch::fields::Element;

/// Checks a configuration. The error is upstream's text.
pub fn validate(value: &Value, ty: &Type) -> Result<(), String> {
    let mut walk = Walk { path: String::new(), errors: Vec::new() };
    walk.node(value, Node::Type(ty));
    match walk.errors.as_slice() {
        [] => Ok(()),
        [error] => Err(error.clone()),
        errors => Err(format!("errors:\n  {}", errors.join("\n  "))),
    }
}

struct Walk {
    path: String,
    errors: Vec<String>,
}

impl Walk {
    fn node(&mut self, value: &Value, node: Node<'_>) {
        match (node.atom(Some(value)), value) {
            (_, Value::Null) => {}
            (Atom::Scalar(scalars), value) => self.scalar(scalars, value),
            (Atom::List(Some(list)), Value::Array(items)) => self.list(items, list),
            (Atom::List(None), Value::Array(_)) => {}
            (Atom::List(_), other) => self.error(&format!("expected list, got &{{{}}}", go::text(other))),
            (Atom::Map(entries), Value::Object(map)) => self.map(map, &entries),
            (Atom::Map(_), other) => self.error(&format!("expected map, got &{{{}}}", go::text(other))),
        }
    }

    fn scalar(&mut self, scalars: Scalars, value: &Value) {
        let got = go::type_of(value);
        match (scalars, value) {
            (Scalars::Number, Value::Number(_))
            | (Scalars::String, Value::String(_))
            | (Scalars::Bool, Value::Bool(_)) => {}
            (Scalars::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => {}
            (Scalars::Number, _) => self.error(&format!("expected numeric (int or float), got {got}")),
            (Scalars::String, other) => {
                self.error(&format!(
                    "expected string, got &value.valueUnstructured{{Value:{}}}",
                    go::syntax(other)
                ));
            }
            (Scalars::Bool, other) => self.error(&format!("expected boolean, got &{{{}}}", go::text(other))),
            (Scalars::Any, other) => {
                self.error(&format!("expected any scalar, got &{{{}}}", go::text(other)))
            }
        }
    }

    fn list(&mut self, items: &[Value], list: &List) {
        let mut seen: BTreeSet<Element> = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let element = match associative(Some(list)) {
                None => Element::Index(index as i64),
                Some(list) => match item_element(list, item) {
                    Ok(element) => {
                        if !seen.insert(element.clone()) {
                            self.error(&format!("duplicate entries for key {element}"));
                        }
                        element
                    }
                    Err(error) => return self.error(&format!("element {index}: {error}")),
                },
            };
            self.below(&element, |walk| walk.node(item, Node::Shape(&list.items)));
        }
    }

    fn map(&mut self, map: &serde_json::Map<String, Value>, entries: &Entries<'_>) {
        for (name, value) in map {
            let element = Element::Field(name.as_str().into());
            match entries.entry(name) {
                Some(node) => self.below(&element, |walk| walk.node(value, node)),
                None => return self.below(&element, |walk| walk.error("field not declared in schema")),
            }
        }
    }

    fn below(&mut self, element: &Element, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&element.to_string());
        visit(self);
        self.path.truncate(length);
    }

    fn error(&mut self, text: &str) {
        self.errors.push(if self.path.is_empty() {
            text.to_owned()
        } else {
            format!("{}: {text}", self.path)
        });
    }
}
