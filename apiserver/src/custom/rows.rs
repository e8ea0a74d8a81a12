//! The rows of a definition.

use std::collections::HashMap;
use std::sync::Arc;

use proto::schema::{self, Ref};
use proto::view::{at, strs, text_at};
use serde_json::Value;

use super::{columns, hooks, versions};
use crate::registry::{
    Backing, Conversion, Endpoint, Name, Scale, ScaleSelector, Selectable, Storage, Subresource, Verbs,
};

/// What hooks of custom resources know: reached through the storage row.
pub(super) struct Custom {
    /// The JSON schema of each version.
    pub(super) schemas: HashMap<String, Arc<Value>>,
    /// Whether there is a status subresource.
    pub(super) status: bool,
}

fn owned(text: &str) -> Name {
    Name::Owned(text.to_owned())
}

/// The storage row and the endpoints of a definition; `None` if it has no storage version.
pub(super) fn of(definition: &Value) -> Option<(Storage, Vec<Endpoint>)> {
    let group = text_at(definition, &["spec", "group"]);
    let names = at(definition, &["spec", "names"]);
    let (plural, kind) = (text_at(names, &["plural"]), text_at(names, &["kind"]));
    let stored = versions(definition).find(|v| v["storage"] == true)?;
    let stored_name = text_at(stored, &["name"]);
    let namespaced = text_at(definition, &["spec", "scope"]) == "Namespaced";
    let by_webhook = text_at(definition, &["spec", "conversion", "strategy"]) == "Webhook";
    let schema = |version: &Value| Arc::new(at(version, &["schema", "openAPIV3Schema"]).clone());
    let data = Custom {
        schemas: versions(definition).map(|v| (text_at(v, &["name"]).to_owned(), schema(v))).collect(),
        status: at(stored, &["subresources", "status"]).is_object(),
    };
    let selectable = at(stored, &["selectableFields"]).as_array().into_iter().flatten();
    let mut storage = Storage::new("", "", "", "");
    storage.group = owned(group);
    storage.resource = owned(plural);
    storage.kind = owned(kind);
    storage.prefix = Name::Owned(format!("{group}/{plural}"));
    storage.namespaced = namespaced;
    storage.hub = (owned(group), owned(stored_name));
    storage.stored = storage.hub.clone();
    storage.selectable = selectable
        .map(|f| Selectable {
            name: owned(text_at(f, &["jsonPath"]).trim_start_matches('.')),
            get: None,
            absent: "",
        })
        .collect();
    storage.hooks = hooks::main();
    storage.data = Some(Arc::new(data));
    let list = |field: &str| strs(at(names, &[field])).into_iter().map(owned).collect::<Vec<_>>();
    let endpoints = versions(definition).map(|version| {
        let name = text_at(version, &["name"]);
        let json_schema = schema(version);
        let served = version["served"] == true && (!by_webhook || name == stored_name);
        let mut endpoint = Endpoint::new("", "", "", "");
        endpoint.group = owned(group);
        endpoint.version = owned(name);
        endpoint.resource = owned(plural);
        endpoint.singular = owned(text_at(names, &["singular"]));
        endpoint.kind = owned(kind);
        endpoint.list_kind = owned(text_at(names, &["listKind"]));
        endpoint.namespaced = namespaced;
        endpoint.schema = Some(Ref::from(schema::structural(group, name, kind, &json_schema)));
        endpoint.custom = true;
        endpoint.short_names = list("shortNames");
        endpoint.categories = list("categories");
        endpoint.verbs = if served { Verbs::ALL } else { Verbs::NONE };
        endpoint.backing = Backing::Stored(owned(group), owned(plural));
        endpoint.conversion = Conversion::Same;
        endpoint.published = Some(json_schema);
        endpoint.deprecated = deprecation(version, group, kind);
        if served {
            endpoint.subresources = subresources(version);
        }
        columns::install(&mut endpoint, version);
        endpoint
    });
    let endpoints = endpoints.collect();
    Some((storage, endpoints))
}

fn deprecation(version: &Value, group: &str, kind: &str) -> Option<Name> {
    if version["deprecated"] != true {
        return None;
    }
    let given = text_at(version, &["deprecationWarning"]);
    let name = text_at(version, &["name"]);
    Some(if given.is_empty() {
        Name::Owned(format!("{group}/{name} {kind} is deprecated"))
    } else {
        owned(given)
    })
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
