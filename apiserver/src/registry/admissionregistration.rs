//! The group admissionregistration.k8s.io: admission webhooks and policies.

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
        .singular("mutatingadmissionpolicy")
        .hooks(counted())
        .also("v1beta1")
        .also("v1alpha1")
        .stored("v1beta1")
        .install(builder, enabled);
    kind("v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding")
        .hooks(counted())
        .also("v1beta1")
        .also("v1alpha1")
        .stored("v1beta1")
        .install(builder, enabled);
    kind("v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
        .hooks(webhooks())
        .install(builder, enabled);
    kind("v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy")
        .hooks(Hooks { allow_unconditional_update: false, ..strategy::with_generation() })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .install(builder, enabled);
    kind("v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
        .hooks(counted())
        .install(builder, enabled);
    kind("v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
        .hooks(webhooks())
        .install(builder, enabled);
}
