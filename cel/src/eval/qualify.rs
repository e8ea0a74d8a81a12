//! The selection of fields and elements.

use super::Error;
use crate::types::Type;
use crate::value::{Key, Value};

fn missing_key(key: &Value<'_>) -> Error {
    Error::new(format!("no such key: {key}"))
}

/// What is selected, which must be there.
pub(super) fn select<'a>(object: &Value<'a>, key: &Value<'_>) -> Result<Value<'a>, Error> {
    match (find(object, key)?, object) {
        (Some(value), _) => Ok(value),
        (None, Value::Object(object)) => Ok(key.as_str().map_or(Value::Null, |name| object.unset(name))),
        (None, Value::List(_)) => Err(Error::new(format!("index out of bounds: {key}"))),
        (None, _) => Err(missing_key(key)),
    }
}

/// What is selected, if it is there. Values without fields or elements have none.
pub(super) fn find<'a>(object: &Value<'a>, key: &Value<'_>) -> Result<Option<Value<'a>>, Error> {
    match object {
        Value::Map(map) => map.find(key),
        Value::List(list) => {
            if list.is_typed() && !matches!(key, Value::Int(_)) {
                index(key)?;
                return Err(Error::new(format!("unsupported index: {key}")));
            }
            match usize::try_from(index(key)?) {
                Ok(index) => list.get(index).transpose(),
                Err(_) => Ok(None),
            }
        }
        Value::Object(object) => Ok(key.as_str().and_then(|name| object.get(name)).cloned()),
        Value::Fields(fields) => key.as_str().and_then(|name| fields.get(name)).transpose(),
        _ => Ok(None),
    }
}

/// A position in a list.
pub(super) fn index(key: &Value<'_>) -> Result<i64, Error> {
    match key {
        Value::Int(index) => Ok(*index),
        Value::Uint(_) | Value::Double(_) => match Key::of(key) {
            Some(Key::Int(index)) => Ok(index),
            _ => Err(Error::new(format!("unsupported index value {key} in list"))),
        },
        other => Err(Error::new(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}

/// Refuses values that nothing can be selected by.
pub(super) fn check_key(key: Value<'_>) -> Result<Value<'_>, Error> {
    match key.ty() {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::String => Ok(key),
        _ => Err(Error::new(format!("invalid qualifier type: {}", key.go_name()))),
    }
}
