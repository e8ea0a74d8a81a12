//! Bringing a stored set of fields in line with a schema in which a list or map has become one unit, or has
//! ceased to be one.

use proto::schema::{ListKind, Type};

use super::{Atom, Node};
use crate::patch::fields::{Element, Path, Set};

/// The set with the fields of units replaced by the units themselves; `None` if nothing changes.
pub fn reconcile(fields: &Set, ty: &Type) -> Option<Set> {
    let mut walk = Walk { path: Vec::new(), units: Set::default() };
    walk.node(Some(fields), Node::Type(ty), false);
    if walk.units.is_empty() {
        return None;
    }
    Some(fields.recursive_difference(&walk.units).union(&walk.units))
}

struct Walk {
    path: Path,
    units: Set,
}

impl Walk {
    /// `is_unit`: the set has the node itself and nothing below it.
    fn node(&mut self, fields: Option<&Set>, at: Node<'_>, is_unit: bool) {
        if at.is_untyped() {
            return;
        }
        match at.atom(None) {
            Atom::Scalar(_) => {}
            Atom::List(list) => {
                let Some(list) = list else { return };
                if !matches!(list.kind, ListKind::Set | ListKind::Map) {
                    if !is_unit {
                        self.units.insert(&self.path);
                    }
                    return;
                }
                self.children(fields, |_| Some(Node::Shape(&list.items)));
            }
            Atom::Map(entries) => {
                if entries.atomic {
                    if !is_unit && fields.is_some_and(|fields| !fields.is_empty()) {
                        self.units.insert(&self.path);
                    }
                    return;
                }
                self.children(fields, |element| match element {
                    Element::Field(name) => entries.entry(name),
                    _ => None,
                });
            }
        }
    }

    fn children<'a>(&mut self, fields: Option<&Set>, node: impl Fn(&Element) -> Option<Node<'a>>) {
        let Some(fields) = fields else { return };
        for (element, child) in &fields.children {
            if let Some(at) = node(element) {
                self.path.push(element.clone());
                self.node(Some(child), at, false);
                self.path.pop();
            }
        }
        for element in fields.members.iter().filter(|element| !fields.children.contains_key(element)) {
            if let Some(at) = node(element) {
                self.path.push(element.clone());
                self.node(None, at, true);
                self.path.pop();
            }
        }
    }
}
