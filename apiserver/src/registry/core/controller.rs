//! Replication controllers, pod templates and service accounts.

use proto::field::Errors;
use proto::view::{View, at};
use serde_json::{Value, json};

use super::pod::{Options, of_template, spec, warnings as pod_warnings};
use super::{defaults, kind};
use crate::registry::apps::validation::{replicas_status, runs_for_ever};
use crate::registry::checks::*;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Ctx, Hooks, ScaleSelector, Subresource, strategy};

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("podtemplates", "PodTemplate")
        .default(defaults::template)
        .hooks(Hooks {
            prepare_update: |_, new, old| strategy::count_changes(new, old, &["template"]),
            validate: |_, new| pod_template(new, &Value::Null),
            validate_update: |_, new, old| pod_template(new, old),
            warnings: |_, new| pod_warnings::template(&View::root(new).get("template")),
            warnings_update: |_, new, _| pod_warnings::template(&View::root(new).get("template")),
            return_deleted: true,
            ..strategy::generation_only()
        })
        .install(builder, enabled);
    kind("replicationcontrollers", "ReplicationController")
        .short(&["rc"])
        .category("all")
        .prefix("controllers")
        .default(defaults::replication_controller)
        .selectable_or("status.replicas", "0")
        .hooks(Hooks {
            validate: |_, new| replication_controller(new, &Value::Null),
            validate_update: |_, new, old| replication_controller(new, old),
            orphan_dependents: true,
            warnings: pod_warnings::controller,
            // Upstream looks at the old template.
            warnings_update: |ctx, new, old| pod_warnings::controller_update(ctx, old, new),
            ..strategy::with_generation()
        })
        .status(Hooks { validate_update: |_, new, _| replicas_status(new), ..strategy::status() })
        .scale(ScaleSelector::Map("spec.selector".into()))
        .install(builder, enabled);
    kind("serviceaccounts", "ServiceAccount")
        .short(&["sa"])
        .hooks(Hooks {
            prepare_create: |_, new| only_secret_names(new),
            prepare_update: |_, new, _| only_secret_names(new),
            return_deleted: true,
            ..Hooks::default()
        })
        .subresource(Subresource::create("token", "authentication.k8s.io", "v1", "TokenRequest", token))
        .install(builder, enabled);
}

/// Asks the server's issuer for a token.
fn token(ctx: &Ctx, request: Value) -> futures::future::BoxFuture<'_, Result<Value, proto::status::Status>> {
    Box::pin(async move {
        match &ctx.local.services().issuer {
            Some(issuer) => issuer.issue(ctx, request).await,
            None => Err(proto::status::Status::unknown_path()),
        }
    })
}

/// Of the references to secrets only the names mean something.
fn only_secret_names(account: &mut Value) {
    crate::registry::defaults::each(account, "secrets", |secret| {
        *secret = match secret.get("name") {
            Some(name) => json!({"name": name}),
            None => json!({}),
        };
    });
}

fn pod_template(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let options = of_template(at(old, &["template"]));
    spec::template(&View::root(new).get("template"), &options, &mut errors);
    errors
}

fn replication_controller(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let own = View::root(new).get("spec");
    nonnegative(&own.get("minReadySeconds"), &mut errors);
    let selector = own.get("selector");
    required(&selector, &mut errors);
    let replicas = own.get("replicas");
    if replicas.is_set() {
        nonnegative(&replicas, &mut errors);
    } else {
        errors.push(replicas.required(""));
    }
    let template = own.get("template");
    if !template.is_set() {
        errors.push(template.required(""));
        return errors;
    }
    let options: Options = of_template(at(old, &["spec", "template"]));
    let labels = template.get("metadata").get("labels");
    if selector.entries().iter().any(|(label, value)| labels.raw(label) != value.value()) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    spec::template(&template, &options, &mut errors);
    runs_for_ever(&template, "ReplicationController", &mut errors);
    errors
}
