//! The protobuf form of the documents: gnostic's `openapi.v2.Document` and `openapi.v3.Document`.
//!
//! Each message is a table of the JSON names it has; an encoder walks a document along the tables. Only what the server's documents
//! have is in them.

use serde_json::{Map, Value};

use super::Dialect;

/// A message: its fields, and the number of its vendor extensions (`x-…`).
struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    extensions: u32,
}

/// How the value of a field is coded.
enum Kind {
    String,
    /// A list of strings.
    Strings,
    Bool,
    Integer,
    Double,
    /// Any value, as a YAML text.
    Any,
    /// A list of such.
    Anys,
    /// A message.
    Message(fn() -> &'static Message),
    /// A list of messages.
    Messages(fn() -> &'static Message),
    /// A list of what has a form of its own.
    Each(fn(&Value, &mut Vec<u8>)),
    /// A map: a message of pairs, whose field has this number.
    Pairs(u32, fn() -> &'static Message),
    /// What has a form of its own.
    Own(fn(&Value, &mut Vec<u8>)),
}

/// Encodes a document.
pub(super) fn encode(document: &Value, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::new();
    let message = match dialect {
        Dialect::V2 => &v2::DOCUMENT,
        Dialect::V3 => &v3::DOCUMENT,
    };
    message.encode(document, &mut out);
    out
}

impl Message {
    fn encode(&self, value: &Value, out: &mut Vec<u8>) {
        let Value::Object(map) = value else { return };
        for (name, number, kind) in self.fields {
            if let Some(value) = map.get(*name) {
                kind.encode(*number, value, out);
            }
        }
        self.encode_extensions(map, out);
    }

    fn encode_extensions(&self, map: &Map<String, Value>, out: &mut Vec<u8>) {
        for (name, value) in map.iter().filter(|(name, _)| self.extensions > 0 && name.starts_with("x-")) {
            nested(self.extensions, out, |out| {
                bytes(1, name.as_bytes(), out);
                nested(2, out, |out| any(value, out));
            });
        }
    }
}

impl Kind {
    fn encode(&self, number: u32, value: &Value, out: &mut Vec<u8>) {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        match self {
            Kind::String => match value.as_str() {
                Some(text) if !text.is_empty() => bytes(number, text.as_bytes(), out),
                _ => {}
            },
            Kind::Strings => {
                for text in items.iter().filter_map(Value::as_str) {
                    bytes(number, text.as_bytes(), out);
                }
            }
            Kind::Bool => {
                if value == &Value::Bool(true) {
                    tag(number, 0, out);
                    out.push(1);
                }
            }
            Kind::Integer => {
                if let Some(int) = value.as_i64().filter(|int| *int != 0) {
                    tag(number, 0, out);
                    varint(int as u64, out);
                }
            }
            Kind::Double => {
                if let Some(double) = value.as_f64().filter(|double| *double != 0.0) {
                    tag(number, 1, out);
                    out.extend_from_slice(&double.to_le_bytes());
                }
            }
            Kind::Any => nested(number, out, |out| any(value, out)),
            Kind::Anys => items.iter().for_each(|item| nested(number, out, |out| any(item, out))),
            Kind::Message(message) => nested(number, out, |out| message().encode(value, out)),
            Kind::Messages(message) => {
                items.iter().for_each(|item| nested(number, out, |out| message().encode(item, out)));
            }
            Kind::Each(encode) => items.iter().for_each(|item| nested(number, out, |out| encode(item, out))),
            Kind::Pairs(inner, message) => nested(number, out, |out| {
                pairs(*inner, value, out, |value, out| message().encode(value, out));
            }),
            Kind::Own(encode) => nested(number, out, |out| encode(value, out)),
        }
    }
}

/// The entries of a map as messages of a name and a value.
fn pairs(number: u32, value: &Value, out: &mut Vec<u8>, encode: impl Fn(&Value, &mut Vec<u8>)) {
    for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with("x-")) {
        nested(number, out, |out| {
            bytes(1, name.as_bytes(), out);
            nested(2, out, |out| encode(value, out));
        });
    }
}

/// Any value: its text; JSON is YAML.
fn any(value: &Value, out: &mut Vec<u8>) {
    bytes(2, format!("{value}\n").as_bytes(), out);
}

fn tag(number: u32, wire: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | wire), out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn nested(number: u32, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    encode(&mut inner);
    bytes(number, &inner, out);
}

/// A message with one field that is a message.
fn wrapped(number: u32, message: &'static Message, value: &Value, out: &mut Vec<u8>) {
    nested(number, out, |out| message.encode(value, out));
}

mod v2 {
    use super::*;

    pub(super) static DOCUMENT: Message = Message {
        fields: &[
            ("swagger", 1, Kind::String),
            ("info", 2, Kind::Message(|| &INFO)),
            ("paths", 8, Kind::Pairs(2, || &PATH_ITEM)),
            ("definitions", 9, Kind::Pairs(1, || &SCHEMA)),
            (
                "security",
                12,
                Kind::Own(|value, out| {
                    let first = value.as_array().and_then(|list| list.first()).unwrap_or(&Value::Null);
                    pairs(1, first, out, |value, out| Kind::Strings.encode(1, value, out));
                }),
            ),
            (
                "securityDefinitions",
                13,
                Kind::Own(|value, out| {
                    pairs(1, value, out, |value, out| wrapped(2, &API_KEY, value, out));
                }),
            ),
        ],
        extensions: 16,
    };
    static INFO: Message =
        Message { fields: &[("title", 1, Kind::String), ("version", 2, Kind::String)], extensions: 7 };
    static API_KEY: Message = Message {
        fields: &[
            ("type", 1, Kind::String),
            ("name", 2, Kind::String),
            ("in", 3, Kind::String),
            ("description", 4, Kind::String),
        ],
        extensions: 5,
    };
    static PATH_ITEM: Message = Message {
        fields: &[
            ("get", 2, Kind::Message(|| &OPERATION)),
            ("put", 3, Kind::Message(|| &OPERATION)),
            ("post", 4, Kind::Message(|| &OPERATION)),
            ("delete", 5, Kind::Message(|| &OPERATION)),
            ("options", 6, Kind::Message(|| &OPERATION)),
            ("head", 7, Kind::Message(|| &OPERATION)),
            ("patch", 8, Kind::Message(|| &OPERATION)),
            ("parameters", 9, Kind::Each(parameter)),
        ],
        extensions: 10,
    };
    static OPERATION: Message = Message {
        fields: &[
            ("tags", 1, Kind::Strings),
            ("description", 3, Kind::String),
            ("operationId", 5, Kind::String),
            ("produces", 6, Kind::Strings),
            ("consumes", 7, Kind::Strings),
            ("parameters", 8, Kind::Each(parameter)),
            (
                "responses",
                9,
                Kind::Own(|value, out| {
                    pairs(1, value, out, |value, out| wrapped(1, &RESPONSE, value, out));
                }),
            ),
            ("schemes", 10, Kind::Strings),
        ],
        extensions: 13,
    };
    static BODY: Message = Message {
        fields: &[
            ("description", 1, Kind::String),
            ("name", 2, Kind::String),
            ("in", 3, Kind::String),
            ("required", 4, Kind::Bool),
            ("schema", 5, Kind::Message(|| &SCHEMA)),
        ],
        extensions: 6,
    };
    static QUERY: Message = Message {
        fields: &[
            ("required", 1, Kind::Bool),
            ("in", 2, Kind::String),
            ("description", 3, Kind::String),
            ("name", 4, Kind::String),
            ("type", 6, Kind::String),
            ("uniqueItems", 20, Kind::Bool),
        ],
        extensions: 23,
    };
    static PATH: Message = Message {
        fields: &[
            ("required", 1, Kind::Bool),
            ("in", 2, Kind::String),
            ("description", 3, Kind::String),
            ("name", 4, Kind::String),
            ("type", 5, Kind::String),
            ("uniqueItems", 19, Kind::Bool),
        ],
        extensions: 22,
    };

    /// A parameter: its form depends on where it stands.
    fn parameter(value: &Value, out: &mut Vec<u8>) {
        nested(1, out, |out| match value.get("in").and_then(Value::as_str) {
            Some("body") => wrapped(1, &BODY, value, out),
            Some("path") => nested(2, out, |out| wrapped(4, &PATH, value, out)),
            _ => nested(2, out, |out| wrapped(3, &QUERY, value, out)),
        });
    }

    static RESPONSE: Message = Message {
        fields: &[
            ("description", 1, Kind::String),
            ("schema", 2, Kind::Own(|value, out| wrapped(1, &SCHEMA, value, out))),
        ],
        extensions: 5,
    };
    pub(super) static SCHEMA: Message = Message {
        fields: &[
            ("$ref", 1, Kind::String),
            ("format", 2, Kind::String),
            ("title", 3, Kind::String),
            ("description", 4, Kind::String),
            ("default", 5, Kind::Any),
            ("multipleOf", 6, Kind::Double),
            ("maximum", 7, Kind::Double),
            ("exclusiveMaximum", 8, Kind::Bool),
            ("minimum", 9, Kind::Double),
            ("exclusiveMinimum", 10, Kind::Bool),
            ("maxLength", 11, Kind::Integer),
            ("minLength", 12, Kind::Integer),
            ("pattern", 13, Kind::String),
            ("maxItems", 14, Kind::Integer),
            ("minItems", 15, Kind::Integer),
            ("uniqueItems", 16, Kind::Bool),
            ("maxProperties", 17, Kind::Integer),
            ("minProperties", 18, Kind::Integer),
            ("required", 19, Kind::Strings),
            ("enum", 20, Kind::Anys),
            (
                "additionalProperties",
                21,
                Kind::Own(|value, out| match value {
                    Value::Bool(_) => Kind::Bool.encode(2, value, out),
                    _ => wrapped(1, &SCHEMA, value, out),
                }),
            ),
            (
                "type",
                22,
                Kind::Own(|value, out| bytes(1, value.as_str().unwrap_or_default().as_bytes(), out)),
            ),
            ("items", 23, Kind::Own(|value, out| wrapped(1, &SCHEMA, value, out))),
            ("allOf", 24, Kind::Messages(|| &SCHEMA)),
            ("properties", 25, Kind::Pairs(1, || &SCHEMA)),
            ("externalDocs", 29, Kind::Message(|| &EXTERNAL_DOCS)),
            ("example", 30, Kind::Any),
        ],
        extensions: 31,
    };
    static EXTERNAL_DOCS: Message =
        Message { fields: &[("description", 1, Kind::String), ("url", 2, Kind::String)], extensions: 3 };
}

mod v3 {
    use super::*;

    pub(super) static DOCUMENT: Message = Message {
        fields: &[
            ("openapi", 1, Kind::String),
            ("info", 2, Kind::Message(|| &INFO)),
            ("paths", 4, Kind::Pairs(1, || &PATH_ITEM)),
            ("components", 5, Kind::Message(|| &COMPONENTS)),
        ],
        extensions: 9,
    };
    static INFO: Message =
        Message { fields: &[("title", 1, Kind::String), ("version", 6, Kind::String)], extensions: 7 };
    static COMPONENTS: Message = Message {
        fields: &[
            ("schemas", 1, Kind::Own(|value, out| pairs(1, value, out, schema))),
            (
                "securitySchemes",
                7,
                Kind::Own(|value, out| {
                    pairs(1, value, out, |value, out| wrapped(1, &SECURITY_SCHEME, value, out));
                }),
            ),
        ],
        extensions: 10,
    };
    static SECURITY_SCHEME: Message = Message {
        fields: &[
            ("type", 1, Kind::String),
            ("description", 2, Kind::String),
            ("name", 3, Kind::String),
            ("in", 4, Kind::String),
        ],
        extensions: 9,
    };
    static PATH_ITEM: Message = Message {
        fields: &[
            ("get", 4, Kind::Message(|| &OPERATION)),
            ("put", 5, Kind::Message(|| &OPERATION)),
            ("post", 6, Kind::Message(|| &OPERATION)),
            ("delete", 7, Kind::Message(|| &OPERATION)),
            ("options", 8, Kind::Message(|| &OPERATION)),
            ("head", 9, Kind::Message(|| &OPERATION)),
            ("patch", 10, Kind::Message(|| &OPERATION)),
            ("parameters", 13, Kind::Each(|value, out| wrapped(1, &PARAMETER, value, out))),
        ],
        extensions: 14,
    };
    static OPERATION: Message = Message {
        fields: &[
            ("tags", 1, Kind::Strings),
            ("description", 3, Kind::String),
            ("operationId", 5, Kind::String),
            ("parameters", 6, Kind::Each(|value, out| wrapped(1, &PARAMETER, value, out))),
            ("requestBody", 7, Kind::Own(|value, out| wrapped(1, &REQUEST_BODY, value, out))),
            (
                "responses",
                8,
                Kind::Own(|value, out| {
                    pairs(2, value, out, |value, out| wrapped(1, &RESPONSE, value, out));
                }),
            ),
        ],
        extensions: 13,
    };
    static PARAMETER: Message = Message {
        fields: &[
            ("name", 1, Kind::String),
            ("in", 2, Kind::String),
            ("description", 3, Kind::String),
            ("required", 4, Kind::Bool),
            ("schema", 10, Kind::Own(schema)),
        ],
        extensions: 14,
    };
    static REQUEST_BODY: Message = Message {
        fields: &[("content", 2, Kind::Pairs(1, || &MEDIA_TYPE)), ("required", 3, Kind::Bool)],
        extensions: 4,
    };
    static RESPONSE: Message = Message {
        fields: &[("description", 1, Kind::String), ("content", 3, Kind::Pairs(1, || &MEDIA_TYPE))],
        extensions: 5,
    };
    static MEDIA_TYPE: Message = Message { fields: &[("schema", 1, Kind::Own(schema))], extensions: 5 };
    static SCHEMA: Message = Message {
        fields: &[
            ("nullable", 1, Kind::Bool),
            ("example", 7, Kind::Any),
            ("title", 9, Kind::String),
            ("multipleOf", 10, Kind::Double),
            ("maximum", 11, Kind::Double),
            ("exclusiveMaximum", 12, Kind::Bool),
            ("minimum", 13, Kind::Double),
            ("exclusiveMinimum", 14, Kind::Bool),
            ("maxLength", 15, Kind::Integer),
            ("minLength", 16, Kind::Integer),
            ("pattern", 17, Kind::String),
            ("maxItems", 18, Kind::Integer),
            ("minItems", 19, Kind::Integer),
            ("uniqueItems", 20, Kind::Bool),
            ("maxProperties", 21, Kind::Integer),
            ("minProperties", 22, Kind::Integer),
            ("required", 23, Kind::Strings),
            ("enum", 24, Kind::Anys),
            ("type", 25, Kind::String),
            ("not", 29, Kind::Message(|| &SCHEMA)),
            ("items", 30, Kind::Own(|value, out| nested(1, out, |out| schema(value, out)))),
            ("properties", 31, Kind::Own(|value, out| pairs(1, value, out, schema))),
            (
                "additionalProperties",
                32,
                Kind::Own(|value, out| match value {
                    Value::Bool(_) => Kind::Bool.encode(2, value, out),
                    _ => nested(1, out, |out| schema(value, out)),
                }),
            ),
            (
                "default",
                33,
                Kind::Own(|value, out| match value {
                    Value::Number(_) => Kind::Double.encode(1, value, out),
                    Value::Bool(_) => Kind::Bool.encode(2, value, out),
                    // Other values have no form here.
                    _ => Kind::String.encode(3, value, out),
                }),
            ),
            ("description", 34, Kind::String),
            ("format", 35, Kind::String),
        ],
        extensions: 36,
    };

    /// A schema, or a reference to one.
    fn schema(value: &Value, out: &mut Vec<u8>) {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => nested(2, out, |out| bytes(1, reference.as_bytes(), out)),
            None => nested(1, out, |out| {
                SCHEMA.encode(value, out);
                for (name, number) in [("allOf", 26), ("oneOf", 27), ("anyOf", 28)] {
                    for part in value.get(name).and_then(Value::as_array).into_iter().flatten() {
                        nested(number, out, |out| schema(part, out));
                    }
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The bytes at a path of field numbers, the first of each.
    fn find<'a>(mut message: &'a [u8], path: &[u64]) -> Option<&'a [u8]> {
        for wanted in path {
            let mut rest = message;
            message = loop {
                let key = read(&mut rest)?;
                let value = match key & 7 {
                    0 => {
                        let start = rest;
                        read(&mut rest)?;
                        &start[..start.len() - rest.len()]
                    }
                    1 => rest.split_off(..8)?,
                    _ => {
                        let length = usize::try_from(read(&mut rest)?).ok()?;
                        rest.split_off(..length)?
                    }
                };
                if key >> 3 == *wanted {
                    break value;
                }
            };
        }
        Some(message)
    }

    fn read(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.split_off_first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[test]
    fn messages_have_gnostics_numbers() {
        let document = json!({"swagger": "2.0",
            "paths": {"/a": {"get": {"operationId": "o", "parameters": [{"in": "query", "name": "q", "type": "string"}],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/a"}}}}}},
            "definitions": {"a": {"type": "object", "required": ["x"], "x-k": [1],
                "properties": {"x": {"type": "integer", "maximum": 2.5}}, "additionalProperties": {"type": "string"}}}});
        let encoded = encode(&document, Dialect::V2);
        let at = |path: &[u64]| find(&encoded, path);
        assert_eq!(at(&[1]), Some(&b"2.0"[..]));
        // Paths, a named item, its value, get.
        assert_eq!(at(&[8, 2, 1]), Some(&b"/a"[..]));
        assert_eq!(at(&[8, 2, 2, 2, 5]), Some(&b"o"[..]));
        assert_eq!(at(&[8, 2, 2, 2, 8, 1, 2, 3, 4]), Some(&b"q"[..]));
        assert_eq!(at(&[8, 2, 2, 2, 9, 1, 1]), Some(&b"200"[..]));
        assert_eq!(at(&[8, 2, 2, 2, 9, 1, 2, 1, 2, 1, 1]), Some(&b"#/definitions/a"[..]));
        // Definitions, a named schema, its value.
        assert_eq!(at(&[9, 1, 2, 22, 1]), Some(&b"object"[..]));
        assert_eq!(at(&[9, 1, 2, 19]), Some(&b"x"[..]));
        assert_eq!(at(&[9, 1, 2, 31, 1]), Some(&b"x-k"[..]));
        assert_eq!(at(&[9, 1, 2, 31, 2, 2]), Some(&b"[1]\n"[..]));
        assert_eq!(at(&[9, 1, 2, 25, 1, 2, 7]), Some(&2.5_f64.to_le_bytes()[..]));
        assert_eq!(at(&[9, 1, 2, 21, 1, 22, 1]), Some(&b"string"[..]));
        let document = json!({"openapi": "3.0.0", "components": {"schemas": {"a": {"allOf": [{"$ref": "#/b"}], "nullable": true}}}});
        let encoded = encode(&document, Dialect::V3);
        let at = |path: &[u64]| find(&encoded, path);
        assert_eq!(at(&[5, 1, 1, 2, 1, 26, 2, 1]), Some(&b"#/b"[..]));
        assert_eq!(at(&[5, 1, 1, 2, 1, 1]), Some(&[1][..]));
    }
}
