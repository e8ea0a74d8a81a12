//! All built-in kinds.

use super::kind::Enabled;
use super::{
    Builder, Registry, admissionregistration, apiextensions, apiregistration, apps, autoscaling, batch,
    certificates, coordination, core, discovery, events, flowcontrol, internal, networking, node, policy,
    rbac, resource, scheduling, storage, storagemigration,
};

/// Whether a version is served unless the configuration says otherwise: stable ones are.
pub fn enabled_by_default(_group: &str, version: &str, _resource: &str) -> bool {
    !version.contains("alpha") && !version.contains("beta")
}

/// The rows of the built-in kinds in the versions that `enabled` (group, version, resource) admits, in the order
/// discovery lists their groups. Reviews of authentication and authorization are not among them.
pub fn builtin(enabled: Enabled) -> Registry {
    let mut builder = Builder::default();
    install(&mut builder, enabled);
    builder.build()
}

/// Adds the rows of the built-in kinds.
pub fn install(builder: &mut Builder, enabled: Enabled) {
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
