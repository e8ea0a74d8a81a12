//! Claims of devices, their templates and the classes of devices they name (KEP-4381).

use std::collections::HashSet;

use proto::field::{Error, Errors};
use proto::view::{View, at, remove_at};
use serde_json::Value;

use super::checks::*;
use crate::registry::checks::{
    annotations, conditions, dns_label, immutable, labels, required, required_supported,
};
use crate::registry::core::pod::{resources, scheduling};
use crate::registry::{Ctx, Settings, strategy};

const REQUESTS_MAX: usize = 32;
const RESULTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const CONSTRAINTS_MAX: usize = 32;
const CONFIG_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;
const DEVICE_DATA_MAX: usize = 10 * 1024;
const RESERVED_FOR_MAX: usize = 256;
const DEVICE_CONDITIONS_MAX: usize = 8;
const IPS_MAX: usize = 16;
const INTERFACE_NAME_MAX: usize = 256;
const HARDWARE_ADDRESS_MAX: usize = 128;

/// The names that constraints and results may refer to: requests, and alternatives as `request/alternative`.
struct Requests<'a>(Vec<View<'a>>);

impl Requests<'_> {
    fn has(&self, name: &str) -> bool {
        let (request, alternative) = name.split_once('/').map_or((name, None), |(one, two)| (one, Some(two)));
        let Some(request) = self.0.iter().rfind(|own| own.text("name") == request) else { return false };
        alternative.is_none_or(|name| {
            request.get("firstAvailable").items().iter().any(|alternative| alternative.text("name") == name)
        })
    }
}

/// A new claim.
pub(super) fn validate(claim: &Value) -> Errors {
    let mut errors = Errors::new();
    spec(&View::root(claim).get("spec"), &mut errors);
    errors
}

/// A claim's spec never changes.
pub(super) fn validate_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    immutable(&View::root(new).get("spec"), &View::root(old).get("spec"), &mut errors);
    errors
}

/// A new template.
pub(super) fn validate_template(template: &Value) -> Errors {
    let mut errors = Errors::new();
    let template = View::root(template).get("spec");
    let metadata = template.get("metadata");
    annotations(&metadata.get("annotations"), &mut errors);
    labels(&metadata.get("labels"), &mut errors);
    spec(&template.get("spec"), &mut errors);
    errors
}

/// A template's spec never changes.
pub(super) fn validate_template_update(new: &Value, old: &Value) -> Errors {
    let mut errors = validate_template(new);
    errors.extend(validate_update(new, old));
    errors
}

/// A class of devices.
pub(super) fn validate_class(class: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(class).get("spec");
    list(&spec.get("selectors"), SELECTORS_MAX, &mut errors, &mut selector);
    let config = spec.get("config");
    let stored = !old.is_null() && config.value() == at(old, &["spec", "config"]);
    list(&config, CONFIG_MAX, &mut errors, &mut |config, errors| configuration(config, stored, errors));
    let name = spec.get("extendedResourceName");
    if name.is_set() && !resources::is_extended(name.str()) {
        errors.push(name.invalid_str("must be a valid extended resource name"));
    }
    errors
}

fn spec(spec: &View, errors: &mut Errors) {
    let devices = spec.get("devices");
    let requests = Requests(devices.get("requests").items());
    set(&devices.get("requests"), REQUESTS_MAX, errors, name, &mut request);
    list(&devices.get("constraints"), CONSTRAINTS_MAX, errors, &mut |constraint, errors| {
        self::constraint(constraint, &requests, errors);
    });
    list(&devices.get("config"), CONFIG_MAX, errors, &mut |config, errors| {
        references(config, &requests, errors);
        configuration(config, false, errors);
    });
}

fn request(request: &View, errors: &mut Errors) {
    dns_label(&request.get("name"), errors);
    let (exactly, alternatives) = (request.get("exactly"), request.get("firstAvailable"));
    match (exactly.is_set(), !alternatives.is_empty()) {
        (false, false) => {
            errors.push(request.required("exactly one of `exactly` or `firstAvailable` is required"));
        }
        (true, true) => errors.push(Error::invalid(
            request.path(),
            Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        )),
        (false, true) => set(&alternatives, ALTERNATIVES_MAX, errors, name, &mut |alternative, errors| {
            dns_label(&alternative.get("name"), errors);
            devices(alternative, errors);
        }),
        (true, false) => devices(&exactly, errors),
    }
}

/// Which devices, and how many.
fn devices(request: &View, errors: &mut Errors) {
    class_name(&request.get("deviceClassName"), errors);
    list(&request.get("selectors"), SELECTORS_MAX, errors, &mut selector);
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    match mode.str() {
        "All" if count.i64() != 0 => {
            errors.push(count.invalid_int("must not be specified when allocationMode is 'All'"));
        }
        "ExactCount" if count.i64() <= 0 => errors.push(count.invalid_int("must be greater than zero")),
        "All" | "ExactCount" => {}
        _ => errors.push(mode.not_supported(&["All", "ExactCount"])),
    }
    request.get("tolerations").items().iter().for_each(|own| toleration(own, errors));
}

fn selector(selector: &View, errors: &mut Errors) {
    let cel = selector.get("cel");
    if !cel.is_set() {
        errors.push(cel.required(""));
        return;
    }
    let expression = cel.get("expression");
    if expression.str().len() > EXPRESSION_MAX {
        errors.push(Error::too_long(expression.path(), EXPRESSION_MAX));
    }
}

fn constraint(constraint: &View, requests: &Requests, errors: &mut Errors) {
    references(constraint, requests, errors);
    let (same, distinct) = (constraint.get("matchAttribute"), constraint.get("distinctAttribute"));
    if same.is_set() {
        fully_qualified_name(&same, errors);
    } else if distinct.is_set() {
        fully_qualified_name(&distinct, errors);
    } else {
        errors.push(constraint.required(
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        ));
    }
}

fn references(view: &View, requests: &Requests, errors: &mut Errors) {
    set(&view.get("requests"), REQUESTS_MAX, errors, text, &mut |name, errors| {
        reference(name, requests, errors);
    });
}

fn reference(name: &View, requests: &Requests, errors: &mut Errors) {
    const NO_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let parts: Vec<&str> = name.str().split('/').collect();
    if parts.len() > 2 {
        errors.push(name.invalid_str(NO_REQUEST));
        return;
    }
    for part in parts {
        crate::registry::checks::each_at(name.path(), part, proto::content::is_dns1123_label(part), errors);
    }
    if !requests.has(name.str()) {
        errors.push(name.invalid_str(NO_REQUEST));
    }
}

/// `stored`: it may be longer than a new one.
fn configuration(config: &View, stored: bool, errors: &mut Errors) {
    let opaque = config.get("opaque");
    if !opaque.is_set() {
        errors.push(opaque.required(""));
        return;
    }
    driver_name(&opaque.get("driver"), errors);
    let max = if stored { usize::MAX } else { PARAMETERS_MAX };
    raw(&opaque.get("parameters"), max, errors);
}

/// An object of the driver's own.
fn raw(view: &View, max: usize, errors: &mut Errors) {
    if !view.is_set() {
        errors.push(view.required(""));
    } else if view.value().to_string().len() > max {
        errors.push(Error::too_long(view.path(), max));
    } else if !view.value().is_object() {
        errors.push(Error::invalid(view.path(), "<value omitted>", "must be a valid JSON object"));
    }
}

/// Driver, pool, device and share.
fn device_id(device: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|field| proto::view::text_at(device, &[field]))
}

/// How errors show a device.
fn shown_id(device: &View) -> String {
    let [driver, pool, device, share] = device_id(device.value());
    let id = format!("{driver}/{pool}/{device}");
    if share.is_empty() { id } else { format!("{id}/{share}") }
}

fn results(claim: &Value) -> &[Value] {
    let results = at(claim, &["status", "allocation", "devices", "results"]);
    results.as_array().map_or(&[], Vec::as_slice)
}

/// Removes the status of devices that are no longer allocated.
pub(super) fn prepare_status(ctx: &Ctx, new: &mut Value, old: &Value) {
    strategy::keep(new, old, &["spec"]);
    strategy::keep_metadata(new, old);
    const DEVICES: [&str; 2] = ["status", "devices"];
    let in_use = !proto::view::is_empty(at(old, &DEVICES));
    if !Settings::has(ctx, "DRAResourceClaimDeviceStatus") && !in_use {
        remove_at(new, &DEVICES);
        return;
    }
    let before: HashSet<[&str; 4]> = results(old).iter().map(device_id).collect();
    let after: HashSet<[String; 4]> =
        results(new).iter().map(|one| device_id(one).map(str::to_owned)).collect();
    let gone = |device: &Value| {
        let id = device_id(device);
        before.contains(&id) && !after.contains(&id.map(str::to_owned))
    };
    let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) else { return };
    if let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) {
        devices.retain(|device| !gone(device));
        if devices.is_empty() {
            status.remove("devices");
        }
    }
}

/// A claim's new status.
pub(super) fn validate_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let claim = View::root(new);
    let requests = Requests(claim.get("spec").get("devices").get("requests").items());
    let status = claim.get("status");
    let (reserved, allocation) = (status.get("reservedFor"), status.get("allocation"));
    let uid = |user: &View| user.text("uid").to_owned();
    set(&reserved, RESERVED_FOR_MAX, &mut errors, uid, &mut |user, errors| {
        for field in ["resource", "name", "uid"] {
            required(&user.get(field), errors);
        }
    });
    let allocated: HashSet<[&str; 4]> = results(new).iter().map(device_id).collect();
    set(&status.get("devices"), usize::MAX, &mut errors, shown_id, &mut |device, errors| {
        device_status(device, &allocated, errors);
    });
    if !reserved.is_empty() {
        if !allocation.is_set() {
            errors.push(reserved.forbidden("may not be specified when `allocated` is not set"));
        } else if claim.get("metadata").has("deletionTimestamp") {
            let old = at(old, &["status", "reservedFor"]).as_array().map_or(&[][..], Vec::as_slice);
            if reserved.items().iter().any(|user| !old.contains(user.value())) {
                errors.push(reserved.forbidden(
                    "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
                ));
            }
        }
    }
    let before = at(old, &["status", "allocation"]);
    if allocation.is_set() && !before.is_null() {
        immutable(&allocation, &View::root(before), &mut errors);
    } else if allocation.is_set() {
        allocate(&allocation, &requests, &mut errors);
    }
    errors
}

fn allocate(allocation: &View, requests: &Requests, errors: &mut Errors) {
    let devices = allocation.get("devices");
    list(&devices.get("results"), RESULTS_MAX, errors, &mut |result, errors| {
        reference(&result.get("request"), requests, errors);
        driver_name(&result.get("driver"), errors);
        pool_name(&result.get("pool"), errors);
        device_name(&result.get("device"), errors);
        binding_conditions(result, errors);
        let share = result.get("shareID");
        if share.is_set() {
            uid(&share, errors);
        }
    });
    // Of the class and of the claim.
    list(&devices.get("config"), 2 * CONFIG_MAX, errors, &mut |config, errors| {
        required_supported(&config.get("source"), &["FromClaim", "FromClass"], errors);
        references(config, requests, errors);
        configuration(config, false, errors);
    });
    let nodes = allocation.get("nodeSelector");
    if nodes.is_set() {
        scheduling::node_selector(&nodes, false, errors);
    }
}

fn device_status(device: &View, allocated: &HashSet<[&str; 4]>, errors: &mut Errors) {
    driver_name(&device.get("driver"), errors);
    pool_name(&device.get("pool"), errors);
    device_name(&device.get("device"), errors);
    let share = device.get("shareID");
    if share.is_set() {
        uid(&share, errors);
    }
    if !allocated.contains(&device_id(device.value())) {
        let detail = "must be an allocated device in the claim";
        errors.push(Error::invalid(device.path(), shown_id(device), detail));
    }
    let list = device.get("conditions");
    if list.len() > DEVICE_CONDITIONS_MAX {
        errors.push(Error::too_many(list.path(), list.len(), DEVICE_CONDITIONS_MAX));
    }
    conditions(&list, errors);
    let data = device.get("data");
    if data.is_set() {
        raw(&data, DEVICE_DATA_MAX, errors);
    }
    let network = device.get("networkData");
    for (field, max) in [("interfaceName", INTERFACE_NAME_MAX), ("hardwareAddress", HARDWARE_ADDRESS_MAX)] {
        let view = network.get(field);
        if view.str().len() > max {
            errors.push(Error::too_long(view.path(), max));
        }
    }
    set(&network.get("ips"), IPS_MAX, errors, text, &mut interface_address);
}

/// An address with the length of its network.
fn interface_address(view: &View, errors: &mut Errors) {
    let Some((address, bits)) = proto::content::parse_cidr_sloppy(view.str()) else {
        errors.push(
            view.invalid_str("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"),
        );
        return;
    };
    let (address, bits) = match address {
        std::net::IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => (std::net::IpAddr::V4(four), bits.saturating_sub(96)),
            None => (address, bits),
        },
        four => (four, bits),
    };
    let canonical = format!("{address}/{bits}");
    if canonical != view.str() {
        errors.push(view.invalid_str(format!("must be in canonical form (\"{canonical}\")")));
    }
}
