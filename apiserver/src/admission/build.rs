//! Which plugins run, and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;

use component_base::features::Gates;

use super::policy::{MutatingPolicies, ValidatingPolicies};
use super::step::{FnPlugin, Row};
use super::webhook::{MutatingWebhooks, ValidatingWebhooks};
use super::{
    Chain, Plugin, certificates, default_class, limit_ranger, namespace_lifecycle, node_restriction,
    pod_defaults, pod_resize, pod_security, priority, quota, rbac_escalation, runtime_class, service_account,
    simple, storage,
};
use crate::auth::rbac::index::SharedIndex;
use crate::registry::Local;

/// The values of upstream's admission flags.
#[derive(Clone, Debug, Default)]
pub struct AdmissionOptions {
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    /// The feature gates.
    pub gates: Gates,
}

/// One plugin of upstream's.
enum Entry {
    /// Runs unless disabled.
    On(Row),
    /// Runs if enabled.
    Off(Row),
    /// Runs unless disabled; keeps state of its own.
    Stateful(&'static str, fn(&Arc<dyn Local>) -> Arc<dyn Plugin>),
    /// The same, unless the feature of its name is off.
    Gated(&'static str, fn(&Arc<dyn Local>) -> Arc<dyn Plugin>),
    /// On by default upstream, but concerns only what is behind disabled feature gates.
    Dormant(&'static str),
    /// Not built: enabling it fails the start.
    Missing(&'static str),
}

impl Entry {
    fn name(&self) -> &'static str {
        match self {
            Entry::On(row) | Entry::Off(row) => row.name,
            Entry::Stateful(name, _)
            | Entry::Gated(name, _)
            | Entry::Dormant(name)
            | Entry::Missing(name) => name,
        }
    }
}

/// All of upstream's plugins in the order they run in.
const PLUGINS: &[Entry] = &[
    Entry::Off(simple::ALWAYS_ADMIT),
    Entry::Missing("NamespaceAutoProvision"),
    Entry::On(namespace_lifecycle::NAMESPACE_LIFECYCLE),
    Entry::Missing("NamespaceExists"),
    Entry::Missing("LimitPodHardAntiAffinityTopology"),
    Entry::On(limit_ranger::LIMIT_RANGER),
    Entry::On(service_account::SERVICE_ACCOUNT),
    Entry::Off(node_restriction::NODE_RESTRICTION),
    Entry::On(pod_defaults::TAINT_NODES_BY_CONDITION),
    Entry::Off(pod_defaults::ALWAYS_PULL_IMAGES),
    Entry::Missing("ImagePolicyWebhook"),
    Entry::On(pod_security::POD_SECURITY),
    Entry::Missing("PodNodeSelector"),
    Entry::On(priority::PRIORITY),
    Entry::On(pod_defaults::DEFAULT_TOLERATION_SECONDS),
    Entry::Missing("PodTolerationRestriction"),
    Entry::Missing("EventRateLimit"),
    Entry::Off(pod_defaults::EXTENDED_RESOURCE_TOLERATION),
    Entry::On(default_class::DEFAULT_STORAGE_CLASS),
    Entry::On(storage::STORAGE_OBJECT_IN_USE_PROTECTION),
    Entry::Dormant("PodGroupProtection"),
    Entry::Missing("OwnerReferencesPermissionEnforcement"),
    Entry::On(storage::PERSISTENT_VOLUME_CLAIM_RESIZE),
    Entry::On(runtime_class::RUNTIME_CLASS),
    Entry::On(certificates::CERTIFICATE_APPROVAL),
    Entry::On(certificates::CERTIFICATE_SIGNING),
    Entry::On(certificates::CLUSTER_TRUST_BUNDLE_ATTEST),
    Entry::On(certificates::CERTIFICATE_SUBJECT_RESTRICTION),
    Entry::On(default_class::DEFAULT_INGRESS_CLASS),
    Entry::Off(simple::DENY_SERVICE_EXTERNAL_IPS),
    Entry::On(pod_defaults::POD_TOPOLOGY_LABELS),
    Entry::Dormant("PodGroupWorkloadExists"),
    Entry::Dormant("NodeDeclaredFeatureValidator"),
    Entry::Dormant("JobValidation"),
    Entry::On(pod_resize::POD_RESIZE_VALIDATOR),
    Entry::Gated(MutatingPolicies::NAME, |local| Arc::new(MutatingPolicies::new(local))),
    Entry::Stateful(MutatingWebhooks::NAME, |local| Arc::new(MutatingWebhooks::new(local))),
    Entry::Stateful(ValidatingPolicies::NAME, |local| Arc::new(ValidatingPolicies::new(local))),
    Entry::Stateful(ValidatingWebhooks::NAME, |local| Arc::new(ValidatingWebhooks::new(local))),
    Entry::On(quota::RESOURCE_QUOTA),
    Entry::Off(simple::ALWAYS_DENY),
];

/// Why there is no chain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    #[error("{flag} plugin \"{name}\" is unknown")]
    Unknown { flag: &'static str, name: String },
    #[error("[{0}] in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
    #[error("enable-admission-plugins plugin \"{0}\" is not supported")]
    Missing(String),
}

/// Makes the chain. The check against RBAC escalation is part of it in any case.
pub fn build(
    options: &AdmissionOptions,
    local: &Arc<dyn Local>,
    rbac: SharedIndex,
) -> Result<Chain, AdmissionError> {
    let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
    for entry in selected(options)? {
        match entry {
            Entry::On(row) | Entry::Off(row) => {
                plugins.push(Arc::new(FnPlugin { row: *row, local: local.clone() }));
            }
            Entry::Stateful(_, make) | Entry::Gated(_, make) => plugins.push(make(local)),
            Entry::Dormant(_) | Entry::Missing(_) => {}
        }
    }
    plugins.push(Arc::new(rbac_escalation::RbacEscalation::new(local.clone(), rbac)));
    Ok(Chain::new(plugins))
}

fn selected(options: &AdmissionOptions) -> Result<Vec<&'static Entry>, AdmissionError> {
    for (flag, names) in
        [("enable-admission-plugins", &options.enable), ("disable-admission-plugins", &options.disable)]
    {
        if let Some(name) = names.iter().find(|name| !PLUGINS.iter().any(|entry| entry.name() == **name)) {
            return Err(AdmissionError::Unknown { flag, name: name.clone() });
        }
    }
    let both: BTreeSet<&str> =
        options.enable.iter().filter(|name| options.disable.contains(name)).map(String::as_str).collect();
    if !both.is_empty() {
        return Err(AdmissionError::Overlap(both.into_iter().collect::<Vec<_>>().join(" ")));
    }
    let enabled = |name: &str| options.enable.iter().any(|enabled| enabled == name);
    let disabled = |name: &str| options.disable.iter().any(|disabled| disabled == name);
    let mut entries = Vec::new();
    for entry in PLUGINS {
        match entry {
            Entry::On(_) | Entry::Stateful(..) if !disabled(entry.name()) => entries.push(entry),
            Entry::Gated(name, _) if !disabled(name) && options.gates.enabled(name) => entries.push(entry),
            Entry::Off(row) if enabled(row.name) => entries.push(entry),
            Entry::Missing(name) if enabled(name) => return Err(AdmissionError::Missing((*name).to_owned())),
            _ => {}
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(enable: &[&str], disable: &[&str]) -> Result<Vec<&'static str>, AdmissionError> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let options =
            AdmissionOptions { enable: list(enable), disable: list(disable), gates: Gates::default() };
        Ok(selected(&options)?.into_iter().map(Entry::name).collect())
    }

    #[test]
    fn flags_choose_and_the_table_orders() {
        let default = names(&[], &[]).unwrap();
        assert!(default.contains(&"ServiceAccount") && !default.contains(&"NodeRestriction"));
        let with = names(&["NodeRestriction", "Priority"], &["ServiceAccount"]).unwrap();
        assert!(with.contains(&"NodeRestriction") && !with.contains(&"ServiceAccount"));
        assert_eq!(
            names(&["Foo"], &[]),
            Err(AdmissionError::Unknown { flag: "enable-admission-plugins", name: "Foo".into() })
        );
        assert_eq!(names(&["Priority"], &["Priority"]), Err(AdmissionError::Overlap("Priority".into())));
        assert_eq!(
            names(&["ImagePolicyWebhook"], &[]),
            Err(AdmissionError::Missing("ImagePolicyWebhook".into()))
        );
    }
}
