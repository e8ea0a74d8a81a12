//! The group policy: how many pods may be disrupted at once.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "policy";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "poddisruptionbudgets", "PodDisruptionBudget")
        .short(&["pdb"])
        .hooks(Hooks { allow_unconditional_update: false, ..strategy::with_generation() })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status() })
        .install(builder, enabled);
}
