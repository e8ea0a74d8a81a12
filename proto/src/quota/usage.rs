//! What one object uses of the resources that quotas count.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{items, text};
use crate::quantity::{Format, Quantity};
use crate::resources::{Amounts, amounts, of_pod_with_status};
use crate::reviews::is_review;

const DEVICE_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
/// The most devices that one claim can be given.
const MAX_DEVICES: i64 = 32;
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
/// Kinds with a name of their own in quotas, besides `count/…`.
const LEGACY_COUNTS: &[&str] = &["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// Compute resources that have a `requests.` and a `limits.` form.
const COMPUTE: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Kinds that no quota counts, besides reviews: they are not stored, or never were counted.
const IGNORED: &[(&str, &str)] =
    &[("", "bindings"), ("", "componentstatuses"), ("", "events"), ("events.k8s.io", "events")];

/// Whether quotas leave this kind alone.
pub fn is_ignored(group: &str, resource: &str) -> bool {
    is_review(group, resource) || IGNORED.contains(&(group, resource))
}

/// The usage of an object of this group and resource at `now`, in seconds of Unix time.
pub fn of_object(group: &str, resource: &str, object: &Value, now: i64) -> Amounts {
    let mut usage = Amounts::from([(count_name(group, resource), count(1))]);
    match (group, resource) {
        ("", "pods") if charged_until(object).is_none_or(|end| now <= end) => add_pod(object, &mut usage),
        ("", "services") => add_service(object, &mut usage),
        ("", "persistentvolumeclaims") => add_claim(object, &mut usage),
        ("resource.k8s.io", "resourceclaims") => add_devices(object, &mut usage),
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

/// The last second, of Unix time, in which a pod uses resources, if there is one: those of a pod that has ended, or should
/// have been gone by now, are free.
pub fn charged_until(pod: &Value) -> Option<i64> {
    if matches!(text(&pod["status"]["phase"]), "Failed" | "Succeeded") {
        return Some(i64::MIN);
    }
    let metadata = &pod["metadata"];
    let deletion = metadata["deletionTimestamp"].as_str()?.parse::<jiff::Timestamp>().ok()?;
    Some(deletion.as_second().saturating_add(metadata["deletionGracePeriodSeconds"].as_i64()?))
}

fn add_pod(pod: &Value, usage: &mut Amounts) {
    usage.extend(compute(&of_pod_with_status(pod, "requests"), &of_pod_with_status(pod, "limits")));
}

/// Requests and limits under the names that quotas have for them.
pub fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), count(1))]);
    for (name, amount) in requests {
        let prefixed = format!("requests.{name}");
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount.clone());
            usage.insert(prefixed, amount.clone());
        } else if is_extended(name) {
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
    let mut storage = amounts(&claim["spec"]["resources"]["requests"]).remove("storage");
    // A volume that was made larger, or is being, counts with what it has.
    if let Some(storage) = &mut storage {
        if let Some(more) = amounts(&claim["status"]["allocatedResources"]).remove("storage")
            && more > *storage
        {
            *storage = more;
        }
        storage.round_up(0);
    }
    let charged = [("persistentvolumeclaims", Some(count(1))), ("requests.storage", storage)];
    for (name, amount) in charged {
        let Some(amount) = amount else { continue };
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS_SUFFIX}{name}"), amount.clone());
        }
        usage.insert(name.to_owned(), amount);
    }
}

/// Devices by class: of alternatives, the most that one of them may take.
fn add_devices(claim: &Value, usage: &mut Amounts) {
    let devices = |request: &Value| match text(&request["allocationMode"]) {
        "ExactCount" => request["count"].as_i64().unwrap_or(0),
        "All" => MAX_DEVICES,
        _ => 0,
    };
    for request in items(&claim["spec"]["devices"]["requests"]) {
        let alternatives = items(&request["firstAvailable"]);
        let exactly = request["exactly"].is_object().then_some(&request["exactly"]);
        let mut most: BTreeMap<&str, i64> = BTreeMap::new();
        for choice in alternatives.iter().chain(exactly.filter(|_| alternatives.is_empty())) {
            let entry = most.entry(text(&choice["deviceClassName"])).or_default();
            *entry = devices(choice).max(*entry);
        }
        for (class, number) in most {
            let name = format!("{class}{DEVICE_SUFFIX}");
            usage.entry(name).or_insert_with(|| count(0)).add(&count(number));
        }
    }
}

/// Whether a quota's resource is one that objects of this kind use.
pub fn counts(group: &str, resource: &str, name: &str) -> bool {
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
        ("resource.k8s.io", "resourceclaims") => name.ends_with(DEVICE_SUFFIX),
        ("", resource) => LEGACY_COUNTS.contains(&resource) && name == resource,
        _ => false,
    }
}

/// A resource that Kubernetes itself knows nothing of, or a device class in the form of one.
fn is_extended(name: &str) -> bool {
    name.contains('/')
        && (!name.contains("kubernetes.io/") || name.starts_with("deviceclass.resource.kubernetes.io/"))
}

fn is_pod_resource(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    name == "pods"
        || COMPUTE.contains(&bare)
        || (bare.starts_with("hugepages-") && !name.starts_with("limits."))
        || (name.starts_with("requests.") && is_extended(bare))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::display;
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
            (
                "",
                "persistentvolumeclaims",
                json!({ "spec": { "resources": { "requests": { "storage": "1500m" } } },
                    "status": { "allocatedResources": { "storage": "5" } } }),
                "count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=5",
            ),
            (
                "resource.k8s.io",
                "resourceclaims",
                json!({ "spec": { "devices": { "requests": [
                    { "exactly": { "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2 } },
                    { "firstAvailable": [
                        { "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1 },
                        { "deviceClassName": "nic", "allocationMode": "All" }] }] } } }),
                "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=3,nic.deviceclass.resource.k8s.io/devices=32",
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
