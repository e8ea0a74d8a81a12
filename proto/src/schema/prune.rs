//! Pruning: a walk that drops the fields a structural schema doesn't list.

use serde_json::Value;

use super::{Shape, Type, Unknown};

/// Drops the fields that `ty` doesn't list and returns their paths, as strict decoding names them.
///
/// At the root, and in embedded objects, `apiVersion`, `kind` and `metadata` are always kept.
pub fn prune(object: &mut Value, ty: &Type) -> Vec<String> {
    let mut walk = Walk { path: String::new(), dropped: Vec::new() };
    walk.object(object, ty, true);
    walk.dropped
}

struct Walk {
    path: String,
    dropped: Vec<String>,
}

impl Walk {
    fn object(&mut self, value: &mut Value, ty: &Type, embedded: bool) {
        let Value::Object(map) = value else { return };
        let embedded = embedded || matches!(ty.unknown, Unknown::Embedded | Unknown::PreserveEmbedded);
        let preserve = matches!(ty.unknown, Unknown::Preserve | Unknown::PreserveEmbedded);
        let mut unknown = Vec::new();
        for (name, value) in map.iter_mut() {
            match ty.field(name) {
                Some(field) => self.below(name, |walk| walk.shape(value, &field.shape)),
                None if preserve
                    || (embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")) => {}
                None => unknown.push(name.clone()),
            }
        }
        for name in unknown {
            map.remove(&name);
            self.below(&name, |walk| walk.dropped.push(walk.path.clone()));
        }
    }

    fn shape(&mut self, value: &mut Value, shape: &Shape) {
        match (shape, value) {
            (Shape::Struct(ty), value) => self.object(value, ty, false),
            (Shape::List(list), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.shape(item, &list.items);
                    self.path.truncate(length);
                }
            }
            (Shape::Map(map), Value::Object(entries)) => {
                for (key, value) in entries.iter_mut() {
                    self.below(key, |walk| walk.shape(value, &map.values));
                }
            }
            _ => {}
        }
    }

    fn below(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        visit(self);
        self.path.truncate(length);
    }
}
