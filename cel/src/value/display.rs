//! Texts of values.

use std::fmt;

use proto::go;

use super::time::seconds_text;
use super::{Map, Value};

/// A number as a literal.
pub(crate) fn float_text(number: f64) -> String {
    match number {
        number if number.is_nan() => "double(\"NaN\")".into(),
        number if number == f64::INFINITY => "double(\"Infinity\")".into(),
        number if number == f64::NEG_INFINITY => "double(\"-Infinity\")".into(),
        number => {
            let text = format!("{number}");
            if text.contains('.') { text } else { format!("{text}.0") }
        }
    }
}

/// Prints a value the way error messages mention it: texts without quotes.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Uint(number) => write!(f, "{number}"),
            Value::Double(number) => f.write_str(&go::float(*number)),
            Value::String(text) => f.write_str(text),
            Value::Bytes(bytes) => {
                let numbers: Vec<String> = bytes.iter().take(64).map(u8::to_string).collect();
                write!(f, "[{}]", numbers.join(" "))
            }
            Value::Timestamp(at) => write!(f, "{at}"),
            Value::Duration(nanos) => f.write_str(&seconds_text(*nanos)),
            Value::Type(ty) => f.write_str(ty.name()),
            Value::Optional(Some(value)) => write!(f, "optional({value})"),
            Value::Optional(None) => f.write_str("optional.none()"),
            Value::Opaque(opaque) => f.write_str(opaque.ty().name()),
            Value::Object(object) => f.write_str(&object.name),
            Value::List(_) | Value::Map(_) | Value::Fields(_) | Value::Unknown(_) => {
                f.write_str(&self.type_name())
            }
        }
    }
}

/// A value as a literal, as far as it has one. Long values are cut.
pub fn literal(value: &Value<'_>) -> String {
    let mut out = String::new();
    write_literal(&mut out, value);
    out
}

const LITERAL_MAX: usize = 1 << 16;

fn write_literal(out: &mut String, value: &Value<'_>) {
    if out.len() > LITERAL_MAX {
        return;
    }
    match value {
        Value::Uint(number) => out.push_str(&format!("{number}u")),
        Value::Double(number) => out.push_str(&float_text(*number)),
        Value::String(text) => out.push_str(&proto::field::quote(text)),
        Value::Bytes(bytes) => {
            out.push_str("b\"");
            bytes.iter().for_each(|byte| out.push_str(&format!("\\{byte:03o}")));
            out.push('"');
        }
        Value::Timestamp(at) => out.push_str(&format!("timestamp(\"{at}\")")),
        Value::Duration(nanos) => out.push_str(&format!("duration(\"{}\")", seconds_text(*nanos))),
        Value::List(list) => {
            out.push('[');
            for (position, item) in list.iter().enumerate() {
                if out.len() > LITERAL_MAX {
                    break;
                }
                if position > 0 {
                    out.push_str(", ");
                }
                match item {
                    Ok(item) => write_literal(out, &item),
                    Err(error) => out.push_str(&error.to_string()),
                }
            }
            out.push(']');
        }
        Value::Map(map) => write_map(out, map),
        Value::Optional(Some(value)) => {
            out.push_str("optional.of(");
            write_literal(out, value);
            out.push(')');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_map(out: &mut String, map: &Map<'_>) {
    let mut entries: Vec<(String, String)> = match map.entries() {
        Ok(entries) => entries.iter().map(|(key, value)| (literal(key), literal(value))).collect(),
        Err(error) => return out.push_str(&error.to_string()),
    };
    entries.sort();
    out.push('{');
    for (position, (key, value)) in entries.iter().enumerate() {
        out.push_str(if position > 0 { ", " } else { "" });
        out.push_str(key);
        out.push_str(": ");
        out.push_str(value);
    }
    out.push('}');
}
