//! Requests and limits of containers and pods.

use crate::api::{ApiQuantity, Container, Pod, PodView, is_sidecar};
use proto::quantity::{Format, Quantity};
use std::collections::BTreeMap;

/// Quantities by resource name.
pub type List = BTreeMap<String, Quantity>;

type ApiList = BTreeMap<String, ApiQuantity>;

/// The quality-of-service class, which decides who suffers first when memory runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has equal requests and limits for CPU and memory.
    Guaranteed,
    /// Some have some.
    Burstable,
    /// None has any.
    BestEffort,
}

impl Qos {
    /// The word in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Parses a list; what doesn't parse is left out (the API server accepts none such).
pub fn parse(list: Option<&ApiList>) -> List {
    let entries = list.into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), Quantity::parse(&v.0).ok()?))).collect()
}

/// Prints a list for the API.
pub fn print(list: &List) -> ApiList {
    list.iter().map(|(k, v)| (k.clone(), ApiQuantity(v.to_string()))).collect()
}

/// What a container asks for.
pub fn requests(c: &Container) -> List {
    parse(c.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

/// What a container may use.
pub fn limits(c: &Container) -> List {
    parse(c.resources.as_ref().and_then(|r| r.limits.as_ref()))
}

/// One resource in thousandths; zero if absent.
pub fn milli(list: &List, name: &str) -> i64 {
    list.get(name).map_or(0, Quantity::milli_value)
}

/// One resource in units; zero if absent.
pub fn value(list: &List, name: &str) -> i64 {
    list.get(name).map_or(0, Quantity::value)
}

/// What the whole pod asks for: the most that is needed at any one time.
pub fn pod_requests(pod: &Pod) -> List {
    let mut total = aggregate(pod, requests);
    override_with(&mut total, pod_level(pod, true));
    add_overhead(pod, &mut total, true);
    total
}

/// What the whole pod may use.
pub fn pod_limits(pod: &Pod) -> List {
    let mut total = aggregate(pod, limits);
    override_with(&mut total, pod_level(pod, false));
    add_overhead(pod, &mut total, false);
    total
}

/// Regular containers run together; each init container runs with the sidecars before it.
fn aggregate(pod: &Pod, of: fn(&Container) -> List) -> List {
    let mut total = List::new();
    for c in pod.containers() {
        add(&mut total, &of(c));
    }
    let (mut sidecars, mut init) = (List::new(), List::new());
    for c in pod.init_containers() {
        let mut here = of(c);
        if is_sidecar(c) {
            add(&mut total, &here);
            add(&mut sidecars, &here);
            here = sidecars.clone();
        } else {
            add(&mut here, &sidecars);
        }
        maximize(&mut init, here);
    }
    maximize(&mut total, init);
    total
}

/// Resources stated for the pod as a whole, of the kinds that may be.
fn pod_level(pod: &Pod, requests: bool) -> List {
    let Some(resources) = &pod.spec().resources else { return List::new() };
    let list = if requests { &resources.requests } else { &resources.limits };
    let mut list = parse(list.as_ref());
    list.retain(|name, _| name == "cpu" || name == "memory" || name.starts_with("hugepages-"));
    list
}

/// Whether the pod states resources for itself as a whole.
pub fn has_pod_level(pod: &Pod) -> bool {
    !pod_level(pod, true).is_empty() || !pod_level(pod, false).is_empty()
}

/// Limits of the pod as a whole, for containers that have none of their own.
pub fn pod_level_limits(pod: &Pod) -> List {
    pod_level(pod, false)
}

fn override_with(total: &mut List, over: List) {
    total.extend(over);
}

fn add_overhead(pod: &Pod, total: &mut List, all: bool) {
    for (name, quantity) in parse(pod.spec().overhead.as_ref()) {
        // A limit that nobody set must not come into being by the overhead alone.
        match total.get_mut(&name) {
            Some(sum) => sum.add(&quantity),
            None if all => {
                total.insert(name, quantity);
            }
            None => {}
        }
    }
}

/// Adds one list to another.
pub fn add(total: &mut List, other: &List) {
    for (name, quantity) in other {
        match total.get_mut(name) {
            Some(sum) => sum.add(quantity),
            None => {
                total.insert(name.clone(), quantity.clone());
            }
        }
    }
}

fn maximize(total: &mut List, other: List) {
    for (name, quantity) in other {
        match total.get(&name) {
            Some(present) if *present >= quantity => {}
            _ => {
                total.insert(name, quantity);
            }
        }
    }
}

/// The class of a pod: kept from its status if it has one, as it can't change.
pub fn qos(pod: &Pod) -> Qos {
    match pod.status().qos_class.as_deref() {
        Some("Guaranteed") => Qos::Guaranteed,
        Some("Burstable") => Qos::Burstable,
        Some("BestEffort") => Qos::BestEffort,
        _ => compute_qos(pod),
    }
}

/// The class that follows from the spec.
pub fn compute_qos(pod: &Pod) -> Qos {
    if has_pod_level(pod) {
        return class(&pod_level(pod, true), &pod_level(pod, false), true);
    }
    let (mut total_requests, mut total_limits) = (List::new(), List::new());
    let mut all_limited = true;
    for c in pod.containers().iter().chain(pod.init_containers()) {
        let (requests, limits) = (compute(requests(c)), compute(limits(c)));
        all_limited &= limits.len() == 2;
        add(&mut total_requests, &requests);
        add(&mut total_limits, &limits);
    }
    class(&total_requests, &total_limits, all_limited)
}

/// CPU and memory, if above zero: the resources the class depends on.
fn compute(mut list: List) -> List {
    list.retain(|name, q| matches!(name.as_str(), "cpu" | "memory") && q.sign() > 0);
    list
}

fn class(requests: &List, limits: &List, all_limited: bool) -> Qos {
    let (requests, limits) = (compute(requests.clone()), compute(limits.clone()));
    if requests.is_empty() && limits.is_empty() {
        return Qos::BestEffort;
    }
    let equal = requests.iter().all(|(name, q)| limits.get(name) == Some(q));
    if all_limited && limits.len() == 2 && equal && requests.len() == limits.len() {
        return Qos::Guaranteed;
    }
    Qos::Burstable
}

/// How ready the kernel is to kill a container when memory runs out.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i64 {
    const GUARANTEED: i64 = -997;
    const BEST_EFFORT: i64 = 1000;
    const NODE_CRITICAL: i32 = 2_000_001_000;
    if pod.spec().priority.is_some_and(|p| p >= NODE_CRITICAL) {
        return GUARANTEED;
    }
    match qos(pod) {
        Qos::Guaranteed => return GUARANTEED,
        Qos::BestEffort => return BEST_EFFORT,
        Qos::Burstable => {}
    }
    if node_memory <= 0 {
        return BEST_EFFORT - 1;
    }
    let spare = spare_pod_memory(pod);
    let score = |memory: i64| 1000 - 1000 * (memory + spare) / node_memory;
    let mut adj = score(value(&requests(container), "memory"));
    let sidecar = pod.init_containers().iter().any(|c| c.name == container.name && is_sidecar(c));
    if sidecar {
        // A sidecar isn't killed before the containers it serves.
        let least = pod.containers().iter().map(|c| value(&requests(c), "memory")).min().unwrap_or(0);
        adj = adj.min(score(least));
    }
    adj.clamp(1000 + GUARANTEED, BEST_EFFORT - 1)
}

/// What the pod as a whole requests beyond its containers, shared among them.
fn spare_pod_memory(pod: &Pod) -> i64 {
    let Some(whole) = pod_level(pod, true).get("memory").map(Quantity::value) else { return 0 };
    let sidecars = pod.init_containers().iter().filter(|c| is_sidecar(c));
    let all: Vec<_> = pod.containers().iter().chain(sidecars).collect();
    let asked: i64 = all.iter().map(|c| value(&requests(c), "memory")).sum();
    (whole - asked).max(0) / (all.len().max(1) as i64)
}

/// A plain number as a quantity.
pub fn quantity(value: i64, format: Format) -> Quantity {
    Quantity::new(value, format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": {"name": "p"}, "spec": spec })).unwrap()
    }

    fn c(requests: Value, limits: Value) -> Value {
        json!({ "name": "c", "resources": { "requests": requests, "limits": limits } })
    }

    #[test]
    fn classes() {
        let both = json!({ "cpu": "1", "memory": "1Gi" });
        let cases = [
            (json!({ "containers": [c(both.clone(), both.clone())] }), Qos::Guaranteed),
            (json!({ "containers": [c(json!({}), json!({}))] }), Qos::BestEffort),
            (json!({ "containers": [c(json!({ "cpu": "1" }), json!({}))] }), Qos::Burstable),
            (
                json!({ "containers": [c(both.clone(), both.clone()), c(json!({}), json!({}))] }),
                Qos::Burstable,
            ),
            (json!({ "containers": [c(json!({ "ephemeral-storage": "1" }), json!({}))] }), Qos::BestEffort),
            (
                json!({ "containers": [c(json!({}), json!({}))], "resources": { "requests": both, "limits": both } }),
                Qos::Guaranteed,
            ),
        ];
        for (spec, want) in cases {
            assert_eq!(compute_qos(&pod(spec.clone())), want, "{spec}");
        }
    }

    #[test]
    fn init_containers_raise_a_pods_requests_only_if_they_need_more() {
        let mut sidecar = c(json!({ "cpu": "1" }), json!({}));
        sidecar["restartPolicy"] = "Always".into();
        let spec = json!({
            "initContainers": [sidecar, c(json!({ "cpu": "3" }), json!({}))],
            "containers": [c(json!({ "cpu": "500m" }), json!({}))],
        });
        assert_eq!(milli(&pod_requests(&pod(spec)), "cpu"), 4000);
    }

    #[test]
    fn oom_scores() {
        let guaranteed = json!({ "cpu": "1", "memory": "1Gi" });
        let p = pod(json!({ "containers": [c(guaranteed.clone(), guaranteed)] }));
        assert_eq!(oom_score_adj(&p, &p.containers()[0], 8 << 30), -997);
        let p = pod(json!({ "containers": [c(json!({ "memory": "4Gi" }), json!({}))] }));
        assert_eq!(oom_score_adj(&p, &p.containers()[0], 8 << 30), 500);
        let p = pod(json!({ "containers": [c(json!({ "cpu": "1" }), json!({}))] }));
        assert_eq!(oom_score_adj(&p, &p.containers()[0], 8 << 30), 999);
        let p = pod(json!({ "containers": [c(json!({}), json!({}))] }));
        assert_eq!(oom_score_adj(&p, &p.containers()[0], 8 << 30), 1000);
    }
}
