//! Containers of a pod: common rules, and those of regular, init and ephemeral ones.

use std::collections::BTreeMap;

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::View;
use serde_json::Value;

use super::env::{env, env_from};
use super::probes::{lifecycle, probes};
use super::resources::{container_resource_name, requirements};
use super::security;
use crate::registry::checks::*;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];

/// What the rules of a container need to know of its pod.
pub(super) struct Pod<'a> {
    /// The pod spec.
    pub(super) spec: View<'a>,
    /// The volumes that are valid, by name.
    pub(super) volumes: BTreeMap<&'a str, &'a Value>,
    /// The names of the pod's resource claims.
    pub(super) claims: Vec<&'a str>,
    /// Whether old objects had settings that new ones may not have.
    pub(super) options: &'a super::Options,
}

impl Pod<'_> {
    /// Whether the pod shares the host's user namespace.
    pub(super) fn host_users(&self) -> bool {
        self.spec.raw("hostUsers").as_bool().unwrap_or(true)
    }
}

/// All containers of the pod.
pub(super) fn validate(pod: &Pod, errors: &mut Errors) {
    regular(pod, errors);
    init(pod, errors);
    ephemeral(pod, errors);
}

fn regular(pod: &Pod, errors: &mut Errors) {
    let list = pod.spec.get("containers");
    if list.is_empty() {
        errors.push(list.required(""));
        return;
    }
    let mut names = Vec::new();
    for container in list.items() {
        common(pod, &container, errors);
        unique_name(&container, &mut names, errors);
        if container.has("lifecycle") {
            lifecycle(pod, &container.get("lifecycle"), errors);
        }
        probes(pod, &container, errors);
        restart_policy(&container, errors);
    }
    host_ports(list.items(), list.path(), errors);
}

fn unique_name<'a>(container: &View<'a>, names: &mut Vec<&'a str>, errors: &mut Errors) {
    let name = container.get("name");
    if names.contains(&name.str()) {
        errors.push(Error::duplicate(name.path(), name.str()));
    } else {
        names.push(name.str());
    }
}

fn init(pod: &Pod, errors: &mut Errors) {
    let list = pod.spec.get("initContainers");
    let mut names: Vec<&str> =
        pod.spec.get("containers").items().iter().map(|container| container.text("name")).collect();
    for container in list.items() {
        common(pod, &container, errors);
        let policy = container.get("restartPolicy");
        if policy.is_set() {
            restart_policy(&container, errors);
        } else if !container.get("restartPolicyRules").is_empty() {
            errors.push(policy.required("must specify restartPolicy when restart rules are used"));
        }
        let name = container.get("name");
        if names.contains(&name.str()) {
            errors.push(Error::duplicate(name.path(), name.str()));
        } else if !name.is_empty() {
            names.push(name.str());
        }
        host_ports(vec![container.clone()], list.path(), errors);
        let sidecar = policy.str() == "Always";
        if sidecar {
            if container.has("lifecycle") {
                lifecycle(pod, &container.get("lifecycle"), errors);
            }
            probes(pod, &container, errors);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(field) {
                    let detail = "may not be set for init containers without restartPolicy=Always";
                    errors.push(container.get(field).forbidden(detail));
                }
            }
            for policy in container.get("resizePolicy").items() {
                let restart = policy.get("restartPolicy");
                if restart.str() == "RestartContainer" && !pod.options.restart_on_resize {
                    let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    errors.push(restart.invalid_str(detail));
                }
            }
        }
    }
}

/// The fields that make no sense for a container that never restarts and is never waited for.
const NOT_FOR_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

fn ephemeral(pod: &Pod, errors: &mut Errors) {
    const FORBIDDEN: &str = "cannot be set for an Ephemeral Container";
    let others: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod.spec.get(list).items())
        .map(|container| container.text("name"))
        .collect();
    let mut names = others.clone();
    for container in pod.spec.get("ephemeralContainers").items() {
        common(pod, &container, errors);
        no_padding(&container, errors);
        unique_name(&container, &mut names, errors);
        let target = container.get("targetContainerName");
        if !target.is_empty() && !others.contains(&target.str()) {
            errors.push(target.not_found());
        }
        for field in NOT_FOR_EPHEMERAL {
            if container.has(field) {
                errors.push(container.get(field).forbidden(FORBIDDEN));
            }
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.get(field).is_empty() {
                    errors.push(mount.get(field).forbidden(FORBIDDEN));
                }
            }
        }
    }
}

/// An image name of a pod (not of a template) has no space around it.
pub(super) fn no_padding(container: &View, errors: &mut Errors) {
    let image = container.get("image");
    if image.str().trim() != image.str() {
        errors.push(image.invalid_str("must not have leading or trailing whitespace"));
    }
}

fn common(pod: &Pod, container: &View, errors: &mut Errors) {
    if required(&container.get("name"), errors) {
        dns_label(&container.get("name"), errors);
    }
    required(&container.get("image"), errors);
    let policies = ["File", "FallbackToLogsOnError"];
    required_supported(&container.get("terminationMessagePolicy"), &policies, errors);
    ports(&container.get("ports"), errors);
    env(&container.get("env"), errors);
    env_from(&container.get("envFrom"), errors);
    mounts(pod, container, errors);
    devices(pod, container, errors);
    let pull = ["Always", "IfNotPresent", "Never"];
    required_supported(&container.get("imagePullPolicy"), &pull, errors);
    requirements(&container.get("resources"), container_resource_name, &pod.claims, errors);
    resize_policies(pod, &container.get("resizePolicy"), errors);
    security::container(&container.get("securityContext"), pod.host_users(), errors);
}

fn ports(list: &View, errors: &mut Errors) {
    let mut names = Vec::new();
    for port in list.items() {
        let name = port.get("name");
        if !name.is_empty() {
            let messages = content::is_valid_port_name(name.str());
            if !messages.is_empty() {
                each(&name, messages, errors);
            } else if names.contains(&name.str()) {
                errors.push(name.duplicate());
            } else {
                names.push(name.str());
            }
        }
        let number = port.get("containerPort");
        if number.i64() == 0 {
            errors.push(number.required(""));
        } else {
            each_int(&number, content::is_valid_port_num(number.i64()), errors);
        }
        let host = port.get("hostPort");
        if host.i64() != 0 {
            each_int(&host, content::is_valid_port_num(host.i64()), errors);
        }
        required_supported(&port.get("protocol"), &PROTOCOLS, errors);
    }
}

/// No two containers ask for the same port of the host.
fn host_ports(containers: Vec<View>, list: &Path, errors: &mut Errors) {
    let mut taken = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (position, port) in container.get("ports").items().iter().enumerate() {
            let number = port.int("hostPort");
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if taken.contains(&key) {
                let path = list.index(index).child("ports").index(position).child("hostPort");
                errors.push(Error::duplicate(&path, key));
            } else {
                taken.push(key);
            }
        }
    }
}

fn mounts(pod: &Pod, container: &View, errors: &mut Errors) {
    let list = container.get("volumeMounts");
    let devices = container.get("volumeDevices").items();
    let mut taken = Vec::new();
    for mount in list.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        required(&name, errors);
        if !pod.volumes.contains_key(name.str()) {
            errors.push(Error::not_found(name.path(), name.str()));
        }
        required(&path, errors);
        if taken.contains(&path.str()) {
            errors.push(path.invalid_str("must be unique"));
        }
        taken.push(path.str());
        if devices.iter().any(|device| device.text("name") == name.str()) {
            errors.push(name.invalid_str("must not already exist in volumeDevices"));
        }
        if devices.iter().any(|device| device.text("devicePath") == path.str()) {
            errors.push(path.invalid_str("must not already exist as a path in volumeDevices"));
        }
        // Upstream reports these at the list.
        let at_list = |field| mount.get(field).with_path(list.path().child(field));
        let (sub_path, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        if !sub_path.is_empty() {
            descending_path(&at_list("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                errors.push(expression.invalid_str("subPathExpr and subPath are mutually exclusive"));
            }
            descending_path(&at_list("subPathExpr"), errors);
        }
        if mount.has("mountPropagation") {
            propagation(&at_list("mountPropagation"), container, errors);
        }
        recursive_read_only(&mount, &at_list("recursiveReadOnly"), errors);
    }
}

fn propagation(mode: &View, container: &View, errors: &mut Errors) {
    supported(mode, &["Bidirectional", "HostToContainer", "None"], errors);
    if mode.str() == "Bidirectional" && !container.get("securityContext").flag("privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(mode.forbidden(detail));
    }
}

fn recursive_read_only(mount: &View, mode: &View, errors: &mut Errors) {
    match mode.str() {
        "" if !mode.is_set() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errors.push(mode.forbidden("may only be specified when readOnly is true"));
            }
            if mount.has("mountPropagation") && mount.text("mountPropagation") != "None" {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(mode.forbidden(detail));
            }
        }
        _ => errors.push(mode.not_supported(&["Disabled", "Enabled", "IfPossible"])),
    }
}

fn devices(pod: &Pod, container: &View, errors: &mut Errors) {
    let mounts = container.get("volumeMounts").items();
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        required(&name, errors);
        if names.contains(&name.str()) {
            errors.push(name.invalid_str("must be unique"));
        }
        match pod.volumes.get(name.str()) {
            None => errors.push(Error::not_found(name.path(), name.str())),
            Some(volume) => {
                let is_claim = volume.get("persistentVolumeClaim").is_some();
                if !is_claim && volume.get("ephemeral").is_none() {
                    let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.push(name.invalid_str(detail));
                }
            }
        }
        required(&path, errors);
        if paths.contains(&path.str()) {
            errors.push(path.invalid_str("must be unique"));
        }
        if path.str().split('/').any(|part| part == "..") {
            errors.push(path.invalid_str("can not contain backsteps ('..')"));
        } else {
            paths.push(path.str());
        }
        if mounts.iter().any(|mount| mount.text("name") == name.str()) {
            errors.push(name.invalid_str("must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| mount.text("mountPath") == path.str()) {
            errors.push(path.invalid_str("must not already exist as a path in volumeMounts"));
        }
        if !name.is_empty() {
            names.push(name.str());
        }
    }
}

fn resize_policies(pod: &Pod, list: &View, errors: &mut Errors) {
    let mut seen = Vec::new();
    for policy in list.items() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if seen.contains(&resource) {
            errors.push(Error::duplicate(policy.path(), resource));
        }
        seen.push(resource);
        for (value, values) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])]
        {
            if value.is_empty() {
                errors.push(list.required(""));
            } else if !values.contains(&value) {
                errors.push(Error::not_supported(list.path(), value, &values));
            }
        }
        if pod.spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(list.path(), restart, detail));
        }
    }
}

fn restart_policy(container: &View, errors: &mut Errors) {
    let policy = container.get("restartPolicy");
    let rules = container.get("restartPolicyRules");
    if policy.is_set() {
        supported(&policy, &RESTART_POLICIES, errors);
    } else if !rules.is_empty() {
        errors.push(policy.required("must specify restartPolicy when restart rules are used"));
        return;
    }
    if rules.len() > 20 {
        errors.push(Error::too_many(rules.path(), rules.len(), 20));
    }
    for rule in rules.items() {
        supported(&rule.get("action"), &["Restart", "RestartAllContainers"], errors);
        let codes = rule.get("exitCodes");
        if !codes.is_set() {
            errors.push(codes.required("must be specified"));
            continue;
        }
        supported(&codes.get("operator"), &["In", "NotIn"], errors);
        let values = codes.get("values");
        if values.len() > 255 {
            errors.push(Error::too_many(values.path(), values.len(), 255));
        }
    }
}
