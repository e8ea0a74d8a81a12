//! Field-level validation errors: where in an object something is wrong, what was found and why.
//!
//! The texts are the ones clients of the Kubernetes API already know and match on, so every
//! constructor here fixes one wording. A [`Path`] is cheap to extend and is rendered only when an
//! error is made.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use serde_json::Value;

/// A place in an object, such as `spec.containers[0].name`. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Path(Option<Rc<Node>>);

#[derive(Debug)]
struct Node {
    parent: Path,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Name(&'static str),
    OwnedName(String),
    Index(usize),
    Key(String),
}

impl Path {
    /// A path of one element.
    pub fn new(name: &'static str) -> Self {
        Path::default().child(name)
    }

    /// The path parsed from dotted names, for callers that only have text.
    pub fn dotted(names: &str) -> Self {
        if names.is_empty() {
            return Path::default();
        }
        names.split('.').fold(Path::default(), |path, name| path.child_named(name))
    }

    /// The field `name` of this object.
    pub fn child(&self, name: &'static str) -> Self {
        self.step(Step::Name(name))
    }

    /// The field `name` of this object, where the name is only known at run time.
    pub fn child_named(&self, name: &str) -> Self {
        self.step(Step::OwnedName(name.to_owned()))
    }

    /// The element `index` of this list.
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// The entry `key` of this map.
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    fn step(&self, step: Step) -> Self {
        Path(Some(Rc::new(Node { parent: self.clone(), step })))
    }

    /// Whether this is the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = Vec::new();
        let mut at = &self.0;
        while let Some(node) = at {
            nodes.push(node);
            at = &node.parent.0;
        }
        if nodes.is_empty() {
            return f.write_str("<nil>");
        }
        for (position, node) in nodes.iter().rev().enumerate() {
            let name = match &node.step {
                Step::Name(name) => *name,
                Step::OwnedName(name) => name.as_str(),
                Step::Index(index) => {
                    write!(f, "[{index}]")?;
                    continue;
                }
                Step::Key(key) => {
                    write!(f, "[{key}]")?;
                    continue;
                }
            };
            // A name that is empty stands for the object itself, and is shown as upstream shows it: a key of nothing.
            match (name, position) {
                ("", _) => f.write_str("[]")?,
                (name, 0) => f.write_str(name)?,
                (name, _) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

/// The machine-readable class of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TooFew,
    TooShort,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    /// The `reason` of the cause in a Status.
    pub fn cause(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TooFew => "FieldValueTooFew",
            ErrorType::TooShort => "FieldValueTooShort",
            ErrorType::Internal => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::TooFew => "Too few",
            ErrorType::TooShort => "Too short",
            ErrorType::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(
            self,
            ErrorType::Required
                | ErrorType::Forbidden
                | ErrorType::TooLong
                | ErrorType::TooShort
                | ErrorType::Internal
        )
    }
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: ErrorType,
    pub path: String,
    pub bad_value: Value,
    pub detail: String,
    /// How the text shows the value, if not as the value is; "" leaves it out.
    pub shown: Option<String>,
}

/// What a validation found. Empty means valid.
pub type Errors = Vec<Error>;

impl Error {
    fn new(kind: ErrorType, path: &Path, bad_value: Value, detail: String) -> Self {
        Error { kind, path: path.to_string(), bad_value, detail, shown: None }
    }

    /// A value does not follow the rules of its field.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Error::new(ErrorType::Invalid, path, value.into(), detail.into())
    }

    /// A value does not follow the rules of its field, and is too much to show.
    pub fn invalid_unshown(path: &Path, detail: impl Into<String>) -> Self {
        Error { shown: Some(String::new()), ..Error::invalid(path, Value::Null, detail) }
    }

    /// A value does not follow the rules of its field, and is shown as this JSON.
    pub fn invalid_as(path: &Path, shown: impl Into<String>, detail: impl Into<String>) -> Self {
        Error { shown: Some(shown.into()), ..Error::invalid(path, Value::Null, detail) }
    }

    /// A value is of the wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Error::new(ErrorType::TypeInvalid, path, value.into(), detail.into())
    }

    /// A field that must be given is absent or empty.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Error::new(ErrorType::Required, path, Value::from(""), detail.into())
    }

    /// A value that must be unique occurs twice.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Error::new(ErrorType::Duplicate, path, value.into(), String::new())
    }

    /// A value refers to something that does not exist.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Error::new(ErrorType::NotFound, path, value.into(), String::new())
    }

    /// A value is not one of an enumeration's.
    pub fn not_supported<S: AsRef<str>>(path: &Path, value: impl Into<Value>, valid: &[S]) -> Self {
        let detail = if valid.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = valid.iter().map(|value| quote(value.as_ref())).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Error::new(ErrorType::NotSupported, path, value.into(), detail)
    }

    /// A value that is well formed but not permitted here.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Error::new(ErrorType::Forbidden, path, Value::from(""), detail.into())
    }

    /// A value has more than `max` bytes. The value itself is not repeated.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let detail = format!("may not be more than {max} {}", plural(max, "byte"));
        Error::new(ErrorType::TooLong, path, Value::from("<value omitted>"), detail)
    }

    /// A value has more than `max` characters. The value itself is not repeated.
    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        let detail = format!("may not be more than {max} {}", plural(max, "character"));
        Error::new(ErrorType::TooLong, path, Value::from("<value omitted>"), detail)
    }

    /// A value has fewer than `min` characters.
    pub fn too_short(path: &Path, value: impl Into<Value>, min: usize) -> Self {
        let detail = format!("must be at least {min} {}", plural(min, "character"));
        Error::new(ErrorType::TooShort, path, value.into(), detail)
    }

    /// A list has more than `max` items.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let detail = format!("must have at most {max} {}", plural(max, "item"));
        Error::new(ErrorType::TooMany, path, Value::from(actual), detail)
    }

    /// A list has fewer than `min` items.
    pub fn too_few(path: &Path, actual: usize, min: usize) -> Self {
        let detail = format!("must have at least {min} {}", plural(min, "item"));
        Error::new(ErrorType::TooFew, path, Value::from(actual), detail)
    }

    /// Something failed that the sender of the object can't help.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Error::new(ErrorType::Internal, path, Value::Null, detail.into())
    }

    /// The text without the path, as it stands in a Status cause.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if self.kind.shows_value() && self.shown.as_deref() != Some("") {
            text.push_str(": ");
            match (&self.shown, &self.bad_value) {
                (Some(shown), _) => text.push_str(&html_escaped(shown)),
                (None, Value::String(value)) => text.push_str(&quote(value)),
                (None, Value::Number(value)) => text.push_str(&number(value)),
                (None, value) => text.push_str(&html_escaped(&value.to_string())),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// The errors with repetitions of the same text removed; the first of each stays in place.
pub fn deduplicated(errors: &[Error]) -> Vec<&Error> {
    let mut seen = HashSet::new();
    errors.iter().filter(|error| seen.insert(error.to_string())).collect()
}

/// All errors as one text: one alone stands as it is, several in brackets.
pub fn aggregate(errors: &[Error]) -> String {
    let texts: Vec<String> = deduplicated(errors).iter().map(|error| error.to_string()).collect();
    match texts.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// A whole float prints without its fraction, as Go's `%v` has it.
fn number(value: &serde_json::Number) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() => float.to_string(),
        _ => value.to_string(),
    }
}

fn html_escaped(json: &str) -> String {
    if !json.contains(['<', '>', '&']) {
        return json.to_owned();
    }
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// `text` between double quotes with Go's escapes, which is how the API quotes values everywhere.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

fn is_printable(c: char) -> bool {
    !(c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{feff}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffb}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_render_names_indexes_and_keys() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        assert_eq!(path.to_string(), "spec.containers[0].name");
        assert_eq!(
            Path::new("metadata").child("annotations").key("a/b").to_string(),
            "metadata.annotations[a/b]"
        );
        assert_eq!(Path::default().to_string(), "<nil>");
        assert_eq!(Path::default().index(3).to_string(), "[3]");
        assert_eq!(Path::new("").to_string(), "[]");
    }

    #[test]
    fn texts_are_the_known_ones() {
        let path = Path::new("f");
        let cases = [
            (Error::required(&path, ""), "f: Required value"),
            (Error::required(&path, "why"), "f: Required value: why"),
            (Error::invalid(&path, "a\"b", "d"), "f: Invalid value: \"a\\\"b\": d"),
            (Error::invalid(&path, -1, "d"), "f: Invalid value: -1: d"),
            (Error::invalid(&path, Value::Null, "d"), "f: Invalid value: null: d"),
            (
                Error::invalid(&path, json!({"a": "<b>"}), "d"),
                "f: Invalid value: {\"a\":\"\\u003cb\\u003e\"}: d",
            ),
            (
                Error::not_supported(&path, "x", &["a", "b"]),
                "f: Unsupported value: \"x\": supported values: \"a\", \"b\"",
            ),
            (Error::invalid_unshown(&path, "d"), "f: Invalid value: d"),
            (Error::duplicate(&path, "x"), "f: Duplicate value: \"x\""),
            (Error::not_found(&path, "x"), "f: Not found: \"x\""),
            (Error::forbidden(&path, "no"), "f: Forbidden: no"),
            (Error::too_long(&path, 1), "f: Too long: may not be more than 1 byte"),
            (Error::too_many(&path, 3, 2), "f: Too many: 3: must have at most 2 items"),
            (Error::too_few(&path, 0, 1), "f: Too few: 0: must have at least 1 item"),
        ];
        for (error, want) in cases {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn aggregate_keeps_order_and_drops_repeats() {
        let (a, b) = (Error::required(&Path::new("b"), ""), Error::required(&Path::new("a"), ""));
        assert_eq!(aggregate(std::slice::from_ref(&a)), "b: Required value");
        assert_eq!(aggregate(&[a.clone(), b, a]), "[b: Required value, a: Required value]");
    }
}
