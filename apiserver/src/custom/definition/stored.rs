//! The form in which definitions are stored: JSON of v1beta1, which says once what all versions share.
//!
//! Upstream stores them so since large definitions fit into etcd only so, and no longer serves v1beta1.

use proto::view::{at, remove_at, text_at};
use serde_json::{Map, Value, json};

/// What all versions may share: its name in the `spec` of v1beta1 and in a version.
const SHARED: [(&str, &str); 4] = [
    ("subresources", "subresources"),
    ("validation", "schema"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// From v1beta1 to v1, with the defaults of v1beta1.
pub(crate) fn to_v1(definition: &mut Value) {
    for part in ["metadata", "status"] {
        if let Some(Value::Object(part)) = definition.get_mut(part) {
            part.retain(|_, value| !value.is_null());
        }
    }
    let Some(Value::Object(spec)) = definition.get_mut("spec") else { return };
    spec.retain(|_, value| !value.is_null());
    let version = spec.remove("version").unwrap_or_default();
    let versions = spec.entry("versions").or_insert_with(|| json!([]));
    if let Value::Array(versions) = versions
        && versions.is_empty()
        && version.as_str().is_some_and(|version| !version.is_empty())
    {
        versions.push(json!({"name": version, "served": true, "storage": true}));
    }
    for (shared, own) in SHARED {
        let Some(value) = spec.remove(shared) else { continue };
        for version in versions_of(spec) {
            version.insert(own.to_owned(), value.clone());
        }
    }
    rename_columns(spec, "JSONPath", "jsonPath");
    if spec.remove("preserveUnknownFields").is_none_or(|preserve| preserve == true) {
        spec.insert("preserveUnknownFields".to_owned(), Value::Bool(true));
    }
    let conversion = spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    let client = remove_at(conversion, &["webhookClientConfig"]);
    let mut reviews = remove_at(conversion, &["conversionReviewVersions"]);
    if text_at(conversion, &["strategy"]) == "Webhook" && reviews.as_ref().is_none_or(is_empty) {
        reviews = Some(json!(["v1beta1"]));
    }
    if client.is_none() && reviews.is_none() {
        return;
    }
    let mut webhook = Map::new();
    if let Some(mut client) = client {
        if at(&client, &["service"]).is_object() && at(&client, &["service", "port"]).is_null() {
            client["service"]["port"] = Value::from(443);
        }
        webhook.insert("clientConfig".to_owned(), client);
    }
    webhook.insert("conversionReviewVersions".to_owned(), reviews.unwrap_or_default());
    conversion["webhook"] = Value::Object(webhook);
}

/// From v1 to v1beta1.
pub(crate) fn to_v1beta1(definition: &mut Value) {
    let Some(Value::Object(spec)) = definition.get_mut("spec") else { return };
    let preserve = spec.get("preserveUnknownFields") == Some(&Value::Bool(true));
    spec.insert("preserveUnknownFields".to_owned(), Value::Bool(preserve));
    rename_columns(spec, "jsonPath", "JSONPath");
    let versions: Vec<&mut Map<String, Value>> = versions_of(spec).collect();
    if let Some(first) = versions.first() {
        let name = first.get("name").cloned().unwrap_or_default();
        let mut all = Vec::new();
        for (shared, own) in SHARED {
            let of =
                |version: &Map<String, Value>| version.get(own).filter(|value| !is_empty(value)).cloned();
            let value = of(first);
            if versions.iter().all(|version| of(version) == value) {
                all.push((shared, own, value));
            }
        }
        for version in versions {
            all.iter().for_each(|(_, own, _)| drop(version.remove(*own)));
        }
        for (shared, _, value) in all {
            spec.extend(value.map(|value| (shared.to_owned(), value)));
        }
        spec.insert("version".to_owned(), name);
    }
    if let Some(conversion) = spec.get_mut("conversion")
        && let Some(mut webhook) = remove_at(conversion, &["webhook"])
    {
        for (from, to) in [
            ("clientConfig", "webhookClientConfig"),
            ("conversionReviewVersions", "conversionReviewVersions"),
        ] {
            if let Some(value) = remove_at(&mut webhook, &[from]) {
                conversion[to] = value;
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn versions_of(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
    versions.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// v1beta1 spells the path of a column in its own way.
fn rename_columns(spec: &mut Map<String, Value>, from: &str, to: &str) {
    let rename = |holder: &mut Map<String, Value>| {
        let columns = holder.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
        for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(path) = column.remove(from) {
                column.insert(to.to_owned(), path);
            }
        }
    };
    rename(spec);
    versions_of(spec).for_each(rename);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What versions share is stored once; what comes back is what was stored.
    #[test]
    fn definitions_are_stored_as_v1beta1() {
        let columns = json!([{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]);
        let version = |name: &str, field: &str| {
            json!({"name": name, "served": true, "storage": name == "v1", "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {field: {"type": "string"}}}}})
        };
        let webhook = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "a", "name": "b", "port": 443}}}});
        let definition = json!({
            "spec": {"group": "example.org", "conversion": webhook, "versions": [version("v1", "a"), version("v2", "b")]},
            "status": {"storedVersions": ["v1"]},
        });
        let mut stored = definition.clone();
        to_v1beta1(&mut stored);
        assert_eq!(stored["spec"]["version"], "v1");
        assert_eq!(stored["spec"]["preserveUnknownFields"], false);
        assert_eq!(stored["spec"]["additionalPrinterColumns"][0]["JSONPath"], ".spec.size");
        assert!(stored["spec"].get("validation").is_none());
        assert!(stored["spec"]["versions"][1].get("additionalPrinterColumns").is_none());
        assert_eq!(stored["spec"]["versions"][1]["schema"], definition["spec"]["versions"][1]["schema"]);
        assert_eq!(stored["spec"]["conversion"]["webhookClientConfig"]["service"]["name"], "b");
        to_v1(&mut stored);
        assert_eq!(stored, definition);
    }

    /// The oldest definitions have no list of versions, and keep unknown fields.
    #[test]
    fn old_definitions_can_be_read() {
        let mut definition = json!({
            "metadata": {"name": "a", "creationTimestamp": null},
            "spec": {"version": "v1", "validation": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "A", "type": "string", "JSONPath": ".a"}]},
            "status": {"conditions": null, "storedVersions": ["v1"]},
        });
        to_v1(&mut definition);
        let expected = json!({
            "metadata": {"name": "a"},
            "spec": {"preserveUnknownFields": true, "conversion": {"strategy": "None"}, "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}],
            }]},
            "status": {"storedVersions": ["v1"]},
        });
        assert_eq!(definition, expected);
    }
}
