//! What a token says, read as Go's JSON decoder reads it: absent and null differ, and types are not converted.

use serde_json::{Map, Value};

/// The claims of a verified token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claims(pub(super) Map<String, Value>);

impl Claims {
    /// Whether the claim is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get(&self, name: &str) -> Result<&Value, String> {
        self.0.get(name).ok_or_else(|| "claim not present".to_owned())
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        text(self.get(name)?)
    }

    /// A truth value.
    pub(super) fn bool(&self, name: &str) -> Result<bool, String> {
        match self.get(name)? {
            Value::Bool(value) => Ok(*value),
            Value::Null => Ok(false),
            other => Err(mismatch(other, "bool")),
        }
    }

    /// A text, or several.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        texts(self.get(name)?)
    }

    /// The claims as expressions see them: all numbers have fractions.
    pub(super) fn as_json(&self) -> Value {
        object(&self.0)
    }
}

fn object(map: &Map<String, Value>) -> Value {
    Value::Object(map.iter().map(|(name, value)| (name.clone(), with_doubles(value))).collect())
}

fn with_doubles(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            number.as_f64().and_then(serde_json::Number::from_f64).map_or(Value::Null, Value::Number)
        }
        Value::Array(items) => items.iter().map(with_doubles).collect(),
        Value::Object(map) => object(map),
        other => other.clone(),
    }
}

/// A text; null is an empty one.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        other => Err(mismatch(other, "string")),
    }
}

/// One text or a list of them; null is none.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let list = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items.iter().map(|item| text(item).ok()).collect(),
        _ => None,
    };
    list.map_or_else(|| text(value).map(|text| vec![text]), Ok)
}

/// Seconds of Unix time; fractions are cut off.
pub(super) fn seconds(value: &Value) -> Result<i64, String> {
    let number = match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let whole =
        |number: serde_json::Number| number.as_i64().or_else(|| number.as_f64().map(|float| float as i64));
    number.and_then(whole).ok_or_else(|| mismatch(value, "json.Number"))
}

/// Go's words for a value of another type.
pub(super) fn mismatch(value: &Value, wanted: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {kind} into Go value of type {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_as_go_does() {
        let Value::Object(map) = json!({"t": "a", "b": true, "n": 1, "z": null, "l": ["a", null], "m": [1]})
        else {
            unreachable!()
        };
        let claims = Claims(map);
        assert_eq!(claims.text("t"), Ok("a".to_owned()));
        assert_eq!(claims.text("z"), Ok(String::new()));
        assert_eq!(claims.text("gone"), Err("claim not present".to_owned()));
        let number = "json: cannot unmarshal number into Go value of type string".to_owned();
        assert_eq!(claims.text("n"), Err(number));
        assert_eq!((claims.bool("b"), claims.bool("z")), (Ok(true), Ok(false)));
        assert!(claims.bool("t").is_err());
        assert_eq!(claims.texts("t"), Ok(vec!["a".to_owned()]));
        assert_eq!(claims.texts("l"), Ok(vec!["a".to_owned(), String::new()]));
        assert_eq!(claims.texts("z"), Ok(vec![]));
        let array = "json: cannot unmarshal array into Go value of type string".to_owned();
        assert_eq!(claims.texts("m"), Err(array));
        assert_eq!(claims.as_json()["n"], json!(1.0));
        for (value, wanted) in
            [(json!(5), Some(5)), (json!(5.9), Some(5)), (json!("5"), Some(5)), (json!("x"), None)]
        {
            assert_eq!(seconds(&value).ok(), wanted, "{value}");
        }
        assert!(seconds(&json!(null)).is_err() && seconds(&json!(1e300)).is_ok());
    }
}
