//! Conversions between types, and to JSON.

use serde_json::{Map as JsonMap, Number, Value as Json};

use super::display::float_text;
use super::time::{Timestamp, parse_duration, seconds_text};
use super::{Map, Value};
use crate::eval::Error;
use crate::kube::types::REQUEST_SIZE;
use crate::syntax::with_stack;
use crate::types::Type;

fn failed(from: &Value<'_>, to: &str) -> Error {
    Error::new(format!("type conversion error from '{}' to '{to}'", from.ty_text()))
}

impl Value<'_> {
    /// The type as errors of conversions print it.
    fn ty_text(&self) -> String {
        match self {
            Value::List(_) => "list(dyn)".into(),
            Value::Map(_) => "map(dyn, dyn)".into(),
            other => other.type_name(),
        }
    }
}

/// Converts a value to one of the types that have a function of their name.
pub(crate) fn convert<'a>(value: &Value<'a>, to: &Type) -> Result<Value<'a>, Error> {
    let unable = || failed(value, to.name());
    Ok(match (to, value) {
        (Type::Type(_), value) => Value::Type(value.ty()),
        (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_)) => value.clone(),
        (Type::Bool, Value::String(text)) => Value::Bool(match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
            "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
            _ => return Err(unable()),
        }),
        (Type::Int, Value::Uint(number)) => {
            Value::Int(i64::try_from(*number).map_err(|_| Error::INT_OVERFLOW)?)
        }
        (Type::Int, Value::Double(number)) => {
            // Doubles next to the limits can't be told from the limits themselves.
            if !number.is_finite() || *number <= i64::MIN as f64 || *number >= i64::MAX as f64 {
                return Err(Error::INT_OVERFLOW);
            }
            Value::Int(*number as i64)
        }
        (Type::Int, Value::String(text)) => Value::Int(go_integer(text).ok_or_else(unable)?),
        (Type::Int, Value::Timestamp(at)) => Value::Int(at.seconds()),
        (Type::Int, Value::Duration(nanos)) => Value::Int(*nanos),
        (Type::Uint, Value::Int(number)) => {
            Value::Uint(u64::try_from(*number).map_err(|_| Error::UINT_OVERFLOW)?)
        }
        (Type::Uint, Value::Double(number)) => {
            if !number.is_finite() || *number < 0.0 || *number >= u64::MAX as f64 {
                return Err(Error::UINT_OVERFLOW);
            }
            Value::Uint(*number as u64)
        }
        (Type::Uint, Value::String(text)) => {
            let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
            Value::Uint(text.parse().ok().filter(|_| digits).ok_or_else(unable)?)
        }
        (Type::Double, Value::Int(number)) => Value::Double(*number as f64),
        (Type::Double, Value::Uint(number)) => Value::Double(*number as f64),
        (Type::Double, Value::String(text)) => Value::Double(go_float(text).ok_or_else(unable)?),
        (Type::String, Value::Bool(value)) => Value::string(value.to_string()),
        (Type::String, Value::Int(number)) => Value::string(number.to_string()),
        (Type::String, Value::Uint(number)) => Value::string(number.to_string()),
        (Type::String, Value::Double(number)) => Value::string(proto::go::float(*number)),
        (Type::String, Value::Timestamp(at)) => Value::string(at.to_string()),
        (Type::String, Value::Duration(nanos)) => Value::string(seconds_text(*nanos)),
        (Type::String, Value::Null) => Value::string("null"),
        (Type::String, Value::Type(ty)) => Value::string(ty.name()),
        (Type::String, Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::string(text),
            Err(_) => return Err(Error::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        (Type::Bytes, Value::String(text)) => Value::Bytes(text.as_bytes().into()),
        (Type::Timestamp, Value::Int(seconds)) => Value::Timestamp(Timestamp::from_seconds(*seconds)?),
        (Type::Timestamp, Value::String(text)) => {
            Value::Timestamp(Timestamp::parse(text).ok_or_else(unable)??)
        }
        (Type::Duration, Value::String(text)) => Value::Duration(parse_duration(text).ok_or_else(unable)?),
        _ => return Err(unable()),
    })
}

fn go_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Reads a number as Go's `ParseFloat` does.
pub(crate) fn go_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        "nan" => return (unsigned.len() == text.len()).then_some(f64::NAN),
        _ => {}
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A copy of a value as JSON. Lists may hold one list many times over, so what comes of them is limited to the largest
/// request.
pub(super) fn to_json(value: &Value<'_>) -> Result<Json, Error> {
    Copy { left: REQUEST_SIZE as usize }.of(value)
}

struct Copy {
    /// How many bytes may still be written, more or less.
    left: usize,
}

impl Copy {
    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        self.left = self.left.checked_sub(bytes).ok_or(Error::COST_LIMIT)?;
        Ok(())
    }

    fn text(&mut self, text: impl Into<String>) -> Result<Json, Error> {
        let text = text.into();
        self.take(text.len())?;
        Ok(Json::String(text))
    }

    fn of(&mut self, value: &Value<'_>) -> Result<Json, Error> {
        with_stack(|| self.copied(value))
    }

    fn copied(&mut self, value: &Value<'_>) -> Result<Json, Error> {
        self.take(1)?;
        Ok(match value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(number) => Json::Number((*number).into()),
            Value::Uint(number) => Json::Number((*number).into()),
            Value::Double(number) => {
                let error = || Error::new(format!("{} has no JSON form", float_text(*number)));
                Json::Number(Number::from_f64(*number).ok_or_else(error)?)
            }
            Value::String(text) => self.text(&**text)?,
            Value::Bytes(bytes) => {
                self.text(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes))?
            }
            Value::Timestamp(at) => self.text(at.to_string())?,
            Value::Duration(nanos) => self.text(seconds_text(*nanos))?,
            Value::List(list) => {
                Json::Array(list.iter().map(|item| self.of(&item?)).collect::<Result<_, Error>>()?)
            }
            Value::Map(Map::Json(object, _) | Map::Named(object)) => {
                self.count(object.values())?;
                Json::Object((*object).clone())
            }
            Value::Map(map) => {
                let mut object = JsonMap::new();
                for (key, value) in map.entries()? {
                    let name = convert(&key, &Type::String)?.as_str().unwrap_or_default().to_owned();
                    self.take(name.len())?;
                    object.insert(name, self.of(&value)?);
                }
                Json::Object(object)
            }
            Value::Object(object) => {
                let mut fields = JsonMap::new();
                for (name, value) in &object.fields {
                    self.take(name.len())?;
                    let value = match value {
                        Value::Optional(None) => Json::Null,
                        value => self.of(value)?,
                    };
                    fields.insert(name.to_string(), value);
                }
                Json::Object(fields)
            }
            Value::Optional(Some(value)) => self.of(value)?,
            Value::Optional(None) => return Err(Error::new("optional.none() dereference")),
            Value::Unknown(json) => {
                self.count([*json])?;
                (*json).clone()
            }
            Value::Opaque(_) | Value::Type(_) | Value::Fields(_) => {
                let ty = value.type_name();
                return Err(Error::new(format!("type conversion error from '{ty}' to JSON")));
            }
        })
    }

    /// Counts data that is copied as it is.
    fn count<'j>(&mut self, parts: impl IntoIterator<Item = &'j Json>) -> Result<(), Error> {
        for part in parts {
            self.take(1)?;
            match part {
                Json::String(text) => self.take(text.len())?,
                Json::Array(items) => self.count(items)?,
                Json::Object(object) => {
                    object.keys().try_for_each(|name| self.take(name.len()))?;
                    self.count(object.values())?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
