//! What is known of one version of a custom resource: reached from its endpoint row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto::field::Error;
use proto::view::{at, strs, text_at};
use serde_json::Value;

use super::rules::Rules;
use super::schema::Schema;
use super::{coerce, columns};
use crate::registry::{Endpoint, Name};

/// One version of a custom resource.
pub struct Version {
    /// Its schema, defaults pruned; empty if it has none.
    pub(crate) schema: Schema,
    /// Whether it has a schema of its own.
    pub(crate) has_schema: bool,
    /// Whether nothing is pruned (`spec.preserveUnknownFields` of old definitions).
    pub(crate) preserves_all: bool,
    /// Whether there is a subresource `status`.
    pub(super) status: bool,
    /// The subresource `scale`, as the definition has it.
    pub(super) scale: Option<Scale>,
    /// The fields that selectors may name, without the dot in front.
    pub(crate) selectable: Vec<Name>,
    pub(super) columns: columns::Cells,
    /// The rules in its schema, if there are any.
    pub(super) rules: Option<Rules>,
    /// Whether the definition is being deleted: nothing new is created.
    terminating: Arc<AtomicBool>,
}

/// Paths with a dot in front, as the definition has them.
pub(super) struct Scale {
    pub(super) spec_replicas: String,
    pub(super) status_replicas: String,
    pub(super) selector: String,
}

impl Version {
    pub(super) fn new(
        version: &Value,
        preserves_all: bool,
        columns: columns::Cells,
        terminating: Arc<AtomicBool>,
    ) -> Version {
        let declared = at(version, &["schema", "openAPIV3Schema"]);
        let mut schema = Schema::parse(declared);
        if !preserves_all {
            coerce::prune_defaults(&mut schema);
        }
        let scale = at(version, &["subresources", "scale"]);
        let path = |field: &str| text_at(scale, &[field]).to_owned();
        let fields = at(version, &["selectableFields"]).as_array().into_iter().flatten();
        let name =
            |field: &Value| Name::Owned(text_at(field, &["jsonPath"]).trim_start_matches('.').to_owned());
        Version {
            schema,
            has_schema: declared.is_object(),
            preserves_all,
            status: at(version, &["subresources", "status"]).is_object(),
            scale: scale.is_object().then(|| Scale {
                spec_replicas: path("specReplicasPath"),
                status_replicas: path("statusReplicasPath"),
                selector: path("labelSelectorPath"),
            }),
            selectable: fields.map(name).collect(),
            columns,
            rules: Rules::new(declared),
            terminating,
        }
    }

    /// A version that has nothing but a schema.
    pub fn with_schema(schema: Value) -> Version {
        let version = serde_json::json!({"schema": {"openAPIV3Schema": schema}});
        Version::new(&version, false, columns::Cells::new(), Arc::default())
    }

    /// The version that an endpoint of a custom resource serves.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<&Version> {
        endpoint.data.as_ref()?.downcast_ref()
    }

    /// Whether the definition is being deleted.
    pub(crate) fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    /// Gives an object the form of this version: unknown fields are pruned, nulls that mean nothing dropped. Answers with the paths of
    /// what is lost. `stored`: metadata of the wrong shape is dropped rather than refused.
    ///
    /// # Errors
    /// Metadata of the wrong shape.
    pub fn coerce(&self, value: &mut Value, stored: bool) -> Result<Vec<String>, Error> {
        if !self.preserves_all {
            return coerce::object(value, &self.schema, stored);
        }
        // Everything is kept but for what metadata has no room for.
        let open = Schema { preserve_unknown_fields: Some(true), ..Schema::default() };
        coerce::object(value, &open, stored)
    }

    /// Fills in the schema's defaults.
    pub fn default(&self, value: &mut Value) {
        coerce::default(value, &self.schema);
    }
}

/// The versions of a definition.
pub(super) fn all(definition: &Value) -> impl Iterator<Item = &Value> {
    at(definition, &["spec", "versions"]).as_array().into_iter().flatten()
}

/// The warning that comes with every answer of a deprecated version: it names the newest other one, if that is newer.
pub(super) fn deprecation(definition: &Value, version: &Value, kind: &str) -> Option<Name> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(given) = version["deprecationWarning"].as_str() {
        return Some(Name::Owned(given.to_owned()));
    }
    let group = text_at(definition, &["spec", "group"]);
    let name = text_at(version, &["name"]);
    let rank = |name: &str| crate::endpoints::discovery::version_rank(name);
    let newer = all(definition)
        .filter(|v| v["served"] == true && v["deprecated"] != true)
        .map(|v| text_at(v, &["name"]))
        .filter(|other| rank(other) > rank(name))
        .max_by_key(|other| rank(other));
    let text = format!("{group}/{name} {kind} is deprecated");
    Some(Name::Owned(match newer {
        Some(newer) => format!("{text}; use {group}/{newer} {kind}"),
        None => text,
    }))
}

/// The texts of a list of names.
pub(super) fn names(value: &Value) -> Vec<Name> {
    strs(value).into_iter().map(|name| Name::Owned(name.to_owned())).collect()
}
