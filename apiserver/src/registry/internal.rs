//! The group internal.apiserver.k8s.io: which server stores what in which version.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new("internal.apiserver.k8s.io", "v1alpha1", "storageversions", "StorageVersion")
        .cluster()
        .hooks(Hooks { allow_unconditional_update: false, ..strategy::with_status() })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .install(builder, enabled);
}
