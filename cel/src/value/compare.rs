//! Equality and order.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::list::same_key;
use super::{List, ListKind, Map, Value};
use crate::cost::work;
use crate::eval::Error;

/// Whether two values are equal. Values that carry a schema can't be compared with those of another kind.
///
/// Lists may hold one list many times over, so that there is more to compare than there is memory: it is work.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, Error> {
    work::spend(1)?;
    Ok(match (a, b) {
        (Value::Null, _) | (_, Value::Null) => matches!((a, b), (Value::Null, Value::Null)),
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), _) => number_order(a, b) == Some(Ordering::Equal),
        (Value::String(a), Value::String(b)) => {
            work::spend(a.len().min(b.len()) / 8)?;
            **a == **b
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            work::spend(a.len().min(b.len()) / 8)?;
            a == b
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a.name() == b.name(),
        (Value::List(a), Value::List(b)) => lists(a, b)?,
        (Value::Map(a), Value::Map(b)) => maps(a, b)?,
        (Value::List(a), _) if a.is_typed() => return Err(Error::NO_SUCH_OVERLOAD),
        (Value::Map(Map::Json(_, Some(_))), _) => return Err(Error::NO_SUCH_OVERLOAD),
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(a, b)?,
            _ => false,
        },
        (Value::Object(a), Value::Object(b)) => {
            if a.name != b.name || a.fields.len() != b.fields.len() {
                return Ok(false);
            }
            for (name, value) in &a.fields {
                match b.fields.iter().find(|(other, _)| other == name) {
                    Some((_, other)) if equal(value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Opaque(a), Value::Opaque(b)) if a.ty() == b.ty() => {
            return a.equals(&**b).ok_or(Error::NO_SUCH_OVERLOAD);
        }
        (Value::Opaque(_), _) => return Err(Error::NO_SUCH_OVERLOAD),
        (Value::Unknown(a), b) => match b {
            Value::Unknown(b) => equal_json(a, b),
            other => other.to_json().is_ok_and(|b| equal_json(a, &b)),
        },
        _ => false,
    })
}

fn lists(a: &List<'_>, b: &List<'_>) -> Result<bool, Error> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match a.kind() {
        ListKind::Plain => {
            for (a, b) in a.iter().zip(b.iter()) {
                // Elements that can't be compared count as equal here, as in cel-go.
                if let (Ok(a), Ok(b)) = (a, b) {
                    match equal(&a, &b) {
                        Ok(false) => return Ok(false),
                        Err(error) if error.is_cost_limit() => return Err(error),
                        _ => {}
                    }
                }
            }
            Ok(true)
        }
        ListKind::Atomic => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(&a?, &b?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        ListKind::Set => {
            let known = a.to_vec()?;
            for item in b.iter() {
                let item = item?;
                let mut found = false;
                for known in &known {
                    found = found || equal(known, &item)?;
                }
                if !found {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        ListKind::Map(keys) => {
            let known = a.to_vec()?;
            for item in b.iter() {
                let item = item?;
                work::spend(known.len())?;
                match known.iter().find(|known| same_key(known, &item, keys)) {
                    Some(known) if equal(known, &item)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
    }
}

fn maps(a: &Map<'_>, b: &Map<'_>) -> Result<bool, Error> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let Map::Json(object, Some(schema)) = a else {
        for (key, value) in a.entries()? {
            match b.find(&key)? {
                None => return Ok(false),
                Some(other) => match equal(&value, &other) {
                    Ok(false) => return Ok(false),
                    Err(error) if error.is_cost_limit() => return Err(error),
                    _ => {}
                },
            }
        }
        return Ok(true);
    };
    for (name, value) in *object {
        if schema.property(name).is_some() {
            let key = Value::str(name);
            match (a.find(&key)?, b.find(&key)?) {
                (None, None) => {}
                (Some(a), Some(b)) if equal(&a, &b)? => {}
                _ => return Ok(false),
            }
        } else {
            let Map::Json(other, Some(_)) = b else { return Err(Error::NO_SUCH_OVERLOAD) };
            if other.get(name).is_some_and(|other| !equal_json(value, other)) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether two pieces of data are equal as Kubernetes compares them: empty lists and maps equal null.
pub fn equal_json(a: &Json, b: &Json) -> bool {
    let empty = |json: &Json| match json {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(object) => object.is_empty(),
        _ => false,
    };
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal_json(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal_json(a, b)))
        }
        _ => a == b || (empty(a) && empty(b) && (a.is_null() || b.is_null())),
    }
}

/// The order of two values that have one; no order if they are of different kinds.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, Error> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => {
            return number_order(a, b).ok_or_else(|| Error::new("NaN values cannot be ordered"));
        }
        _ => return Err(Error::NO_SUCH_OVERLOAD),
    })
}

/// The order of two numbers of whatever types.
fn number_order(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Uint(a), Value::Uint(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => return a.partial_cmp(b),
        (Value::Int(a), Value::Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Value::Uint(a), Value::Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Value::Double(a), Value::Int(b)) => return a.partial_cmp(&(*b as f64)),
        (Value::Int(a), Value::Double(b)) => return (*a as f64).partial_cmp(b),
        (Value::Double(a), Value::Uint(b)) => return a.partial_cmp(&(*b as f64)),
        (Value::Uint(a), Value::Double(b)) => return (*a as f64).partial_cmp(b),
        _ => return None,
    })
}
