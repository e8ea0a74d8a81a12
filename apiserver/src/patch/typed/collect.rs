//! The set of all fields of a value.

use std::collections::BTreeMap;

use proto::schema::{List, Type};
use serde_json::Value;

use super::{Atom, Entries, Node, associative, item_element};
use crate::patch::fields::{Element, Path, Set};

/// The fields that a value sets.
pub fn collect(value: &Value, ty: &Type) -> Set {
    let mut walk = Walk { path: Vec::new(), set: Set::default() };
    walk.node(value, Node::Type(ty));
    walk.set
}

struct Walk {
    path: Path,
    set: Set,
}

impl Walk {
    fn node(&mut self, value: &Value, node: Node<'_>) {
        match node.atom(Some(value)) {
            Atom::Scalar(_) => self.set.insert(&self.path),
            Atom::List(list) => match (associative(list), value) {
                (None, _) => self.set.insert(&self.path),
                (Some(list), Value::Array(items)) => self.list(items, list),
                _ => {}
            },
            Atom::Map(entries) if entries.atomic => self.set.insert(&self.path),
            Atom::Map(entries) => self.map(value, &entries),
        }
    }

    fn list(&mut self, items: &[Value], list: &List) {
        let elements: Vec<Option<Element>> = items.iter().map(|item| item_element(list, item).ok()).collect();
        let mut counts: BTreeMap<&Element, usize> = BTreeMap::new();
        for element in elements.iter().flatten() {
            *counts.entry(element).or_default() += 1;
        }
        for (item, element) in items.iter().zip(&elements) {
            let Some(element) = element else { continue };
            // Items with the same key have no fields of their own, only a common entry.
            let unique = counts.get(element) == Some(&1);
            self.path.push(element.clone());
            if unique {
                self.node(item, Node::Shape(&list.items));
            }
            self.set.insert(&self.path);
            self.path.pop();
        }
    }

    fn map(&mut self, value: &Value, entries: &Entries<'_>) {
        let Value::Object(map) = value else { return };
        for (name, value) in map {
            self.path.push(Element::Field(name.as_str().into()));
            if let Some(node) = entries.entry(name) {
                self.node(value, node);
            }
            let hollow = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
            if hollow || !entries.declares(name) {
                self.set.insert(&self.path);
            }
            self.path.pop();
        }
    }
}
