//! Removing a set of fields from a value.

use proto::schema::Type;
use serde_json::{Map, Value};

use super::{Atom, Node, associative, item_element};
use crate::patch::fields::{Element, Set};

/// The value without the fields of a set. Units are never taken apart: one that has fields to be removed goes.
pub fn remove(value: &Value, fields: &Set, ty: &Type) -> Value {
    match node(value, fields, Node::Type(ty)) {
        Value::Null => Value::Object(Map::new()),
        value => value,
    }
}

fn node(value: &Value, fields: &Set, at: Node<'_>) -> Value {
    match (at.atom(Some(value)), value) {
        (Atom::Scalar(_), _) => value.clone(),
        (Atom::List(list), Value::Array(items)) => {
            let Some(list) = associative(list) else { return Value::Null };
            let mut kept = Vec::new();
            let mut touched = false;
            for item in items {
                let Ok(element) = item_element(list, item) else {
                    kept.push(item.clone());
                    continue;
                };
                if fields.has(std::slice::from_ref(&element)) {
                    continue;
                }
                kept.push(below(item, &element, fields, Node::Shape(&list.items), &mut touched));
            }
            if kept.is_empty() && !touched { Value::Null } else { Value::Array(kept) }
        }
        (Atom::Map(entries), Value::Object(map)) => {
            if entries.atomic || map.is_empty() {
                return Value::Null;
            }
            let mut kept = Map::new();
            let mut touched = false;
            for (name, value) in map {
                let element = Element::Field(name.as_str().into());
                if fields.has(std::slice::from_ref(&element)) {
                    continue;
                }
                let value = match entries.entry(name) {
                    Some(at) => below(value, &element, fields, at, &mut touched),
                    None => value.clone(),
                };
                kept.insert(name.clone(), value);
            }
            if kept.is_empty() && !touched { Value::Null } else { Value::Object(kept) }
        }
        _ => Value::Null,
    }
}

/// Removes fields below an element. A container that loses all it holds stays, empty.
fn below(value: &Value, element: &Element, fields: &Set, at: Node<'_>, touched: &mut bool) -> Value {
    let Some(subset) = fields.below(element).filter(|subset| !subset.is_empty()) else {
        return value.clone();
    };
    *touched = true;
    match (node(value, subset, at), value) {
        (Value::Null, Value::Object(_)) => Value::Object(Map::new()),
        (Value::Null, Value::Array(_)) => Value::Array(Vec::new()),
        (rest, _) => rest,
    }
}
