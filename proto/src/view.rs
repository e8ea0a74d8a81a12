//! A cursor over an object that remembers where it is, for validation.
//!
//! What is absent reads as empty: a missing field is a null view, its text is "", its number 0. So
//! a validator reads straight down without asking at each step, and the errors it makes carry the
//! right path by themselves.

use serde_json::{Map, Value};

use crate::field::{Error, Path};

static NULL: Value = Value::Null;

/// A value and its path.
#[derive(Clone, Debug)]
pub struct View<'a> {
    value: &'a Value,
    path: Path,
}

impl<'a> View<'a> {
    /// The whole object.
    pub fn root(value: &'a Value) -> Self {
        View { value, path: Path::default() }
    }

    /// A value known to stand at `path`.
    pub fn at(value: &'a Value, path: Path) -> Self {
        View { value, path }
    }

    /// The field `name`; a null view if it is absent.
    pub fn get(&self, name: &'static str) -> View<'a> {
        View { value: self.raw(name), path: self.path.child(name) }
    }

    /// The entry `key` of a map.
    pub fn key(&self, key: &str) -> View<'a> {
        View { value: self.value.get(key).unwrap_or(&NULL), path: self.path.key(key) }
    }

    /// The same value seen at another path, as upstream reports some fields elsewhere.
    pub fn with_path(&self, path: Path) -> View<'a> {
        View { value: self.value, path }
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Where the value stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the value is present.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether the value is absent, or an empty text, list or map.
    pub fn is_empty(&self) -> bool {
        is_empty(self.value)
    }

    /// The number of items of a list or entries of a map.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(entries) => entries.len(),
            _ => 0,
        }
    }

    /// The value as text; "" if it is none.
    pub fn str(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The value as a number; 0 if it is none.
    pub fn i64(&self) -> i64 {
        int(self.value)
    }

    /// The value as a boolean; false if it is none.
    pub fn bool(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// The items of a list with their paths.
    pub fn items(&self) -> Vec<View<'a>> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let at = |(index, value)| View { value, path: self.path.index(index) };
        items.iter().enumerate().map(at).collect()
    }

    /// The entries of a map with their paths, ordered by key.
    pub fn entries(&self) -> Vec<(&'a str, View<'a>)> {
        let Value::Object(entries) = self.value else { return Vec::new() };
        let at =
            |(key, value): (&'a String, &'a Value)| (key.as_str(), View { value, path: self.path.key(key) });
        entries.iter().map(at).collect()
    }

    /// The map itself, if it is one.
    pub fn map(&self) -> Option<&'a Map<String, Value>> {
        self.value.as_object()
    }

    /// The texts of a list.
    pub fn strs(&self) -> Vec<&'a str> {
        strs(self.value)
    }

    /// The field `name` without a path.
    pub fn raw(&self, name: &str) -> &'a Value {
        self.value.get(name).unwrap_or(&NULL)
    }

    /// The text of the field `name`.
    pub fn text(&self, name: &str) -> &'a str {
        self.raw(name).as_str().unwrap_or_default()
    }

    /// The number of the field `name`.
    pub fn int(&self, name: &str) -> i64 {
        int(self.raw(name))
    }

    /// The boolean of the field `name`.
    pub fn flag(&self, name: &str) -> bool {
        self.raw(name).as_bool().unwrap_or_default()
    }

    /// The texts of the list in the field `name`.
    pub fn texts(&self, name: &str) -> Vec<&'a str> {
        strs(self.raw(name))
    }

    /// Whether the field `name` is present.
    pub fn has(&self, name: &str) -> bool {
        !self.raw(name).is_null()
    }

    /// `Invalid value` with this value.
    pub fn invalid(&self, detail: impl Into<String>) -> Error {
        Error::invalid(&self.path, self.shown(), detail)
    }

    /// `Invalid value` with this value as text; absent shows as "".
    pub fn invalid_str(&self, detail: impl Into<String>) -> Error {
        Error::invalid(&self.path, self.str(), detail)
    }

    /// `Invalid value` with this value as a number; absent shows as 0.
    pub fn invalid_int(&self, detail: impl Into<String>) -> Error {
        Error::invalid(&self.path, self.i64(), detail)
    }

    /// `Invalid value`, without showing it.
    pub fn invalid_unshown(&self, detail: impl Into<String>) -> Error {
        Error::invalid_unshown(&self.path, detail)
    }

    /// `Required value`.
    pub fn required(&self, detail: impl Into<String>) -> Error {
        Error::required(&self.path, detail)
    }

    /// `Forbidden`.
    pub fn forbidden(&self, detail: impl Into<String>) -> Error {
        Error::forbidden(&self.path, detail)
    }

    /// `Unsupported value` with this value and the permitted ones.
    pub fn not_supported<S: AsRef<str>>(&self, valid: &[S]) -> Error {
        Error::not_supported(&self.path, self.shown_text(), valid)
    }

    /// `Duplicate value` with this value.
    pub fn duplicate(&self) -> Error {
        Error::duplicate(&self.path, self.shown())
    }

    /// `Not found` with this value.
    pub fn not_found(&self) -> Error {
        Error::not_found(&self.path, self.shown())
    }

    fn shown(&self) -> Value {
        self.value.clone()
    }

    /// An absent enumeration value shows as "".
    fn shown_text(&self) -> Value {
        if self.value.is_null() { Value::from("") } else { self.value.clone() }
    }
}

/// Whether a value is null, or an empty text, list or map.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// The texts of a list; what is not text is left out.
pub fn strs(value: &Value) -> Vec<&str> {
    value.as_array().map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The value at a chain of field names, or null.
pub fn at<'a>(value: &'a Value, names: &[&str]) -> &'a Value {
    names.iter().try_fold(value, |value, name| value.get(*name)).unwrap_or(&NULL)
}

/// The text at a chain of field names, or "".
pub fn text_at<'a>(value: &'a Value, names: &[&str]) -> &'a str {
    at(value, names).as_str().unwrap_or_default()
}

/// The number at a chain of field names, or 0.
pub fn int_at(value: &Value, names: &[&str]) -> i64 {
    int(at(value, names))
}

/// The object at a chain of field names, made if it is absent. None if something else is in the way.
pub fn object_at<'a>(value: &'a mut Value, names: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut here = value;
    for name in names {
        here = here.as_object_mut()?.entry(*name).or_insert(Value::Null);
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
    }
    here.as_object_mut()
}

/// Sets the field at a chain of names; parents are made as needed, null removes the field.
pub fn set_at(value: &mut Value, names: &[&str], new: Value) {
    let Some((last, parents)) = names.split_last() else {
        *value = new;
        return;
    };
    if new.is_null() {
        remove_at(value, names);
    } else if let Some(parent) = object_at(value, parents) {
        parent.insert((*last).to_owned(), new);
    }
}

/// Removes the field at a chain of names and returns what was there.
pub fn remove_at(value: &mut Value, names: &[&str]) -> Option<Value> {
    let (last, parents) = names.split_last()?;
    let mut here = value;
    for name in parents {
        here = here.get_mut(*name)?;
    }
    here.as_object_mut()?.remove(*last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_read_as_empty_and_keep_their_path() {
        let object = json!({"spec": {"containers": [{"name": "a"}, {}]}});
        let view = View::root(&object);
        let second = &view.get("spec").get("containers").items()[1];
        assert_eq!(second.get("name").str(), "");
        assert_eq!(second.get("name").required("").to_string(), "spec.containers[1].name: Required value");
        assert!(!view.get("x").get("y").is_set());
        assert_eq!(view.get("x").get("y").path().to_string(), "x.y");
    }

    #[test]
    fn set_makes_parents_and_remove_leaves_them() {
        let mut object = json!({});
        set_at(&mut object, &["a", "b"], json!(1));
        assert_eq!(object, json!({"a": {"b": 1}}));
        assert_eq!(remove_at(&mut object, &["a", "b"]), Some(json!(1)));
        assert_eq!(object, json!({"a": {}}));
        set_at(&mut object, &["a"], Value::Null);
        assert_eq!(object, json!({}));
    }
}
