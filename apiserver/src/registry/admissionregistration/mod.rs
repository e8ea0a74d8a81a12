//! The group admissionregistration.k8s.io: admission webhooks and policies.

mod expressions;
mod permission;
mod policies;
mod rules;
mod webhooks;

use proto::view::text_at;
use serde_json::{Value, json};

use super::defaults::{each, fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Ctx, Hooks, Settings, strategy};

const GROUP: &str = "admissionregistration.k8s.io";
/// Names of configurations that come from files alone, and the feature that reads these.
const STATIC_SUFFIX: &str = ".static.k8s.io";
const STATIC_GATE: &str = "ManifestBasedAdmissionControlConfig";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let kind = |version, resource, kind| {
        Kind::new(GROUP, version, resource, kind).cluster().category("api-extensions")
    };
    kind("v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy")
        .default(policy_defaults)
        .hooks(Hooks {
            validate: |ctx, new| with_name(ctx, new, policies::mutating(new, &Value::Null)),
            validate_update: |_, new, old| policies::mutating(new, old),
            ask: Some(permission::of_policy),
            ..counted()
        })
        .also("v1beta1")
        .also("v1alpha1")
        .stored("v1beta1")
        .any_finalizers()
        .install(builder, enabled);
    kind("v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding")
        .default(binding_defaults)
        .hooks(Hooks {
            validate: |ctx, new| with_name(ctx, new, policies::mutating_binding(new)),
            validate_update: |_, new, _| policies::mutating_binding(new),
            ask: Some(permission::of_binding),
            ..counted()
        })
        .also("v1beta1")
        .also("v1alpha1")
        .stored("v1beta1")
        .any_finalizers()
        .install(builder, enabled);
    kind("v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
        .default(|object| webhook_defaults(object, true))
        .hooks(webhooks())
        .any_finalizers()
        .install(builder, enabled);
    kind("v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy")
        .default(policy_defaults)
        .hooks(Hooks {
            prepare_create: strategy::with_generation().prepare_create,
            prepare_update: strategy::with_generation().prepare_update,
            reset_fields: strategy::with_generation().reset_fields,
            validate: |ctx, new| with_name(ctx, new, policies::validating(new, &Value::Null)),
            validate_update: |_, new, old| policies::validating(new, old),
            ask: Some(permission::of_policy),
            ..counted()
        })
        .status(Hooks {
            validate_update: |_, new, _| policies::status(new),
            allow_unconditional_update: false,
            ..strategy::status_only()
        })
        .any_finalizers()
        .install(builder, enabled);
    kind("v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
        .default(binding_defaults)
        .hooks(Hooks {
            validate: |ctx, new| with_name(ctx, new, policies::validating_binding(new)),
            validate_update: |_, new, _| policies::validating_binding(new),
            ask: Some(permission::of_binding),
            ..counted()
        })
        .any_finalizers()
        .install(builder, enabled);
    kind("v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
        .default(|object| webhook_defaults(object, false))
        .hooks(webhooks())
        .any_finalizers()
        .install(builder, enabled);
}

fn counted() -> Hooks {
    Hooks {
        warnings: |ctx, new| {
            if Settings::has(ctx, STATIC_GATE) { Vec::new() } else { name_warnings(new) }
        },
        warnings_update: |_, new, _| name_warnings(new),
        allow_unconditional_update: false,
        ..strategy::generation_only()
    }
}

fn webhooks() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| strategy::count_changes(new, old, &["webhooks"]),
        validate: |ctx, new| with_name(ctx, new, webhooks::validate(new, &Value::Null)),
        validate_update: |_, new, old| webhooks::validate(new, old),
        ..counted()
    }
}

fn static_name(object: &Value) -> Option<String> {
    text_at(object, &["metadata", "name"]).ends_with(STATIC_SUFFIX).then(|| {
        format!(
            "names ending with \"{STATIC_SUFFIX}\" are reserved for static manifest-based configurations and cannot be managed via the API"
        )
    })
}

fn name_warnings(object: &Value) -> Vec<String> {
    static_name(object).map(|text| format!("metadata.name: {text}")).into_iter().collect()
}

/// Adds what is wrong with the name of a new object where files bring objects of such names.
fn with_name(ctx: &Ctx, new: &Value, mut errors: proto::field::Errors) -> proto::field::Errors {
    if Settings::has(ctx, STATIC_GATE)
        && let Some(detail) = static_name(new)
    {
        errors.push(proto::view::View::root(new).get("metadata").get("name").invalid(detail));
    }
    errors
}

fn webhook_defaults(object: &mut Value, mutating: bool) {
    each(object, "webhooks", |webhook| {
        fill(webhook, "failurePolicy", "Fail");
        match_defaults(webhook);
        fill(webhook, "timeoutSeconds", 10);
        if mutating {
            fill(webhook, "reinvocationPolicy", "Never");
        }
        each(webhook, "rules", rule_defaults);
        within(webhook, "clientConfig", |client| {
            within(client, "service", |service| fill(service, "port", 443));
        });
    });
}

fn match_defaults(object: &mut Value) {
    fill(object, "matchPolicy", "Equivalent");
    fill(object, "namespaceSelector", json!({}));
    fill(object, "objectSelector", json!({}));
}

fn rule_defaults(rule: &mut Value) {
    fill(rule, "scope", "*");
}

fn resources_defaults(resources: &mut Value) {
    match_defaults(resources);
    each(resources, "resourceRules", rule_defaults);
    each(resources, "excludeResourceRules", rule_defaults);
}

fn policy_defaults(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "failurePolicy", "Fail");
        within(spec, "matchConstraints", resources_defaults);
    });
}

fn binding_defaults(object: &mut Value) {
    within(object, "spec", |spec| within(spec, "matchResources", resources_defaults));
}
