//! Walks over values with the merge rules of their schema: which lists and maps are one unit, which are merged by
//! item, and by what keys.
//!
//! The values are *printed* trees (see [`proto::json::print`]): nulls and empty lists are distinct from absent ones.

use proto::schema::{Field, Flags, List, ListKind, Shape, Type, Unknown};
use serde_json::Value;

use super::fields::{Element, Scalar, compare_values};

mod atomics;
mod collect;
mod compare;
mod merge;
mod reconcile;
mod remove;
mod validate;

pub use atomics::atomics;
pub use collect::collect;
pub use compare::{Comparison, compare};
pub use merge::merge;
pub use reconcile::reconcile;
pub use remove::remove;
pub use validate::validate;

/// Where a walk is in the schema.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    /// A struct.
    Type(&'a Type),
    /// A struct or a map whose field says that it is one unit, or isn't.
    Override(&'a Shape, bool),
    /// A value of a shape.
    Shape(&'a Shape),
    /// A value without a schema that is one unit.
    Opaque,
    /// A value without a schema whose maps are merged.
    Deduced,
}

/// What a node's values are.
pub(super) enum Atom<'a> {
    Scalar(Scalars),
    /// A list; `None` for one without a schema.
    List(Option<&'a List>),
    Map(Entries<'a>),
}

/// The scalars that a node permits.
#[derive(Clone, Copy)]
pub(super) enum Scalars {
    Number,
    String,
    Bool,
    Any,
}

/// The entries of a map or struct.
pub(super) struct Entries<'a> {
    pub(super) fields: Option<&'a Type>,
    /// What entries that aren't fields are; `None` if there can't be any.
    pub(super) others: Option<Node<'a>>,
    pub(super) atomic: bool,
}

impl<'a> Entries<'a> {
    /// The node of an entry.
    pub(super) fn entry(&self, name: &str) -> Option<Node<'a>> {
        let Some(field) = self.fields.and_then(|ty| ty.field(name)) else { return self.others };
        Some(if field.flags.has(Flags::ATOMIC) {
            Node::Override(&field.shape, true)
        } else if field.flags.has(Flags::GRANULAR) {
            Node::Override(&field.shape, false)
        } else {
            Node::Shape(&field.shape)
        })
    }

    /// Whether an entry is a field of a struct.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.fields.is_some_and(|ty| ty.field(name).is_some())
    }
}

impl<'a> Node<'a> {
    /// What the node's values are; `value` decides where there is no schema.
    pub(super) fn atom(self, value: Option<&Value>) -> Atom<'a> {
        match self {
            Node::Type(ty) => Atom::Map(struct_entries(ty, ty.atomic)),
            Node::Override(Shape::Struct(ty), atomic) => Atom::Map(struct_entries(ty, atomic)),
            Node::Override(Shape::Map(map), atomic) => {
                Atom::Map(Entries { fields: None, others: Some(Node::Shape(&map.values)), atomic })
            }
            Node::Override(shape, _) | Node::Shape(shape) => of_shape(shape, value),
            Node::Opaque => untyped(value, Node::Opaque, true),
            Node::Deduced => untyped(value, Node::Deduced, false),
        }
    }

    /// The node one step below, if the schema has one there.
    pub(super) fn child(self, element: &Element) -> Option<Node<'a>> {
        match (self.atom(None), element) {
            (Atom::Map(entries), Element::Field(name)) => entries.entry(name),
            (Atom::List(Some(list)), Element::Key(_) | Element::Value(_) | Element::Index(_)) => {
                Some(Node::Shape(&list.items))
            }
            _ => None,
        }
    }

    /// Whether a name is a field of the node's struct.
    pub(super) fn declares(self, name: &str) -> bool {
        matches!(self.atom(None), Atom::Map(entries) if entries.declares(name))
    }

    /// Whether the node's values have no schema.
    pub(super) fn is_untyped(self) -> bool {
        matches!(self, Node::Opaque | Node::Deduced | Node::Shape(Shape::Any))
    }
}

fn struct_entries(ty: &Type, atomic: bool) -> Entries<'_> {
    let others = match ty.unknown {
        Unknown::Preserve | Unknown::PreserveEmbedded | Unknown::Embedded => Some(Node::Deduced),
        Unknown::Drop => None,
    };
    Entries { fields: Some(ty), others, atomic }
}

fn of_shape<'a>(shape: &'a Shape, value: Option<&Value>) -> Atom<'a> {
    match shape {
        Shape::Bool => Atom::Scalar(Scalars::Bool),
        Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64 | Shape::Float64 => {
            Atom::Scalar(Scalars::Number)
        }
        Shape::String | Shape::Bytes | Shape::Time | Shape::MicroTime | Shape::Duration => {
            Atom::Scalar(Scalars::String)
        }
        Shape::Quantity | Shape::IntOrString => Atom::Scalar(Scalars::Any),
        Shape::FieldsV1 => Atom::Map(Entries { fields: None, others: Some(Node::Opaque), atomic: false }),
        Shape::RawExtension
        | Shape::Json
        | Shape::SchemaOrBool(_)
        | Shape::SchemaOrArray(_)
        | Shape::SchemaOrStrings(_) => untyped(value, Node::Opaque, true),
        Shape::Any => untyped(value, Node::Deduced, false),
        Shape::Struct(ty) => Atom::Map(struct_entries(ty, ty.atomic)),
        Shape::List(list) => Atom::List(Some(list)),
        Shape::Map(map) => {
            Atom::Map(Entries { fields: None, others: Some(Node::Shape(&map.values)), atomic: false })
        }
    }
}

fn untyped<'a>(value: Option<&Value>, others: Node<'a>, atomic: bool) -> Atom<'a> {
    match value {
        Some(Value::Array(_)) => Atom::List(None),
        None | Some(Value::Null | Value::Object(_)) => {
            Atom::Map(Entries { fields: None, others: Some(others), atomic })
        }
        Some(_) => Atom::Scalar(Scalars::Any),
    }
}

/// Whether a list is merged by item.
pub(super) fn associative(list: Option<&List>) -> Option<&List> {
    list.filter(|list| matches!(list.kind, ListKind::Set | ListKind::Map))
}

/// The element that names an item of a list that is merged by item.
pub(super) fn item_element(list: &List, item: &Value) -> Result<Element, String> {
    if list.kind == ListKind::Map {
        return keyed_element(list, item);
    }
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        scalar => Ok(Element::Value(Scalar(scalar.clone()))),
    }
}

fn keyed_element(list: &List, item: &Value) -> Result<Element, String> {
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let default = |key: &str| match &list.items {
        Shape::Struct(ty) => ty.field(key).and_then(key_default),
        _ => None,
    };
    let mut keys: Vec<(Box<str>, Scalar)> = Vec::with_capacity(list.keys.len());
    for key in list.keys.iter() {
        if let Some(value) = map.get(key.as_ref()).cloned().or_else(|| default(key)) {
            keys.push((key.as_ref().into(), Scalar(value)));
        }
    }
    if keys.is_empty() {
        let names: Vec<String> = list.keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    keys.sort();
    Ok(Element::Key(keys))
}

/// What a key field counts as that isn't there: its default, or the zero value that is always printed.
fn key_default(field: &Field) -> Option<Value> {
    let printed = !field.pointer() && !field.flags.has(Flags::OMITEMPTY);
    field.default().or_else(|| match &field.shape {
        Shape::String if printed => Some(Value::from("")),
        Shape::Bool if printed => Some(Value::Bool(false)),
        Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64 if printed => Some(Value::from(0)),
        _ => None,
    })
}

/// Equality of values, with numbers compared by value.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    one == other || compare_values(one, other).is_eq()
}

/// An entry of a value that may be an object.
pub(super) fn entry<'v>(value: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    value?.as_object()?.get(name)
}

pub(super) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(entries)) => entries.is_empty(),
        // A value of another type is no list and no map, so it has nothing in it.
        _ => true,
    }
}

pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The keys of either object, each once, in order.
pub(super) fn keys<'a>(one: Option<&'a Value>, other: Option<&'a Value>) -> Vec<&'a String> {
    let of =
        |value: Option<&'a Value>| value.and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
    let mut keys: Vec<&String> = of(one).chain(of(other)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
