//! Fields of the pod shown to its containers, as variables or files.

use crate::api::{Container, Pod, PodView};
use crate::resources::{self, List};
use k8s_openapi::api::core::v1::{ObjectFieldSelector, ResourceFieldSelector};
use proto::quantity::Quantity;
use std::collections::BTreeMap;

/// What a field may refer to besides the pod.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The node's addresses, the main one first.
    pub host_ips: Vec<String>,
    /// The pod's addresses, the main one first.
    pub pod_ips: Vec<String>,
    /// What the node can give: the limit of those who have none.
    pub allocatable: List,
}

/// Older versions of the API called some fields otherwise.
fn modern(path: &str) -> &str {
    match path {
        "spec.host" => "spec.nodeName",
        other => other,
    }
}

/// The value of a field.
pub fn field(selector: &ObjectFieldSelector, pod: &Pod, around: &Surroundings) -> Result<String, String> {
    let path = modern(&selector.field_path);
    Ok(match path {
        "spec.nodeName" => pod.spec().node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => pod.spec().service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => around.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => around.host_ips.join(","),
        "status.podIP" => around.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => around.pod_ips.join(","),
        _ => return metadata(path, pod),
    })
}

/// The value of a field that stays the same for as long as the pod isn't edited.
pub fn metadata(path: &str, pod: &Pod) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((list, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match list {
            "metadata.annotations" => &meta.annotations,
            "metadata.labels" => &meta.labels,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.annotations" => print_map(meta.annotations.as_ref()),
        "metadata.labels" => print_map(meta.labels.as_ref()),
        "metadata.name" => pod.name().into(),
        "metadata.namespace" => pod.namespace().into(),
        "metadata.uid" => pod.uid().into(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

fn print_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
    lines.join("\n")
}

/// The value of a resource field of `container`, or of the one the selector names.
pub fn resource(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    container: Option<&Container>,
    around: &Surroundings,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().unwrap_or_default();
    let container = if name.is_empty() {
        container.ok_or("containerName is required")?
    } else {
        let mut all = pod.containers().iter().chain(pod.init_containers());
        all.find(|c| c.name == name).ok_or_else(|| format!("container {name} not found"))?
    };
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (kind, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let plain = matches!(resource, "cpu" | "memory" | "ephemeral-storage");
    if !plain && !resource.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let list = match kind {
        "requests" => resources::requests(container),
        "limits" => limits_or_node(container, pod, &around.allocatable, plain),
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().and_then(|d| Quantity::parse(&d.0).ok());
    let divisor = divisor.filter(|d| !d.is_zero());
    let (amount, unit) = if resource == "cpu" {
        (resources::milli(&list, resource), divisor.map_or(1000, |d| d.milli_value()))
    } else {
        (resources::value(&list, resource), divisor.map_or(1, |d| d.value()))
    };
    let unit = unit.max(1);
    Ok((amount / unit + i64::from(amount % unit > 0)).to_string())
}

fn limits_or_node(container: &Container, pod: &Pod, allocatable: &List, plain: bool) -> List {
    let mut limits = resources::limits(container);
    if plain {
        let whole = resources::pod_level_limits(pod);
        for (name, quantity) in whole.iter().chain(allocatable) {
            if limits.get(name).is_none_or(Quantity::is_zero) {
                limits.insert(name.clone(), quantity.clone());
            }
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_resources() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "labels": { "a": "x \"y\"", "b": "2" } },
            "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1500m", "memory": "1Gi" } } }] },
        }))
        .unwrap();
        assert_eq!(metadata("metadata.labels", &pod).unwrap(), "a=\"x \\\"y\\\"\"\nb=\"2\"");
        assert_eq!(metadata("metadata.labels['b']", &pod).unwrap(), "2");
        assert!(metadata("metadata.foo", &pod).is_err());
        let around = Surroundings {
            allocatable: [("cpu".to_string(), Quantity::parse("4").unwrap())].into(),
            ..Default::default()
        };
        let get = |resource: &str, divisor: &str| {
            let selector: ResourceFieldSelector = serde_json::from_value(
                json!({ "resource": resource, "divisor": divisor, "containerName": "c" }),
            )
            .unwrap();
            super::resource(&selector, &pod, None, &around).unwrap()
        };
        assert_eq!(get("requests.cpu", "0"), "2");
        assert_eq!(get("requests.cpu", "1m"), "1500");
        assert_eq!(get("requests.memory", "1Mi"), "1024");
        assert_eq!(get("limits.cpu", "1"), "4");
    }
}
