//! The texts that cells have in common: ages, lists that are cut short, selectors.

use jiff::Timestamp;
use proto::labels::Selector;
use proto::view::{View, at, int_at, strs, text_at};
use serde_json::Value;

use super::ages::Ages;

/// An object to make cells of.
pub(crate) struct Object<'a> {
    pub(crate) value: &'a Value,
    pub(crate) ages: &'a Ages,
}

impl<'a> Object<'a> {
    pub(crate) fn new(value: &'a Value, ages: &'a Ages) -> Self {
        Object { value, ages }
    }

    pub(crate) fn at(&self, path: &[&str]) -> &'a Value {
        at(self.value, path)
    }

    pub(crate) fn text(&self, path: &[&str]) -> &'a str {
        text_at(self.value, path)
    }

    pub(crate) fn int(&self, path: &[&str]) -> i64 {
        int_at(self.value, path)
    }

    /// The text at a path as a cell, or another text if it is absent.
    pub(crate) fn text_or(&self, path: &[&str], absent: &str) -> Value {
        Value::from(self.at(path).as_str().unwrap_or(absent))
    }

    pub(crate) fn number(&self, path: &[&str]) -> Value {
        Value::from(self.int(path))
    }

    pub(crate) fn count(&self, path: &[&str]) -> Value {
        Value::from(self.view_at(path).len())
    }

    pub(crate) fn view_at(&self, path: &[&str]) -> View<'a> {
        View::root(at(self.value, path))
    }

    pub(crate) fn is_deleted(&self) -> bool {
        !self.at(&["metadata", "deletionTimestamp"]).is_null()
    }

    /// How long ago the object was made.
    pub(crate) fn age(&self) -> Value {
        Value::from(self.since(self.text(&["metadata", "creationTimestamp"])))
    }

    /// How long ago a time was.
    pub(crate) fn since(&self, time: &str) -> String {
        time_of(time).map_or_else(|| "<unknown>".to_owned(), |then| self.ages.since(then))
    }

    /// Names and images of a template's containers, as two cells.
    pub(crate) fn containers(&self, template: &[&str]) -> [Value; 2] {
        let list = self.view_at(template).get("spec").get("containers").items();
        ["name", "image"].map(|field| {
            let texts: Vec<&str> = list.iter().map(|container| container.text(field)).collect();
            Value::from(texts.join(","))
        })
    }

    /// A LabelSelector as text.
    pub(crate) fn selector(&self, path: &[&str]) -> Value {
        Value::from(match Selector::from_label_selector(self.at(path)) {
            Ok(selector) if selector.is_empty() || selector.is_nothing() => "<none>".to_owned(),
            Ok(selector) => selector.to_string(),
            Err(_) => "<error>".to_owned(),
        })
    }
}

/// An API time.
pub(crate) fn time_of(time: &str) -> Option<Timestamp> {
    time.parse().ok()
}

/// A map of labels as `k=v,k=v`.
pub(crate) fn labels(map: &Value) -> Value {
    let entries = View::root(map).entries();
    let texts: Vec<String> = entries.iter().map(|(key, value)| format!("{key}={}", value.str())).collect();
    Value::from(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") })
}

/// Texts joined by commas, or `<none>`.
pub(crate) fn joined(list: &Value) -> String {
    strs(list).join(",")
}

/// The first few of a list and how many more there are.
pub(crate) fn with_more(list: &[String], most: usize, separator: &str) -> String {
    let shown = list.iter().take(most).cloned().collect::<Vec<_>>().join(separator);
    if list.len() > most { format!("{shown} + {} more...", list.len() - most) } else { shown }
}

/// A number or percentage as text.
pub(crate) fn int_or_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
