//! Values of expressions. Data that came as JSON is looked at in place, never copied.

mod compare;
pub(crate) mod convert;
mod display;
mod list;
mod map;
pub(crate) mod time;

use std::any::Any;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value as Json;

use crate::eval::Error;
use crate::kube::mutation::JSON_PATCH;
use crate::kube::schema::{Format, Schema, SchemaType};
use crate::types::{OPTIONAL, Type};

pub use compare::equal_json;
pub(crate) use compare::{compare, equal};
pub use display::literal;
pub use list::List;
pub(crate) use list::ListKind;
pub use map::{Key, Map};
pub use time::Timestamp;

/// A value. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Str<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// An instant.
    Timestamp(Timestamp),
    /// A span of time in nanoseconds.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map, or an object that came as JSON.
    Map(Map<'a>),
    /// A type.
    Type(Type),
    /// A value or nothing.
    Optional(Option<Arc<Value<'a>>>),
    /// An object made by an expression.
    Object(Arc<Object<'a>>),
    /// A value of a library's own type.
    Opaque(Arc<dyn Opaque>),
    /// Named values, each computed or failed on its own.
    Fields(Arc<Fields<'a>>),
    /// Data of which nothing is known; it can only be compared.
    Unknown(&'a Json),
}

/// Named values such as the variables of an admission policy.
#[derive(Debug)]
pub struct Fields<'a> {
    /// The name of the type.
    pub name: &'static str,
    /// The values, and a mark that is set when one is used.
    pub entries: Vec<(Arc<str>, Result<Value<'a>, Error>, Arc<AtomicBool>)>,
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<Result<Value<'a>, Error>> {
        let (_, value, used) = self.entries.iter().find(|(entry, ..)| **entry == *name)?;
        used.store(true, Ordering::Relaxed);
        Some(value.clone())
    }
}

/// An object made by an expression.
#[derive(Debug)]
pub struct Object<'a> {
    /// Its type's name.
    pub name: Arc<str>,
    /// Its fields, in the order in which they were given.
    pub fields: Vec<(Arc<str>, Value<'a>)>,
}

/// A value of a library's own type.
pub trait Opaque: Any + Debug + Send + Sync {
    /// The type.
    fn ty(&self) -> Type;

    /// Whether the other, which is of the same type, is equal; `None` if that can't be told.
    fn equals(&self, other: &dyn Opaque) -> Option<bool>;

    /// The size, for types that have one.
    fn size(&self) -> Option<u64> {
        None
    }
}

/// A library's value, if it is of type `T`.
pub(crate) fn downcast<T: 'static>(opaque: &dyn Opaque) -> Option<&T> {
    (opaque as &dyn Any).downcast_ref()
}

/// Text that is borrowed or shared.
#[derive(Clone, Debug)]
pub enum Str<'a> {
    /// Part of the data or of the expression.
    Borrowed(&'a str),
    /// Made while evaluating.
    Shared(Arc<str>),
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Str::Borrowed(text) => text,
            Str::Shared(text) => text,
        }
    }
}

impl<'a> Value<'a> {
    /// Text made while evaluating.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Value::String(Str::Shared(text.into()))
    }

    /// Borrowed text.
    pub fn str(text: &'a str) -> Self {
        Value::String(Str::Borrowed(text))
    }

    /// A list made while evaluating.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(List::from(items))
    }

    /// A list of texts made while evaluating.
    pub fn strings(items: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        Value::list(items.into_iter().map(Value::string).collect())
    }

    /// A value that is there.
    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    /// A library's value.
    pub fn opaque(value: impl Opaque) -> Self {
        Value::Opaque(Arc::new(value))
    }

    /// JSON of which no schema is known.
    pub fn json(json: &'a Json) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::str(text),
            Json::Array(items) => Value::List(List::json(items, None)),
            Json::Object(object) => Value::Map(Map::Json(object, None)),
        }
    }

    /// JSON of which no schema is known, in which the names of fields may be written as identifiers.
    pub fn named(json: &'a Json) -> Self {
        match json {
            Json::Array(items) => Value::List(List::named(items)),
            Json::Object(object) => Value::Map(Map::Named(object)),
            scalar => Value::json(scalar),
        }
    }

    /// JSON of a known schema. Data that breaks its schema is an error.
    pub fn typed(json: &'a Json, schema: &'a Schema) -> Result<Self, Error> {
        if json.is_null() {
            return match schema.nullable {
                true => Ok(Value::Null),
                false => Err(Error::new("invalid data, got null for schema with nullable=false")),
            };
        }
        let invalid = |expected: &str| {
            Error::new(format!("invalid data, expected {expected}, got {}", proto::go::type_of(json)))
        };
        if schema.int_or_string {
            return match json {
                Json::String(text) => Ok(Value::str(text)),
                Json::Number(number) if number.is_i64() => Ok(Value::json(json)),
                _ => Err(Error::new(
                    "invalid data, expected XIntOrString value to be either a string or integer",
                )),
            };
        }
        match schema.ty {
            SchemaType::Object => match json {
                Json::Object(object) => Ok(Value::Map(Map::Json(object, Some(schema)))),
                _ => Err(Error::new("invalid data, expected a map for the provided schema with type=object")),
            },
            SchemaType::Array => match (json, &schema.items) {
                (Json::Array(_), None) => {
                    Err(Error::new("invalid array type, expected Items with a non-empty Schema"))
                }
                (Json::Array(items), Some(_)) => Ok(Value::List(List::json(items, Some(schema)))),
                _ => {
                    Err(Error::new("invalid data, expected an array for the provided schema with type=array"))
                }
            },
            SchemaType::String => match json {
                Json::String(text) => formatted(text, schema.format),
                _ => Err(invalid("string")),
            },
            SchemaType::Number => match json {
                Json::Number(number) => Ok(Value::Double(number.as_f64().unwrap_or(f64::NAN))),
                _ => Err(invalid("float")),
            },
            SchemaType::Integer => match json.as_i64() {
                Some(value) => Ok(Value::Int(value)),
                None => Err(invalid("int")),
            },
            SchemaType::Boolean => json.as_bool().map(Value::Bool).ok_or_else(|| invalid("bool")),
            SchemaType::None if schema.preserve => Ok(Value::Unknown(json)),
            SchemaType::None => Err(Error::new(
                "invalid type, expected object, array, number, integer, boolean or string, or no type with x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields is true, got ",
            )),
        }
    }

    /// The same data as if no schema were known of it.
    pub(crate) fn untyped(self) -> Self {
        match self {
            Value::Map(Map::Json(object, _)) => Value::Map(Map::Json(object, None)),
            Value::List(list) => Value::List(list.untyped()),
            other => other,
        }
    }

    /// The type, as `type()` gives it.
    pub fn ty(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Duration(_) => Type::Duration,
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Type(_) => Type::Type(Arc::new(Type::Dyn)),
            Value::Optional(_) => Type::optional(Type::Dyn),
            Value::Object(object) => Type::Struct(object.name.clone()),
            Value::Opaque(opaque) => opaque.ty(),
            Value::Fields(fields) => Type::object(fields.name),
            Value::Unknown(_) => Type::object("unknown"),
        }
    }

    /// The name of the Go type that cel-go has for such values.
    pub(crate) fn go_name(&self) -> &'static str {
        match self {
            Value::Null => "types.Null",
            Value::Bool(_) => "types.Bool",
            Value::Int(_) => "types.Int",
            Value::Uint(_) => "types.Uint",
            Value::Double(_) => "types.Double",
            Value::String(_) => "types.String",
            Value::Bytes(_) => "types.Bytes",
            Value::Timestamp(_) => "types.Timestamp",
            Value::Duration(_) => "types.Duration",
            Value::Type(_) => "*types.Type",
            Value::Optional(_) => "*types.Optional",
            Value::List(_) => "*types.baseList",
            Value::Map(_) => "*types.baseMap",
            Value::Object(_) | Value::Opaque(_) | Value::Fields(_) | Value::Unknown(_) => "ref.Val",
        }
    }

    /// The name of the type.
    pub fn type_name(&self) -> String {
        match self {
            Value::Optional(_) => OPTIONAL.to_owned(),
            _ => self.ty().name().to_owned(),
        }
    }

    /// The size that costs are computed from: characters, bytes, elements or entries; 1 for what has no size.
    pub fn size(&self) -> u64 {
        match self {
            Value::String(text) => text.chars().count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Opaque(opaque) => opaque.size().unwrap_or(1),
            _ => 1,
        }
    }

    /// Whether the value holds no others.
    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(
            self,
            Value::List(_) | Value::Map(_) | Value::Optional(_) | Value::Object(_) | Value::Fields(_)
        )
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The library's value, if it is of type `T`.
    pub(crate) fn downcast<T: 'static>(&self) -> Option<&T> {
        match self {
            Value::Opaque(opaque) => downcast(&**opaque),
            _ => None,
        }
    }

    /// Whether a value may be an argument of this declared type.
    pub(crate) fn matches(&self, declared: &Type) -> bool {
        match (declared, self) {
            (Type::Dyn | Type::Param(_), _) => true,
            (Type::List(element), Value::List(list)) => match list.get(0) {
                Some(Ok(first)) => first.matches(element),
                Some(Err(_)) => false,
                None => true,
            },
            (Type::Map(of), Value::Map(map)) => match map.first() {
                Some((key, Ok(value))) => key.matches(&of.0) && value.matches(&of.1),
                Some((_, Err(_))) => false,
                None => true,
            },
            (Type::Opaque(name, _), Value::Optional(_)) => **name == *OPTIONAL,
            (Type::Struct(_) | Type::Opaque(..), Value::Opaque(opaque)) => {
                opaque.ty().name() == declared.name()
            }
            (Type::Struct(name), Value::Object(object)) => *name == object.name,
            (Type::Type(_), Value::Type(_)) => true,
            _ => *declared == self.ty(),
        }
    }

    /// Whether `optional.ofNonZeroValue` takes it for nothing.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Int(value) | Value::Duration(value) => *value == 0,
            Value::Uint(value) => *value == 0,
            Value::Double(value) => *value == 0.0,
            Value::String(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::Timestamp(at) => at.is_zero(),
            // Lists and maps that came with a schema count as values even when empty.
            Value::List(list) => list.is_empty() && !list.is_typed(),
            Value::Map(map) => map.is_empty() && !matches!(map, Map::Json(_, Some(_))),
            Value::Object(object) => object.fields.is_empty() && *object.name != *JSON_PATCH,
            _ => false,
        }
    }

    /// A copy as JSON. Values that JSON has no form for are errors.
    pub fn to_json(&self) -> Result<Json, Error> {
        convert::to_json(self)
    }
}

fn formatted<'a>(text: &'a str, format: Format) -> Result<Value<'a>, Error> {
    let invalid =
        |what: &str, text: &str, reason: &str| Error::new(format!("Invalid {what} {text}: {reason}"));
    match format {
        Format::None => Ok(Value::str(text)),
        Format::Duration => time::parse_openapi_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| invalid("duration", text, &format!("unable to parse {text} as duration"))),
        Format::Date => Timestamp::parse_date(text)
            .map(Value::Timestamp)
            .ok_or_else(|| invalid("date formatted string", text, "cannot parse")),
        Format::DateTime => Timestamp::parse_openapi(text)
            .map(Value::Timestamp)
            .ok_or_else(|| invalid("date-time formatted string", text, "cannot parse")),
        Format::Byte => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text)
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|_| invalid("byte formatted string", text, "illegal base64 data")),
    }
}
