//! Environment variables and the selectors that also the downward API's volumes use.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;

use crate::registry::checks::*;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The pod fields that a downward API volume may show.
pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The pod fields whose names are known at all.
const KNOWN_FIELDS: [&str; 15] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "spec.host",
];

const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn env(list: &View, errors: &mut Errors) {
    for variable in list.items() {
        let name = variable.get("name");
        if required(&name, errors) {
            each(&name, content::is_relaxed_env_var_name(name.str()), errors);
        }
        let source = variable.get("valueFrom");
        if source.is_set() {
            value_from(&source, !variable.text("value").is_empty(), errors);
        }
    }
}

fn value_from(source: &View, has_value: bool, errors: &mut Errors) {
    let checks: [(&'static str, fn(&View, &mut Errors)); 5] = [
        ("fieldRef", |v, errors| field_selector(v, &ENV_FIELDS, errors)),
        ("resourceFieldRef", |v, errors| resource_field_selector(v, false, errors)),
        ("configMapKeyRef", key_selector),
        ("secretKeyRef", key_selector),
        ("fileKeyRef", file_key_selector),
    ];
    let mut count = 0;
    for (field, check) in checks {
        let value = source.get(field);
        if value.is_set() {
            count += 1;
            check(&value, errors);
        }
    }
    let detail = if count == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if has_value {
        "may not be specified when `value` is not empty"
    } else if count > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    errors.push(Error::invalid(source.path(), "", detail));
}

/// A reference to a field of the pod; a subscript picks one label or annotation.
pub(super) fn field_selector(selector: &View, fields: &[&str], errors: &mut Errors) {
    let field_path = selector.get("fieldPath");
    if !required(&selector.get("apiVersion"), errors) || !required(&field_path, errors) {
        return;
    }
    let label = field_path.str();
    let (path, subscript) = split_subscript(label);
    let problem = if selector.text("apiVersion") != "v1" {
        Some(format!("unsupported pod version: {}", selector.text("apiVersion")))
    } else if subscript.is_some() {
        let subscribed = matches!(path, "metadata.annotations" | "metadata.labels");
        (!subscribed).then(|| format!("field label does not support subscript: {label}"))
    } else {
        (!KNOWN_FIELDS.contains(&label)).then(|| format!("field label not supported: {label}"))
    };
    if let Some(problem) = problem {
        errors.push(field_path.invalid_str(format!("error converting fieldPath: {problem}")));
        return;
    }
    match subscript {
        Some(key) => {
            let key = if path == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            each_at(selector.path(), &key, content::is_qualified_name(&key), errors);
        }
        None => {
            let path = if path == "spec.host" { "spec.nodeName" } else { path };
            if !fields.contains(&path) {
                errors.push(Error::not_supported(field_path.path(), path, fields));
            }
        }
    }
}

fn split_subscript(path: &str) -> (&str, Option<&str>) {
    let split = path.strip_suffix("']").and_then(|rest| rest.split_once("['"));
    match split {
        Some((path, subscript)) if !path.is_empty() => (path, Some(subscript)),
        _ => (path, None),
    }
}

/// A reference to a container's resources; in a volume it must name the container.
pub(super) fn resource_field_selector(selector: &View, volume: bool, errors: &mut Errors) {
    let resource = selector.get("resource");
    let name = resource.str();
    let huge_pages = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if volume && selector.get("containerName").is_empty() {
        errors.push(selector.get("containerName").required(""));
    } else if name.is_empty() {
        errors.push(resource.required(""));
    } else if !RESOURCE_FIELDS.contains(&name) && !huge_pages {
        errors.push(resource.not_supported(&RESOURCE_FIELDS));
    }
    divisor(selector, name, huge_pages, errors);
}

fn divisor(selector: &View, resource: &str, huge_pages: bool, errors: &mut Errors) {
    const SIZES: [&str; 13] =
        ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let divisor = quantity(selector.raw("divisor"));
    if divisor.is_zero() {
        return;
    }
    let text = divisor.to_string();
    let (good, values, what) = match resource {
        "limits.cpu" | "requests.cpu" => (["1m", "1"].contains(&text.as_str()), "1m and 1", "cpu"),
        "limits.memory" | "requests.memory" => (SIZES.contains(&text.as_str()), "", "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (SIZES.contains(&text.as_str()), "", "local ephemeral storage")
        }
        _ if huge_pages => (SIZES.contains(&text.as_str()), "", "hugepages"),
        _ => return,
    };
    if !good {
        let values = if values.is_empty() { SIZES.join(", ") } else { values.to_owned() };
        let detail = format!("only divisor's values {values} are supported with the {what} resource");
        errors.push(Error::invalid(&selector.path().child("divisor"), resource, detail));
    }
}

fn key_selector(selector: &View, errors: &mut Errors) {
    dns_subdomain(&selector.get("name"), errors);
    let key = selector.get("key");
    if required(&key, errors) {
        each(&key, content::is_config_map_key(key.str()), errors);
    }
}

fn file_key_selector(selector: &View, errors: &mut Errors) {
    let (key, volume, path) = (selector.get("key"), selector.get("volumeName"), selector.get("path"));
    if required(&key, errors) {
        each(&key, content::is_relaxed_env_var_name(key.str()), errors);
    }
    if required(&volume, errors) {
        dns_label(&volume, errors);
    }
    if required(&path, errors) {
        no_backsteps(&path, errors);
    }
}

pub(super) fn env_from(list: &View, errors: &mut Errors) {
    for source in list.items() {
        let prefix = source.get("prefix");
        if !prefix.is_empty() {
            each(&prefix, content::is_relaxed_env_var_name(prefix.str()), errors);
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            let reference = source.get(field);
            if !reference.is_set() {
                continue;
            }
            count += 1;
            let name = reference.get("name");
            if required(&name, errors) {
                each(&name, name_with(content::is_dns1123_subdomain, name.str(), true), errors);
            }
        }
        let detail = match count {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(Error::invalid(list.path(), "", detail));
    }
}

/// `fileKeyRef` must name an emptyDir volume of the pod.
pub(super) fn file_key_volumes(spec: &View, container: &View, errors: &mut Errors) {
    for variable in container.get("env").items() {
        let name = variable.get("valueFrom").get("fileKeyRef").get("volumeName");
        if !variable.get("valueFrom").has("fileKeyRef") {
            continue;
        }
        let volumes = spec.get("volumes").items();
        match volumes.iter().rfind(|volume| volume.text("name") == name.str()) {
            None => errors.push(Error::not_found(name.path(), name.str())),
            Some(volume) if !volume.has("emptyDir") => {
                errors.push(name.invalid_str("referenced volume must be of type emptyDir"));
            }
            Some(_) => {}
        }
    }
}
