//! Whether a pod that was bound to this node can run on it.
//!
//! The scheduler decided by what it knew; the node checks again, because two pods may have been bound at
//! once, by different schedulers or by hand.

use crate::api::{Pod, PodView};
use crate::config::KubeletConfiguration;
use crate::node::info::Facts;
use crate::resources;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why it can't.
#[derive(Debug, PartialEq)]
pub struct Rejection {
    /// In a word.
    pub reason: String,
    /// At length.
    pub message: String,
}

fn reject<T>(reason: impl Into<String>, message: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection { reason: reason.into(), message: message.into() })
}

fn predicate<T>(name: &str, what: &str) -> Result<T, Rejection> {
    reject(name, format!("Predicate {name} failed: {what}"))
}

/// Decides. `others` are the pods already taken.
pub fn admit(
    pod: &Pod,
    others: &[Arc<Pod>],
    facts: &Facts,
    config: &KubeletConfiguration,
) -> Result<(), Rejection> {
    sysctls(pod, &config.allowed_unsafe_sysctls)?;
    if let Some(os) = pod.spec().os.as_ref().filter(|os| os.name != "linux") {
        let _ = os;
        return reject("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
    }
    fits(pod, others, facts)?;
    if !matches_node(pod, &facts.labels, &facts.node) {
        return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    ports(pod, others)?;
    if !pod.is_static()
        && has_untolerated(&facts.taints, pod.spec().tolerations.as_deref().unwrap_or_default())
    {
        return predicate("TaintToleration", "node(s) had untolerated taint(s)");
    }
    Ok(())
}

fn fits(pod: &Pod, others: &[Arc<Pod>], facts: &Facts) -> Result<(), Rejection> {
    let short = |resource: &str, requested: i64, used: i64, capacity: i64| {
        let text = format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        reject(format!("OutOf{resource}"), text)
    };
    let pods = resources::value(&facts.allocatable, "pods");
    let count = others.len() as i64;
    if pods > 0 && count + 1 > pods {
        return short("pods", 1, count, pods);
    }
    let requests = resources::pod_requests(pod);
    let amount = |list: &resources::List, name: &str| {
        if name == "cpu" { resources::milli(list, name) } else { resources::value(list, name) }
    };
    for (name, quantity) in &requests {
        let extended = name.contains('/');
        // An extended resource nobody on this node offers is checked by who offers it.
        if quantity.is_zero() || (extended && !facts.allocatable.contains_key(name)) {
            continue;
        }
        let used: i64 = others.iter().map(|p| amount(&resources::pod_requests(p), name)).sum();
        let (requested, capacity) = (amount(&requests, name), amount(&facts.allocatable, name));
        if requested > capacity.saturating_sub(used) {
            return short(name, requested, used, capacity);
        }
    }
    Ok(())
}

fn ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Rejection> {
    let taken: Vec<_> = others.iter().flat_map(|p| host_ports(p)).collect();
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    for (ip, protocol, port) in host_ports(pod) {
        let clash = |(other, p, n): &(String, String, i32)| {
            *n == port && *p == protocol && (any(other) || any(&ip) || *other == ip)
        };
        if taken.iter().any(clash) {
            return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports");
        }
    }
    Ok(())
}

fn host_ports(pod: &Pod) -> Vec<(String, String, i32)> {
    let ports = pod.containers().iter().flat_map(|c| c.ports.iter().flatten());
    let held = ports.filter_map(|p| {
        let port = p.host_port.filter(|n| *n > 0)?;
        Some((
            p.host_ip.clone().unwrap_or_default(),
            p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port,
        ))
    });
    held.collect()
}

/// Kernel settings a pod may make, as they end with its namespaces and harm nobody else.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod, allowed: &[String]) -> Result<(), Rejection> {
    let wanted = pod.spec().security_context.as_ref().and_then(|s| s.sysctls.as_deref()).unwrap_or_default();
    for sysctl in wanted {
        let name = sysctl.name.replace('/', ".");
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        let ok =
            SAFE_SYSCTLS.contains(&name.as_str()) || allowed.iter().any(|p| matches(&p.replace('/', ".")));
        if !ok {
            return reject("SysctlForbidden", format!("forbidden sysctl: {:?} not allowlisted", sysctl.name));
        }
        let (net, ipc) = (name.starts_with("net."), is_ipc(&name));
        if net && pod.host_network() {
            return reject(
                "SysctlForbidden",
                format!("forbidden sysctl: {:?} not allowed with host net enabled", sysctl.name),
            );
        }
        if ipc && pod.spec().host_ipc == Some(true) {
            return reject(
                "SysctlForbidden",
                format!("forbidden sysctl: {:?} not allowed with host ipc enabled", sysctl.name),
            );
        }
    }
    Ok(())
}

fn is_ipc(name: &str) -> bool {
    name == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the node is one the pod's selector and required affinity name.
pub fn matches_node(pod: &Pod, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let selector = pod.spec().node_selector.iter().flatten();
    if !selector.into_iter().all(|(k, v)| labels.get(k) == Some(v)) {
        return false;
    }
    let affinity = pod.spec().affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let Some(required) =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
    else {
        return true;
    };
    required.node_selector_terms.iter().any(|term| matches_term(term, labels, name))
}

fn matches_term(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // An empty term matches nothing.
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|r| holds(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| r.key == "metadata.name" && holds(r, Some(name)))
}

fn holds(r: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = r.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|v| values.iter().any(|w| w == v));
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match r.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => matches!((number(value), bound), (Some(a), Some(b)) if a > b),
        "Lt" => matches!((number(value), bound), (Some(a), Some(b)) if a < b),
        _ => false,
    }
}

/// Whether some taint would evict the pod as soon as it ran.
fn has_untolerated(taints: &[Taint], tolerations: &[Toleration]) -> bool {
    let evicting = taints.iter().filter(|t| t.effect == "NoExecute");
    evicting.into_iter().any(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => text(&toleration.value) == text(&taint.value),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::quantity::Quantity;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap()
    }

    fn facts() -> Facts {
        let q = |s: &str| Quantity::parse(s).unwrap();
        Facts {
            node: "n1".into(),
            allocatable: [("cpu".into(), q("2")), ("memory".into(), q("1Gi")), ("pods".into(), q("3"))]
                .into(),
            labels: [("zone".to_string(), "a".to_string())].into(),
            ..Facts::default()
        }
    }

    fn check(spec: Value, others: &[Arc<Pod>]) -> Result<(), Rejection> {
        admit(&pod(spec), others, &facts(), &KubeletConfiguration::default())
    }

    fn cpu(n: &str) -> Value {
        json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": n } } }] })
    }

    #[test]
    fn too_much_is_out_of() {
        let other = Arc::new(pod(cpu("1500m")));
        assert_eq!(check(cpu("500m"), std::slice::from_ref(&other)), Ok(()));
        let r = check(cpu("501m"), &[other]).unwrap_err();
        assert_eq!(r.reason, "OutOfcpu");
        assert_eq!(
            r.message,
            "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"
        );
    }

    #[test]
    fn selectors_ports_and_sysctls() {
        let c = json!([{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80 }] }]);
        let other = Arc::new(pod(json!({ "containers": c })));
        assert_eq!(check(json!({ "containers": c }), &[other]).unwrap_err().reason, "NodePorts");
        let wrong = json!({ "containers": [], "nodeSelector": { "zone": "b" } });
        assert_eq!(check(wrong, &[]).unwrap_err().reason, "NodeAffinity");
        let sysctl = |n: &str| json!({ "containers": [], "securityContext": { "sysctls": [{ "name": n, "value": "1" }] } });
        assert_eq!(check(sysctl("net/ipv4/tcp_syncookies"), &[]), Ok(()));
        assert_eq!(check(sysctl("kernel.msgmax"), &[]).unwrap_err().reason, "SysctlForbidden");
    }
}
