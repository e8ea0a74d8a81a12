//! All built-in kinds.

use std::sync::Arc;

use super::kind::Environment;
use super::{
    Builder, Registry, Settings, admissionregistration, apiextensions, apiregistration, apps, autoscaling,
    batch, certificates, coordination, core, discovery, events, flowcontrol, internal, networking, node,
    policy, rbac, resource, scheduling, storage, storagemigration,
};

/// Whether a version is served unless the configuration says otherwise: stable ones are.
pub fn enabled_by_default(_group: &str, version: &str, _resource: &str) -> bool {
    !version.contains("alpha") && !version.contains("beta")
}

/// The rows of the built-in kinds in the versions that `enabled` (group, version, resource) admits, in the order
/// discovery lists their groups. Reviews of authentication and authorization are not among them.
pub fn builtin(enabled: &dyn Fn(&str, &str, &str) -> bool) -> Registry {
    let mut builder = Builder::default();
    install(&mut builder, enabled, Settings::default());
    builder.build()
}

/// Adds the rows of the built-in kinds under these settings.
pub fn install(builder: &mut Builder, enabled: &dyn Fn(&str, &str, &str) -> bool, settings: Settings) {
    let enabled = &Environment { enabled, settings: Arc::new(settings) };
    core::install(builder, enabled);
    apiregistration::install(builder, enabled);
    apps::install(builder, enabled);
    events::install(builder, enabled);
    autoscaling::install(builder, enabled);
    batch::install(builder, enabled);
    certificates::install(builder, enabled);
    networking::install(builder, enabled);
    policy::install(builder, enabled);
    rbac::install(builder, enabled);
    storage::install(builder, enabled);
    admissionregistration::install(builder, enabled);
    apiextensions::install(builder, enabled);
    scheduling::install(builder, enabled);
    coordination::install(builder, enabled);
    node::install(builder, enabled);
    discovery::install(builder, enabled);
    resource::install(builder, enabled);
    flowcontrol::install(builder, enabled);
    internal::install(builder, enabled);
    storagemigration::install(builder, enabled);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Backing, Verbs};

    #[test]
    fn every_endpoint_has_its_storage_and_schema() {
        let registry = builtin(&|_, _, _| true);
        for endpoint in registry.endpoints() {
            let name = format!("{} {}", endpoint.api_version(), endpoint.resource);
            let schema = proto::schema::lookup(&endpoint.group, &endpoint.version, &endpoint.kind);
            // What is only stored may be coded as it is.
            assert!(schema.is_some() || endpoint.verbs == Verbs::NONE, "no schema for {name}");
            if let (Some(schema), Some(own)) = (schema, endpoint.schema.as_deref()) {
                assert!(std::ptr::eq(schema, own), "{name} has the schema of another version");
            }
            if let Backing::Stored(group, resource) = &endpoint.backing {
                let storage = registry.storage(group, resource).unwrap_or_else(|| panic!("{name}"));
                assert_eq!(storage.namespaced, endpoint.namespaced, "{name}");
                for (group, version) in [&storage.hub, &storage.stored] {
                    let api_version =
                        if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
                    assert!(
                        registry.of_kind(&api_version, &storage.kind).is_some(),
                        "{name} in {api_version}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_stable_versions_are_served_by_default() {
        let registry = builtin(&enabled_by_default);
        assert!(registry.has_version("policy/v1"));
        assert!(!registry.has_version("storagemigration.k8s.io/v1beta1"));
        let leases = registry.storage("coordination.k8s.io", "leases");
        assert_eq!(leases.expect("leases").prefix, "leases");
        assert_eq!(registry.storage("", "nodes").expect("nodes").prefix, "minions");
        assert!(registry.storage("coordination.k8s.io", "leasecandidates").is_none());
    }
}
