//! The group apiextensions.k8s.io: definitions of custom resources.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "apiextensions.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "customresourcedefinitions", "CustomResourceDefinition")
        .cluster()
        .short(&["crd", "crds"])
        .category("api-extensions")
        .prefix("apiextensions.k8s.io/customresourcedefinitions")
        .hooks(Hooks { allow_unconditional_update: false, ..strategy::with_generation() })
        .status(Hooks { allow_unconditional_update: false, ..strategy::status_only() })
        .install(builder, enabled);
}
