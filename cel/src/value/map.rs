//! Maps, and objects that came as JSON.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};

use super::{Str, Value};
use crate::eval::Error;
use crate::kube::escape::{escape, unescape};
use crate::kube::schema::Schema;

/// A map.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Made while evaluating.
    Owned(Arc<BTreeMap<Key, (Value<'a>, Value<'a>)>>),
    /// Data, with its schema if one is known.
    Json(&'a JsonMap<String, Json>, Option<&'a Schema>),
    /// Data without a schema, whose names may be written as identifiers.
    Named(&'a JsonMap<String, Json>),
}

/// A key of a map. Numbers of different types that are equal are one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A truth value.
    Bool(bool),
    /// An integer that an `int` can hold.
    Int(i64),
    /// A greater integer.
    Uint(u64),
    /// The bits of a number that is no integer.
    Double(u64),
    /// Text.
    String(Arc<str>),
}

impl Key {
    /// The key that a value is, if it can be one.
    pub fn of(value: &Value<'_>) -> Option<Key> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => i64::try_from(*value).map_or(Key::Uint(*value), Key::Int),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_993.0 => {
                Key::Int(*value as i64)
            }
            Value::Double(value) => Key::Double(value.to_bits()),
            Value::String(Str::Shared(text)) => Key::String(Arc::clone(text)),
            Value::String(text) => Key::String((&**text).into()),
            _ => return None,
        })
    }
}

impl<'a> Map<'a> {
    /// A map of these entries; a later entry takes the place of an earlier one of the same key.
    pub fn new(entries: impl IntoIterator<Item = (Value<'a>, Value<'a>)>) -> Result<Self, Error> {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            map.insert(key_of(&key)?, (key, value));
        }
        Ok(Map::Owned(Arc::new(map)))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Owned(map) => map.len(),
            Map::Json(object, _) | Map::Named(object) => object.len(),
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key, if there is one.
    pub fn find(&self, key: &Value<'_>) -> Result<Option<Value<'a>>, Error> {
        match self {
            Map::Owned(map) => Ok(Key::of(key).and_then(|key| map.get(&key)).map(|(_, value)| value.clone())),
            Map::Json(object, None) => Ok(key.as_str().and_then(|key| object.get(key)).map(Value::json)),
            Map::Named(object) => {
                let value = key.as_str().and_then(|key| match unescape(key) {
                    Some(name) => object.get(&*name),
                    None => object.get(key),
                });
                Ok(value.map(Value::named))
            }
            Map::Json(object, Some(schema)) => {
                let Some(name) = key.as_str() else { return Err(Error::NO_SUCH_OVERLOAD) };
                let Some(properties) = &schema.properties else {
                    let Some(value) = object.get(name) else { return Ok(None) };
                    return schema
                        .additional
                        .as_deref()
                        .map(|schema| Value::typed(value, schema))
                        .transpose();
                };
                let Some(name) = unescape(name) else { return Ok(None) };
                match (object.get(&*name), properties.get(&*name)) {
                    // A null field of an object is an absent one.
                    (Some(value), Some(schema)) if !value.is_null() => Value::typed(value, schema).map(Some),
                    _ => Ok(None),
                }
            }
        }
    }

    /// The value of a field by its name in the data.
    pub(super) fn raw(&self, name: &str) -> Option<Result<Value<'a>, Error>> {
        match self {
            Map::Owned(map) => map.get(&Key::String(name.into())).map(|(_, value)| Ok(value.clone())),
            Map::Named(object) => object.get(name).map(|value| Ok(Value::named(value))),
            Map::Json(object, schema) => {
                let value = object.get(name)?;
                Some(match schema.and_then(|schema| schema.property(name)) {
                    Some(schema) => Value::typed(value, schema),
                    None => Ok(Value::json(value)),
                })
            }
        }
    }

    /// The keys.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Owned(map) => map.values().map(|(key, _)| key.clone()).collect(),
            Map::Json(object, None) | Map::Named(object) => {
                object.keys().map(|key| Value::str(key)).collect()
            }
            Map::Json(object, Some(schema)) => object
                .keys()
                .filter(|key| schema.property(key).is_some())
                .map(|key| match (&schema.properties, escape(key)) {
                    (Some(_), Some(escaped)) if escaped != *key => Value::string(&*escaped),
                    _ => Value::str(key),
                })
                .collect(),
        }
    }

    /// The entries. Null fields of objects are left out.
    pub fn entries(&self) -> Result<Vec<(Value<'a>, Value<'a>)>, Error> {
        if let Map::Owned(map) = self {
            return Ok(map.values().cloned().collect());
        }
        if let Map::Named(object) = self {
            return Ok(object.iter().map(|(key, value)| (Value::str(key), Value::named(value))).collect());
        }
        let mut entries = Vec::with_capacity(self.len());
        for key in self.keys() {
            if let Some(value) = self.find(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    pub(super) fn first(&self) -> Option<(Value<'a>, Result<Value<'a>, Error>)> {
        match self {
            Map::Owned(map) => map.values().next().map(|(key, value)| (key.clone(), Ok(value.clone()))),
            Map::Json(object, None) => {
                object.iter().next().map(|(key, value)| (Value::str(key), Ok(Value::json(value))))
            }
            Map::Named(object) => {
                object.iter().next().map(|(key, value)| (Value::str(key), Ok(Value::named(value))))
            }
            Map::Json(..) => {
                let key = self.keys().into_iter().next()?;
                let value = self.find(&key).transpose()?;
                Some((key, value))
            }
        }
    }

    /// The map with one more entry, in place if it is not shared.
    pub(crate) fn insert(self, key: Value<'a>, value: Value<'a>) -> Result<Self, Error> {
        let mut map = match self {
            Map::Owned(map) => map,
            other => match Map::new(other.entries()?)? {
                Map::Owned(map) => map,
                other => return Ok(other),
            },
        };
        match Arc::make_mut(&mut map).entry(key_of(&key)?) {
            Entry::Occupied(_) => Err(Error::new(format!("insert failed: key {key} already exists"))),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
                Ok(Map::Owned(map))
            }
        }
    }
}

fn key_of(key: &Value<'_>) -> Result<Key, Error> {
    Key::of(key).ok_or_else(|| Error::new(format!("unsupported key type: {}", key.type_name())))
}
