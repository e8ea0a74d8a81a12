//! Taints of devices and the rules that add them (KEP-5055).

use proto::field::{Error, Errors};
use proto::view::{View, at, set_at};
use serde_json::Value;

use super::checks::{device_name, driver_name, pool_name, taint};
use crate::engine::meta;
use crate::registry::checks::conditions;
use crate::registry::defaults::fill;
use crate::registry::{Ctx, strategy};

const CONDITIONS_MAX: usize = 8;
const TAINT: [&str; 2] = ["spec", "taint"];
const EFFECT: [&str; 3] = ["spec", "taint", "effect"];
const ADDED: [&str; 3] = ["spec", "taint", "timeAdded"];

/// A taint is added when it is first seen.
pub(super) fn defaults(taint: &mut Value) {
    fill(taint, "timeAdded", meta::time(jiff::Timestamp::now()));
}

/// Another effect is a new taint.
pub(super) fn prepare_update(ctx: &Ctx, new: &mut Value, old: &Value) {
    strategy::keep(new, old, &["status"]);
    if at(new, &EFFECT) != at(old, &EFFECT) && at(new, &ADDED) == at(old, &ADDED) {
        set_at(new, &ADDED, Value::from(meta::time(ctx.now)));
    }
    strategy::count_changes(new, old, &["spec"]);
}

pub(super) fn validate(rule: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(rule).get("spec");
    let selector = spec.get("deviceSelector");
    for (field, check) in
        [("driver", driver_name as fn(&View, &mut Errors)), ("pool", pool_name), ("device", device_name)]
    {
        let view = selector.get(field);
        if view.is_set() {
            check(&view, &mut errors);
        }
    }
    taint(&spec.get("taint"), at(old, &TAINT), &mut errors);
    errors
}

pub(super) fn validate_status(rule: &Value) -> Errors {
    let mut errors = Errors::new();
    let list = View::root(rule).get("status").get("conditions");
    conditions(&list, &mut errors);
    if list.len() > CONDITIONS_MAX {
        errors.push(Error::too_many(list.path(), list.len(), CONDITIONS_MAX));
    }
    errors
}
