//! ResourceSlices: what devices a driver has (KEP-4381, 4815, 5075).

use proto::field::{Error, Errors};
use proto::quantity::Quantity;
use proto::view::{View, at};
use serde_json::Value;

use super::checks::*;
use crate::registry::checks::{dns_label, immutable, quantity};
use crate::registry::core::pod::{resources, scheduling};

const DEVICES_MAX: usize = 128;
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const ATTRIBUTES_MAX: usize = 32;
const VALUES_MAX: usize = 48;
const VALUE_LENGTH_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const OPTIONS_MAX: usize = 10;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

pub(super) fn warnings(slice: &Value) -> Vec<String> {
    let driver = proto::view::text_at(slice, &["spec", "driver"]);
    if driver == driver.to_lowercase() {
        return Vec::new();
    }
    let driver = proto::field::quote(driver);
    vec![format!("spec.driver: driver names should be lowercase; {driver} contains uppercase characters")]
}

pub(super) fn validate(slice: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(slice).get("spec");
    driver_name(&spec.get("driver"), &mut errors);
    pool(&spec.get("pool"), &mut errors);
    if !old.is_null() {
        let before = View::root(old).get("spec");
        immutable(&spec.get("pool").get("name"), &before.get("pool").get("name"), &mut errors);
        immutable(&spec.get("driver"), &before.get("driver"), &mut errors);
        immutable(&spec.get("nodeName"), &before.get("nodeName"), &mut errors);
    }
    nodes(&spec, &mut errors);
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if devices.is_set() && counters.is_set() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(Error::invalid(spec.path(), "", detail));
    }
    let max = if devices.items().iter().any(is_advanced) { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    let before = at(old, &["spec", "devices"]).as_array().map_or(&[][..], Vec::as_slice);
    let per_device = spec.flag("perDeviceNodeSelection");
    set(&devices, max, &mut errors, name, &mut |own, errors| {
        let old = before.iter().find(|other| other.get("name") == own.value().get("name"));
        device(own, old, per_device, errors);
    });
    set(&counters, COUNTER_SETS_MAX, &mut errors, name, &mut |set, errors| counted(set, "name", errors));
    errors
}

fn pool(pool: &View, errors: &mut Errors) {
    pool_name(&pool.get("name"), errors);
    crate::registry::checks::positive(&pool.get("resourceSliceCount"), errors);
    let generation = pool.get("generation");
    if generation.i64() < 0 {
        errors.push(generation.invalid_int("must be greater than or equal to zero"));
    }
}

/// Which nodes the devices are at.
fn nodes(spec: &View, errors: &mut Errors) {
    let mut given = Vec::new();
    let node = spec.get("nodeName");
    if !node.str().is_empty() {
        given.push("`nodeName`");
        node_name(&node, errors);
    } else if node.is_set() {
        errors.push(node.invalid_str("must be either unset or set to a non-empty string"));
    }
    let selector = spec.get("nodeSelector");
    if selector.is_set() {
        given.push("`nodeSelector`");
        scheduling::node_selector(&selector, false, errors);
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            errors.push(terms.invalid("must have exactly one node selector term"));
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        let view = spec.get(field);
        if view.bool() {
            given.push(shown);
        } else if view.is_set() {
            errors.push(view.invalid("must be either unset or set to true"));
        }
    }
    let detail =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match given.len() {
        0 => errors.push(spec.required(detail)),
        1 => {}
        _ => errors.push(Error::invalid(
            spec.path(),
            format!("{{{}}}", given.join(", ")),
            format!("{detail}, but multiple fields are set"),
        )),
    }
}

/// Whether a device has what halves the number of devices.
fn is_advanced(device: &View) -> bool {
    let lists = |(_, attribute): &(&str, View)| LISTS.iter().any(|list| attribute.has(list));
    !device.get("taints").is_empty()
        || !device.get("consumesCounters").is_empty()
        || device.get("attributes").entries().iter().any(lists)
}

/// A set of counters under a name, in the field `name`.
fn counted(set: &View, name: &'static str, errors: &mut Errors) {
    let name = set.get(name);
    if name.str().is_empty() {
        errors.push(name.required(""));
    } else {
        dns_label(&name, errors);
    }
    let counters = set.get("counters");
    if counters.is_empty() {
        errors.push(counters.required(""));
    } else {
        map(&counters, COUNTERS_MAX, 63, errors, counter_key, &mut |_, _| {});
    }
}

fn device(device: &View, old: Option<&Value>, per_device: bool, errors: &mut Errors) {
    device_name(&device.get("name"), errors);
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    let count = attributes.len() + capacity.len();
    if count > ATTRIBUTES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.push(Error::invalid(device.path(), count, detail));
    }
    let values_of = |attribute: &View| LISTS.iter().map(|list| View::root(attribute.raw(list)).len()).sum();
    let values: usize = attributes.entries().iter().map(|(_, own)| usize::max(values_of(own), 1)).sum();
    if values > VALUES_MAX {
        let detail = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.push(Error::invalid(device.path(), values, detail));
    }
    map(&attributes, usize::MAX, KEY_SHOWN, errors, qualified_key, &mut attribute);
    let shared = device.flag("allowMultipleAllocations");
    map(&capacity, usize::MAX, KEY_SHOWN, errors, qualified_key, &mut |capacity, errors| {
        let policy = capacity.get("requestPolicy");
        if policy.is_set() && shared {
            request_policy(&quantity(capacity.raw("value")), &policy, errors);
        } else if policy.is_set() {
            errors.push(policy.forbidden("allowMultipleAllocations must be true"));
        }
    });
    let taints = device.get("taints");
    if old.is_none_or(|old| at(old, &["taints"]) != taints.value()) {
        list(&taints, TAINTS_MAX, errors, &mut |own, errors| taint(own, &Value::Null, errors));
    }
    let key = |consumption: &View| consumption.text("counterSet").to_owned();
    set(&device.get("consumesCounters"), CONSUMPTIONS_MAX, errors, key, &mut |own, errors| {
        counted(own, "counterSet", errors);
    });
    device_nodes(device, per_device, errors);
    binding_conditions(device, errors);
    mappings(device, errors);
}

fn device_nodes(device: &View, per_device: bool, errors: &mut Errors) {
    let (node, selector, all) = (device.get("nodeName"), device.get("nodeSelector"), device.get("allNodes"));
    if !per_device {
        if node.is_set() || selector.is_set() || all.is_set() {
            errors.push(Error::invalid(
                device.path(),
                Value::Null,
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            ));
        }
        return;
    }
    let mut given = Vec::new();
    if !node.str().is_empty() {
        given.push("`nodeName`");
        node_name(&node, errors);
    } else if node.is_set() {
        errors.push(node.invalid_str("must not be empty"));
    }
    if selector.is_set() {
        given.push("`nodeSelector`");
        scheduling::node_selector(&selector, false, errors);
    }
    if all.bool() {
        given.push("`allNodes`");
    } else if all.is_set() {
        errors.push(all.invalid("must be either unset or set to true"));
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match given.len() {
        0 => errors.push(device.required(detail)),
        1 => {}
        _ => errors.push(Error::invalid(device.path(), format!("{{{}}}", given.join(", ")), detail)),
    }
}

/// Which resources of the node a device takes.
fn mappings(device: &View, errors: &mut Errors) {
    for (name, mapping) in device.get("nodeAllocatableResourceMappings").entries() {
        if !resources::is_native(name) {
            let detail = "must be a node allocatable resource name";
            errors.push(Error::invalid(mapping.path(), name, detail));
        }
        let (multiplier, key) = (mapping.get("allocationMultiplier"), mapping.get("capacityKey"));
        if !multiplier.is_set() && !key.is_set() {
            let detail = "at least one of allocationMultiplier or capacityKey must be set";
            errors.push(Error::invalid(mapping.path(), "", detail));
            continue;
        }
        if multiplier.is_set() && quantity(multiplier.value()).sign() <= 0 {
            let shown = quantity(multiplier.value()).to_string();
            errors.push(Error::invalid(multiplier.path(), shown, "must be positive"));
        }
        if key.is_set() && key.str().is_empty() {
            errors.push(key.invalid_str("capacityKey must not be an empty string"));
        } else if key.is_set() && device.get("capacity").raw(key.str()).is_null() {
            errors.push(key.not_found());
        }
    }
}

fn attribute(attribute: &View, errors: &mut Errors) {
    let (text, version) = (attribute.get("string"), attribute.get("version"));
    if text.is_set() {
        short(&text, errors);
    }
    if version.is_set() {
        self::version(&version, errors);
    }
    for (field, check) in [
        ("bools", (|_, _| {}) as fn(&View, &mut Errors)),
        ("ints", |_, _| {}),
        ("strings", short),
        ("versions", self::version),
    ] {
        let list = attribute.get(field);
        if list.is_set() && list.is_empty() {
            errors.push(list.invalid("must not be empty if specified"));
        }
        list.items().iter().for_each(|item| check(item, errors));
    }
    let fields = ["bool", "int", "string", "version"].iter().chain(&LISTS);
    match fields.filter(|field| attribute.has(field)).count() {
        0 => errors.push(Error::invalid(attribute.path(), "", "exactly one value must be specified")),
        1 => {}
        _ => errors.push(attribute.invalid("exactly one value must be specified")),
    }
}

fn short(text: &View, errors: &mut Errors) {
    if text.str().len() > VALUE_LENGTH_MAX {
        errors.push(Error::too_long(text.path(), VALUE_LENGTH_MAX));
    }
}

fn version(text: &View, errors: &mut Errors) {
    if !is_semver(text.str()) {
        errors.push(text.invalid_str("must be a string compatible with semver.org spec 2.0.0"));
    }
    short(text, errors);
}

/// Semantic versions (semver.org 2.0.0).
fn is_semver(text: &str) -> bool {
    let numeric = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|c| c.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(numeric)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || numeric(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// How much of a shared device a claim may ask for.
fn request_policy(capacity: &Quantity, policy: &View, errors: &mut Errors) {
    let (values, range, default) =
        (policy.get("validValues"), policy.get("validRange"), policy.get("default"));
    if !values.is_empty() && range.is_set() {
        errors.push(policy.forbidden(
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ));
    } else if !values.is_empty() && !default.is_set() {
        errors.push(default.required("required when validValues is defined"));
    } else if range.is_set() && !default.is_set() {
        errors.push(default.required("required when validRange is defined"));
    } else if !values.is_empty() {
        valid_values(capacity, &quantity(default.value()), &values, errors);
    } else if range.is_set() {
        valid_range(capacity, &quantity(default.value()), &range, errors);
    }
}

fn valid_values(capacity: &Quantity, default: &Quantity, values: &View, errors: &mut Errors) {
    let items = values.items();
    for pair in items.windows(2) {
        let [first, second] = pair else { continue };
        if quantity(first.value()) > quantity(second.value()) {
            let shown = quantity(second.value()).to_string();
            errors.push(Error::invalid(second.path(), shown, "values must be sorted in ascending order"));
        }
    }
    let key = |option: &View| quantity(option.value()).value().to_string();
    // Only as many as there may be are looked at, as where the default is not among them because of that.
    let mut found = false;
    set(values, OPTIONS_MAX, errors, key, &mut |option, errors| {
        let value = quantity(option.value());
        if value > *capacity {
            let detail = format!("option is larger than capacity value: {capacity}");
            errors.push(Error::invalid(option.path(), value.to_string(), detail));
        }
        found |= value == *default;
    });
    if !found {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(Error::invalid(values.path(), default.to_string(), detail));
    }
}

fn valid_range(capacity: &Quantity, default: &Quantity, range: &View, errors: &mut Errors) {
    let (min, max, step) = (range.get("min"), range.get("max"), range.get("step"));
    if !min.is_set() {
        errors.push(min.required("required when validRange is defined"));
        return;
    }
    let mut refuse = |view: &View, shown: &Quantity, detail: String| {
        errors.push(Error::invalid(view.path(), shown.to_string(), detail));
    };
    let low = quantity(min.value());
    if low > *capacity {
        refuse(&min, &low, format!("min is larger than capacity value: {capacity}"));
    }
    if *default < low {
        refuse(&min, default, format!("default is less than min: {low}"));
    }
    let high = max.is_set().then(|| quantity(max.value()));
    if let Some(high) = &high {
        if low > *high {
            refuse(&max, &low, format!("min is larger than max: {high}"));
        }
        if *high > *capacity {
            refuse(&max, high, format!("max is larger than capacity value: {capacity}"));
        }
        if default > high {
            refuse(&max, default, format!("default is more than max: {high}"));
        }
    }
    if !step.is_set() {
        return;
    }
    let by = quantity(step.value());
    let mut added = low.clone();
    added.add(&by);
    if added > *capacity {
        refuse(&step, &by, format!("one step {added} is larger than capacity value: {capacity}"));
    }
    for value in [Some(default), high.as_ref()].into_iter().flatten() {
        // A step of zero, which upstream divides by, fits nothing.
        let fits = value.value().wrapping_sub(low.value()).checked_rem(by.value()) == Some(0);
        if !fits {
            refuse(&step, value, format!("value is not a multiple of a given step ({by}) from ({low})"));
        }
    }
}
