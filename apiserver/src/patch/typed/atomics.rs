//! The units within a configuration, which can only be set as a whole.

use proto::schema::Type;
use serde_json::Value;

use super::{Atom, Node, associative};
use crate::patch::fields::Element;

/// The paths of all lists, maps and structs that are one unit, as far as they lie in declared fields.
pub fn atomics(value: &Value, ty: &Type) -> Vec<String> {
    let mut found = Vec::new();
    node(value, Node::Type(ty), &mut String::new(), &mut found);
    found
}

fn node(value: &Value, at: Node<'_>, path: &mut String, found: &mut Vec<String>) {
    match (at.atom(Some(value)), value) {
        (Atom::Map(entries), Value::Object(map)) => {
            if entries.atomic {
                found.push(path.clone());
            }
            for (name, value) in map.iter().filter(|(name, _)| entries.declares(name)) {
                if let Some(at) = entries.entry(name) {
                    below(&Element::Field(name.as_str().into()), value, at, path, found);
                }
            }
        }
        (Atom::List(list), Value::Array(items)) => {
            if associative(list).is_none() {
                found.push(path.clone());
            }
            let of = list.map_or(Node::Opaque, |list| Node::Shape(&list.items));
            for (index, item) in items.iter().enumerate() {
                below(&Element::Index(index as i64), item, of, path, found);
            }
        }
        _ => {}
    }
}

fn below(element: &Element, value: &Value, at: Node<'_>, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    path.push_str(&element.to_string());
    node(value, at, path, found);
    path.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::schema;
    use serde_json::json;

    #[test]
    fn units_are_found_in_declared_fields() {
        let ty = schema::lookup("apps", "v1", "Deployment").unwrap();
        for (value, expected) in [
            (json!({ "spec": { "replicas": 1 } }), vec![]),
            (json!({ "spec": { "selector": { "matchLabels": { "l": "v" } } } }), vec![".spec.selector"]),
            (json!({ "metadata": { "labels": { "a": "b" } } }), vec![]),
            (
                json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "args": ["x"] }] } } } }),
                vec![".spec.template.spec.containers[0].args"],
            ),
            (json!({ "metadata": { "finalizers": ["x"] } }), vec![]),
        ] {
            assert_eq!(atomics(&value, ty), expected, "{value}");
        }
    }
}
