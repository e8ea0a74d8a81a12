//! Types, enumerations, numbers and texts.

use proto::go;
use serde_json::Value;

use super::{At, Kind, Number, Outcome, Schema, general, matches, type_names};
use crate::custom::schema::format_is_supported;

/// The format, if it means something for values of the schema's type.
pub(super) fn format(schema: &Schema) -> Option<&str> {
    let ty = if schema.int_or_string { "" } else { schema.ty.as_str() };
    Some(schema.format.as_str()).filter(|format| format_is_supported(format, ty))
}

/// The JSON type and Go format of a value.
fn kind_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

/// The value's type.
pub(super) fn type_of(value: &Value, schema: &Schema, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    let (ty, go_format) = kind_of(value);
    let has = |wanted: &str| match schema.int_or_string {
        true => matches!(wanted, "integer" | "string"),
        false => schema.ty == wanted,
    };
    let format = format(schema).unwrap_or_default();
    let whole = value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_991.0);
    let fits = has(ty) || ty == "number" && whole && has("integer") || ty == "integer" && has("number");
    let textual = matches!(value, Value::String(_) | Value::Array(_));
    if !textual && !format.is_empty() && !fits && go_format != format {
        outcome.add(at.wrong_type(format, go_format));
    } else if textual && !format.is_empty() && !has("number") && !has("integer") {
        // The format's own check tells.
    } else if !fits {
        outcome.add(at.wrong_type(type_names(schema), ty));
    }
    outcome.checks = usize::from(outcome.is_valid());
    outcome
}

/// The enumeration.
pub(super) fn one_of_values(value: &Value, schema: &Schema, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    if schema.values.is_empty() || schema.values.iter().any(|allowed| same(value, allowed)) {
        return outcome;
    }
    let print = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let values: Vec<String> = schema.values.iter().map(print).collect();
    let text = format!("{} in body should be one of [{}]", at.path, values.join(" "));
    outcome.add(at.fault(Kind::NotSupported(values), value.clone(), text));
    outcome
}

/// Equality after conversion to the type of the allowed value, as Go's reflection does it.
fn same(value: &Value, allowed: &Value) -> bool {
    match (value, allowed) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Number(value), Value::Number(allowed)) => match (allowed.as_i64(), value.as_i64()) {
            (Some(a), Some(v)) => a == v,
            (Some(a), None) => value.as_f64().is_some_and(|v| v.trunc() as i64 == a),
            (None, _) => value.as_f64() == allowed.as_f64(),
        },
        _ => value == allowed,
    }
}

/// Length and pattern: the first that fails is told.
pub(super) fn string(text: &str, schema: &Schema, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    let length = text.chars().count() as i64;
    if let Some(max) = schema.max_length.filter(|max| length > *max) {
        let detail = format!("{} in body should be at most {max} chars long", at.path);
        outcome.add(at.fault(Kind::TooLong(max), text.into(), detail));
    } else if let Some(min) = schema.min_length.filter(|min| length < *min) {
        outcome.add(at.body(text, format_args!("should be at least {min} chars long")));
    } else if !schema.pattern.is_empty() {
        match matches(&schema.pattern, text) {
            Ok(true) => {}
            Ok(false) => outcome.add(at.body(text, format_args!("should match '{}'", schema.pattern))),
            Err(error) => {
                let detail = format!("should match '{}, but pattern is invalid: {error}'", schema.pattern);
                outcome.add(at.body(text, detail));
            }
        }
    }
    outcome
}

/// Range, factor and limits.
pub(super) fn number(number: &Number, schema: &Schema, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.merge(in_range(number, schema, "Checked", at));
    if let Some(factor) = &schema.multiple_of {
        let range = in_range(factor, schema, "MultipleOf", at);
        let native = range.is_valid();
        outcome.merge(range);
        outcome.merge(multiple(number, factor, native, at));
    }
    let compare = |limit: &Number, native: bool| match (number.as_i64(), native) {
        (Some(n), true) => n.cmp(&as_i64(limit)),
        _ => {
            let (n, limit) = (number.as_f64().unwrap_or_default(), limit.as_f64().unwrap_or_default());
            n.partial_cmp(&limit).unwrap_or(std::cmp::Ordering::Equal)
        }
    };
    let limits = [
        (&schema.minimum, schema.exclusive_minimum, "Minimum boundary", std::cmp::Ordering::Less, "greater"),
        (&schema.maximum, schema.exclusive_maximum, "Maximum boundary", std::cmp::Ordering::Greater, "less"),
    ];
    for (limit, exclusive, name, beyond, word) in limits {
        let Some(limit) = limit else { continue };
        let range = in_range(limit, schema, name, at);
        let native = range.is_valid();
        outcome.merge(range);
        let order = compare(limit, native);
        let shown = match number.is_i64() && native {
            true => as_i64(limit).to_string(),
            false => go::float(limit.as_f64().unwrap_or_default()),
        };
        if exclusive && (order == beyond || order.is_eq()) {
            outcome.add(at.body(number.clone(), format_args!("should be {word} than {shown}")));
        } else if !exclusive && order == beyond {
            outcome.add(at.body(number.clone(), format_args!("should be {word} than or equal to {shown}")));
        }
    }
    outcome.checks += 1;
    outcome
}

fn as_i64(number: &Number) -> i64 {
    number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)
}

/// Whether a number can be of the schema's type and format.
fn in_range(number: &Number, schema: &Schema, what: &str, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    let float = number.as_f64().unwrap_or_default();
    let whole = number.is_i64() || float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0;
    let ty = if schema.int_or_string { "" } else { schema.ty.as_str() };
    let (good, format) = match (ty, schema.format.as_str()) {
        ("integer", "int32") => (whole && i32::try_from(as_i64(number)).is_ok(), "int32"),
        ("integer", format) => (whole, if format == "int64" { "int64" } else { "" }),
        ("number", "float") => (float.abs() <= f64::from(f32::MAX), "float"),
        _ => (true, ""),
    };
    if !good {
        outcome.add(general(match format {
            "" => format!("{what} value must be of type {ty} (default format) in {}", at.path),
            format => format!("{what} value must be of type {ty} with format {format} in {}", at.path),
        }));
    }
    outcome
}

fn multiple(number: &Number, factor: &Number, native: bool, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    let (divides, positive, shown) = match number.as_i64().filter(|_| native) {
        Some(n) => {
            let factor = as_i64(factor);
            (factor > 0 && n % factor == 0, factor > 0, factor.to_string())
        }
        None => {
            let (n, f) = (number.as_f64().unwrap_or_default(), factor.as_f64().unwrap_or_default());
            let times = if f < 1.0 { 1.0 / f * n } else { n / f };
            let near = (times - times.round()).abs() < 1e-9 * times.abs().max(1.0);
            (f > 0.0 && near, f > 0.0, go::float(f))
        }
    };
    if !positive {
        let text = format!("factor MultipleOf declared for {} must be positive: {shown}", at.path);
        outcome.add(at.fault(Kind::Other, factor.clone().into(), text));
    } else if !divides {
        outcome.add(at.body(number.clone(), format_args!("should be a multiple of {shown}")));
    }
    outcome
}
