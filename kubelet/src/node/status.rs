//! The Node object's status, computed from the machine, the runtime and what presses on them.

use crate::resources::{self, List};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proto::cri;
use serde_json::{Map, Value, json};

use super::machine::Machine;

/// What presses on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Memory runs out.
    pub memory: bool,
    /// A disk does.
    pub disk: bool,
    /// Process ids do.
    pub pids: bool,
}

/// What the status is made from.
pub struct Inputs<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// What the node has.
    pub capacity: &'a List,
    /// What pods may use.
    pub allocatable: &'a List,
    /// The addresses; none if a cloud's controller sets them.
    pub addresses: Option<Vec<(String, String)>>,
    /// Images, already sorted and cut.
    pub images: Vec<ContainerImage>,
    /// `containerd://1.7.24`
    pub runtime_version: String,
    /// The runtime's handlers.
    pub handlers: &'a [cri::RuntimeHandler],
    /// Whether the runtime keeps groups apart.
    pub supplemental_groups_policy: Option<bool>,
    /// The port of the kubelet's API.
    pub port: i32,
    /// Why the node isn't ready; empty if it is.
    pub not_ready: &'a [String],
    /// What presses on it.
    pub pressure: Pressure,
    /// The present.
    pub now: Time,
}

/// Features a pod may need that not every kubelet of this version has.
const DECLARED: &[&str] = &["RestartAllContainersOnContainerExits"];

/// The numbers a version begins with: `1.7.24` of `v1.7.24~ds1`.
pub fn plain_version(version: &str) -> &str {
    let bare = version.trim().trim_start_matches('v');
    let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
    bare.get(..end).unwrap_or(bare).trim_end_matches('.')
}

/// Computes the status from the one before.
pub fn generate(old: &NodeStatus, inputs: &Inputs<'_>) -> NodeStatus {
    let machine = inputs.machine;
    let mut status = old.clone();
    if let Some(addresses) = &inputs.addresses {
        let address =
            |(kind, value): &(String, String)| NodeAddress { type_: kind.clone(), address: value.clone() };
        status.addresses = Some(addresses.iter().map(address).collect());
    }
    status.capacity = Some(keep_foreign(old.capacity.as_ref(), inputs.capacity));
    status.allocatable = Some(keep_foreign(old.allocatable.as_ref(), inputs.allocatable));
    status.node_info = Some(NodeSystemInfo {
        architecture: component_base::version::arch().into(),
        boot_id: machine.boot_id.clone(),
        container_runtime_version: inputs.runtime_version.clone(),
        kernel_version: machine.kernel.clone(),
        kubelet_version: component_base::version::GIT_VERSION.into(),
        machine_id: machine.machine_id.clone(),
        operating_system: "linux".into(),
        os_image: machine.os_image.clone(),
        system_uuid: machine.system_uuid.clone(),
        swap: (machine.swap > 0).then_some(NodeSwapStatus { capacity: Some(machine.swap) }),
        ..NodeSystemInfo::default()
    });
    let kubelet_endpoint = DaemonEndpoint { port: inputs.port };
    status.daemon_endpoints = Some(NodeDaemonEndpoints { kubelet_endpoint: Some(kubelet_endpoint) });
    status.images = (!inputs.images.is_empty()).then(|| inputs.images.clone());
    status.features =
        inputs.supplemental_groups_policy.map(|on| NodeFeatures { supplemental_groups_policy: Some(on) });
    let handlers: Vec<_> = inputs.handlers.iter().map(handler).collect();
    status.runtime_handlers = (!handlers.is_empty()).then_some(handlers);
    status.conditions = Some(conditions(old, inputs));
    status.declared_features = Some(DECLARED.iter().map(|f| f.to_string()).collect());
    status
}

fn handler(h: &cri::RuntimeHandler) -> NodeRuntimeHandler {
    NodeRuntimeHandler {
        name: Some(h.name.clone()),
        features: h.features.as_ref().map(|f| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(f.recursive_read_only_mounts),
            user_namespaces: Some(f.user_namespaces),
        }),
    }
}

type ApiList = std::collections::BTreeMap<String, crate::api::ApiQuantity>;

/// Resources others advertise stay.
fn keep_foreign(old: Option<&ApiList>, own: &List) -> ApiList {
    let mut list: ApiList = old.cloned().unwrap_or_default();
    list.retain(|name, _| name.contains('/'));
    list.extend(resources::print(own));
    list
}

fn conditions(old: &NodeStatus, inputs: &Inputs<'_>) -> Vec<NodeCondition> {
    let p = inputs.pressure;
    let not_ready = match inputs.not_ready {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let ready = not_ready.is_empty();
    let pick = |on: bool, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        if on { yes } else { no }
    };
    let memory = pick(
        p.memory,
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk = pick(
        p.disk,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pids = pick(
        p.pids,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let readiness = if ready {
        ("KubeletReady", "kubelet is posting ready status".to_string())
    } else {
        ("KubeletNotReady", not_ready)
    };
    let list = [
        ("MemoryPressure", p.memory, memory.0, memory.1.to_string()),
        ("DiskPressure", p.disk, disk.0, disk.1.to_string()),
        ("PIDPressure", p.pids, pids.0, pids.1.to_string()),
        ("Ready", ready, readiness.0, readiness.1),
    ];
    let existing = old.conditions.clone().unwrap_or_default();
    let mut out: Vec<NodeCondition> =
        existing.iter().filter(|c| !list.iter().any(|l| l.0 == c.type_)).cloned().collect();
    for (kind, on, reason, message) in list {
        let status = if on { "True" } else { "False" };
        let before = existing.iter().find(|c| c.type_ == kind && c.status == status);
        out.push(NodeCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_heartbeat_time: Some(inputs.now.clone()),
            last_transition_time: before
                .and_then(|c| c.last_transition_time.clone())
                .or_else(|| Some(inputs.now.clone())),
        });
    }
    out
}

/// Whether two statuses differ in more than when they were taken.
pub fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let bare = |s: &NodeStatus| {
        let mut s = s.clone();
        for c in s.conditions.iter_mut().flatten() {
            c.last_heartbeat_time = None;
        }
        s.conditions.iter_mut().for_each(|list| list.sort_by(|a, b| a.type_.cmp(&b.type_)));
        s
    };
    bare(a) != bare(b)
}

/// The strategic merge patch from one status to another.
pub fn patch(old: &Node, new: &NodeStatus) -> Value {
    let of = |status: Option<&NodeStatus>| match status.map(serde_json::to_value) {
        Some(Ok(Value::Object(map))) => map,
        _ => Map::new(),
    };
    let (before, after) = (of(old.status.as_ref()), of(Some(new)));
    let mut status = Map::new();
    for (key, value) in &after {
        if before.get(key) == Some(value) {
            continue;
        }
        let mut value = value.clone();
        // Addresses merge by type in the schema, though a type may occur twice: replace them all.
        if key == "addresses"
            && let Some(list) = value.as_array_mut()
        {
            list.push(json!({ "$patch": "replace" }));
        }
        if matches!(key.as_str(), "capacity" | "allocatable")
            && let (Some(map), Some(Value::Object(old))) = (value.as_object_mut(), before.get(key))
        {
            for gone in old.keys() {
                map.entry(gone.clone()).or_insert(Value::Null);
            }
        }
        status.insert(key.clone(), value);
    }
    for key in before.keys().filter(|k| !after.contains_key(*k)) {
        status.insert(key.clone(), Value::Null);
    }
    json!({ "status": status })
}
