//! Sets of fields: what managers of an object own, and what differs between two objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proto::schema::Type;

use super::typed::Node;

mod element;
mod serial;

pub(in crate::patch) use element::compare_values;
pub use element::{Element, Scalar};

/// A path from an object's root to a field.
pub type Path = Vec<Element>;

/// Prints a path as upstream does: `.spec.containers[name="a"].image`.
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

/// A set of paths, kept as a tree: a node's members are the paths that end there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(super) members: BTreeSet<Element>,
    pub(super) children: BTreeMap<Element, Set>,
}

impl Set {
    /// A set of paths of plain field names, such as `metadata.labels`.
    pub fn of(paths: &[&str]) -> Set {
        let mut set = Set::default();
        for path in paths {
            let path: Path = path.split('.').map(|name| Element::Field(name.into())).collect();
            set.insert(&path);
        }
        set
    }

    /// Adds a path. The root itself is no field and is ignored.
    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether a path is in the set.
    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|child| child.has(rest)),
        }
    }

    /// Whether there is no path in the set.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Set::is_empty)
    }

    /// The paths of either set.
    pub fn union(&self, other: &Set) -> Set {
        let mut result = self.clone();
        result.add(other.clone());
        result
    }

    /// Adds the paths of another set.
    pub fn add(&mut self, other: Set) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.members.extend(other.members);
        for (element, child) in other.children {
            self.children.entry(element).or_default().add(child);
        }
    }

    /// The paths of both sets.
    pub fn intersection(&self, other: &Set) -> Set {
        let children = self.children.iter().filter_map(|(element, child)| {
            let common = child.intersection(other.children.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        });
        Set {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: children.collect(),
        }
    }

    /// The paths that aren't in `other`.
    pub fn difference(mut self, other: &Set) -> Set {
        self.take_out(other);
        self
    }

    fn take_out(&mut self, other: &Set) {
        self.members.retain(|element| !other.members.contains(element));
        for (element, without) in &other.children {
            let Some(child) = self.children.get_mut(element) else { continue };
            child.take_out(without);
            if child.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// The paths that neither are in `other` nor lie below a path in `other`.
    pub fn recursive_difference(&self, other: &Set) -> Set {
        let children = self.children.iter().filter_map(|(element, child)| {
            if other.members.contains(element) {
                return None;
            }
            let rest = match other.children.get(element) {
                Some(without) => child.recursive_difference(without),
                None => child.clone(),
            };
            (!rest.is_empty()).then(|| (element.clone(), rest))
        });
        Set {
            members: self.members.difference(&other.members).cloned().collect(),
            children: children.collect(),
        }
    }

    /// The paths below an element.
    pub fn below(&self, element: &Element) -> Option<&Set> {
        self.children.get(element)
    }

    /// Adds the path of each struct field that has paths below it.
    pub fn with_named_fields(&self, ty: &Type) -> Set {
        self.named(Node::Type(ty))
    }

    fn named(&self, node: Node<'_>) -> Set {
        let mut members = self.members.clone();
        let mut children = BTreeMap::new();
        for (element, child) in &self.children {
            if let Element::Field(name) = element
                && node.declares(name)
            {
                members.insert(element.clone());
            }
            let child = match node.child(element) {
                Some(node) => child.named(node),
                None => child.clone(),
            };
            children.insert(element.clone(), child);
        }
        Set { members, children }
    }

    /// Calls `visit` with each path, those of a node before those below it.
    pub fn each(&self, visit: &mut dyn FnMut(&[Element])) {
        self.walk(&mut Vec::new(), visit);
    }

    fn walk(&self, path: &mut Path, visit: &mut dyn FnMut(&[Element])) {
        for element in &self.members {
            path.push(element.clone());
            visit(path);
            path.pop();
        }
        for (element, child) in &self.children {
            path.push(element.clone());
            child.walk(path, visit);
            path.pop();
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts = Vec::new();
        self.each(&mut |path| texts.push(path_text(path)));
        f.write_str(&texts.join("\n"))
    }
}
