//! The rules of upstream's declarative validation (`+k8s:` tags) for the kinds where it decides: a change is compared
//! field by field, and what stays as it was is not judged again.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use super::checks::{IMMUTABLE, each};

/// A field and what it was: `old` is `None` where nothing stood in its place before.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    /// The field as it is.
    pub(crate) new: View<'a>,
    old: Option<&'a Value>,
    update: bool,
}

impl<'a> Field<'a> {
    /// An object; `old` is null if it is new.
    pub(crate) fn root(new: &'a Value, old: &'a Value) -> Self {
        Field { new: View::root(new), old: (!old.is_null()).then_some(old), update: !old.is_null() }
    }

    /// A field of a struct.
    pub(crate) fn get(&self, name: &'static str) -> Field<'a> {
        let old = self.old.map(|old| old.get(name).unwrap_or(&Value::Null));
        Field { new: self.new.get(name), old, update: self.update }
    }

    /// Whether nothing of it has changed.
    pub(crate) fn is_same(&self) -> bool {
        self.update && self.old.is_some_and(|old| old == self.new.value())
    }

    /// The items of a list that are new or changed, each with the old item of the same key.
    pub(crate) fn items_by(&self, key: &str) -> Vec<Field<'a>> {
        let old: &[Value] = self.old.and_then(Value::as_array).map_or(&[], Vec::as_slice);
        let field = |new: View<'a>| {
            let before = old.iter().find(|item| item.get(key) == new.value().get(key));
            Field { new, old: before, update: self.update }
        };
        self.new.items().into_iter().map(field).filter(|item| !item.is_same()).collect()
    }

    /// The items of a list, which are judged anew whenever the list changes.
    pub(crate) fn items(&self) -> Vec<Field<'a>> {
        self.new.items().into_iter().map(|new| Field { new, old: None, update: self.update }).collect()
    }

    /// Refuses any change. Answers whether the field may be judged further.
    pub(crate) fn immutable(&self, errors: &mut Errors) -> bool {
        if self.update {
            errors.push(Error::invalid(self.new.path(), Value::Null, IMMUTABLE));
        }
        !self.update
    }

    /// At most so many items.
    pub(crate) fn max_items(&self, max: usize, errors: &mut Errors) -> bool {
        let count = self.new.len();
        if count > max {
            errors.push(Error::too_many(self.new.path(), count, max));
        }
        count <= max
    }

    /// No two items of the same key.
    pub(crate) fn unique(&self, key: &str, errors: &mut Errors) {
        let items = self.new.items();
        for (at, item) in items.iter().enumerate() {
            if items[..at].iter().any(|other| other.raw(key) == item.raw(key)) {
                errors.push(item.duplicate());
            }
        }
    }

    /// A text that must be there, and what is wrong with it by `check`.
    pub(crate) fn required_text(&self, check: fn(&str) -> Vec<String>, errors: &mut Errors) {
        if self.is_same() {
        } else if self.new.is_empty() {
            errors.push(self.new.required(""));
        } else {
            each(&self.new, check(self.new.str()), errors);
        }
    }

    /// A text that may be there, and what is wrong with it by `check`.
    pub(crate) fn optional_text(&self, check: fn(&str) -> Vec<String>, errors: &mut Errors) {
        if !self.is_same() && self.new.is_set() {
            each(&self.new, check(self.new.str()), errors);
        }
    }

    /// Exactly one of these fields.
    pub(crate) fn union(&self, members: &[&str], errors: &mut Errors) {
        let has = |value: Option<&Value>, name: &str| {
            value.and_then(|value| value.get(name)).is_some_and(|value| !value.is_null())
        };
        let new = Some(self.new.value());
        if self.update
            && self.old.is_some()
            && members.iter().all(|name| has(new, name) == has(self.old, name))
        {
            return;
        }
        let all = || members.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let given: Vec<&str> = members.iter().copied().filter(|name| has(new, name)).collect();
        match given.as_slice() {
            [] => errors.push(Error::invalid(self.new.path(), "", format!("must specify one of: {}", all()))),
            [_] => {}
            many => errors.push(Error::invalid(
                self.new.path(),
                format!("{{{}}}", many.join(", ")),
                format!("must specify exactly one of: {}", all()),
            )),
        }
    }
}

/// The format `k8s-short-name`.
pub(crate) fn short_name(text: &str) -> Vec<String> {
    content::is_dns1123_label(text)
}

/// The format `k8s-long-name`.
pub(crate) fn long_name(text: &str) -> Vec<String> {
    content::is_dns1123_subdomain(text)
}

/// The format `k8s-label-key`.
pub(crate) fn label_key(text: &str) -> Vec<String> {
    content::is_qualified_name(text)
}

/// The format `k8s-path-segment-name`.
pub(crate) fn path_segment_name(text: &str) -> Vec<String> {
    content::is_path_segment_name(text)
}
