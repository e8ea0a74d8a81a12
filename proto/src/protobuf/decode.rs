//! Decoding a message into a canonical tree.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number as JsonNumber, Value};

use super::wire::{BYTES, FIXED64, Number, Reader, VARINT, Wire, varint};
use super::{Error, MAX_DEPTH};
use crate::json::{self, is_zero, zero};
use crate::quantity::Quantity;
use crate::schema::{Field, Flags, Mask, Shape, Type};
use crate::time::{Duration, MicroTime, Time};

/// Decodes an object of a type from a message without an envelope.
pub fn decode(data: &[u8], ty: &Type) -> Result<Value, Error> {
    decode_some(data, ty, Mask::ALL)
}

/// Decodes what of an object is looked at. The rest is passed over, also if it is broken.
pub fn decode_some(data: &[u8], ty: &Type, mask: &Mask) -> Result<Value, Error> {
    let mut map = Map::new();
    message(data, ty, &mut map, At { mask, depth: 0 })?;
    Ok(Value::Object(map))
}

/// Where in an object something is.
#[derive(Clone, Copy)]
struct At<'a> {
    /// What is looked at from here on.
    mask: &'a Mask,
    depth: usize,
}

impl At<'_> {
    fn deeper(self) -> Self {
        At { depth: self.depth + 1, ..self }
    }
}

fn message(data: &[u8], ty: &Type, map: &mut Map<String, Value>, at: At<'_>) -> Result<(), Error> {
    if at.depth > MAX_DEPTH {
        return Err(Error::Depth);
    }
    let mut reader = Reader::new(data, &ty.name);
    // Fields mostly come in the order of their numbers.
    let mut hint = 0;
    while let Some(wire) = reader.field()? {
        let count = ty.by_number.len();
        let found = (hint..count).chain(0..hint.min(count)).find_map(|place| {
            let field = ty.fields.get(usize::from(ty.by_number[place]))?;
            (field.number == wire.number).then_some((place, field))
        });
        let Some((place, field)) = found else { continue };
        hint = place;
        if field.flags.has(Flags::INLINE) {
            put(&wire, field, map, at)?;
        } else if let Some(mask) = at.mask.field(&field.name) {
            put(&wire, field, map, At { mask, ..at })?;
        }
    }
    Ok(())
}

fn put(wire: &Wire<'_>, field: &Field, map: &mut Map<String, Value>, at: At<'_>) -> Result<(), Error> {
    let name = field.name.as_ref();
    match &field.shape {
        Shape::Struct(inline) if field.flags.has(Flags::INLINE) => {
            return message(bytes(wire, name)?, inline, map, at.deeper());
        }
        Shape::List(list) if list.wrapped => {
            let items = wrapped(bytes(wire, name)?, &list.items, name, at)?;
            append(map, name, items);
        }
        Shape::List(list) => {
            let items = repeated(wire, &list.items, name, at)?;
            append(map, name, items);
        }
        Shape::Map(of) => {
            let (key, value) = entry(bytes(wire, name)?, &of.values, name, at)?;
            if let Value::Object(entries) = map.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                entries.insert(key, value);
            }
        }
        Shape::Struct(ty) => {
            // A message that comes in parts is merged.
            let mut inner = match map.remove(name) {
                Some(Value::Object(inner)) => inner,
                _ => Map::new(),
            };
            message(bytes(wire, name)?, ty, &mut inner, at.deeper())?;
            if field.pointer() || !inner.is_empty() {
                map.insert(name.to_owned(), Value::Object(inner));
            }
        }
        of => {
            let value = shape(wire, of, name, at)?;
            let absent = if field.pointer() { value.is_null() } else { is_zero(&value, of) };
            if absent {
                map.remove(name);
            } else {
                map.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn append(map: &mut Map<String, Value>, name: &str, items: Vec<Value>) {
    if items.is_empty() {
        return;
    }
    match map.get_mut(name) {
        Some(Value::Array(list)) => list.extend(items),
        _ => drop(map.insert(name.to_owned(), Value::Array(items))),
    }
}

/// One item of a list, or several if numbers are packed.
fn repeated(wire: &Wire<'_>, items: &Shape, name: &str, at: At<'_>) -> Result<Vec<Value>, Error> {
    let packs = matches!(items, Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64)
        && wire.wire_type == BYTES;
    if !packs {
        let item = shape(wire, items, name, at)?;
        return Ok(vec![if item.is_null() { zero(items) } else { item }]);
    }
    let mut data = bytes(wire, name)?;
    let mut list = Vec::new();
    while !data.is_empty() {
        let value = Number::Integer(varint(&mut data)?);
        list.push(shape(&Wire { number: wire.number, wire_type: VARINT, value }, items, name, at)?);
    }
    Ok(list)
}

fn wrapped(data: &[u8], items: &Shape, name: &str, at: At<'_>) -> Result<Vec<Value>, Error> {
    let mut list = Vec::new();
    let mut reader = Reader::new(data, name);
    while let Some(wire) = reader.field()? {
        if wire.number == 1 {
            list.extend(repeated(&wire, items, name, at)?);
        }
    }
    Ok(list)
}

fn entry(data: &[u8], values: &Shape, name: &str, at: At<'_>) -> Result<(String, Value), Error> {
    let (mut key, mut value) = (String::new(), Value::Null);
    let mut reader = Reader::new(data, name);
    while let Some(wire) = reader.field()? {
        match wire.number {
            1 => key = text(bytes(&wire, name)?),
            2 => {
                value = match values {
                    Shape::List(list) => Value::Array(wrapped(bytes(&wire, name)?, &list.items, name, at)?),
                    values => shape(&wire, values, name, at)?,
                }
            }
            _ => {}
        }
    }
    Ok((key, if value.is_null() { zero(values) } else { value }))
}

/// Decodes one value; null for the zero value of types that have no other.
fn shape(wire: &Wire<'_>, of: &Shape, name: &str, at: At<'_>) -> Result<Value, Error> {
    Ok(match of {
        Shape::Bool => Value::Bool(integer(wire, name)? != 0),
        Shape::Int32 => Value::from(integer(wire, name)? as i32),
        Shape::Int64 => Value::from(integer(wire, name)? as i64),
        Shape::Uint32 => Value::from(integer(wire, name)? as u32),
        Shape::Uint64 => Value::from(integer(wire, name)?),
        Shape::Float64 => match (wire.wire_type, &wire.value) {
            (FIXED64, Number::Integer(bits)) => {
                JsonNumber::from_f64(f64::from_bits(*bits)).map_or(Value::Null, Value::Number)
            }
            _ => return Err(wrong(wire, name)),
        },
        Shape::String => Value::String(text(bytes(wire, name)?)),
        Shape::Bytes => Value::String(STANDARD.encode(bytes(wire, name)?)),
        Shape::Time => match timestamp(bytes(wire, name)?)? {
            Some((seconds, _)) => Value::String(Time(instant(seconds, 0)?).to_string()),
            None => Value::Null,
        },
        Shape::MicroTime => match timestamp(bytes(wire, name)?)? {
            Some((seconds, nanos)) => {
                Value::String(MicroTime(instant(seconds, nanos - nanos % 1000)?).to_string())
            }
            None => Value::Null,
        },
        Shape::Duration => {
            let mut nanos = 0;
            let mut reader = Reader::new(bytes(wire, name)?, "Duration");
            while let Some(wire) = reader.field()? {
                if wire.number == 1 {
                    nanos = integer(&wire, "Duration")? as i64;
                }
            }
            Value::String(Duration { nanos }.to_string())
        }
        Shape::Quantity => {
            let mut quantity = "0".to_owned();
            let mut reader = Reader::new(bytes(wire, name)?, "Quantity");
            while let Some(wire) = reader.field()? {
                if wire.number == 1 {
                    let text = text(bytes(&wire, "String_")?);
                    let parsed = Quantity::parse(&text).map_err(|error| Error::Value(error.to_string()))?;
                    quantity = parsed.to_string();
                }
            }
            Value::String(quantity)
        }
        Shape::IntOrString => int_or_string(bytes(wire, name)?)?,
        Shape::RawExtension | Shape::Json | Shape::FieldsV1 | Shape::Any => raw(bytes(wire, name)?)?,
        Shape::SchemaOrBool(ty) => {
            let (mut allows, mut schema) = (false, None);
            let mut reader = Reader::new(bytes(wire, name)?, "JSONSchemaPropsOrBool");
            while let Some(wire) = reader.field()? {
                match wire.number {
                    1 => allows = integer(&wire, "Allows")? != 0,
                    2 => schema = Some(object(bytes(&wire, "Schema")?, ty, at)?),
                    _ => {}
                }
            }
            schema.unwrap_or(Value::Bool(allows))
        }
        Shape::SchemaOrArray(ty) => {
            let (mut schema, mut list) = (Value::Null, Vec::new());
            let mut reader = Reader::new(bytes(wire, name)?, "JSONSchemaPropsOrArray");
            while let Some(wire) = reader.field()? {
                match wire.number {
                    1 => schema = object(bytes(&wire, "Schema")?, ty, at)?,
                    2 => list.push(object(bytes(&wire, "JSONSchemas")?, ty, at)?),
                    _ => {}
                }
            }
            if list.is_empty() { schema } else { Value::Array(list) }
        }
        Shape::SchemaOrStrings(ty) => {
            let (mut schema, mut list) = (Value::Null, Vec::new());
            let mut reader = Reader::new(bytes(wire, name)?, "JSONSchemaPropsOrStringArray");
            while let Some(wire) = reader.field()? {
                match wire.number {
                    1 => schema = object(bytes(&wire, "Schema")?, ty, at)?,
                    2 => list.push(Value::String(text(bytes(&wire, "Property")?))),
                    _ => {}
                }
            }
            if list.is_empty() { schema } else { Value::Array(list) }
        }
        Shape::Struct(ty) => object(bytes(wire, name)?, ty, at)?,
        Shape::List(list) => Value::Array(wrapped(bytes(wire, name)?, &list.items, name, at)?),
        Shape::Map(_) => Value::Null,
    })
}

fn object(data: &[u8], ty: &Type, at: At<'_>) -> Result<Value, Error> {
    let mut map = Map::new();
    message(data, ty, &mut map, at.deeper())?;
    Ok(Value::Object(map))
}

fn int_or_string(data: &[u8]) -> Result<Value, Error> {
    let (mut is_string, mut integer_value, mut string) = (false, 0, String::new());
    let mut reader = Reader::new(data, "IntOrString");
    while let Some(wire) = reader.field()? {
        match wire.number {
            1 => is_string = integer(&wire, "Type")? != 0,
            2 => integer_value = integer(&wire, "IntVal")? as i32,
            3 => string = text(bytes(&wire, "StrVal")?),
            _ => {}
        }
    }
    Ok(if is_string { Value::String(string) } else { Value::from(integer_value) })
}

/// Embedded JSON.
fn raw(data: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(data, "RawExtension");
    let mut value = Value::Null;
    while let Some(wire) = reader.field()? {
        if wire.number == 1 {
            let bytes = bytes(&wire, "Raw")?;
            if !bytes.is_empty() {
                value = json::decode_any(bytes).map_err(|error| Error::Value(error.to_string()))?.value;
            }
        }
    }
    Ok(value)
}

fn timestamp(data: &[u8]) -> Result<Option<(i64, i32)>, Error> {
    if data.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(data, "Timestamp");
    while let Some(wire) = reader.field()? {
        match wire.number {
            1 => seconds = integer(&wire, "Seconds")? as i64,
            2 => nanos = integer(&wire, "Nanos")? as i32,
            _ => {}
        }
    }
    Ok(Some((seconds, nanos)))
}

fn instant(seconds: i64, nanos: i32) -> Result<Timestamp, Error> {
    Timestamp::new(seconds, nanos).map_err(|error| Error::Value(error.to_string()))
}

fn integer(wire: &Wire<'_>, name: &str) -> Result<u64, Error> {
    match (wire.wire_type, &wire.value) {
        (VARINT, Number::Integer(value)) => Ok(*value),
        _ => Err(wrong(wire, name)),
    }
}

fn bytes<'a>(wire: &Wire<'a>, name: &str) -> Result<&'a [u8], Error> {
    match wire.value {
        Number::Bytes(bytes) => Ok(bytes),
        Number::Integer(_) => Err(wrong(wire, name)),
    }
}

fn wrong(wire: &Wire<'_>, name: &str) -> Error {
    Error::WireType { wire_type: wire.wire_type, field: name.to_owned() }
}

fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into_owned(), str::to_owned)
}
