//! The rows of a definition.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proto::schema::{self, Ref};
use proto::view::{at, text_at};
use serde_json::Value;

use super::conversion::Webhook;
use super::version::{self, Version};
use super::{columns, hooks};
use crate::registry::{
    Backing, Conversion, Endpoint, Local, Name, Scale, ScaleSelector, Selectable, Storage, Subresource, Verbs,
};

fn owned(text: &str) -> Name {
    Name::Owned(text.to_owned())
}

/// The storage row and the endpoints of a definition under its accepted names; `None` if it has no storage version.
pub(super) fn of(
    definition: &Value,
    names: &Value,
    terminating: &Arc<AtomicBool>,
    local: &Arc<dyn Local>,
) -> Option<(Storage, Vec<Endpoint>)> {
    let group = text_at(definition, &["spec", "group"]);
    let (plural, kind) = (text_at(names, &["plural"]), text_at(names, &["kind"]));
    let stored = version::all(definition).find(|v| v["storage"] == true)?;
    let stored_name = text_at(stored, &["name"]);
    let namespaced = text_at(definition, &["spec", "scope"]) == "Namespaced";
    let preserves_all = at(definition, &["spec", "preserveUnknownFields"]) == &Value::Bool(true);
    let by_webhook = text_at(definition, &["spec", "conversion", "strategy"]) == "Webhook";
    let conversion = match by_webhook && version::all(definition).count() > 1 {
        true => Conversion::External(Arc::new(Webhook::new(definition, local.clone()))),
        false => Conversion::Same,
    };
    let mut storage = Storage::new("", "", "", "");
    storage.group = owned(group);
    storage.resource = owned(plural);
    storage.kind = owned(kind);
    storage.prefix = Name::Owned(format!("{group}/{plural}"));
    storage.namespaced = namespaced;
    storage.hub = (owned(group), owned(stored_name));
    storage.stored = storage.hub.clone();
    storage.hooks = hooks::main();
    let mut endpoints = Vec::new();
    for version in version::all(definition) {
        let name = text_at(version, &["name"]);
        let served = version["served"] == true;
        let (columns, cells) = columns::of(version);
        let known = Version::new(version, preserves_all, cells, terminating.clone());
        for field in &known.selectable {
            if !storage.selectable.iter().any(|own| own.name == *field) {
                storage.selectable.push(Selectable { name: field.clone(), get: None, absent: "" });
            }
        }
        let declared = at(version, &["schema", "openAPIV3Schema"]);
        let mut endpoint = Endpoint::new("", "", "", "");
        endpoint.group = owned(group);
        endpoint.version = owned(name);
        endpoint.resource = owned(plural);
        endpoint.singular = owned(text_at(names, &["singular"]));
        endpoint.kind = owned(kind);
        endpoint.list_kind = owned(text_at(names, &["listKind"]));
        endpoint.namespaced = namespaced;
        endpoint.schema = Some(Ref::from(schema::structural(group, name, kind, declared)));
        endpoint.custom = true;
        endpoint.short_names = version::names(at(names, &["shortNames"]));
        endpoint.categories = version::names(at(names, &["categories"]));
        endpoint.verbs = if served { Verbs::ALL } else { Verbs::NONE };
        endpoint.backing = Backing::Stored(owned(group), owned(plural));
        endpoint.conversion = conversion.clone();
        endpoint.deprecated = version::deprecation(definition, version, kind);
        if served {
            endpoint.subresources = subresources(version);
        }
        endpoint.columns = columns;
        endpoint.row = Some(columns::row);
        endpoint.data = Some(Arc::new(known));
        endpoints.push(endpoint);
    }
    Some((storage, endpoints))
}

fn subresources(version: &Value) -> Vec<Subresource> {
    let mut list = Vec::new();
    if at(version, &["subresources", "status"]).is_object() {
        list.push(Subresource::object("status", hooks::status()));
    }
    let scale = at(version, &["subresources", "scale"]);
    if scale.is_object() {
        let path = |field: &str| owned(text_at(scale, &[field]).trim_start_matches('.'));
        let selector = path("labelSelectorPath");
        list.push(Subresource::scale(Scale {
            spec_replicas: path("specReplicasPath"),
            status_replicas: path("statusReplicasPath"),
            selector: if selector.is_empty() { ScaleSelector::None } else { ScaleSelector::Text(selector) },
        }));
    }
    list
}
