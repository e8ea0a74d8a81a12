//! The group node.k8s.io: runtime classes.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks};

const GROUP: &str = "node.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "runtimeclasses", "RuntimeClass")
        .cluster()
        .hooks(Hooks { allow_create_on_update: true, allow_unconditional_update: false, ..Hooks::default() })
        .install(builder, enabled);
}
