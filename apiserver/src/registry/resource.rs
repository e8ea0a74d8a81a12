//! The group resource.k8s.io: dynamic resource allocation.

use serde_json::Value;

use super::defaults::{each, fill, inside, within};
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
        .default(|object| inside(object, "spec", claim_defaults))
        .hooks(Hooks { return_deleted: true, ..strategy::with_status() })
        .status(Hooks { return_deleted: true, ..strategy::status_only() })
        .also("v1beta2")
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
        .default(|object| inside(object, "spec", |spec| inside(spec, "spec", claim_defaults)))
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

fn claim_defaults(spec: &mut Value) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            within(request, "exactly", request_defaults);
            each(request, "firstAvailable", request_defaults);
        });
    });
}

fn request_defaults(request: &mut Value) {
    fill(request, "allocationMode", "ExactCount");
    if request.get("allocationMode").is_some_and(|mode| mode == "ExactCount") {
        fill(request, "count", 1);
    }
}
