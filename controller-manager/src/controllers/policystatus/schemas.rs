//! The schema of a kind, from the OpenAPI document that the server publishes for its group version.

use std::collections::HashMap;

use component_base::client::{Client, Error};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A group version's document; the schemas stay text until one is asked for.
#[derive(Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    components: Components,
}

#[derive(Default, Deserialize)]
struct Components {
    #[serde(default)]
    schemas: HashMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "x-kubernetes-group-version-kind", default)]
    kinds: Vec<GroupVersionKind>,
}

/// A kind of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct GroupVersionKind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

impl std::fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.group.is_empty() {
            write!(f, "{}/", self.group)?;
        }
        write!(f, "{}, Kind={}", self.version, self.kind)
    }
}

/// Reads the document of a group version.
pub(super) async fn read(client: &Client, group: &str, version: &str) -> Result<Document, Error> {
    let prefix = if group.is_empty() { "api".to_owned() } else { format!("apis/{group}") };
    let body = client.request(Method::GET, &format!("/openapi/v3/{prefix}/{version}"), None).await?;
    serde_json::from_slice(&body).map_err(|e| Error::Decode(e.to_string()))
}

impl Document {
    /// The schema of a kind, complete in itself.
    pub(super) fn resolve(&self, kind: &GroupVersionKind) -> Option<Value> {
        let is_kind = |raw: &RawValue| {
            let head = serde_json::from_str::<Head>(raw.get());
            head.is_ok_and(|head| head.kinds.contains(kind))
        };
        let (name, _) = self.components.schemas.iter().find(|(_, raw)| is_kind(raw))?;
        Some(self.expand(&json!({"$ref": format!("#/components/schemas/{name}")}), &mut Vec::new()))
    }

    /// Puts what is referred to in the place of references. A schema within itself is left open.
    fn expand(&self, schema: &Value, within: &mut Vec<String>) -> Value {
        match schema {
            Value::Object(map) => {
                if let Some(target) = reference(schema) {
                    if within.contains(&target) {
                        return json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
                    }
                    let raw = self.components.schemas.get(&target);
                    let Some(found) = raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
                    else {
                        return json!({});
                    };
                    within.push(target);
                    let mut expanded = self.expand(&found, within);
                    within.pop();
                    // What stands beside a reference, such as a default, holds as well.
                    if let Some(expanded) = expanded.as_object_mut() {
                        let beside = map.iter().filter(|(key, _)| !matches!(key.as_str(), "$ref" | "allOf"));
                        expanded.extend(beside.map(|(key, value)| (key.clone(), value.clone())));
                    }
                    return expanded;
                }
                Value::Object(
                    map.iter().map(|(key, value)| (key.clone(), self.expand(value, within))).collect(),
                )
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.expand(item, within)).collect()),
            other => other.clone(),
        }
    }
}

/// The schema that another is but a reference to: as such, or as the only one of `allOf`.
fn reference(schema: &Value) -> Option<String> {
    let only = match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([only]) => &only["$ref"],
        _ => &schema["$ref"],
    };
    Some(only.as_str()?.strip_prefix("#/components/schemas/")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        let document: Document = serde_json::from_str(
            &json!({"components": {"schemas": {
                "io.A": {"type": "object", "properties": {
                    "b": {"allOf": [{"$ref": "#/components/schemas/io.B"}], "default": {}},
                    "list": {"type": "array", "items": {"$ref": "#/components/schemas/io.B"}},
                }, "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "A"}]},
                "io.B": {"type": "object", "properties": {"again": {"$ref": "#/components/schemas/io.B"}}},
            }}})
            .to_string(),
        )
        .unwrap();
        let kind = GroupVersionKind { group: "apps".into(), version: "v1".into(), kind: "A".into() };
        let schema = document.resolve(&kind).unwrap();
        assert_eq!(schema["properties"]["b"]["default"], json!({}));
        let again = &schema["properties"]["list"]["items"]["properties"]["again"];
        assert_eq!(again["x-kubernetes-preserve-unknown-fields"], json!(true));
        assert_eq!(kind.to_string(), "apps/v1, Kind=A");
    }
}
