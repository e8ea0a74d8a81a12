//! Values the way Go's verbs print them, for the texts that upstream makes so.

use serde_json::{Map, Value};

use crate::field::quote;

/// `%T`: the type that decoded JSON has.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// `%v` of a float.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// `%v`: texts without quotes.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.to_string(),
            None => float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => list(items),
        Value::Object(map) => {
            format!("map[{}]", entries(map, " ", |name, value| format!("{name}:{}", text(value))))
        }
    }
}

/// `%v` of a list.
pub fn list(items: &[Value]) -> String {
    format!("[{}]", joined(items, " ", text))
}

/// `%s`: what is no text is marked.
pub fn string(value: &Value) -> String {
    match value {
        Value::Null => "%!s(<nil>)".to_owned(),
        _ => within(value),
    }
}

/// `%s` of a value in a list or map, where nothing is no mistake.
fn within(value: &Value) -> String {
    match value {
        Value::Null | Value::String(_) => text(value),
        Value::Array(items) => format!("[{}]", joined(items, " ", within)),
        Value::Object(map) => {
            format!("map[{}]", entries(map, " ", |name, value| format!("{name}:{}", within(value))))
        }
        other => format!("%!s({}={})", type_of(other), text(other)),
    }
}

/// `%#v`: as Go's source would have it.
pub fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(items) => format!("{}{{{}}}", type_of(value), joined(items, ", ", syntax)),
        Value::Object(map) => {
            let entries = entries(map, ", ", |name, value| format!("{}:{}", quote(name), syntax(value)));
            format!("{}{{{entries}}}", type_of(value))
        }
        other => text(other),
    }
}

fn joined(items: &[Value], separator: &str, print: fn(&Value) -> String) -> String {
    items.iter().map(print).collect::<Vec<_>>().join(separator)
}

/// The entries of a map, by name.
fn entries(map: &Map<String, Value>, separator: &str, print: fn(&str, &Value) -> String) -> String {
    let mut sorted: Vec<_> = map.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    sorted.into_iter().map(|(name, value)| print(name, value)).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn floats() {
        for (number, expected) in [
            (1.5, "1.5"),
            (0.0, "0"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (-3e7, "-3e+07"),
            (123_456_789.0, "1.23456789e+08"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float(number), expected);
        }
    }

    #[test]
    fn values_by_verb() {
        let map = json!({"b": 5, "a": null, "c": ["x", 1, null, 2.5, true], "d": {"n": 1e7, "z": "q"}});
        assert_eq!(text(&map), "map[a:<nil> b:5 c:[x 1 <nil> 2.5 true] d:map[n:1e+07 z:q]]");
        assert_eq!(
            string(&map),
            "map[a:<nil> b:%!s(int64=5) c:[x %!s(int64=1) <nil> %!s(float64=2.5) %!s(bool=true)] d:map[n:%!s(float64=1e+07) z:q]]"
        );
        assert_eq!(
            syntax(&map),
            r#"map[string]interface {}{"a":interface {}(nil), "b":5, "c":[]interface {}{"x", 1, interface {}(nil), 2.5, true}, "d":map[string]interface {}{"n":1e+07, "z":"q"}}"#
        );
        assert_eq!((string(&json!(null)), string(&json!("x"))), ("%!s(<nil>)".to_owned(), "x".to_owned()));
    }
}
