//! The quality of service class of a pod, from its requests and limits of cpu and memory.

use std::collections::BTreeMap;

use proto::quantity::Quantity;
use proto::view::View;
use serde_json::Value;

use crate::registry::checks::quantity;

type Sums<'a> = BTreeMap<&'a str, Quantity>;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(pod: &Value) -> &'static str {
    let spec = View::root(pod).get("spec");
    let (mut requests, mut limits) = (Sums::new(), Sums::new());
    let mut all_limited = true;
    let pod_level = spec.get("resources");
    if pod_level.is_set() {
        add(&pod_level.get("requests"), &mut requests);
        let limited = add(&pod_level.get("limits"), &mut limits);
        all_limited = limited == 2 || pod_level.get("limits").is_empty();
    } else {
        for list in ["containers", "initContainers"] {
            for container in spec.get(list).items() {
                let resources = container.get("resources");
                add(&resources.get("requests"), &mut requests);
                all_limited &= add(&resources.get("limits"), &mut limits) == 2;
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds what a list has of cpu and memory, and tells how many of the two it has.
fn add<'a>(list: &View<'a>, sums: &mut Sums<'a>) -> usize {
    let mut found = 0;
    for (name, value) in list.entries() {
        let amount = quantity(value.value());
        if matches!(name, "cpu" | "memory") && amount.sign() > 0 {
            found += 1;
            match sums.get_mut(name) {
                Some(sum) => sum.add(&amount),
                None => {
                    sums.insert(name, amount);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(containers: Value) -> &'static str {
        class(&json!({"spec": {"containers": containers}}))
    }

    #[test]
    fn classes() {
        let full = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(of(json!([{}])), "BestEffort");
        assert_eq!(of(json!([{"resources": {"requests": {"cpu": "1"}}}])), "Burstable");
        assert_eq!(of(json!([{"resources": {"requests": full, "limits": full}}])), "Guaranteed");
        assert_eq!(of(json!([{"resources": {"requests": full, "limits": full}}, {}])), "Burstable");
        let same = json!({"cpu": "1000m", "memory": "1024Mi"});
        assert_eq!(of(json!([{"resources": {"requests": same, "limits": full}}])), "Guaranteed");
        assert_eq!(of(json!([{"resources": {"requests": {"ephemeral-storage": "1"}}}])), "BestEffort");
    }
}
