//! Pod templates: kept as raw JSON, compared by meaning, and turned into pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::meta::OwnerReference;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The label by which a Deployment tells its ReplicaSets and their pods apart.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// A pod template as it came from the server.
#[derive(Clone, Debug)]
pub struct Template(Arc<RawValue>);

impl Default for Template {
    fn default() -> Self {
        Template::new(&json!({}))
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Template(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labelled {
    metadata: Labels,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(deserialize_with = "proto::meta::nullable")]
    labels: BTreeMap<String, String>,
}

impl Template {
    /// A template of this tree.
    pub fn new(value: &Value) -> Self {
        // A tree always prints as valid JSON, so the fallback is never taken.
        let raw = RawValue::from_string(value.to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Template(raw.into())
    }

    /// The template as a tree.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.0.get()).unwrap_or(Value::Null)
    }

    /// Reads the part of the template that `T` names.
    pub fn view<T: Default + for<'de> Deserialize<'de>>(&self) -> T {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }

    /// The labels its pods get.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.view::<Labelled>().metadata.labels
    }

    /// Whether both make the same pods, apart from the hash label. Absent and empty are the same.
    pub fn same_ignoring_hash(&self, other: &Template) -> bool {
        self.0.get() == other.0.get() || self.comparable() == other.comparable()
    }

    fn comparable(&self) -> Value {
        let mut value = self.to_value();
        remove_hash_label(&mut value);
        prune(&mut value);
        value
    }
}

/// Takes the hash label off a template.
pub fn remove_hash_label(template: &mut Value) {
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(POD_TEMPLATE_HASH);
    }
}

/// Drops nulls, empty lists and empty maps of labels and annotations. Other empty maps say something by
/// being there (`emptyDir: {}`).
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, v| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()));
            if map.get("labels").is_some_and(is_empty_map) {
                map.remove("labels");
            }
            if map.get("annotations").is_some_and(is_empty_map) {
                map.remove("annotations");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// The prefix of generated pod names: the owner's name and a dash, unless that is too long.
pub fn pod_name_prefix(owner: &str) -> String {
    if owner.len() < 253 { format!("{owner}-") } else { owner.to_string() }
}

/// A pod made from a template: labels, annotations and finalizers are the template's.
pub fn pod_from_template(template: &Value, owner_name: &str, owner: &OwnerReference) -> Value {
    let mut metadata = Map::new();
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.pointer(&format!("/metadata/{key}")) {
            metadata.insert(key.into(), value.clone());
        }
    }
    metadata.insert("generateName".into(), json!(pod_name_prefix(owner_name)));
    metadata.insert("ownerReferences".into(), json!([owner]));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_ignores_hash_and_emptiness() {
        let base = Template::new(&json!({"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}}));
        let hashed = Template::new(&json!({
            "metadata": {"creationTimestamp": null, "labels": {"a": "b", POD_TEMPLATE_HASH: "1"}},
            "spec": {"x": 1, "y": []},
        }));
        let other = Template::new(&json!({"metadata": {"labels": {"a": "b"}}, "spec": {"x": 2}}));
        assert!(base.same_ignoring_hash(&hashed));
        assert!(!base.same_ignoring_hash(&other));
    }
}
