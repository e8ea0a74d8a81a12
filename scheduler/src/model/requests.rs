//! What a pod asks of a node: the arithmetic of containers, sidecars, init containers, pod-level
//! resources, overhead and resizes in progress.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use proto::quantity::{Format, Quantity};

use super::wire::{Container, ContainerStatus, PodObject, Resources};

/// A resource's column in the cluster's tables.
pub type ResourceId = usize;

/// Milli-CPU.
pub const CPU: ResourceId = 0;
/// Bytes of memory.
pub const MEMORY: ResourceId = 1;
/// Bytes of local disk.
pub const EPHEMERAL_STORAGE: ResourceId = 2;

/// What a container without a CPU request counts for when nodes are scored.
const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a memory request counts for when nodes are scored.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Names of the columns after the three built in. Resource names are few and never go away.
static NAMES: RwLock<Vec<Box<str>>> = RwLock::new(Vec::new());
const BUILT_IN: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// The column of a resource.
pub fn resource_id(name: &str) -> ResourceId {
    if let Some(id) = BUILT_IN.iter().position(|n| *n == name) {
        return id;
    }
    let find = |names: &[Box<str>]| names.iter().position(|n| **n == *name).map(|i| i + BUILT_IN.len());
    if let Some(id) = find(&NAMES.read()) {
        return id;
    }
    let mut names = NAMES.write();
    find(&names).unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1 + BUILT_IN.len()
    })
}

/// The name of a column.
pub fn resource_name(id: ResourceId) -> String {
    match BUILT_IN.get(id) {
        Some(name) => (*name).to_owned(),
        None => NAMES.read().get(id - BUILT_IN.len()).map(|n| n.to_string()).unwrap_or_default(),
    }
}

/// Extended, huge page, attachable volume and prefixed native resources are counted; other names are not.
pub(super) fn is_counted(name: &str) -> bool {
    BUILT_IN.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
        || (name.contains('/') && !name.starts_with("requests."))
}

/// An amount in a column's unit.
pub(super) fn amount(id: ResourceId, quantity: &Quantity) -> i64 {
    if id == CPU { quantity.milli_value() } else { quantity.value() }
}

/// What one pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// Amounts by column, in the order of the columns; zeros are left out.
    pub amounts: Vec<(ResourceId, i64)>,
    /// Milli-CPU, counting containers that ask for none at a default.
    pub scoring_cpu: i64,
    /// Bytes of memory, likewise.
    pub scoring_memory: i64,
}

impl Requests {
    /// The amount of one resource.
    pub fn get(&self, id: ResourceId) -> i64 {
        self.amounts.iter().find(|(i, _)| *i == id).map_or(0, |(_, n)| *n)
    }

    /// Does any amount shrink (or vanish) in `new`?
    pub fn shrinks_to(&self, new: &Requests) -> bool {
        self.amounts.iter().any(|(id, n)| new.get(*id) < *n)
    }

    pub(super) fn of(pod: &PodObject) -> Self {
        let plain = total(pod, false);
        let scoring = total(pod, true);
        let amounts = plain.iter().filter(|(name, quantity)| is_counted(name) && !quantity.is_zero()).map(
            |(name, quantity)| {
                let id = resource_id(name);
                (id, amount(id, quantity))
            },
        );
        let mut amounts: Vec<_> = amounts.collect();
        amounts.sort_unstable();
        let scoring_amount = |id: ResourceId| scoring.get(BUILT_IN[id]).map_or(0, |q| amount(id, q));
        Requests { amounts, scoring_cpu: scoring_amount(CPU), scoring_memory: scoring_amount(MEMORY) }
    }
}

/// The pod's total; with `defaults`, a container without a CPU or memory request counts at a default.
fn total(pod: &PodObject, defaults: bool) -> Resources {
    let mut sum = containers(pod, defaults);
    let pod_level = pod.spec.resources.as_ref().map(|r| &r.requests);
    if let Some(requests) = pod_level {
        let effective = pod
            .status
            .resources
            .as_ref()
            .map(|actual| effective(pod, requests, &actual.requests, &pod.status.allocated_resources));
        for (name, quantity) in requests {
            if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
                let quantity = effective.as_ref().and_then(|e| e.get(name)).unwrap_or(quantity);
                sum.insert(name.clone(), quantity.clone());
            }
        }
    }
    add(&mut sum, &pod.spec.overhead);
    sum
}

/// Containers run together; init containers one after the other, each beside the sidecars started before it.
fn containers(pod: &PodObject, defaults: bool) -> Resources {
    let mut sum = Resources::new();
    for container in &pod.spec.containers {
        add(&mut sum, &container_requests(pod, container, &pod.status.container_statuses, true, defaults));
    }
    let (mut sidecars, mut peak) = (Resources::new(), Resources::new());
    for container in &pod.spec.init_containers {
        let sidecar = container.restart_policy == "Always";
        let statuses = &pod.status.init_container_statuses;
        let mut requests = container_requests(pod, container, statuses, sidecar, defaults);
        if sidecar {
            add(&mut sum, &requests);
            add(&mut sidecars, &requests);
            requests = sidecars.clone();
        } else {
            add(&mut requests, &sidecars);
        }
        raise(&mut peak, &requests);
    }
    raise(&mut sum, &peak);
    sum
}

fn container_requests(
    pod: &PodObject,
    container: &Container,
    statuses: &[ContainerStatus],
    resizable: bool,
    defaults: bool,
) -> Resources {
    let status = statuses.iter().find(|s| resizable && s.name == container.name);
    let mut requests = match status.and_then(|s| Some((s, s.resources.as_ref()?))) {
        Some((s, actual)) => {
            effective(pod, &container.resources.requests, &actual.requests, &s.allocated_resources)
        }
        None => container.resources.requests.clone(),
    };
    if defaults {
        for (name, value) in [
            ("cpu", Quantity::from_milli(DEFAULT_MILLI_CPU, Format::DecimalSi)),
            ("memory", Quantity::new(DEFAULT_MEMORY, Format::DecimalSi)),
        ] {
            requests.entry(name.to_owned()).or_insert(value);
        }
    }
    requests
}

/// While a resize is under way the node must hold whichever of the states is largest. A resize that can
/// never happen does not count.
fn effective(pod: &PodObject, spec: &Resources, actual: &Resources, allocated: &Resources) -> Resources {
    let resize = pod.status.conditions.iter().find(|c| c.kind == "PodResizePending");
    let infeasible = resize.is_some_and(|c| c.reason == "Infeasible");
    let mut result = if infeasible { BTreeMap::new() } else { spec.clone() };
    raise(&mut result, actual);
    raise(&mut result, allocated);
    result
}

fn add(sum: &mut Resources, more: &Resources) {
    for (name, quantity) in more {
        sum.entry(name.clone()).or_default().add(quantity);
    }
}

fn raise(peak: &mut Resources, other: &Resources) {
    for (name, quantity) in other {
        let entry = peak.entry(name.clone()).or_default();
        if quantity > entry {
            *entry = quantity.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn requests(spec: serde_json::Value, status: serde_json::Value) -> Requests {
        let pod = json!({"spec": spec, "status": status});
        Requests::of(&serde_json::from_value(pod).unwrap())
    }

    fn cpu(amount: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": amount}}})
    }

    #[test]
    fn init_containers_run_beside_earlier_sidecars() {
        let mut sidecar = cpu("200m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [cpu("100m")], "initContainers": [sidecar, cpu("300m")]});
        // 300m + the sidecar's 200m outweighs 100m + 200m.
        assert_eq!(requests(spec, json!({})).get(CPU), 500);
    }

    #[test]
    fn pod_level_requests_replace_the_sum_and_overhead_adds() {
        let spec = json!({
            "containers": [cpu("100m")], "resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "50m"},
        });
        assert_eq!(requests(spec, json!({})).get(CPU), 2050);
    }

    #[test]
    fn a_container_without_requests_scores_at_defaults() {
        let r = requests(json!({"containers": [{"name": "a"}, {"name": "b"}]}), json!({}));
        assert_eq!((r.get(CPU), r.scoring_cpu, r.scoring_memory), (0, 200, 400 * 1024 * 1024));
    }

    #[test]
    fn a_resize_in_progress_counts_the_larger_state() {
        let status = |reason: &str| {
            json!({
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                "containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
            })
        };
        let spec = json!({"containers": [cpu("3")]});
        assert_eq!(requests(spec.clone(), status("Deferred")).get(CPU), 3000);
        assert_eq!(requests(spec, status("Infeasible")).get(CPU), 1000);
    }
}
