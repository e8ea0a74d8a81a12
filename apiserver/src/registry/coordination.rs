//! The group coordination.k8s.io: leases.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks};

const GROUP: &str = "coordination.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let hooks =
        || Hooks { allow_create_on_update: true, allow_unconditional_update: false, ..Hooks::default() };
    Kind::new(GROUP, "v1", "leases", "Lease").hooks(hooks()).install(builder, enabled);
    Kind::new(GROUP, "v1beta1", "leasecandidates", "LeaseCandidate")
        .selectable(&["spec.leaseName"])
        .hooks(hooks())
        .also("v1alpha2")
        .install(builder, enabled);
}
