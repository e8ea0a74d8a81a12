//! Requests for the status of resource pools (KEP-5677): asked once, answered once.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::{View, at};
use serde_json::Value;

use crate::registry::checks::{IMMUTABLE, conditions};
use crate::registry::declarative::Field;
use crate::registry::defaults::fill;
use crate::registry::{Hooks, strategy};

const LIMIT: i64 = 100;
const LIMIT_MAX: i64 = 1000;
const POOLS_MAX: usize = 1000;
const CONDITIONS_MAX: usize = 10;
const NAME_MAX: usize = 253;
const PROBLEM_MAX: usize = 256;

pub(super) fn defaults(spec: &mut Value) {
    fill(spec, "limit", LIMIT);
}

pub(super) fn hooks() -> Hooks {
    Hooks {
        return_deleted: true,
        validate: |_, new| validate(new, &Value::Null),
        validate_update: |_, new, old| validate(new, old),
        allow_unconditional_update: false,
        ..strategy::with_status()
    }
}

pub(super) fn status() -> Hooks {
    Hooks {
        return_deleted: true,
        validate_update: |_, new, old| validate_status(new, old),
        allow_unconditional_update: false,
        ..strategy::status_only()
    }
}

fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let object = Field::root(new, old);
    let spec = object.get("spec");
    if !spec.is_same() && spec.immutable(&mut errors) {
        spec.get("driver").required_text(content::is_dns1123_subdomain_caseless, &mut errors);
        let pool = spec.get("poolName");
        if pool.new.is_set() {
            pool_name(&pool.new, &mut errors);
        }
        let limit = spec.get("limit").new;
        if !limit.is_set() {
            errors.push(limit.required(""));
        } else {
            at_most(&limit, LIMIT_MAX, &mut errors);
            at_least(&limit, 1, &mut errors);
        }
    }
    judge_status(&object.get("status"), &mut errors);
    errors
}

/// Once there is a status, it stays.
fn validate_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (status, before) = (View::root(new).get("status"), at(old, &["status"]));
    if before.is_null() {
        conditions(&status.get("conditions"), &mut errors);
    } else if status.value() != before {
        errors.push(status.invalid(IMMUTABLE));
    }
    errors.extend(validate(new, old));
    errors
}

fn judge_status(status: &Field<'_>, errors: &mut Errors) {
    if status.is_same() || !status.new.is_set() {
        return;
    }
    let count = status.get("poolCount");
    if !count.new.is_set() {
        errors.push(count.new.required(""));
    } else if !count.is_same() {
        at_least(&count.new, 0, errors);
    }
    let pools = status.get("pools");
    if !pools.is_same() && pools.max_items(POOLS_MAX, errors) {
        pools.items().iter().for_each(|pool| judge_pool(&pool.new, errors));
    }
    let list = status.get("conditions");
    if !list.is_same() && list.max_items(CONDITIONS_MAX, errors) {
        list.unique("type", errors);
    }
}

fn judge_pool(pool: &View, errors: &mut Errors) {
    let (driver, name) = (pool.get("driver"), pool.get("poolName"));
    match driver.is_empty() {
        true => errors.push(driver.required("")),
        false => {
            let wrong = content::is_dns1123_subdomain_caseless(driver.str());
            errors.extend(wrong.into_iter().map(|text| driver.invalid_str(text)));
        }
    }
    match name.is_empty() {
        true => errors.push(name.required("")),
        false => pool_name(&name, errors),
    }
    // As upstream has it, a generation of zero counts as none.
    let generation = pool.get("generation");
    match generation.i64() {
        0 => errors.push(generation.required("")),
        _ => at_least(&generation, 0, errors),
    }
    for (field, least) in [
        ("resourceSliceCount", 1),
        ("totalDevices", 0),
        ("allocatedDevices", 0),
        ("availableDevices", 0),
        ("unavailableDevices", 0),
    ] {
        let number = pool.get(field);
        if number.is_set() {
            at_least(&number, least, errors);
        }
    }
    let node = pool.get("nodeName");
    if node.is_set() {
        let wrong = content::is_dns1123_subdomain(node.str());
        errors.extend(wrong.into_iter().map(|text| node.invalid_str(text)));
    }
    let problem = pool.get("validationError");
    if problem.str().len() > PROBLEM_MAX {
        errors.push(Error::too_long(problem.path(), PROBLEM_MAX));
    }
}

/// The format `k8s-resource-pool-name`.
fn pool_name(name: &View, errors: &mut Errors) {
    if name.str().len() > NAME_MAX {
        errors.push(Error::too_long(name.path(), NAME_MAX));
    }
    for (at, part) in name.str().split('/').enumerate() {
        if part.is_empty() {
            errors.push(name.invalid_str(format!("segment {at}: must not be empty")));
            continue;
        }
        for text in content::is_dns1123_subdomain(part) {
            errors.push(Error::invalid(name.path(), part, format!("segment {at}: {text}")));
        }
    }
}

fn at_least(number: &View, least: i64, errors: &mut Errors) {
    if number.i64() < least {
        errors.push(number.invalid_int(format!("must be greater than or equal to {least}")));
    }
}

fn at_most(number: &View, most: i64, errors: &mut Errors) {
    if number.i64() > most {
        errors.push(number.invalid_int(format!("must be less than or equal to {most}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: &Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn questions_are_checked() {
        let check = |spec: Value| texts(&validate(&json!({"spec": spec}), &Value::Null));
        let none: [&str; 0] = [];
        assert_eq!(check(json!({"driver": "Gpu.example.com", "poolName": "a/b", "limit": 100})), none);
        assert_eq!(
            check(json!({"poolName": "a//b", "limit": 1001})),
            [
                "spec.driver: Required value",
                "spec.poolName: Invalid value: \"a//b\": segment 1: must not be empty",
                "spec.limit: Invalid value: 1001: must be less than or equal to 1000",
            ]
        );
        let (old, new) =
            (json!({"spec": {"driver": "a", "limit": 1}}), json!({"spec": {"driver": "b", "limit": 1}}));
        assert_eq!(texts(&validate(&new, &old)).len(), 1);
        assert!(validate(&old, &old).is_empty());
    }

    #[test]
    fn answers_are_checked_and_stay() {
        let spec = json!({"driver": "a", "limit": 1});
        let old = json!({"spec": spec});
        let with = |status: Value| json!({"spec": spec, "status": status});
        let pool = json!({"driver": "a", "poolName": "p", "generation": 1, "totalDevices": -1});
        assert_eq!(
            texts(&validate_status(&with(json!({"pools": [pool]})), &old)),
            [
                "status.poolCount: Required value",
                "status.pools[0].totalDevices: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        let good = with(json!({"poolCount": 0}));
        assert!(validate_status(&good, &old).is_empty());
        let told = texts(&validate_status(&with(json!({"poolCount": 1})), &good));
        assert!(told.len() == 1 && told[0].ends_with("field is immutable"), "{told:?}");
    }
}
