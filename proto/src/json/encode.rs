//! Encoding: what Go's `encoding/json` prints for the struct.

use serde_json::{Map, Number, Value};

use super::is_zero;
use crate::schema::{Field, Flags, Shape, Type};

/// Appends what Go prints for an object of a type. (Upstream's responses end with a line end besides.)
pub fn encode(value: &Value, ty: &Type, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => object(map, ty, out),
        _ => out.extend_from_slice(b"null"),
    }
}

/// Appends any value as Go prints it: keys sorted, `<`, `>` and `&` escaped.
pub fn encode_any(value: &Value, out: &mut Vec<u8>) {
    any(value, true, out);
}

/// Appends any value with no more escaped than JSON needs, as protobuf holds embedded JSON.
pub fn encode_raw(value: &Value, out: &mut Vec<u8>) {
    any(value, false, out);
}

/// The tree that a client sees, that of what [`encode`] appends: the canonical tree with the zero values that Go prints.
///
/// JSON patches and merge patches work on this form.
pub fn print(value: &Value, ty: &Type) -> Value {
    match value {
        Value::Object(map) => printed(map, ty),
        _ => Value::Null,
    }
}

fn printed(map: &Map<String, Value>, ty: &Type) -> Value {
    let mut out = Map::new();
    printed_fields(map, ty, &mut out);
    Value::Object(out)
}

fn printed_fields(map: &Map<String, Value>, ty: &Type, out: &mut Map<String, Value>) {
    for field in ty.fields.iter() {
        if field.flags.has(Flags::INLINE) {
            if let Shape::Struct(inline) = &field.shape {
                printed_fields(map, inline, out);
            }
            continue;
        }
        let value = present(map, field);
        if value.is_none() && omitted(field) {
            continue;
        }
        let value = match value {
            Some(value) => printed_shape(value, &field.shape),
            None if is_items(field, ty) => Value::Array(Vec::new()),
            None => printed_absent(field),
        };
        out.insert(field.name.as_ref().to_owned(), value);
    }
}

fn printed_absent(field: &Field) -> Value {
    match &field.shape {
        Shape::Struct(ty) if !field.pointer() => printed(&Map::new(), ty),
        _ => {
            let mut text = Vec::new();
            absent(field, &mut text);
            serde_json::from_slice(&text).unwrap_or_default()
        }
    }
}

fn printed_shape(value: &Value, of: &Shape) -> Value {
    match (of, value) {
        (
            Shape::Struct(ty)
            | Shape::SchemaOrBool(ty)
            | Shape::SchemaOrArray(ty)
            | Shape::SchemaOrStrings(ty),
            Value::Object(map),
        ) => printed(map, ty),
        (Shape::SchemaOrArray(ty), Value::Array(items)) => items.iter().map(|item| print(item, ty)).collect(),
        (Shape::List(of), Value::Array(items)) => {
            items.iter().map(|item| printed_shape(item, &of.items)).collect()
        }
        (Shape::Map(of), Value::Object(entries)) => {
            let printed = |(key, value): (&String, &Value)| (key.clone(), printed_shape(value, &of.values));
            Value::Object(entries.iter().map(printed).collect())
        }
        _ => printed_any(value),
    }
}

fn printed_any(value: &Value) -> Value {
    match value {
        // A whole float prints, and reads, as an integer; a large integer reads as a float.
        Value::Number(value) if !value.is_i64() => {
            let mut text = Vec::new();
            number(value, &mut text);
            super::decode_any(&text).map_or(Value::Null, |decoded| decoded.value)
        }
        Value::Array(items) => items.iter().map(printed_any).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), printed_any(value))).collect())
        }
        scalar => scalar.clone(),
    }
}

/// The value of a field, unless it is what Go takes for none.
fn present<'a>(map: &'a Map<String, Value>, field: &Field) -> Option<&'a Value> {
    map.get(field.name.as_ref())
        .filter(|value| if field.pointer() { !value.is_null() } else { !is_zero(value, &field.shape) })
}

/// Upstream's servers take care that a list object's items are never nil.
fn is_items(field: &Field, ty: &Type) -> bool {
    field.name == "items" && ty.name.ends_with("List")
}

fn object(map: &Map<String, Value>, ty: &Type, out: &mut Vec<u8>) {
    out.push(b'{');
    let start = out.len();
    fields(map, ty, start, out);
    out.push(b'}');
}

fn fields(map: &Map<String, Value>, ty: &Type, start: usize, out: &mut Vec<u8>) {
    for field in ty.fields.iter() {
        if field.flags.has(Flags::INLINE) {
            if let Shape::Struct(inline) = &field.shape {
                fields(map, inline, start, out);
            }
            continue;
        }
        let value = present(map, field);
        if value.is_none() && omitted(field) {
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        string(&field.name, true, out);
        out.push(b':');
        match value {
            Some(value) => shape(value, &field.shape, out),
            None if is_items(field, ty) => out.extend_from_slice(b"[]"),
            None => absent(field, out),
        }
    }
}

/// Whether Go leaves a field out that has its zero value.
fn omitted(field: &Field) -> bool {
    if field.flags.has(Flags::OMITZERO) {
        return true;
    }
    let is_struct = matches!(
        field.shape,
        Shape::Struct(_)
            | Shape::Time
            | Shape::MicroTime
            | Shape::Duration
            | Shape::Quantity
            | Shape::IntOrString
            | Shape::RawExtension
            | Shape::Json
            | Shape::FieldsV1
            | Shape::SchemaOrBool(_)
            | Shape::SchemaOrArray(_)
            | Shape::SchemaOrStrings(_)
    );
    field.flags.has(Flags::OMITEMPTY) && (field.pointer() || !is_struct)
}

/// What Go prints for a zero value.
fn absent(field: &Field, out: &mut Vec<u8>) {
    let text: &[u8] = match &field.shape {
        _ if field.pointer() => b"null",
        Shape::Bool | Shape::SchemaOrBool(_) => b"false",
        Shape::Int32 | Shape::Int64 | Shape::Uint32 | Shape::Uint64 | Shape::Float64 | Shape::IntOrString => {
            b"0"
        }
        Shape::String => b"\"\"",
        Shape::Quantity => b"\"0\"",
        Shape::Duration => b"\"0s\"",
        Shape::Struct(ty) => return object(&Map::new(), ty, out),
        _ => b"null",
    };
    out.extend_from_slice(text);
}

fn shape(value: &Value, shape_of: &Shape, out: &mut Vec<u8>) {
    match (shape_of, value) {
        (
            Shape::Struct(ty)
            | Shape::SchemaOrBool(ty)
            | Shape::SchemaOrArray(ty)
            | Shape::SchemaOrStrings(ty),
            Value::Object(map),
        ) => object(map, ty, out),
        (Shape::SchemaOrArray(ty), Value::Array(items)) => {
            list(items, out, |item, out| encode(item, ty, out));
        }
        (Shape::List(of), Value::Array(items)) => list(items, out, |item, out| shape(item, &of.items, out)),
        (Shape::Map(of), Value::Object(entries)) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(key, true, out);
                out.push(b':');
                shape(value, &of.values, out);
            }
            out.push(b'}');
        }
        _ => any(value, true, out),
    }
}

fn list(items: &[Value], out: &mut Vec<u8>, mut each: impl FnMut(&Value, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(b']');
}

fn any(value: &Value, html: bool, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(value) => number(value, out),
        Value::String(text) => string(text, html, out),
        Value::Array(items) => list(items, out, |item, out| any(item, html, out)),
        Value::Object(entries) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(key, html, out);
                out.push(b':');
                any(value, html, out);
            }
            out.push(b'}');
        }
    }
}

fn number(number: &Number, out: &mut Vec<u8>) {
    let text = match number.as_f64() {
        Some(float) if number.is_f64() => float_text(float),
        _ => number.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

/// A float as Go prints it: with an exponent only below 1e-6 and from 1e21.
fn float_text(float: f64) -> String {
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        return if size >= 1e21 { text.replacen('e', "e+", 1) } else { text };
    }
    format!("{float}")
}

/// Bytes that are looked at together, without a branch per byte.
const STRETCH: usize = 32;

/// Whether a byte may be the beginning of something that is escaped.
fn is_special(byte: u8) -> bool {
    (byte < b' ')
        | (byte == b'"')
        | (byte == b'\\')
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'&')
        | (byte == 0xe2)
}

fn string(text: &str, html: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    let mut at = 0;
    // Where the bytes are that nobody has looked at.
    let mut unseen = 0;
    while at < bytes.len() {
        if at >= unseen
            && let Some(stretch) = bytes.get(at..at + STRETCH)
        {
            unseen = at + STRETCH;
            if !stretch.iter().fold(false, |found, &byte| found | is_special(byte)) {
                at = unseen;
                continue;
            }
        }
        let byte = bytes[at];
        let (escape, width): (&[u8], usize) = match byte {
            b'"' => (b"\\\"", 1),
            b'\\' => (b"\\\\", 1),
            b'\n' => (b"\\n", 1),
            b'\r' => (b"\\r", 1),
            b'\t' => (b"\\t", 1),
            0x08 => (b"\\b", 1),
            0x0c => (b"\\f", 1),
            0x00..=0x1f => (b"", 1),
            b'<' if html => (b"\\u003c", 1),
            b'>' if html => (b"\\u003e", 1),
            b'&' if html => (b"\\u0026", 1),
            0xe2 if html && bytes[at..].starts_with(b"\xe2\x80\xa8") => (b"\\u2028", 3),
            0xe2 if html && bytes[at..].starts_with(b"\xe2\x80\xa9") => (b"\\u2029", 3),
            _ => {
                at += 1;
                continue;
            }
        };
        out.extend_from_slice(&bytes[plain..at]);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        at += width;
        plain = at;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}
