//! The group apiextensions.k8s.io: definitions of custom resources.

use proto::view::{at, set_at, text_at};
use serde_json::{Value, json};

use super::defaults::{fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};
use crate::custom;

const GROUP: &str = "apiextensions.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "customresourcedefinitions", "CustomResourceDefinition")
        .cluster()
        .short(&["crd", "crds"])
        .category("api-extensions")
        .prefix("apiextensions.k8s.io/customresourcedefinitions")
        .default(definition_defaults)
        .hooks(Hooks {
            allow_unconditional_update: false,
            may_delete: Some(custom::may_delete),
            begin_delete: Some(custom::begin_deletion),
            ..strategy::with_generation()
        })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .any_finalizers()
        .install(builder, enabled);
}

fn definition_defaults(object: &mut Value) {
    inside(object, "spec", |spec| {
        inside(spec, "names", |names| {
            let kind = text_at(names, &["kind"]).to_owned();
            if !kind.is_empty() {
                fill(names, "singular", kind.to_lowercase());
                fill(names, "listKind", format!("{kind}List"));
            }
        });
        fill(spec, "conversion", json!({"strategy": "None"}));
        within(spec, "conversion", |conversion| {
            within(conversion, "webhook", |webhook| {
                within(webhook, "clientConfig", |client| {
                    within(client, "service", |service| fill(service, "port", 443));
                });
            });
        });
    });
    if at(object, &["status", "storedVersions"]).is_null() {
        let versions = at(object, &["spec", "versions"]).as_array().into_iter().flatten();
        let stored = versions.into_iter().find(|version| at(version, &["storage"]) == &Value::Bool(true));
        if let Some(name) = stored.map(|version| text_at(version, &["name"]).to_owned()) {
            set_at(object, &["status", "storedVersions"], json!([name]));
        }
    }
}
