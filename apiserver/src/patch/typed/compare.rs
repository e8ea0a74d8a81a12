//! What differs between two values.

use std::collections::{BTreeMap, BTreeSet};

use proto::schema::{List, Type};
use serde_json::Value;

use super::{Atom, Entries, Node, associative, entry, equal, is_empty, item_element, items, keys};
use crate::patch::fields::{Element, Path, Set};

/// The differences from one value to another. No field is in two of the sets.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Fields that only the first has.
    pub removed: Set,
    /// Fields that both have with different values.
    pub modified: Set,
    /// Fields that only the second has.
    pub added: Set,
}

impl Comparison {
    /// Leaves fields, and all below them, out of the comparison.
    pub fn exclude(self, fields: &Set) -> Comparison {
        Comparison {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    /// The fields that the second value sets anew.
    pub fn changed(&self) -> Set {
        self.modified.union(&self.added)
    }

    /// The same, when nothing else is of interest.
    pub fn into_changed(mut self) -> Set {
        self.modified.add(self.added);
        self.modified
    }
}

/// Compares two values of a type.
pub fn compare(old: &Value, new: &Value, ty: &Type) -> Comparison {
    let mut walk = Walk { path: Vec::new(), result: Comparison::default() };
    walk.node(Some(old), Some(new), Node::Type(ty));
    walk.result
}

struct Walk {
    path: Path,
    result: Comparison,
}

impl Walk {
    fn node(&mut self, old: Option<&Value>, new: Option<&Value>, node: Node<'_>) {
        let leaf = match (old, new) {
            (None, None) => return,
            (Some(old), Some(new)) if node.is_untyped() && kind(old) != kind(new) => {
                self.atom(Some(old), Some(new), node.atom(Some(old)));
                self.atom(Some(old), Some(new), node.atom(Some(new)))
            }
            _ => self.atom(old, new, node.atom(new.or(old))),
        };
        if !leaf {
            match (old, new) {
                (None, _) => self.result.added.insert(&self.path),
                (_, None) => self.result.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    /// Returns whether the value is a leaf, which is compared as a whole.
    fn atom(&mut self, old: Option<&Value>, new: Option<&Value>, atom: Atom<'_>) -> bool {
        match atom {
            Atom::Scalar(_) => self.leaf(old, new),
            Atom::List(list) => match associative(list) {
                Some(list) if !(is_empty(old) && is_empty(new)) => {
                    self.list(items(old), items(new), list);
                    false
                }
                _ => self.leaf(old, new),
            },
            Atom::Map(entries) => {
                if entries.atomic || (is_empty(old) && is_empty(new)) {
                    return self.leaf(old, new);
                }
                self.map(old, new, &entries);
                false
            }
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) -> bool {
        match (old, new) {
            (None, _) => self.result.added.insert(&self.path),
            (_, None) => self.result.removed.insert(&self.path),
            (Some(old), Some(new)) if !equal(old, new) => self.result.modified.insert(&self.path),
            _ => {}
        }
        true
    }

    fn map(&mut self, old: Option<&Value>, new: Option<&Value>, entries: &Entries<'_>) {
        for name in keys(old, new) {
            let (old, new) = (entry(old, name), entry(new, name));
            if old == new {
                continue;
            }
            let Some(node) = entries.entry(name) else { continue };
            self.path.push(Element::Field(name.as_str().into()));
            self.node(old, new, node);
            self.path.pop();
        }
    }

    fn list<'v>(&mut self, old: &'v [Value], new: &'v [Value], list: &List) {
        let (old, new) = (by_element(old, list), by_element(new, list));
        let elements: BTreeSet<&Element> = old.keys().chain(new.keys()).collect();
        for element in elements {
            let of =
                |items: &BTreeMap<Element, Vec<&'v Value>>| items.get(element).cloned().unwrap_or_default();
            let (old, new) = (of(&old), of(&new));
            self.path.push(element.clone());
            let node = Node::Shape(&list.items);
            match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => self.node(old.first().copied(), new.first().copied(), node),
                ([_, _, ..], [_, _, ..]) => {
                    let same =
                        old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| equal(old, new));
                    if !same {
                        self.result.modified.insert(&self.path);
                    }
                }
                // Duplicates have one common entry: it goes, and a single item's fields come, or the reverse.
                ([_, _, ..], _) => {
                    self.node(None, new.first().copied(), node);
                    self.result.removed.insert(&self.path);
                }
                (_, [_, _, ..]) => {
                    self.node(old.first().copied(), None, node);
                    self.result.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}

/// The items of a list by their elements, which a live list may have more than one of.
fn by_element<'a>(items: &'a [Value], list: &List) -> BTreeMap<Element, Vec<&'a Value>> {
    let mut by_element: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for item in items {
        if let Ok(element) = item_element(list, item) {
            by_element.entry(element).or_default().push(item);
        }
    }
    by_element
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Array(_) => 1,
        Value::Object(_) | Value::Null => 2,
        _ => 3,
    }
}
