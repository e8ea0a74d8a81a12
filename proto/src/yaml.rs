//! YAML to JSON, by YAML 1.1's rules as Kubernetes' clients and servers know them.
//!
//! A plain `yes`, `on` or `y` is a boolean, `0x1F` and `0644` are integers, a plain timestamp is a string, and keys
//! that aren't strings become strings. The first document counts. Aliases are expanded within a budget, so that
//! a small text can't become a large one.

use std::collections::{BTreeSet, HashMap};

use granit_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use crate::json;

/// How many values aliases may add before a text counts as an attack.
const ALIAS_BUDGET: usize = 400_000;

/// A text that can't be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text isn't YAML.
    #[error("yaml: {0}")]
    Syntax(String),
    /// The text is YAML that has no form in JSON.
    #[error("{0}")]
    Value(String),
}

/// A converted text.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The JSON text.
    pub json: Vec<u8>,
    /// What strict decoding has against the text: keys that are set twice.
    pub strict: Vec<String>,
}

/// Converts the first document of a text. An empty text is `null`.
pub fn to_json(text: &[u8]) -> Result<Converted, Error> {
    let (value, strict) = to_value(text)?;
    let mut json = Vec::with_capacity(text.len());
    json::encode_any(&value, &mut json);
    Ok(Converted { json, strict })
}

/// Converts the first document of a text to a tree, and says which keys are set twice.
pub fn to_value(text: &[u8]) -> Result<(Value, Vec<String>), Error> {
    let text =
        std::str::from_utf8(text).map_err(|_| Error::Syntax("invalid leading UTF-8 octet".to_owned()))?;
    let mut loader = Loader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        budget: ALIAS_BUDGET,
        depth: 0,
        strict: vec![],
    };
    let value = loop {
        match loader.next()? {
            None | Some((Event::StreamEnd | Event::DocumentEnd, _)) => break Value::Null,
            Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
            Some((event, line)) => break loader.node(event, line)?,
        }
    };
    Ok((value, loader.strict))
}

/// Prints a JSON text as YAML; `None` if it isn't JSON.
pub fn from_json(json: &[u8]) -> Option<Vec<u8>> {
    let value: Value = serde_json::from_slice(json).ok()?;
    serde_saphyr::to_string(&value).ok().map(String::into_bytes)
}

struct Loader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Value>,
    budget: usize,
    depth: usize,
    strict: Vec<String>,
}

impl<'a> Loader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, usize)>, Error> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, span.start.line()))),
            Some(Err(error)) => {
                Err(Error::Syntax(format!("line {}: {}", error.marker().line(), error.info())))
            }
        }
    }

    fn need(&mut self) -> Result<(Event<'a>, usize), Error> {
        self.next()?.ok_or_else(|| Error::Syntax("unexpected end of stream".to_owned()))
    }

    fn node(&mut self, event: Event<'a>, line: usize) -> Result<Value, Error> {
        self.depth += 1;
        if self.depth > json::MAX_DEPTH {
            return Err(Error::Syntax("exceeded max depth".to_owned()));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.need()? {
                        (Event::SequenceEnd, _) => break,
                        (event, line) => items.push(self.node(event, line)?),
                    }
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (self.mapping()?, anchor),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned().ok_or_else(|| {
                    Error::Syntax(format!("line {line}: anchor value contains itself or is unknown"))
                })?;
                let size = size(&value);
                self.budget = self
                    .budget
                    .checked_sub(size)
                    .ok_or_else(|| Error::Syntax("document contains excessive aliasing".to_owned()))?;
                (value, 0)
            }
            _ => return Err(Error::Syntax(format!("line {line}: did not find expected node content"))),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        self.depth -= 1;
        Ok(value)
    }

    fn mapping(&mut self) -> Result<Value, Error> {
        let mut map = Map::new();
        let mut own = BTreeSet::new();
        loop {
            let (event, line) = self.need()?;
            let merge = match &event {
                Event::MappingEnd => break,
                Event::Scalar(text, ScalarStyle::Plain, _, None) => text == "<<",
                _ => false,
            };
            let key = self.node(event, line)?;
            let (event, value_line) = self.need()?;
            let value = self.node(event, value_line)?;
            if merge {
                self.merge(&mut map, &own, value, line)?;
                continue;
            }
            let name = key_text(&key)?;
            if !own.insert(name.clone()) {
                self.strict.push(format!(
                    "yaml: unmarshal errors:\n  line {line}: key {} already set in map",
                    quote(&key)
                ));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }

    /// A merge key: the keys of one or more mappings, which never replace the mapping's own.
    fn merge(
        &mut self,
        map: &mut Map<String, Value>,
        own: &BTreeSet<String>,
        value: Value,
        line: usize,
    ) -> Result<(), Error> {
        let maps = match value {
            Value::Object(_) => vec![value],
            // Earlier mappings win over later ones.
            Value::Array(items) => items.into_iter().rev().collect(),
            _ => vec![Value::Null],
        };
        for entries in maps {
            let Value::Object(entries) = entries else {
                return Err(Error::Syntax(format!(
                    "line {line}: map merge requires map or sequence of maps as the value"
                )));
            };
            for (name, value) in entries {
                if !own.contains(&name) {
                    map.insert(name, value);
                }
            }
        }
        Ok(())
    }
}

fn quote(key: &Value) -> String {
    match key {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null => return Err(Error::Value("unsupported map key of type: %!s(<nil>)".to_owned())),
        _ => return Err(Error::Syntax("invalid map key".to_owned())),
    })
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Error> {
    let tag = tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()));
    let tag = tag.as_deref().map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag));
    match tag {
        Some("str") | Some("!") => Ok(Value::from(text)),
        Some("binary") => {
            let joined: String = text.split_ascii_whitespace().collect();
            use base64::Engine;
            base64::engine::general_purpose::STANDARD
                .decode(joined)
                .map(|bytes| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
                .map_err(|_| Error::Syntax("!!binary value contains invalid base64 data".to_owned()))
        }
        None if style != ScalarStyle::Plain => Ok(Value::from(text)),
        Some("float") => match plain(text)? {
            Value::Number(number) => {
                Ok(number.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number))
            }
            _ => Err(Error::Syntax(format!("cannot decode !!str `{text}` as a !!float"))),
        },
        Some(kind @ ("int" | "bool" | "null")) => {
            let value = plain(text)?;
            let fits = match kind {
                "int" => value.is_i64() || value.is_u64(),
                "bool" => value.is_boolean(),
                _ => value.is_null(),
            };
            if fits {
                Ok(value)
            } else {
                Err(Error::Syntax(format!("cannot decode !!str `{text}` as a !!{kind}")))
            }
        }
        _ => plain(text),
    }
}

/// Resolves a plain scalar.
fn plain(text: &str) -> Result<Value, Error> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return Err(Error::Value("json: unsupported value: NaN".to_owned())),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err(Error::Value("json: unsupported value: +Inf".to_owned()));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err(Error::Value("json: unsupported value: -Inf".to_owned())),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if !matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.') {
        return Ok(Value::from(text));
    }
    if first != b'.' {
        let digits = text.replace('_', "");
        if let Some(integer) = integer(&digits) {
            return Ok(Value::Number(integer));
        }
        if is_float(&digits)
            && let Some(number) = digits.parse().ok().and_then(Number::from_f64)
        {
            return Ok(Value::Number(number));
        }
        return Ok(Value::from(text));
    }
    let number = is_float(text).then(|| text.parse().ok()).flatten().and_then(Number::from_f64);
    Ok(number.map_or_else(|| Value::from(text), Value::Number))
}

/// An integer in decimal, or with a prefix: `0x`, `0o`, `0b`, or `0` for octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0i64.checked_sub_unsigned(size).map(Number::from) } else { Some(Number::from(size)) }
}

/// Whether a text is a float: digits with at most one point, and an exponent.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        to_value(text.as_bytes()).unwrap().0
    }

    #[test]
    fn plain_scalars_follow_yaml_1_1() {
        let text = "a: yes\nb: 'yes'\nc: 0644\nd: 0x1F\ne: 1_000\nf: 1.5\ng: 2020-01-02\nh: ~\ni: off\nj: \"1\"\nk: 1e3\nl: 012.5\nm: 1.2.3\nn1:\n- ~\n";
        let expected = json!({"a": true, "b": "yes", "c": 420, "d": 31, "e": 1000, "f": 1.5, "g": "2020-01-02",
            "h": null, "i": false, "j": "1", "k": 1000.0, "l": 12.5, "m": "1.2.3", "n1": [null]});
        assert_eq!(value(text), expected);
    }

    #[test]
    fn keys_become_strings() {
        assert_eq!(value("1: a\ntrue: b\n1.5: c\n"), json!({"1": "a", "true": "b", "1.5": "c"}));
        assert!(to_value(b"? [a]\n: b\n").is_err());
        assert!(to_value(b"~: b\n").is_err());
    }

    #[test]
    fn anchors_and_merge_keys() {
        let text =
            "base: &b {x: 1, y2: 2}\nother:\n  <<: *b\n  x: 3\nmore:\n  x: 4\n  <<: [{x: 5, z: 6}, {z: 7}]\n";
        let value = value(text);
        assert_eq!(value["other"], json!({"x": 3, "y2": 2}));
        assert_eq!(value["more"], json!({"x": 4, "z": 6}));
    }

    #[test]
    fn duplicate_keys_are_named() {
        let (value, strict) = to_value(b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(value, json!({"a": 3, "b": 2}));
        assert_eq!(strict, ["yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"]);
    }

    #[test]
    fn bombs_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = level - 1;
            text += &format!(
                "a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}]\n"
            );
        }
        let error = to_value(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("excessive aliasing"), "{error}");
        assert!(to_value("[".repeat(100_000).as_bytes()).is_err());
        assert!(to_value("- ".repeat(10_000).as_bytes()).is_err());
    }

    #[test]
    fn only_the_first_document_counts() {
        assert_eq!(value("---\na: 1\n---\nb: 2\n"), json!({"a": 1}));
        assert_eq!(value(""), Value::Null);
        assert_eq!(value("# nothing\n"), Value::Null);
    }
}
