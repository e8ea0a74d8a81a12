//! Lists.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Value, equal};
use crate::cost::work;
use crate::eval::Error;
use crate::kube::schema::{ListType, Schema};

/// A list.
#[derive(Clone, Debug)]
pub struct List<'a> {
    items: Items<'a>,
    kind: ListKind<'a>,
}

/// What equality and addition of a list go by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListKind<'a> {
    /// A list without a schema.
    Plain,
    /// Elements by position.
    Atomic,
    /// Elements in any order, each once.
    Set,
    /// Objects in any order, told apart by these fields.
    Map(&'a [String]),
}

#[derive(Clone, Debug)]
enum Items<'a> {
    Owned(Arc<Vec<Value<'a>>>),
    Json(&'a [Json], Option<&'a Schema>),
    /// Data without a schema, whose objects' names may be written as identifiers.
    Named(&'a [Json]),
    /// Two lists one after the other, and their length. Joining must not copy: it costs nothing.
    Joined(Arc<(List<'a>, List<'a>)>, usize),
}

impl<'a> From<Vec<Value<'a>>> for List<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        List { items: Items::Owned(Arc::new(items)), kind: ListKind::Plain }
    }
}

impl<'a> List<'a> {
    /// A list that came as JSON, with the schema of the list if one is known.
    pub(crate) fn json(items: &'a [Json], schema: Option<&'a Schema>) -> Self {
        let kind = match schema.map(|schema| (schema.list_type, schema)) {
            None => ListKind::Plain,
            Some((ListType::Set, _)) => ListKind::Set,
            Some((ListType::Map, schema)) => ListKind::Map(&schema.list_map_keys),
            Some((ListType::Atomic, _)) => ListKind::Atomic,
        };
        List { items: Items::Json(items, schema.and_then(|schema| schema.items.as_deref())), kind }
    }

    /// A list that came as JSON, whose objects' names may be written as identifiers.
    pub(crate) fn named(items: &'a [Json]) -> Self {
        List { items: Items::Named(items), kind: ListKind::Plain }
    }

    pub(crate) fn untyped(self) -> Self {
        match self.items {
            Items::Json(items, _) => List { items: Items::Json(items, None), kind: ListKind::Plain },
            items => List { items, kind: self.kind },
        }
    }

    pub(crate) fn is_typed(&self) -> bool {
        !matches!(self.kind, ListKind::Plain)
    }

    pub(crate) fn kind(&self) -> ListKind<'a> {
        self.kind
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Owned(items) => items.len(),
            Items::Json(items, _) | Items::Named(items) => items.len(),
            Items::Joined(_, length) => *length,
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at a position, if there is one. It is an error if its data breaks its schema.
    pub fn get(&self, index: usize) -> Option<Result<Value<'a>, Error>> {
        match &self.items {
            Items::Owned(items) => items.get(index).cloned().map(Ok),
            Items::Json(items, schema) => items.get(index).map(|item| element(item, *schema)),
            Items::Named(items) => items.get(index).map(|item| Ok(Value::named(item))),
            Items::Joined(parts, _) => match index.checked_sub(parts.0.len()) {
                None => parts.0.get(index),
                Some(index) => parts.1.get(index),
            },
        }
    }

    /// The elements.
    pub fn iter(&self) -> Iter<'_, 'a> {
        Iter { rest: vec![(self, 0)] }
    }

    /// The elements, of which none may be wrong.
    pub(crate) fn to_vec(&self) -> Result<Vec<Value<'a>>, Error> {
        work::spend(self.len().saturating_mul(work::KEPT))?;
        self.iter().collect()
    }

    /// Adds an element in place if the list is not shared.
    pub(crate) fn push(&mut self, item: Value<'a>) -> Result<(), Error> {
        if !matches!(self.items, Items::Owned(_)) {
            self.items = Items::Owned(Arc::new(self.to_vec()?));
        }
        if let Items::Owned(items) = &mut self.items {
            Arc::make_mut(items).push(item);
        }
        Ok(())
    }

    /// Whether the list is made while evaluating, so that adding to it in place is cheap.
    pub(crate) fn is_owned(&self) -> bool {
        matches!(&self.items, Items::Owned(items) if Arc::strong_count(items) == 1)
    }

    /// One list after the other; sets and maps of objects are merged.
    pub(crate) fn join(&self, other: &List<'a>) -> Result<List<'a>, Error> {
        match self.kind {
            ListKind::Plain | ListKind::Atomic => {
                if self.is_empty() && !self.is_typed() {
                    return Ok(other.clone());
                }
                if other.is_empty() {
                    return Ok(self.clone());
                }
                let length = self.len().saturating_add(other.len());
                let parts = Arc::new((self.clone(), other.clone()));
                Ok(List { items: Items::Joined(parts, length), kind: self.kind })
            }
            ListKind::Set => {
                let mut items = self.to_vec()?;
                for item in other.iter() {
                    let item = item?;
                    if !contains(&items, &item) {
                        items.push(item);
                    }
                }
                Ok(List { items: Items::Owned(Arc::new(items)), kind: self.kind })
            }
            ListKind::Map(keys) => {
                let mut items = self.to_vec()?;
                for item in other.iter() {
                    let item = item?;
                    match items.iter().position(|known| same_key(known, &item, keys)) {
                        Some(at) => items[at] = item,
                        None => items.push(item),
                    }
                }
                Ok(List { items: Items::Owned(Arc::new(items)), kind: self.kind })
            }
        }
    }
}

fn element<'a>(item: &'a Json, schema: Option<&'a Schema>) -> Result<Value<'a>, Error> {
    match schema {
        Some(schema) => Value::typed(item, schema),
        None => Ok(Value::json(item)),
    }
}

fn contains(items: &[Value<'_>], item: &Value<'_>) -> bool {
    items.iter().any(|known| matches!(equal(known, item), Ok(true)))
}

/// Whether two objects agree in all of these fields.
pub(super) fn same_key(a: &Value<'_>, b: &Value<'_>, keys: &[String]) -> bool {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (a.raw(key), b.raw(key)) {
        (None, None) => true,
        (Some(Ok(a)), Some(Ok(b))) => matches!(equal(&a, &b), Ok(true)),
        _ => false,
    })
}

/// The elements of a list.
pub struct Iter<'l, 'a> {
    /// Lists still to be gone through, the next one last.
    rest: Vec<(&'l List<'a>, usize)>,
}

impl<'a> Iterator for Iter<'_, 'a> {
    type Item = Result<Value<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((list, index)) = self.rest.pop() {
            if let Items::Joined(parts, _) = &list.items {
                self.rest.push((&parts.1, 0));
                self.rest.push((&parts.0, 0));
            } else if let Some(item) = list.get(index) {
                self.rest.push((list, index + 1));
                return Some(item);
            }
        }
        None
    }
}
