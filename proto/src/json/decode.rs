//! Decoding: one pass that checks syntax, types and strictness and builds the canonical tree.
//!
//! As in Go, a syntax error anywhere wins over everything else; an error from a type with a text form of its
//! own (a quantity, a time) comes next; the first value of a wrong type last, with decoding going on after it.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use serde_json::{Map, Number, Value};

use super::lexer::Lexer;
use super::{Decoded, Error, base64 as go_base64, is_zero, scalar, zero};
use crate::schema::{Field, Flags, Shape, Type};

/// The number of strict errors that are kept.
const MAX_STRICT: usize = 100;

type Result<T> = std::result::Result<T, Error>;

/// Decodes an object of a type. Names are case-sensitive.
pub fn decode(data: &[u8], ty: &Type) -> Result<Decoded> {
    let mut decoder = Decoder::new(data);
    let root = Context { owner: None, go_type: "" };
    let value = match decoder.lexer.value_start()? {
        b'{' => decoder.object(ty)?,
        b'n' => {
            decoder.lexer.literal("null")?;
            Value::Object(Map::new())
        }
        _ => {
            decoder.mismatch(&root, || struct_name(ty))?;
            Value::Object(Map::new())
        }
    };
    decoder.finish(value)
}

/// Decodes any value, such as a custom resource. Integers that fit stay integers.
pub fn decode_any(data: &[u8]) -> Result<Decoded> {
    let mut decoder = Decoder::new(data);
    let value = decoder.any()?;
    decoder.finish(value)
}

/// Reads only `apiVersion` and `kind`; either may be empty.
pub fn type_meta(data: &[u8]) -> Result<(String, String)> {
    let mut decoder = Decoder::new(data);
    let (mut api_version, mut kind) = (String::new(), String::new());
    let root = Context { owner: None, go_type: "" };
    match decoder.lexer.value_start()? {
        b'{' => {
            decoder.lexer.enter()?;
            let mut first = true;
            while let Some(key) = decoder.lexer.key(first)? {
                first = false;
                let target = match key.as_ref() {
                    name if name.eq_ignore_ascii_case("apiVersion") => ("apiVersion", &mut api_version),
                    name if name.eq_ignore_ascii_case("kind") => ("kind", &mut kind),
                    _ => {
                        decoder.lexer.skip()?;
                        continue;
                    }
                };
                decoder.path.push(Step::Field(target.0));
                let context = Context { owner: Some(""), go_type: "" };
                if let Value::String(text) = decoder.shape(&Shape::String, &context)? {
                    *target.1 = text;
                }
                decoder.path.pop();
            }
        }
        b'n' => decoder.lexer.literal("null")?,
        _ => decoder.mismatch(&root, || {
            "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                                          Kind string \"json:\\\"kind,omitempty\\\"\" }"
                .to_owned()
        })?,
    }
    decoder.finish(Value::Null)?;
    Ok((api_version, kind))
}

/// A step of the path to the value that is being decoded.
enum Step<'a> {
    Field(&'a str),
    /// An inlined struct: Go's type errors name it, strict errors don't.
    Inline(&'a str),
    Key(Cow<'a, str>),
    Index(usize),
}

/// What a type error says about where it happened.
struct Context<'a> {
    /// The innermost enclosing struct.
    owner: Option<&'a str>,
    /// The Go name of the type, if the shape doesn't tell.
    go_type: &'a str,
}

struct Decoder<'a> {
    lexer: Lexer<'a>,
    path: Vec<Step<'a>>,
    strict: Vec<String>,
    /// Above zero where Go decodes with another decoder, which isn't strict.
    lenient: usize,
    /// The error that ends decoding in Go; syntax is checked on.
    fatal: Option<Error>,
    /// The first value of a wrong type.
    saved: Option<Error>,
}

impl<'a> Decoder<'a> {
    fn new(data: &'a [u8]) -> Self {
        Decoder {
            lexer: Lexer::new(data),
            path: Vec::new(),
            strict: Vec::new(),
            lenient: 0,
            fatal: None,
            saved: None,
        }
    }

    fn finish(mut self, value: Value) -> Result<Decoded> {
        self.lexer.end()?;
        match self.fatal.or(self.saved) {
            Some(error) => Err(error),
            None => Ok(Decoded { value, strict: self.strict }),
        }
    }

    fn object(&mut self, ty: &'a Type) -> Result<Value> {
        let mut map = Map::new();
        let mut hint = 0;
        // Fields that were seen but left out, for finding duplicates.
        let mut absent: Vec<&'a str> = Vec::new();
        self.lexer.enter()?;
        let mut first = true;
        while let Some(key) = self.lexer.key(first)? {
            first = false;
            let depth = self.path.len();
            let Some(field) = self.find(ty, &key, &mut hint) else {
                self.complain("unknown", &key);
                self.lexer.skip()?;
                continue;
            };
            let name: &'a str = &field.name;
            if map.contains_key(name) || absent.contains(&name) {
                self.path.truncate(depth);
                self.complain("duplicate", name);
                map.remove(name);
                self.find(ty, name, &mut 0);
            }
            self.path.push(Step::Field(name));
            match self.field(field, &ty.name)? {
                Some(value) => drop(map.insert(name.to_owned(), value)),
                None => absent.push(name),
            }
            self.path.truncate(depth);
        }
        Ok(Value::Object(map))
    }

    /// Finds a field, first where the last one was found: texts mostly have the struct's order. Puts the inlined
    /// structs that lead to it on the path.
    fn find(&mut self, ty: &'a Type, name: &str, hint: &mut usize) -> Option<&'a Field> {
        let fields: &'a [Field] = &ty.fields;
        let split = (*hint).min(fields.len());
        for index in (split..fields.len()).chain(0..split) {
            let field = &fields[index];
            if field.flags.has(Flags::INLINE) {
                let Shape::Struct(inline) = &field.shape else { continue };
                self.path.push(Step::Inline(&field.name));
                if let Some(found) = self.find(inline, name, &mut 0) {
                    *hint = index;
                    return Some(found);
                }
                self.path.pop();
            } else if field.name == name {
                *hint = index + 1;
                return Some(field);
            }
        }
        None
    }

    fn field(&mut self, field: &'a Field, owner: &'a str) -> Result<Option<Value>> {
        let go_type = field.extra.as_deref().map_or("", |extra| &extra.go_type);
        let value = self.shape(&field.shape, &Context { owner: Some(owner), go_type })?;
        let absent = match &value {
            // An empty list of managers asks for a fresh start, other than none; the tracking of fields ends it.
            Value::Array(_) if field.name == "managedFields" => false,
            value if field.pointer() => value.is_null(),
            value => is_zero(value, &field.shape),
        };
        Ok((!absent).then_some(value))
    }

    /// Decodes a value; null if it is null or of a wrong type.
    fn shape(&mut self, shape: &'a Shape, context: &Context<'a>) -> Result<Value> {
        let first = self.lexer.value_start()?;
        match (shape, first) {
            (Shape::Struct(ty), b'{') => self.object(ty),
            (Shape::List(list), b'[') => {
                let context = Context { owner: context.owner, go_type: &list.item_go_type };
                self.list(&list.items, &context)
            }
            (Shape::Map(map), b'{') => self.map(&map.values, context),
            (Shape::RawExtension | Shape::Json | Shape::FieldsV1, _) => self.leniently(Self::any),
            (Shape::Any, _) => self.any(),
            (Shape::Quantity, _) if first != b'n' => {
                let raw = self.lexer.skip()?;
                let text = String::from_utf8_lossy(raw);
                let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&text);
                Ok(self.converted(scalar::quantity(text)))
            }
            (_, b'n') => {
                self.lexer.literal("null")?;
                if let Shape::SchemaOrBool(_) = shape {
                    // Only a pointer takes a null; in a list or map it is an error.
                    return Ok(Value::Null);
                }
                Ok(Value::Null)
            }
            (Shape::Bool, b't') => {
                self.lexer.literal("true")?;
                Ok(Value::Bool(true))
            }
            (Shape::Bool, b'f') => {
                self.lexer.literal("false")?;
                Ok(Value::Bool(false))
            }
            (Shape::String, b'"') => Ok(Value::String(self.lexer.string()?.into_owned())),
            (Shape::IntOrString, b'"') => Ok(Value::String(self.lexer.string()?.into_owned())),
            (Shape::Bytes, b'"') => {
                let text = self.lexer.string()?;
                match go_base64::decode(&text) {
                    Ok(bytes) => Ok(Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))),
                    Err(error) => {
                        self.saved.get_or_insert(Error::Value(error));
                        Ok(Value::Null)
                    }
                }
            }
            (Shape::Time, b'"') => self.text(scalar::time),
            (Shape::MicroTime, b'"') => self.text(scalar::micro_time),
            (Shape::Duration, b'"') => self.text(scalar::duration),
            (
                Shape::Int32
                | Shape::Int64
                | Shape::Uint32
                | Shape::Uint64
                | Shape::Float64
                | Shape::IntOrString,
                b'-' | b'0'..=b'9',
            ) => self.number(shape, context),
            (Shape::SchemaOrBool(_), b't' | b'f') => self.shape(&Shape::Bool, context),
            (Shape::SchemaOrBool(ty) | Shape::SchemaOrArray(ty) | Shape::SchemaOrStrings(ty), b'{') => {
                self.leniently(|decoder| decoder.object(ty))
            }
            (Shape::SchemaOrBool(_), _) => {
                self.lexer.skip()?;
                Ok(self.converted(Err("boolean or JSON schema expected".to_owned())))
            }
            (Shape::SchemaOrArray(ty), b'[') => self.leniently(|decoder| decoder.schemas(ty)),
            (Shape::SchemaOrStrings(_), b'[') => self.list(&Shape::String, context),
            (Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_), _) => {
                self.lexer.skip()?;
                Ok(Value::Null)
            }
            _ => {
                self.mismatch(context, || go_type(shape, context.go_type))?;
                Ok(Value::Null)
            }
        }
    }

    fn list(&mut self, items: &'a Shape, context: &Context<'a>) -> Result<Value> {
        let mut list = Vec::new();
        self.lexer.enter()?;
        while self.lexer.item(list.is_empty())? {
            self.path.push(Step::Index(list.len()));
            let item = self.shape(items, context)?;
            list.push(if item.is_null() { zero(items) } else { item });
            self.path.pop();
        }
        Ok(Value::Array(list))
    }

    fn schemas(&mut self, ty: &'a Type) -> Result<Value> {
        let mut list = Vec::new();
        self.lexer.enter()?;
        while self.lexer.item(list.is_empty())? {
            let context = Context { owner: Some(&ty.name), go_type: "" };
            list.push(match self.lexer.value_start()? {
                b'{' => self.object(ty)?,
                b'n' => {
                    self.lexer.literal("null")?;
                    Value::Object(Map::new())
                }
                _ => {
                    self.mismatch(&context, || struct_name(ty))?;
                    Value::Object(Map::new())
                }
            });
        }
        // Go can't tell an empty list from none.
        Ok(if list.is_empty() { Value::Null } else { Value::Array(list) })
    }

    fn map(&mut self, values: &'a Shape, context: &Context<'a>) -> Result<Value> {
        let context = Context { owner: context.owner, go_type: "" };
        let mut map = Map::new();
        self.lexer.enter()?;
        let mut first = true;
        while let Some(key) = self.lexer.key(first)? {
            first = false;
            if map.contains_key(key.as_ref()) {
                self.complain("duplicate", &key);
            }
            let name = key.as_ref().to_owned();
            self.path.push(Step::Key(key));
            let value = self.shape(values, &context)?;
            self.path.pop();
            map.insert(name, if value.is_null() { zero(values) } else { value });
        }
        Ok(Value::Object(map))
    }

    fn number(&mut self, shape: &Shape, context: &Context<'a>) -> Result<Value> {
        let text = self.lexer.number()?;
        let number = match shape {
            Shape::Int32 | Shape::IntOrString => text.parse::<i32>().ok().map(Number::from),
            Shape::Int64 => text.parse::<i64>().ok().map(Number::from),
            Shape::Uint32 => text.parse::<u32>().ok().map(Number::from),
            Shape::Uint64 => text.parse::<u64>().ok().map(Number::from),
            _ => text.parse::<f64>().ok().and_then(float),
        };
        match number {
            Some(number) => Ok(Value::Number(number)),
            None => {
                let error =
                    self.type_error(&format!("number {text}"), context, &go_type(shape, context.go_type));
                if matches!(shape, Shape::IntOrString) {
                    self.fatal.get_or_insert(error);
                } else {
                    self.saved.get_or_insert(error);
                }
                Ok(Value::Null)
            }
        }
    }

    fn any(&mut self) -> Result<Value> {
        Ok(match self.lexer.value_start()? {
            b'{' => {
                let mut map = Map::new();
                self.lexer.enter()?;
                let mut first = true;
                while let Some(key) = self.lexer.key(first)? {
                    first = false;
                    if map.contains_key(key.as_ref()) {
                        self.complain("duplicate", &key);
                    }
                    let name = key.as_ref().to_owned();
                    self.path.push(Step::Key(key));
                    let value = self.any()?;
                    self.path.pop();
                    map.insert(name, value);
                }
                Value::Object(map)
            }
            b'[' => {
                let mut list = Vec::new();
                self.lexer.enter()?;
                while self.lexer.item(list.is_empty())? {
                    self.path.push(Step::Index(list.len()));
                    list.push(self.any()?);
                    self.path.pop();
                }
                Value::Array(list)
            }
            b'"' => Value::String(self.lexer.string()?.into_owned()),
            b't' => {
                self.lexer.literal("true")?;
                Value::Bool(true)
            }
            b'f' => {
                self.lexer.literal("false")?;
                Value::Bool(false)
            }
            b'n' => {
                self.lexer.literal("null")?;
                Value::Null
            }
            _ => {
                let text = self.lexer.number()?;
                match text.parse::<i64>() {
                    Ok(integer) => Value::from(integer),
                    Err(_) => match text.parse::<f64>().ok().and_then(float) {
                        Some(number) => Value::Number(number),
                        None => {
                            let context = Context { owner: None, go_type: "" };
                            let error = self.type_error(&format!("number {text}"), &context, "float64");
                            self.saved.get_or_insert(error);
                            Value::Null
                        }
                    },
                }
            }
        })
    }

    fn leniently(&mut self, decode: impl FnOnce(&mut Self) -> Result<Value>) -> Result<Value> {
        self.lenient += 1;
        let value = decode(self);
        self.lenient -= 1;
        value
    }

    fn text(&mut self, convert: fn(&str) -> std::result::Result<String, String>) -> Result<Value> {
        let text = self.lexer.string()?;
        Ok(self.converted(convert(&text)))
    }

    fn converted(&mut self, text: std::result::Result<String, String>) -> Value {
        match text {
            Ok(text) => Value::String(text),
            Err(error) => {
                self.fatal.get_or_insert(Error::Value(error));
                Value::Null
            }
        }
    }

    /// Skips a value of a wrong type and keeps the error.
    fn mismatch(&mut self, context: &Context<'a>, go_type: impl FnOnce() -> String) -> Result<()> {
        let found = match self.lexer.value_start()? {
            b'{' => "object",
            b'[' => "array",
            b'"' => "string",
            b't' | b'f' => "bool",
            _ => "number",
        };
        let error = self.type_error(found, context, &go_type());
        self.saved.get_or_insert(error);
        self.lexer.skip()?;
        Ok(())
    }

    fn type_error(&self, found: &str, context: &Context<'a>, go_type: &str) -> Error {
        let Some(owner) = context.owner else {
            return Error::Value(format!("json: cannot unmarshal {found} into Go value of type {go_type}"));
        };
        let names: Vec<&str> = self
            .path
            .iter()
            .filter_map(|step| match step {
                Step::Field(name) | Step::Inline(name) => Some(*name),
                Step::Key(_) | Step::Index(_) => None,
            })
            .collect();
        let field = names.join(".");
        Error::Value(format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {go_type}"
        ))
    }

    fn complain(&mut self, what: &str, name: &str) {
        if self.lenient > 0 || self.strict.len() >= MAX_STRICT {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) => dotted(&mut path, name),
                Step::Key(name) => dotted(&mut path, name),
                Step::Index(index) => drop(write!(path, "[{index}]")),
                Step::Inline(_) => {}
            }
        }
        dotted(&mut path, name);
        let error = format!("{what} field {}", go_quote(&path));
        if !self.strict.contains(&error) {
            self.strict.push(error);
        }
    }
}

fn dotted(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn float(value: f64) -> Option<Number> {
    Number::from_f64(value)
}

/// Go's `strconv.Quote`, near enough for names.
fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn struct_name(ty: &Type) -> String {
    format!("{}.{}", ty.short_package(), ty.name)
}

/// The name of a type as Go's errors print it.
fn go_type(shape: &Shape, named: &str) -> String {
    if !named.is_empty() {
        return named.to_owned();
    }
    match shape {
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 | Shape::IntOrString => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Uint32 => "uint32".to_owned(),
        Shape::Uint64 => "uint64".to_owned(),
        Shape::Float64 => "float64".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Struct(ty) => struct_name(ty),
        Shape::List(list) => format!("[]{}", go_type(&list.items, &list.item_go_type)),
        Shape::Map(map) => {
            let key = if map.key_go_type.is_empty() { "string" } else { &map.key_go_type };
            let value = match &map.values {
                Shape::Quantity => "resource.Quantity".to_owned(),
                values => go_type(values, ""),
            };
            format!("map[{key}]{value}")
        }
        _ => "string".to_owned(),
    }
}
