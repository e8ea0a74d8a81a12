//! Events: what happened, kept for an hour.

use proto::view::text_at;

use super::kind;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Endpoint, Hooks};

const TTL: u64 = 3600;

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("events", "Event")
        .short(&["ev"])
        .storage(|storage| {
            storage.cached = false;
            storage.ttl = Some(|_| TTL);
        })
        .selectable(&[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        ])
        .selectable_by("source", |event| {
            let source = text_at(event, &["source", "component"]);
            if source.is_empty() { text_at(event, &["reportingComponent"]) } else { source }.to_owned()
        })
        .hooks(Hooks { allow_create_on_update: true, ..Hooks::default() })
        .endpoint(set_columns)
        .install(builder, enabled);
}

/// The columns of events, in either group's version.
pub(crate) fn set_columns(_endpoint: &mut Endpoint) {}
