//! The group admissionregistration.k8s.io: admission webhooks and policies.

use serde_json::{Value, json};

use super::defaults::{each, fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "admissionregistration.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let kind = |version, resource, kind| {
        Kind::new(GROUP, version, resource, kind).cluster().category("api-extensions")
    };
    let counted = || Hooks { allow_unconditional_update: false, ..strategy::generation_only() };
    let webhooks = || Hooks {
        prepare_update: |_, new, old| strategy::count_changes(new, old, &["webhooks"]),
        ..counted()
    };
    kind("v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy")
        .default(policy_defaults)
        .hooks(counted())
        .also("v1beta1")
        .also("v1alpha1")
        .stored("v1beta1")
        .install(builder, enabled);
    kind("v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding")
        .default(binding_defaults)
        .hooks(counted())
        .also("v1beta1")
        .also("v1alpha1")
        .stored("v1beta1")
        .install(builder, enabled);
    kind("v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
        .default(|object| webhook_defaults(object, true))
        .hooks(webhooks())
        .install(builder, enabled);
    kind("v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy")
        .default(policy_defaults)
        .hooks(Hooks { allow_unconditional_update: false, ..strategy::with_generation() })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .install(builder, enabled);
    kind("v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
        .default(binding_defaults)
        .hooks(counted())
        .install(builder, enabled);
    kind("v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
        .default(|object| webhook_defaults(object, false))
        .hooks(webhooks())
        .install(builder, enabled);
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
