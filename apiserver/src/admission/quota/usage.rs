//! What one object uses of the resources that quotas count.

use proto::quantity::{Format, Quantity};
use serde_json::Value;

use super::super::resources::{Amounts, amounts, of_pod};
use super::super::step::{items, text};

const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
/// Kinds with a name of their own in quotas, besides `count/…`.
const LEGACY_COUNTS: &[&str] = &["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// Compute resources that have a `requests.` and a `limits.` form.
const COMPUTE: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// The usage of an object of this group and resource.
pub(super) fn of_object(group: &str, resource: &str, object: &Value, now: i64) -> Amounts {
    let mut usage = Amounts::from([(count_name(group, resource), count(1))]);
    match (group, resource) {
        ("", "pods") if is_charged(object, now) => add_pod(object, &mut usage),
        ("", "services") => add_service(object, &mut usage),
        ("", "persistentvolumeclaims") => add_claim(object, &mut usage),
        ("", resource) if LEGACY_COUNTS.contains(&resource) => {
            usage.insert(resource.to_owned(), count(1));
        }
        _ => {}
    }
    usage
}

fn count(value: i64) -> Quantity {
    Quantity::new(value, Format::DecimalSi)
}

fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

/// Pods that have ended, or should have been gone by now, use no resources.
fn is_charged(pod: &Value, now: i64) -> bool {
    if matches!(text(&pod["status"]["phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let metadata = &pod["metadata"];
    let deletion =
        metadata["deletionTimestamp"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    match (deletion, metadata["deletionGracePeriodSeconds"].as_i64()) {
        (Some(deletion), Some(grace)) => now <= deletion.as_second() + grace,
        _ => true,
    }
}

fn add_pod(pod: &Value, usage: &mut Amounts) {
    usage.extend(compute(&of_pod(pod, "requests"), &of_pod(pod, "limits")));
}

/// Requests and limits under the names that quotas have for them.
pub(super) fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), count(1))]);
    for (name, amount) in requests {
        let prefixed = format!("requests.{name}");
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount.clone());
            usage.insert(prefixed, amount.clone());
        } else if name.contains('/') {
            usage.insert(prefixed, amount.clone());
        }
    }
    for (name, amount) in limits {
        if COMPUTE.contains(&name.as_str()) {
            usage.insert(format!("limits.{name}"), amount.clone());
        }
    }
    usage
}

fn add_service(service: &Value, usage: &mut Amounts) {
    let spec = &service["spec"];
    let ports = items(&spec["ports"]);
    let with_node_port =
        || ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|p| p != 0)).count();
    // Ports aren't allocated yet: what counts is what will be.
    let (balancers, node_ports) = match text(&spec["type"]) {
        "NodePort" => (0, ports.len()),
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => (1, with_node_port()),
        "LoadBalancer" => (1, ports.len()),
        _ => (0, 0),
    };
    usage.insert("services".to_owned(), count(1));
    usage.insert("services.loadbalancers".to_owned(), count(balancers));
    usage.insert("services.nodeports".to_owned(), count(i64::try_from(node_ports).unwrap_or(i64::MAX)));
}

fn add_claim(claim: &Value, usage: &mut Amounts) {
    let annotation = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let class = annotation.as_str().unwrap_or_else(|| text(&claim["spec"]["storageClassName"]));
    let storage = amounts(&claim["spec"]["resources"]["requests"]).remove("storage");
    let charged = [("persistentvolumeclaims", Some(count(1))), ("requests.storage", storage)];
    for (name, amount) in charged {
        let Some(amount) = amount else { continue };
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS_SUFFIX}{name}"), amount.clone());
        }
        usage.insert(name.to_owned(), amount);
    }
}

/// Whether a quota's resource is one that objects of this kind use.
pub(super) fn counts(group: &str, resource: &str, name: &str) -> bool {
    if name == count_name(group, resource) {
        return true;
    }
    match (group, resource) {
        ("", "pods") => is_pod_resource(name),
        ("", "services") => matches!(name, "services" | "services.loadbalancers" | "services.nodeports"),
        ("", "persistentvolumeclaims") => {
            let name = name.split_once(CLASS_SUFFIX).map_or(name, |(_, name)| name);
            matches!(name, "persistentvolumeclaims" | "requests.storage")
        }
        ("", resource) => LEGACY_COUNTS.contains(&resource) && name == resource,
        _ => false,
    }
}

fn is_pod_resource(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let is_extended = name.starts_with("requests.") && bare.contains('/');
    name == "pods"
        || COMPUTE.contains(&bare)
        || (bare.starts_with("hugepages-") && !name.starts_with("limits."))
        || is_extended
}

#[cfg(test)]
mod tests {
    use super::super::super::resources::display;
    use super::*;
    use serde_json::json;

    #[test]
    fn usages() {
        let resources = json!({ "requests": { "cpu": "1", "acme.com/gpu": "2", "hugepages-2Mi": "4Mi" }, "limits": { "cpu": "2" } });
        for (group, resource, object, expected) in [
            ("", "configmaps", json!({}), "configmaps=1,count/configmaps=1"),
            ("apps", "deployments", json!({}), "count/deployments.apps=1"),
            (
                "",
                "pods",
                json!({ "spec": { "containers": [{ "resources": resources }] } }),
                "count/pods=1,cpu=1,hugepages-2Mi=4Mi,limits.cpu=2,pods=1,requests.acme.com/gpu=2,requests.cpu=1,requests.hugepages-2Mi=4Mi",
            ),
            ("", "pods", json!({ "status": { "phase": "Failed" } }), "count/pods=1"),
            (
                "",
                "services",
                json!({ "spec": { "type": "LoadBalancer", "ports": [{}, {}] } }),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
            ),
            (
                "",
                "persistentvolumeclaims",
                json!({ "spec": { "storageClassName": "fast", "resources": { "requests": { "storage": "1Gi" } } } }),
                "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
            ),
        ] {
            let usage = of_object(group, resource, &object, 0);
            assert_eq!(display(&usage), expected);
            assert!(usage.keys().all(|name| counts(group, resource, name)), "{resource}");
        }
        assert!(!counts("", "pods", "services"));
        assert!(!counts("", "pods", "requests.storage"));
    }
}
