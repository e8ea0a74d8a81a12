//! The group storagemigration.k8s.io: rewriting stored objects in another version.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new("storagemigration.k8s.io", "v1beta1", "storageversionmigrations", "StorageVersionMigration")
        .cluster()
        .hooks(Hooks { allow_unconditional_update: false, ..strategy::with_status() })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .install(builder, enabled);
}
