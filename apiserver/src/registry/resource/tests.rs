//! Tables of objects and what is wrong with them.

use proto::field::Errors;
use proto::view::{remove_at, set_at};
use serde_json::{Value, json};

use super::{claim, slice, taint};
use crate::registry::Conversion;

fn shown(errors: &Errors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn with(base: &Value, path: &str, value: Value) -> Value {
    let mut object = base.clone();
    let names: Vec<&str> = path.split('.').collect();
    if value.is_null() {
        remove_at(&mut object, &names);
    } else {
        set_at(&mut object, &names, value);
    }
    object
}

fn a_claim(requests: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"devices": {"requests": requests}}})
}

fn a_request() -> Value {
    json!({"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}})
}

#[test]
fn claims_are_checked() {
    let exactly = |change: &str, value: Value| a_claim(json!([with(&a_request(), change, value)]));
    let good = a_claim(json!([a_request()]));
    let cases: Vec<(Value, &[&str])> = vec![
        (good.clone(), &[]),
        (
            exactly("exactly", Value::Null),
            &[
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ],
        ),
        (
            exactly("exactly.deviceClassName", json!("")),
            &["spec.devices.requests[0].exactly.deviceClassName: Required value"],
        ),
        (
            exactly("exactly.count", json!(-1)),
            &["spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"],
        ),
        (
            exactly("exactly.allocationMode", json!("All")),
            &[
                "spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
            ],
        ),
        (
            exactly("exactly.allocationMode", json!("other")),
            &[
                "spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"other\": supported values: \"All\", \"ExactCount\"",
            ],
        ),
        (
            exactly("exactly.selectors", json!([{}])),
            &["spec.devices.requests[0].exactly.selectors[0].cel: Required value"],
        ),
        (
            exactly("exactly.tolerations", json!([{"operator": "Exists", "value": "x"}, {}])),
            &[
                "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`",
                "spec.devices.requests[0].exactly.tolerations[1].operator: Required value",
            ],
        ),
        (a_claim(json!([a_request(), a_request()])), &["spec.devices.requests[1]: Duplicate value: \"r\""]),
        (
            a_claim(Value::Array(vec![a_request(); 33])),
            &["spec.devices.requests: Too many: 33: must have at most 32 items"],
        ),
        (
            with(&good, "spec.devices.constraints", json!([{"requests": ["x"], "matchAttribute": "a"}])),
            &[
                "spec.devices.constraints[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name separated by a slash",
            ],
        ),
        (
            with(&good, "spec.devices.config", json!([{"opaque": {"driver": "d", "parameters": 42}}, {}])),
            &[
                "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
                "spec.devices.config[1].opaque: Required value",
            ],
        ),
    ];
    for (claim, expected) in cases {
        assert_eq!(shown(&claim::validate(&claim)), expected, "{claim}");
    }
    let errors = shown(&claim::validate_update(&exactly("exactly.count", json!(2)), &good));
    assert!(errors.len() == 1 && errors[0].ends_with("field is immutable"), "{errors:?}");
}

#[test]
fn statuses_of_claims_are_checked() {
    let old = a_claim(json!([a_request()]));
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "one"});
    let allocated = with(&old, "status", json!({"allocation": {"devices": {"results": [result]}}}));
    let user = json!([{"resource": "pods", "name": "p", "uid": "1"}]);
    let device = |name: &str| json!([{"driver": "d.example.com", "pool": "p", "device": name}]);
    let cases: Vec<(Value, &[&str])> = vec![
        (allocated.clone(), &[]),
        (with(&allocated, "status.reservedFor", user.clone()), &[]),
        (
            with(&old, "status", json!({"reservedFor": user})),
            &["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        ),
        (with(&allocated, "status.devices", device("one")), &[]),
        (
            with(&allocated, "status.devices", device("two")),
            &[
                "status.devices[0]: Invalid value: \"d.example.com/p/two\": must be an allocated device in the claim",
            ],
        ),
    ];
    for (claim, expected) in cases {
        assert_eq!(shown(&claim::validate_status(&claim, &old)), expected, "{claim}");
    }
    let deleted = with(&allocated, "metadata.deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let more = with(&deleted, "status.reservedFor", json!([{"resource": "pods", "name": "p", "uid": "1"}]));
    assert_eq!(
        shown(&claim::validate_status(&more, &deleted)),
        [
            "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        ]
    );
}

fn a_slice(device: Value) -> Value {
    json!({"metadata": {"name": "s"}, "spec": {
        "driver": "d.example.com", "nodeName": "node", "pool": {"name": "node", "resourceSliceCount": 1},
        "devices": [device],
    }})
}

#[test]
fn slices_are_checked() {
    let good = a_slice(json!({"name": "one"}));
    let device = |field: &str, value: Value| a_slice(with(&json!({"name": "one"}), field, value));
    let shared = |policy: Value| {
        a_slice(json!({"name": "one", "allowMultipleAllocations": true, "capacity": {"m": {
            "value": "10Gi", "requestPolicy": policy,
        }}}))
    };
    let cases: Vec<(Value, &[&str])> = vec![
        (good.clone(), &[]),
        (
            with(&good, "spec.nodeName", Value::Null),
            &[
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            ],
        ),
        (
            with(&good, "spec.allNodes", json!(true)),
            &[
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
        ),
        (
            with(&good, "spec.pool.resourceSliceCount", json!(0)),
            &["spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"],
        ),
        (
            with(&good, "spec.sharedCounters", json!([])),
            &["spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed"],
        ),
        (device("attributes", json!({"a": {"version": "1.0.0-rc.1+x"}})), &[]),
        (
            device("attributes", json!({"a": {"version": "01.0.0"}, "b": {}})),
            &[
                "spec.devices[0].attributes[a].version: Invalid value: \"01.0.0\": must be a string compatible with semver.org spec 2.0.0",
                "spec.devices[0].attributes[b]: Invalid value: \"\": exactly one value must be specified",
            ],
        ),
        (
            device("taints", json!([{"key": "k", "effect": "Other"}])),
            &[
                "spec.devices[0].taints[0].effect: Unsupported value: \"Other\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            ],
        ),
        (
            device("nodeName", json!("x")),
            &[
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            ],
        ),
        (
            device("bindingConditions", json!(["a"])),
            &[
                "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
            ],
        ),
        (
            device("capacity", json!({"m": {"value": "1", "requestPolicy": {}}})),
            &["spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
        ),
        (shared(json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "8Gi", "step": "1Gi"}})), &[]),
        (
            shared(json!({"default": "1Gi", "validRange": {"min": "2Gi", "max": "20Gi"}})),
            &[
                "spec.devices[0].capacity[m].requestPolicy.validRange.min: Invalid value: \"1Gi\": default is less than min: 2Gi",
                "spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: \"20Gi\": max is larger than capacity value: 10Gi",
            ],
        ),
        (
            shared(json!({"default": "1Gi", "validRange": {"min": "1Gi", "step": "0"}})),
            &[
                "spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: \"1Gi\": value is not a multiple of a given step (0) from (1Gi)",
            ],
        ),
        (
            shared(json!({"default": "3Gi", "validValues": ["2Gi", "1Gi"]})),
            &[
                "spec.devices[0].capacity[m].requestPolicy.validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order",
                "spec.devices[0].capacity[m].requestPolicy.validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy",
            ],
        ),
    ];
    for (slice, expected) in cases {
        assert_eq!(shown(&slice::validate(&slice, &Value::Null)), expected, "{slice}");
    }
    let moved = with(&good, "spec.driver", json!("other"));
    assert_eq!(
        shown(&slice::validate(&moved, &good)),
        ["spec.driver: Invalid value: \"other\": field is immutable"]
    );
    let warnings = slice::warnings(&with(&good, "spec.driver", json!("D")));
    assert_eq!(
        warnings,
        ["spec.driver: driver names should be lowercase; \"D\" contains uppercase characters"]
    );
}

#[test]
fn taint_rules_are_checked() {
    let rule = json!({"spec": {"deviceSelector": {"pool": ""}, "taint": {"key": "k"}}});
    assert_eq!(
        shown(&taint::validate(&rule, &Value::Null)),
        ["spec.deviceSelector.pool: Required value", "spec.taint.effect: Required value"]
    );
}

#[test]
fn the_first_beta_is_flat() {
    fn to_hub(conversion: &Conversion, object: &mut Value) {
        if let Conversion::Functions { to_hub, .. } = conversion {
            to_hub(object);
        }
    }
    fn from_hub(conversion: &Conversion, object: &mut Value) {
        if let Conversion::Functions { from_hub, .. } = conversion {
            from_hub(object);
        }
    }
    let flat = json!({"name": "r", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    let cases = [
        (super::convert::claim(), a_claim(json!([flat])), a_claim(json!([a_request()]))),
        (
            super::convert::slice(),
            a_slice(json!({"name": "one", "basic": {"attributes": {"a": {"int": 1}}}})),
            a_slice(json!({"name": "one", "attributes": {"a": {"int": 1}}})),
        ),
    ];
    for (conversion, beta, hub) in cases {
        let mut object = beta.clone();
        to_hub(&conversion, &mut object);
        assert_eq!(object, hub);
        from_hub(&conversion, &mut object);
        assert_eq!(object, beta);
    }
}
