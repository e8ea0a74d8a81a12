//! The group events.k8s.io: the events of the core group under newer names.

use serde_json::Value;

use super::kind::{Enabled, rename};
use super::{Backing, Builder, Conversion, Endpoint, names};

const NAMES: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

const REFERENCE_FIELDS: [&str; 7] =
    ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    if !(enabled.enabled)("events.k8s.io", "v1", "events") {
        return;
    }
    let mut endpoint = Endpoint::new("events.k8s.io", "v1", "events", "Event");
    endpoint.short_names = names(&["ev"]);
    endpoint.backing = Backing::Stored("".into(), "events".into());
    endpoint.conversion = Conversion::Functions { to_hub, from_hub };
    endpoint.field_labels = REFERENCE_FIELDS
        .iter()
        .map(|field| (format!("regarding.{field}").into(), format!("involvedObject.{field}").into()))
        .chain([("reportingController".into(), "reportingComponent".into())])
        .collect();
    super::columns::set(&mut endpoint, None);
    builder.endpoint(endpoint);
}

/// To the names of the core group.
pub(crate) fn to_hub(object: &mut Value) {
    rename(object, &NAMES);
}

fn from_hub(object: &mut Value) {
    rename(object, &NAMES.map(|(new, old)| (old, new)));
}
