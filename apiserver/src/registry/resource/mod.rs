//! The group resource.k8s.io: dynamic resource allocation.

mod access;
mod checks;
mod claim;
mod convert;
mod pool;
mod slice;
mod taint;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::defaults::{each, fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "resource.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "deviceclasses", "DeviceClass")
        .cluster()
        .hooks(Hooks {
            return_deleted: true,
            validate: |_, new| claim::validate_class(new, &Value::Null),
            validate_update: |_, new, old| claim::validate_class(new, old),
            ..strategy::generation_only()
        })
        .also("v1beta2")
        .also("v1beta1")
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "resourceclaims", "ResourceClaim")
        .default(|object| inside(object, "spec", claim_defaults))
        .hooks(Hooks {
            return_deleted: true,
            validate: |_, new| claim::validate(new),
            validate_update: |_, new, old| claim::validate_update(new, old),
            ask: Some(access::of_claim),
            ..strategy::with_status()
        })
        .status(Hooks {
            return_deleted: true,
            prepare_update: claim::prepare_status,
            validate_update: |_, new, old| claim::validate_status(new, old),
            ask: Some(access::of_status),
            ..strategy::status_only()
        })
        .without_table()
        .also("v1beta2")
        .also_with("v1beta1", convert::claim())
        .last(|endpoint| endpoint.default = Some(|object| inside(object, "spec", flat_claim_defaults)))
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
        .default(|object| inside(object, "spec", |spec| inside(spec, "spec", claim_defaults)))
        .hooks(Hooks {
            return_deleted: true,
            validate: |_, new| claim::validate_template(new),
            validate_update: |_, new, old| claim::validate_template_update(new, old),
            ask: Some(access::of_template),
            ..Hooks::default()
        })
        .also("v1beta2")
        .also_with("v1beta1", convert::template())
        .last(|endpoint| {
            endpoint.default =
                Some(|object| inside(object, "spec", |spec| inside(spec, "spec", flat_claim_defaults)));
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "resourceslices", "ResourceSlice")
        .cluster()
        .selectable(&["spec.nodeName", "spec.driver"])
        .default(|object| inside(object, "spec", |spec| each(spec, "devices", device_defaults)))
        .hooks(Hooks {
            return_deleted: true,
            validate: |_, new| slice::validate(new, &Value::Null),
            validate_update: |_, new, old| slice::validate(new, old),
            warnings: |_, new| slice::warnings(new),
            warnings_update: |_, new, _| slice::warnings(new),
            ..strategy::generation_only()
        })
        .also("v1beta2")
        .also_with("v1beta1", convert::slice())
        .last(|endpoint| {
            endpoint.default = Some(|object| {
                inside(object, "spec", |spec| {
                    each(spec, "devices", |device| within(device, "basic", device_defaults));
                });
            });
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1beta2", "devicetaintrules", "DeviceTaintRule")
        .cluster()
        .default(|object| inside(object, "spec", |spec| within(spec, "taint", taint::defaults)))
        .hooks(Hooks {
            return_deleted: true,
            prepare_update: taint::prepare_update,
            validate: |_, new| taint::validate(new, &Value::Null),
            validate_update: |_, new, old| taint::validate(new, old),
            ..strategy::with_generation()
        })
        .status(Hooks {
            return_deleted: true,
            validate_update: |_, new, _| taint::validate_status(new),
            ..strategy::status_only()
        })
        .without_table()
        .also("v1alpha3")
        .stored("v1alpha3")
        .install(builder, enabled);
    Kind::new(GROUP, "v1alpha3", "resourcepoolstatusrequests", "ResourcePoolStatusRequest")
        .cluster()
        .default(|object| inside(object, "spec", pool::defaults))
        .hooks(pool::hooks())
        .status(pool::status())
        .without_table()
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

/// In v1beta1 a request without alternatives is flat.
fn flat_claim_defaults(spec: &mut Value) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            each(request, "firstAvailable", request_defaults);
            if request.get("firstAvailable").is_none_or(proto::view::is_empty) {
                request_defaults(request);
            }
        });
    });
}

fn request_defaults(request: &mut Value) {
    fill(request, "allocationMode", "ExactCount");
    if request.get("allocationMode").is_some_and(|mode| mode == "ExactCount") {
        fill(request, "count", 1);
    }
}

fn device_defaults(device: &mut Value) {
    each(device, "taints", taint::defaults);
    let Some(Value::Object(mappings)) = device.get_mut("nodeAllocatableResourceMappings") else { return };
    for mapping in mappings.values_mut() {
        fill(mapping, "allocationMultiplier", "1");
    }
}
