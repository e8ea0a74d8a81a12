//! Lists of resource amounts, and what a pod asks for in all.

use std::collections::BTreeMap;

use crate::quantity::Quantity;
use serde_json::Value;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads a list of amounts; what can't be read was refused by validation before.
pub fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value).ok()?))).collect()
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|old| old.add(amount)).or_insert_with(|| amount.clone());
    }
}

/// Raises each amount of `max` to that of `other` where it is less.
pub fn raise_to(max: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = max.entry(name.clone()).or_insert_with(|| amount.clone());
        if *amount > *entry {
            *entry = amount.clone();
        }
    }
}

/// Items of a list; none if there is no list.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `requests` or `limits` of the whole pod: containers run together, init containers one after
/// the other, those that keep running beside all that start later; plus the sandbox's overhead.
pub fn of_pod(pod: &Value, which: &str) -> Amounts {
    total(pod, which, |container| amounts(&container["resources"][which]))
}

/// The same, where a container that is being resized counts with the most of what it is to have, has been promised
/// and has (KEP-1287).
pub fn of_pod_with_status(pod: &Value, which: &str) -> Amounts {
    let infeasible = items(&pod["status"]["conditions"])
        .iter()
        .any(|c| c["type"] == "PodResizePending" && c["reason"] == "Infeasible");
    let statuses = |list: &str| items(&pod["status"][list]);
    total(pod, which, |container| {
        let spec = amounts(&container["resources"][which]);
        let mut all = statuses("containerStatuses").iter().chain(statuses("initContainerStatuses"));
        let Some(status) = all.find(|s| s["name"] == container["name"] && s["resources"].is_object()) else {
            return spec;
        };
        let mut most = amounts(&status["resources"][which]);
        if which == "requests" {
            raise_to(&mut most, &amounts(&status["allocatedResources"]));
        }
        if !infeasible {
            raise_to(&mut most, &spec);
        }
        most
    })
}

fn total(pod: &Value, which: &str, own: impl Fn(&Value) -> Amounts) -> Amounts {
    let spec = &pod["spec"];
    let mut total = Amounts::new();
    for container in items(&spec["containers"]) {
        add(&mut total, &own(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(&spec["initContainers"]) {
        let mut at_this_time = own(container);
        if container["restartPolicy"] == "Always" {
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
pub fn is_pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

/// Amounts as messages show them.
pub fn display(list: &Amounts) -> String {
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
