//! Resources of a pod as a whole, and their relation to those of its containers.

use std::collections::BTreeMap;

use proto::field::{Error, Errors};
use proto::quantity::Quantity;
use proto::view::{View, at, set_at};
use serde_json::Value;

use super::resources::{self, is_huge_page, overcommit_allowed};
use crate::registry::checks::quantity;

type Amounts<'a> = BTreeMap<&'a str, Quantity>;

fn is_supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

/// What the containers ask for together (`field` is `requests` or `limits`): the sum of all that run at once, or the
/// most that the start takes.
fn aggregate<'a>(spec: &View<'a>, field: &'static str) -> Amounts<'a> {
    let mut running = Amounts::new();
    for container in spec.get("containers").items() {
        add(&mut running, &list(&container, field));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec.get("initContainers").items() {
        let own = list(&container, field);
        if container.text("restartPolicy") == "Always" {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            most(&mut starting, &sidecars);
        } else {
            let mut with_sidecars = own;
            add(&mut with_sidecars, &sidecars);
            most(&mut starting, &with_sidecars);
        }
    }
    most(&mut running, &starting);
    running
}

fn list<'a>(container: &View<'a>, field: &'static str) -> Amounts<'a> {
    let entries = container.get("resources").get(field).entries();
    entries.into_iter().map(|(name, amount)| (name, quantity(amount.value()))).collect()
}

fn add<'a>(sums: &mut Amounts<'a>, more: &Amounts<'a>) {
    for (name, amount) in more {
        sums.entry(name).and_modify(|sum| sum.add(amount)).or_insert_with(|| amount.clone());
    }
}

fn most<'a>(sums: &mut Amounts<'a>, other: &Amounts<'a>) {
    for (name, amount) in other {
        let sum = sums.entry(name).or_insert_with(|| amount.clone());
        if *amount > *sum {
            *sum = amount.clone();
        }
    }
}

/// Requests of the pod that are not given follow from its containers' or from its limits.
pub(crate) fn default_resources(spec: &mut Value) {
    let given = |field| !proto::view::is_empty(at(spec, &["resources", field]));
    if !given("limits") && !given("requests") {
        return;
    }
    let limits = aggregate(&View::root(spec), "limits");
    let mut new = Vec::new();
    for (name, amount) in limits {
        let has = |field| at(spec, &["resources", field]).get(name).is_some();
        if is_huge_page(name) && !has("requests") && !has("limits") {
            new.push(("limits", name.to_owned(), Value::from(amount.to_string())));
        }
    }
    store(spec, new);
    if proto::view::is_empty(at(spec, &["resources", "limits"])) {
        return;
    }
    let mut new = Vec::new();
    let requested = |name: &str| at(spec, &["resources", "requests"]).get(name).is_some();
    for (name, amount) in aggregate(&View::root(spec), "requests") {
        if is_supported(name) && overcommit_allowed(name) && !requested(name) {
            new.push(("requests", name.to_owned(), Value::from(amount.to_string())));
        }
    }
    for (name, amount) in at(spec, &["resources", "limits"]).as_object().into_iter().flatten() {
        let taken = requested(name) || new.iter().any(|(_, new, _)| new == name);
        if is_supported(name) && !taken {
            new.push(("requests", name.clone(), amount.clone()));
        }
    }
    store(spec, new);
}

fn store(spec: &mut Value, new: Vec<(&str, String, Value)>) {
    for (field, name, amount) in new {
        set_at(spec, &["resources", field, &name], amount);
    }
}

/// The pod's own resources must cover what its containers take.
pub(super) fn validate(spec: &View, claims: &[&str], errors: &mut Errors) {
    let pod = spec.get("resources");
    if !pod.is_set() {
        return;
    }
    if spec.get("os").text("name") == "windows" {
        errors.push(pod.forbidden("may not be set for a windows pod"));
        return;
    }
    if pod.has("claims") {
        errors.push(pod.get("claims").forbidden("claims may not be set for Resources at pod-level"));
    }
    resources::requirements(&pod, resources::pod_resource_name, claims, errors);
    for (field, only_huge_pages) in [("requests", false), ("limits", true)] {
        for (name, amount) in aggregate(spec, field) {
            let own = pod.get(field).key(name);
            if !own.is_set() || (only_huge_pages && !is_huge_page(name)) {
                continue;
            }
            let own_amount = quantity(own.value());
            if amount > own_amount {
                let detail =
                    format!("must be greater than or equal to aggregate container {field} of {amount}");
                errors.push(Error::invalid(own.path(), own_amount.to_string(), detail));
            }
        }
    }
    for (index, container) in spec.get("containers").items().iter().enumerate() {
        for (name, amount) in list(container, "limits") {
            let own = pod.get("limits").key(name);
            let own_amount = quantity(own.value());
            if own.is_set() && amount > own_amount {
                let path = pod.path().child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {own_amount}");
                errors.push(Error::invalid(&path, amount.to_string(), detail));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_requests_what_its_containers_do() {
        let mut spec = json!({
            "resources": {"limits": {"cpu": "4", "memory": "1Gi"}},
            "containers": [{"resources": {"requests": {"cpu": "1"}}}, {"resources": {"requests": {"cpu": "500m"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "2"}}}],
        });
        default_resources(&mut spec);
        assert_eq!(spec["resources"]["requests"], json!({"cpu": "2", "memory": "1Gi"}));
    }

    #[test]
    fn containers_may_not_exceed_their_pod() {
        let spec = json!({
            "resources": {"requests": {"cpu": "1"}},
            "containers": [{"resources": {"requests": {"cpu": "2"}}}],
        });
        let mut errors = Errors::new();
        let spec = View::at(&spec, proto::field::Path::new("spec"));
        validate(&spec, &[], &mut errors);
        assert_eq!(
            errors[0].to_string(),
            "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2"
        );
    }
}
