//! The objects that webhooks and policies are made of, read once when they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use proto::schema::Mask;
use serde_json::Value;

use super::step::text;
use crate::registry::Local;

/// Where all of them are.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// Objects by name, as they were parsed.
pub(super) struct Followed<T>(RwLock<BTreeMap<String, Arc<T>>>);

impl<T: Send + Sync + 'static> Followed<T> {
    /// Follows the objects of a resource.
    pub(super) fn new(local: &Arc<dyn Local>, resource: &str, parse: fn(&Value) -> T) -> Arc<Self> {
        let followed = Arc::new(Followed(RwLock::default()));
        let follower = followed.clone();
        let observe = move |old: Option<&Value>, new: Option<&Value>, _| follower.apply(old, new, parse);
        local.subscribe(GROUP, resource, Mask::ALL, Box::new(observe));
        followed
    }

    fn apply(&self, old: Option<&Value>, new: Option<&Value>, parse: fn(&Value) -> T) {
        let name = |object: &Value| text(&object["metadata"]["name"]).to_owned();
        match (old, new) {
            (_, Some(new)) => {
                let parsed = Arc::new(parse(new));
                self.0.write().insert(name(new), parsed);
            }
            (Some(old), None) => {
                self.0.write().remove(&name(old));
            }
            (None, None) => {}
        }
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.0.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_followed_in_the_order_of_their_names() {
        let followed = Followed(RwLock::default());
        let object = |name: &str, value: i64| json!({ "metadata": { "name": name }, "value": value });
        let parse = |object: &Value| object["value"].as_i64().unwrap();
        let all = || followed.all().iter().map(|value| **value).collect::<Vec<i64>>();
        followed.apply(None, Some(&object("b", 2)), parse);
        followed.apply(None, Some(&object("a", 1)), parse);
        assert_eq!(all(), [1, 2]);
        followed.apply(Some(&object("b", 2)), Some(&object("b", 3)), parse);
        assert_eq!(all(), [1, 3]);
        followed.apply(Some(&object("a", 1)), None, parse);
        assert_eq!(all(), [3]);
    }
}
