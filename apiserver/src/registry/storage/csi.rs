//! What CSI drivers, and nodes with them, can do.

use proto::field::{Error, Errors, Path};
use proto::view::{View, at, remove_at};
use serde_json::{Value, json};

use crate::registry::checks::*;
use crate::registry::core::pod::sources::csi_driver_name;
use crate::registry::defaults::{fill, inside};
use crate::registry::{Hooks, strategy, warnings};

/// Hooks of CSIDrivers.
pub(super) fn driver() -> Hooks {
    Hooks {
        // New ones have no generation until they change, as upstream.
        prepare_create: |_, _| {},
        validate: |_, new| {
            let mut errors = Errors::new();
            validate_driver(new, &mut errors);
            errors
        },
        validate_update: |_, new, old| {
            let mut errors = Errors::new();
            validate_driver(new, &mut errors);
            // One of the names is upstream's.
            for (field, shown) in
                [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
            {
                let path = Path::new("spec").child(shown);
                let new = View::root(new).get("spec").get(field).with_path(path);
                immutable(&new, &View::root(old).get("spec").get(field), &mut errors);
            }
            errors
        },
        warnings: |_, new| tokens_in_attributes(new),
        warnings_update: |_, new, old| {
            let requests = ["spec", "tokenRequests"];
            if at(new, &requests) == at(old, &requests) { Vec::new() } else { tokens_in_attributes(new) }
        },
        allow_unconditional_update: false,
        return_deleted: true,
        ..strategy::generation_only()
    }
}

pub(super) fn driver_defaults(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "attachRequired", true);
        fill(spec, "podInfoOnMount", false);
        fill(spec, "storageCapacity", false);
        fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if View::root(spec).get("volumeLifecycleModes").is_empty() {
            remove_at(spec, &["volumeLifecycleModes"]);
        }
        fill(spec, "volumeLifecycleModes", json!(["Persistent"]));
        fill(spec, "requiresRepublish", false);
        fill(spec, "seLinuxMount", false);
    });
}

fn tokens_in_attributes(driver: &Value) -> Vec<String> {
    let spec = View::root(driver).get("spec");
    if spec.get("tokenRequests").is_empty() || spec.has("serviceAccountTokenInSecrets") {
        return Vec::new();
    }
    let warning = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
    vec![warning.to_owned()]
}

fn validate_driver(driver: &Value, errors: &mut Errors) {
    let spec = View::root(driver).get("spec");
    for (field, shown) in
        [("attachRequired", "attachedRequired"), ("podInfoOnMount", ""), ("storageCapacity", "")]
    {
        if !spec.has(field) {
            let shown = if shown.is_empty() { field } else { shown };
            errors.push(spec.get(shown).required(""));
        }
    }
    let policy = spec.get("fsGroupPolicy");
    if policy.is_set() {
        supported(&policy, &["File", "None", "ReadWriteOnceWithFSType"], errors);
    }
    let tokens = spec.get("tokenRequests");
    token_requests(&tokens, errors);
    let modes = spec.get("volumeLifecycleModes");
    for mode in modes.items() {
        supported(&mode.with_path(modes.path().clone()), &["Persistent", "Ephemeral"], errors);
    }
    if !spec.has("seLinuxMount") {
        errors.push(spec.get("seLinuxMount").required(""));
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.is_set() && period.i64() < 10 {
        errors.push(period.invalid("must be greater than or equal to 10 seconds"));
    }
    let secrets = spec.get("serviceAccountTokenInSecrets");
    if secrets.is_set() && tokens.is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(secrets.invalid(detail));
    }
}

fn token_requests(list: &View, errors: &mut Errors) {
    const LEAST: i64 = 600;
    const MOST: i64 = 1 << 32;
    let mut audiences = Vec::new();
    for request in list.items() {
        let (audience, seconds) = (request.get("audience"), request.get("expirationSeconds"));
        if audiences.contains(&audience.str()) {
            errors.push(Error::duplicate(audience.path(), audience.str()));
            continue;
        }
        audiences.push(audience.str());
        if seconds.is_set() && seconds.i64() < LEAST {
            errors.push(seconds.invalid("may not specify a duration less than 10 minutes"));
        }
        if seconds.i64() > MOST {
            errors.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
        }
    }
}

/// Hooks of CSINodes.
pub(super) fn node() -> Hooks {
    Hooks {
        validate: |_, new| validate_node(new),
        validate_update: |_, new, old| validate_node_update(new, old),
        allow_unconditional_update: false,
        return_deleted: true,
        ..Hooks::default()
    }
}

fn validate_node(node: &Value) -> Errors {
    const ID_LIMIT: usize = 256;
    let mut errors = Errors::new();
    let mut names = Vec::new();
    for driver in View::root(node).get("spec").get("drivers").items() {
        let (name, id) = (driver.get("name"), driver.get("nodeID"));
        csi_driver_name(&name, &mut errors);
        required(&id, &mut errors);
        if id.str().len() > ID_LIMIT {
            errors.push(id.invalid(format!("must be {ID_LIMIT} characters or less")));
        }
        nonnegative(&driver.get("allocatable").get("count"), &mut errors);
        if names.contains(&name.str()) {
            errors.push(Error::duplicate(name.path(), name.str()));
        }
        names.push(name.str());
        let mut keys = Vec::new();
        for key in driver.get("topologyKeys").items() {
            let key = key.with_path(driver.path().clone());
            required(&key, &mut errors);
            if keys.contains(&key.str()) {
                errors.push(key.duplicate());
            }
            keys.push(key.str());
            qualified_name(&key, &mut errors);
        }
    }
    errors
}

/// Of a driver only what it can take changes.
fn validate_node_update(new: &Value, old: &Value) -> Errors {
    let mut errors = validate_node(new);
    let list = View::root(new).get("spec").get("drivers");
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        remove_at(&mut driver, &["allocatable"]);
        driver
    };
    for before in View::root(old).get("spec").get("drivers").items() {
        for now in list.items().iter().filter(|now| now.text("name") == before.text("name")) {
            let now = fixed(now.value());
            if now != fixed(before.value()) {
                errors.push(Error::invalid(list.path(), now, IMMUTABLE));
            }
        }
    }
    errors
}

/// Hooks of CSIStorageCapacities.
pub(super) fn capacity() -> Hooks {
    Hooks {
        validate: |_, new| validate_capacity(new, &Value::Null),
        validate_update: |_, new, old| {
            let mut errors = validate_capacity(new, old);
            let (new, old) = (View::root(new), View::root(old));
            immutable(&new.get("nodeTopology"), &old.get("nodeTopology"), &mut errors);
            immutable_str(&new.get("storageClassName"), &old.get("storageClassName"), &mut errors);
            errors
        },
        warnings: |_, new| warnings::node_selector(&View::root(new).get("nodeTopology")),
        warnings_update: |_, new, _| warnings::node_selector(&View::root(new).get("nodeTopology")),
        allow_unconditional_update: false,
        ..Hooks::default()
    }
}

fn validate_capacity(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let lenient = bad_label_selector(&View::root(old).get("nodeTopology"));
    label_selector(&view.get("nodeTopology"), lenient, &mut errors);
    dns_subdomain(&view.get("storageClassName"), &mut errors);
    if view.has("capacity") {
        nonnegative_quantity(&view.get("capacity"), &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver_texts(mut object: Value) -> Vec<String> {
        driver_defaults(&mut object);
        let mut errors = Errors::new();
        validate_driver(&object, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn drivers() {
        let none: [&str; 0] = [];
        assert_eq!(driver_texts(json!({})), none);
        assert_eq!(
            driver_texts(json!({"spec": {
                "tokenRequests": [{"audience": "a", "expirationSeconds": 599}, {"audience": "a"}],
                "volumeLifecycleModes": ["x"],
            }})),
            [
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.volumeLifecycleModes: Unsupported value: \"x\": supported values: \"Persistent\", \"Ephemeral\"",
            ]
        );
        assert_eq!(tokens_in_attributes(&json!({"spec": {"tokenRequests": [{}]}})).len(), 1);
    }

    #[test]
    fn nodes_may_only_change_what_they_can_take() {
        let node = |id: &str, count: i64| json!({"spec": {"drivers": [{"name": "d", "nodeID": id, "allocatable": {"count": count}}]}});
        assert!(validate_node_update(&node("i", 2), &node("i", 1)).is_empty());
        assert_eq!(
            validate_node_update(&node("j", 1), &node("i", 1))[0].to_string(),
            "spec.drivers: Invalid value: {\"name\":\"d\",\"nodeID\":\"j\"}: field is immutable"
        );
        let texts = validate_node(&node("", -1)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts,
            [
                "spec.drivers[0].nodeID: Required value",
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
