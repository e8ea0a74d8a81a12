//! What selectors ask for of an entry, in little memory.

use serde_json::Value;

use crate::registry::Storage;

/// Labels and selectable fields, one after the other in one text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index {
    text: Box<str>,
    /// Where each part of the text ends: keys and values of labels by turns, then the values of fields in the order of the
    /// storage row.
    ends: Box<[u32]>,
    labels: u32,
}

impl Index {
    /// The index of a tree of the hub version.
    pub(super) fn of(storage: &Storage, hub: &Value) -> Self {
        let labels = hub.pointer("/metadata/labels").and_then(Value::as_object);
        let (mut text, mut ends) = (String::new(), Vec::new());
        let mut put = |part: &str| {
            text.push_str(part);
            // An object is far smaller than that.
            ends.push(text.len() as u32);
        };
        for (key, value) in labels.into_iter().flatten() {
            put(key);
            put(value.as_str().unwrap_or_default());
        }
        storage.selectable.iter().for_each(|field| put(&field.value(hub)));
        let labels = labels.map_or(0, serde_json::Map::len) as u32;
        Index { text: text.into(), ends: ends.into(), labels }
    }

    fn part(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.text.get(begin..end)
    }

    /// The value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        let at = (0..self.labels as usize).find(|at| self.part(at * 2) == Some(key))?;
        self.part(at * 2 + 1)
    }

    /// The value of a selectable field, by its place in the storage row.
    pub(super) fn field(&self, at: usize) -> Option<&str> {
        self.part(self.labels as usize * 2 + at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Selectable;

    #[test]
    fn finds_labels_and_fields() {
        let mut storage = Storage::new("", "v1", "pods", "Pod");
        storage.selectable = vec![Selectable::path("spec.nodeName"), Selectable::path("status.phase")];
        let pod = json!({"metadata": {"labels": {"a": "", "b": "a"}}, "status": {"phase": "Running"}});
        let index = Index::of(&storage, &pod);
        let labels = ["a", "b", "", "Running"].map(|key| index.label(key));
        assert_eq!(labels, [Some(""), Some("a"), None, None]);
        assert_eq!([0, 1, 2].map(|at| index.field(at)), [Some(""), Some("Running"), None]);
        assert_eq!(Index::of(&storage, &Value::Null).field(1), Some(""));
    }
}
