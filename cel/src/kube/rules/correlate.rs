//! Which old value a new one comes from, and whether an update changed it.

use serde_json::{Map as JsonMap, Value as Json};

use crate::kube::schema::{ListType, Schema};

/// A value and the one it was before.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    new: &'a Json,
    old: &'a Json,
    schema: &'a Schema,
}

impl<'a> Pair<'a> {
    pub(super) fn new(new: &'a Json, old: &'a Json, schema: &'a Schema) -> Self {
        Pair { new, old, schema }
    }

    /// The values of a field.
    pub(super) fn key(&self, name: &str) -> Option<Pair<'a>> {
        if self.schema.added_meta && matches!(name, "apiVersion" | "kind" | "metadata") {
            return None;
        }
        let schema = self.schema.properties.as_ref().and_then(|properties| properties.get(name));
        let schema = schema.or(self.schema.additional.as_ref())?;
        Some(Pair { new: self.new.as_object()?.get(name)?, old: self.old.as_object()?.get(name)?, schema })
    }

    /// The values of an element; only elements with keys have old values.
    pub(super) fn index(&self, index: usize) -> Option<Pair<'a>> {
        let new = self.new.as_array()?.get(index)?;
        let old = old_element(self.schema, self.old.as_array()?, new)?;
        Some(Pair { new, old, schema: self.schema.items.as_deref()? })
    }

    /// Whether nothing changed. Elements with keys may change places.
    pub(super) fn is_equal(&self) -> bool {
        match (self.new, self.old) {
            (Json::Array(new), Json::Array(old)) => {
                if self.schema.list_type != ListType::Map {
                    return new == old;
                }
                new.len() == old.len()
                    && (0..new.len()).all(|index| self.index(index).is_some_and(|pair| pair.is_equal()))
            }
            (Json::Object(new), Json::Object(old)) => {
                new.len() == old.len()
                    && new.keys().all(|name| self.key(name).is_some_and(|pair| pair.is_equal()))
            }
            (new, old) => new == old,
        }
    }
}

/// The element of an old list that has the keys of a new element.
pub(super) fn old_element<'a>(schema: &Schema, old: &'a [Json], new: &Json) -> Option<&'a Json> {
    if schema.list_type != ListType::Map || schema.list_map_keys.is_empty() {
        return None;
    }
    let new = new.as_object()?;
    let scalar = |object: &JsonMap<String, Json>, key: &str| {
        object.get(key).filter(|value| !value.is_null() && !value.is_array() && !value.is_object()).cloned()
    };
    let wanted: Option<Vec<Json>> = schema.list_map_keys.iter().map(|key| scalar(new, key)).collect();
    let wanted = wanted?;
    old.iter().find(|old| {
        let Some(old) = old.as_object() else { return false };
        schema
            .list_map_keys
            .iter()
            .zip(&wanted)
            .all(|(key, wanted)| scalar(old, key).as_ref() == Some(wanted))
    })
}
