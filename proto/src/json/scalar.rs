//! Zero values, and the texts of the types that are strings in JSON but not in Go.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::quantity::Quantity;
use crate::schema::Shape;
use crate::time::{Duration, MicroTime, Time};

/// Whether a value is Go's zero value of its type, so that a field that isn't a pointer leaves it out.
pub(crate) fn is_zero(value: &Value, shape: &Shape) -> bool {
    match (shape, value) {
        (_, Value::Null) => true,
        (Shape::RawExtension | Shape::Json | Shape::FieldsV1 | Shape::Any, _) => false,
        (Shape::SchemaOrBool(_) | Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_), _) => false,
        (Shape::Quantity, Value::String(text)) => text == "0",
        (Shape::Duration, Value::String(text)) => text == "0s",
        (Shape::IntOrString, Value::String(_)) => false,
        (_, Value::Bool(value)) => !value,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(entries)) => entries.is_empty(),
    }
}

/// What a null means in a list or a map.
pub(crate) fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64 | Shape::Float64 | Shape::IntOrString => {
            Value::from(0)
        }
        Shape::String | Shape::Bytes => Value::from(""),
        Shape::Quantity => Value::from("0"),
        Shape::Duration => Value::from("0s"),
        Shape::Struct(_) => Value::Object(Map::new()),
        Shape::SchemaOrBool(_) => Value::Bool(false),
        _ => Value::Null,
    }
}

/// The canonical text of a quantity.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    Quantity::parse(text.trim()).map(|quantity| quantity.to_string()).map_err(|error| error.to_string())
}

/// The canonical text of a time.
pub(super) fn time(text: &str) -> Result<String, String> {
    Time::from_str(text).map(|time| time.to_string()).map_err(|error| error.to_string())
}

/// The canonical text of a time with microseconds.
pub(super) fn micro_time(text: &str) -> Result<String, String> {
    MicroTime::from_str(text).map(|time| time.to_string()).map_err(|error| error.to_string())
}

/// The canonical text of a duration.
pub(super) fn duration(text: &str) -> Result<String, String> {
    Duration::from_str(text).map(|duration| duration.to_string()).map_err(|error| error.to_string())
}
