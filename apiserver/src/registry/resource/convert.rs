//! v1beta1, where a request for one kind of device is flat and a device is `basic`.

use serde_json::{Map, Value};

use crate::registry::Conversion;
use crate::registry::defaults::{each, within};

const REQUEST: [&str; 7] =
    ["deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"];

pub(super) fn claim() -> Conversion {
    Conversion::Functions {
        to_hub: |claim| within(claim, "spec", nest_requests),
        from_hub: |claim| within(claim, "spec", flatten_requests),
    }
}

pub(super) fn template() -> Conversion {
    Conversion::Functions {
        to_hub: |template| within(template, "spec", |spec| within(spec, "spec", nest_requests)),
        from_hub: |template| within(template, "spec", |spec| within(spec, "spec", flatten_requests)),
    }
}

pub(super) fn slice() -> Conversion {
    Conversion::Functions {
        to_hub: |slice| {
            within(slice, "spec", |spec| {
                drop_zero(spec);
                each(spec, "devices", flatten_device);
            });
        },
        from_hub: |slice| {
            within(slice, "spec", |spec| {
                drop_zero(spec);
                each(spec, "devices", nest_device);
            });
        },
    }
}

fn nest_requests(spec: &mut Value) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            let Value::Object(fields) = request else { return };
            let mut exactly = Map::new();
            for name in REQUEST {
                if let Some(value) = fields.remove(name) {
                    exactly.insert(name.to_owned(), value);
                }
            }
            if exactly.values().any(|value| !value.is_null() && value != "" && value != 0) {
                fields.insert("exactly".to_owned(), Value::Object(exactly));
            }
        });
    });
}

fn flatten_requests(spec: &mut Value) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            let Value::Object(fields) = request else { return };
            if let Some(Value::Object(exactly)) = fields.remove("exactly") {
                fields.extend(exactly);
            }
        });
    });
}

/// In v1beta1 these are no pointers: their zero is their absence.
fn drop_zero(spec: &mut Value) {
    let Value::Object(fields) = spec else { return };
    fields.retain(|name, value| match name.as_str() {
        "nodeName" => value != "",
        "allNodes" => value != false,
        _ => true,
    });
}

fn flatten_device(device: &mut Value) {
    let Value::Object(fields) = device else { return };
    if let Some(Value::Object(basic)) = fields.remove("basic") {
        fields.extend(basic);
    }
}

fn nest_device(device: &mut Value) {
    let Value::Object(fields) = device else { return };
    let name = fields.remove("name");
    let basic = std::mem::take(fields);
    fields.extend(name.map(|name| ("name".to_owned(), name)));
    fields.insert("basic".to_owned(), Value::Object(basic));
}
