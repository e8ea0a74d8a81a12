//! Encoding a canonical tree as a message.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::{FIXED64, VARINT, put_bytes, put_message, put_tag, put_varint};
use crate::json;
use crate::schema::{Field, Flags, Shape, Type};
use crate::time::{Duration, MicroTime, Time};

/// Encodes an object of a type, without an envelope.
pub fn encode(value: &Value, ty: &Type) -> Vec<u8> {
    let mut out = Vec::new();
    object(value, ty, &mut out);
    out
}

fn object(value: &Value, ty: &Type, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => fields(map, ty, out),
        _ => fields(&Map::new(), ty, out),
    }
}

fn fields(map: &Map<String, Value>, ty: &Type, out: &mut Vec<u8>) {
    for field in ty.by_number.iter().filter_map(|&index| ty.fields.get(usize::from(index))) {
        match &field.shape {
            Shape::Struct(inline) if field.flags.has(Flags::INLINE) => {
                put_message(field.number, out, |out| fields(map, inline, out));
            }
            _ => one(map.get(field.name.as_ref()).unwrap_or(&Value::Null), field, out),
        }
    }
}

fn one(value: &Value, field: &Field, out: &mut Vec<u8>) {
    let number = field.number;
    match (&field.shape, value) {
        (_, Value::Null) if field.pointer() => {}
        (Shape::List(list), Value::Array(items)) => {
            if !list.wrapped {
                items.iter().for_each(|item| shape(number, item, &list.items, out));
            } else if !items.is_empty() {
                shape(number, value, &field.shape, out);
            }
        }
        (Shape::Map(of), Value::Object(entries)) => {
            for (key, value) in entries {
                put_message(number, out, |out| {
                    put_bytes(1, key.as_bytes(), out);
                    shape(2, value, &of.values, out);
                });
            }
        }
        (Shape::List(_) | Shape::Map(_), _) => {}
        (Shape::Bytes, Value::String(text)) if text.is_empty() && !field.pointer() => {}
        (Shape::Bytes, Value::Null) => {}
        (of, value) => shape(number, value, of, out),
    }
}

/// Writes one value; anything that isn't of the type counts as zero.
fn shape(number: u32, value: &Value, of: &Shape, out: &mut Vec<u8>) {
    match of {
        Shape::Bool => {
            put_tag(number, VARINT, out);
            out.push(u8::from(value.as_bool().unwrap_or_default()));
        }
        Shape::Int32 | Shape::Int64 => {
            put_tag(number, VARINT, out);
            put_varint(value.as_i64().unwrap_or_default() as u64, out);
        }
        Shape::Uint32 | Shape::Uint64 => {
            put_tag(number, VARINT, out);
            put_varint(value.as_u64().unwrap_or_default(), out);
        }
        Shape::Float64 => {
            put_tag(number, FIXED64, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Shape::String => put_bytes(number, value.as_str().unwrap_or_default().as_bytes(), out),
        Shape::Bytes => {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
            put_bytes(number, &bytes, out);
        }
        Shape::Time => {
            let at = value.as_str().and_then(|text| Time::from_str(text).ok());
            timestamp(number, at.map(|at| (at.0.as_second(), 0)), out);
        }
        Shape::MicroTime => {
            let at = value.as_str().and_then(|text| MicroTime::from_str(text).ok());
            // Before 1970 the seconds are rounded down, so that the nanoseconds count forward.
            let at = at.map(|at| at.0.as_microsecond());
            let parts = at.map(|at| (at.div_euclid(1_000_000), at.rem_euclid(1_000_000) * 1000));
            timestamp(number, parts, out);
        }
        Shape::Duration => {
            let duration = value.as_str().and_then(|text| Duration::from_str(text).ok()).unwrap_or_default();
            put_message(number, out, |out| integer(1, duration.nanos, out));
        }
        Shape::Quantity => {
            let text = value.as_str().unwrap_or("0");
            put_message(number, out, |out| put_bytes(1, text.as_bytes(), out));
        }
        Shape::IntOrString => put_message(number, out, |out| {
            integer(1, i64::from(value.is_string()), out);
            integer(2, value.as_i64().unwrap_or_default(), out);
            put_bytes(3, value.as_str().unwrap_or_default().as_bytes(), out);
        }),
        Shape::RawExtension | Shape::Json | Shape::FieldsV1 | Shape::Any => put_message(number, out, |out| {
            if !value.is_null() {
                let mut raw = Vec::new();
                json::encode_raw(value, &mut raw);
                put_bytes(1, &raw, out);
            }
        }),
        Shape::SchemaOrBool(ty) => put_message(number, out, |out| {
            integer(1, i64::from(value.as_bool().unwrap_or(value.is_object())), out);
            if value.is_object() {
                put_message(2, out, |out| object(value, ty, out));
            }
        }),
        Shape::SchemaOrArray(ty) => put_message(number, out, |out| match value {
            Value::Object(_) => put_message(1, out, |out| object(value, ty, out)),
            Value::Array(items) => {
                items.iter().for_each(|item| put_message(2, out, |out| object(item, ty, out)));
            }
            _ => {}
        }),
        Shape::SchemaOrStrings(ty) => put_message(number, out, |out| match value {
            Value::Object(_) => put_message(1, out, |out| object(value, ty, out)),
            Value::Array(items) => items.iter().for_each(|item| shape(2, item, &Shape::String, out)),
            _ => {}
        }),
        Shape::Struct(ty) => put_message(number, out, |out| object(value, ty, out)),
        Shape::List(list) => {
            // A list within a map, or a named list type: a message whose first field is the list.
            put_message(number, out, |out| {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                items.iter().for_each(|item| shape(1, item, &list.items, out));
            });
        }
        Shape::Map(_) => {}
    }
}

fn integer(number: u32, value: i64, out: &mut Vec<u8>) {
    put_tag(number, VARINT, out);
    put_varint(value as u64, out);
}

fn timestamp(number: u32, at: Option<(i64, i64)>, out: &mut Vec<u8>) {
    put_message(number, out, |out| {
        if let Some((seconds, nanos)) = at {
            integer(1, seconds, out);
            integer(2, nanos, out);
        }
    });
}
