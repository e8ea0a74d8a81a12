//! The group resource.k8s.io: dynamic resource allocation.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "resource.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let returned = || Hooks { return_deleted: true, ..Hooks::default() };
    let counted = || Hooks { return_deleted: true, ..strategy::generation_only() };
    Kind::new(GROUP, "v1", "deviceclasses", "DeviceClass")
        .cluster()
        .hooks(counted())
        .also("v1beta2")
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "resourceclaims", "ResourceClaim")
        .hooks(Hooks { return_deleted: true, ..strategy::with_status() })
        .status(Hooks { return_deleted: true, ..strategy::status_only() })
        .also("v1beta2")
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
        .hooks(returned())
        .also("v1beta2")
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "resourceslices", "ResourceSlice")
        .cluster()
        .selectable(&["spec.nodeName", "spec.driver"])
        .hooks(counted())
        .also("v1beta2")
        .install(builder, enabled);
    Kind::new(GROUP, "v1beta2", "devicetaintrules", "DeviceTaintRule")
        .cluster()
        .hooks(Hooks { return_deleted: true, ..strategy::with_generation() })
        .status(Hooks { return_deleted: true, ..strategy::status_only() })
        .also("v1alpha3")
        .stored("v1alpha3")
        .install(builder, enabled);
}
