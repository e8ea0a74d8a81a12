//! Lists of resource amounts, and what a pod asks for in all.

use std::collections::BTreeMap;

use proto::quantity::Quantity;
use serde_json::Value;

use super::step::{items, text};

/// Amounts by resource name.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Reads a list of amounts; what can't be read was refused by validation before.
pub(super) fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value).ok()?))).collect()
}

/// Adds `more` to `sum`.
pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|old| old.add(amount)).or_insert_with(|| amount.clone());
    }
}

fn raise_to(max: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = max.entry(name.clone()).or_insert_with(|| amount.clone());
        if *amount > *entry {
            *entry = amount.clone();
        }
    }
}

/// `requests` or `limits` of the whole pod: containers run together, init containers one after
/// the other, those that keep running beside all that start later; plus the sandbox's overhead.
pub(super) fn of_pod(pod: &Value, which: &str) -> Amounts {
    let spec = &pod["spec"];
    let own = |container: &Value| amounts(&container["resources"][which]);
    let mut total = Amounts::new();
    for container in items(&spec["containers"]) {
        add(&mut total, &own(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(&spec["initContainers"]) {
        let mut at_this_time = own(container);
        if text(&container["restartPolicy"]) == "Always" {
            add(&mut total, &at_this_time);
            add(&mut sidecars, &at_this_time);
            raise_to(&mut peak, &sidecars);
        } else {
            add(&mut at_this_time, &sidecars);
            raise_to(&mut peak, &at_this_time);
        }
    }
    raise_to(&mut total, &peak);
    for (name, amount) in amounts(&spec["resources"][which]) {
        if is_pod_level(&name) {
            total.insert(name, amount);
        }
    }
    for (name, overhead) in amounts(&spec["overhead"]) {
        // Without a limit there is nothing that the overhead could be added to.
        if which == "requests" || total.get(&name).is_some_and(|amount| !amount.is_zero()) {
            add(&mut total, &BTreeMap::from([(name, overhead)]));
        }
    }
    total
}

/// Resources that can be set for a pod as a whole.
pub(super) fn is_pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

/// Amounts as messages show them.
pub(super) fn display(list: &Amounts) -> String {
    let parts: Vec<String> = list.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pods_total() {
        let container = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu } } });
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        for (spec, cpu) in [
            (json!({ "containers": [container("1"), container("500m")] }), "1500m"),
            (json!({ "containers": [container("1")], "initContainers": [container("3")] }), "3"),
            (json!({ "containers": [container("1")], "initContainers": [sidecar, container("2")] }), "2100m"),
            (json!({ "containers": [container("1")], "overhead": { "cpu": "250m" } }), "1250m"),
            (json!({ "containers": [container("1")], "resources": { "requests": { "cpu": "4" } } }), "4"),
        ] {
            let total = of_pod(&json!({ "spec": spec }), "requests");
            assert_eq!(display(&total), format!("cpu={cpu}"), "{spec}");
        }
        let limits = of_pod(&json!({ "spec": { "containers": [{}], "overhead": { "cpu": "1" } } }), "limits");
        assert!(limits.is_empty());
    }
}
