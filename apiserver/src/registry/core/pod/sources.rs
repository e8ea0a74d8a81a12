//! The volume sources that pods and persistent volumes have in common.

use std::sync::LazyLock;

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use regex::Regex;

use crate::registry::checks::*;

/// The detail of an iSCSI volume whose name and portal don't fit an initiator's alias.
pub(crate) const ISCSI_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

// Patterns that cannot be wrong: they are constants.
static ISCSI_NAMES: LazyLock<[Option<Regex>; 3]> = LazyLock::new(|| {
    [
        Regex::new(r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$").ok(),
        Regex::new(r"^eui.[[:alnum:]]{16}$").ok(),
        Regex::new(r"^naa.[[:alnum:]]{32}$").ok(),
    ]
});

pub(crate) fn host_path(v: &View, errors: &mut Errors) {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    required(&v.get("path"), errors);
    no_backsteps(&v.get("path"), errors);
    if v.has("type") {
        supported(&v.get("type"), &TYPES, errors);
    }
}

/// A cloud disk with an optional partition.
pub(crate) fn disk(v: &View, id: &'static str, errors: &mut Errors) {
    required(&v.get(id), errors);
    let partition = v.get("partition");
    if !(0..=255).contains(&partition.i64()) {
        errors.push(partition.invalid_int(content::inclusive_range(1, 255)));
    }
}

pub(crate) fn nfs(v: &View, errors: &mut Errors) {
    required(&v.get("server"), errors);
    let path = v.get("path");
    required(&path, errors);
    if !path.str().starts_with('/') {
        errors.push(path.invalid_str("must be an absolute path"));
    }
}

/// `unknown_kind` is what to say of a name of no known kind.
pub(crate) fn iscsi(v: &View, unknown_kind: &str, errors: &mut Errors) {
    required(&v.get("targetPortal"), errors);
    let iqn = v.get("iqn");
    if required(&iqn, errors) {
        iscsi_name(&iqn, unknown_kind, errors);
    }
    let lun = v.get("lun");
    if !(0..=255).contains(&lun.i64()) {
        errors.push(lun.invalid_int(content::inclusive_range(0, 255)));
    }
    if (v.flag("chapAuthDiscovery") || v.flag("chapAuthSession")) && !v.has("secretRef") {
        errors.push(v.get("secretRef").required(""));
    }
    let initiator = v.get("initiatorName");
    if initiator.is_set() {
        let view = initiator.with_path(v.path().child("initiatorname"));
        iscsi_name(&view, unknown_kind, errors);
    }
}

fn iscsi_name(name: &View, unknown_kind: &str, errors: &mut Errors) {
    let kinds = ["iqn", "eui", "naa"];
    match kinds.iter().position(|kind| name.str().starts_with(kind)) {
        None => errors.push(name.invalid_str(unknown_kind)),
        Some(kind) => {
            let pattern = ISCSI_NAMES.get(kind).and_then(Option::as_ref);
            if !pattern.is_some_and(|pattern| pattern.is_match(name.str())) {
                errors.push(name.invalid_str("must be valid format"));
            }
        }
    }
}

pub(crate) fn glusterfs(v: &View, errors: &mut Errors) {
    required(&v.get("endpoints"), errors);
    required(&v.get("path"), errors);
}

pub(crate) fn flocker(v: &View, errors: &mut Errors) {
    let (name, uuid) = (v.get("datasetName"), v.get("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => errors.push(v.required("one of datasetName and datasetUUID is required")),
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(Error::invalid(v.path(), "resource", detail));
        }
        _ => {}
    }
    if name.str().contains('/') {
        errors.push(name.invalid_str("must not contain '/'"));
    }
}

pub(crate) fn rbd(v: &View, errors: &mut Errors) {
    required(&v.get("monitors"), errors);
    required(&v.get("image"), errors);
}

pub(crate) fn cinder(v: &View, errors: &mut Errors) {
    required(&v.get("volumeID"), errors);
    if v.has("secretRef") {
        required(&v.get("secretRef").get("name"), errors);
    }
}

pub(crate) fn quobyte(v: &View, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = v.get("registry");
    if registry.is_empty() {
        errors.push(registry.required(PAIRS));
    } else if v.text("tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(v.get("tenant").required(detail));
    } else {
        for pair in registry.str().split(',') {
            if !is_host_port(pair) {
                errors.push(registry.invalid_str(PAIRS));
            }
        }
    }
    required(&v.get("volume"), errors);
}

fn is_host_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(host, _)| !host.contains(['[', ']'])),
        None => pair.split_once(':').is_some_and(|(host, port)| {
            !port.contains(':') && !host.contains(['[', ']']) && !port.contains(['[', ']'])
        }),
    }
}

pub(crate) fn fc(v: &View, errors: &mut Errors) {
    let (targets, ids) = (v.get("targetWWNs"), v.get("wwids"));
    if targets.is_empty() && ids.is_empty() {
        errors.push(targets.required("must specify either targetWWNs or wwids, but not both"));
    }
    if !targets.is_empty() && !ids.is_empty() {
        errors.push(targets.invalid("targetWWNs and wwids can not be specified simultaneously"));
    }
    if !targets.is_empty() {
        let lun = v.get("lun");
        if !lun.is_set() {
            errors.push(lun.required("lun is required if targetWWNs is specified"));
        } else if !(0..=255).contains(&lun.i64()) {
            errors.push(lun.invalid_int(content::inclusive_range(0, 255)));
        }
    }
}

pub(crate) fn flex(v: &View, errors: &mut Errors) {
    required(&v.get("driver"), errors);
    for (key, _) in v.get("options").entries() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let normalized = format!(".{}", namespace.to_lowercase());
        if normalized.ends_with(".kubernetes.io") || normalized.ends_with(".k8s.io") {
            let path = v.path().child("options").key(key);
            errors.push(Error::invalid(&path, key, "kubernetes.io and k8s.io namespaces are reserved"));
        }
    }
}

pub(crate) fn azure_disk(v: &View, errors: &mut Errors) {
    const MANAGED: [&str; 1] =
        ["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"];
    const BLOB: [&str; 1] = ["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"];
    let uri = v.get("diskURI");
    required(&v.get("diskName"), errors);
    required(&uri, errors);
    if v.has("cachingMode") {
        supported(&v.get("cachingMode"), &["None", "ReadOnly", "ReadWrite"], errors);
    }
    let kind = v.get("kind");
    if !kind.is_set() {
        return;
    }
    supported(&kind, &["Dedicated", "Managed", "Shared"], errors);
    if kind.str() == "Managed" && !uri.str().starts_with("/subscriptions/") {
        errors.push(uri.not_supported(&MANAGED));
    }
    if kind.str() != "Managed" && !uri.str().starts_with("https://") {
        errors.push(uri.not_supported(&BLOB));
    }
}

/// `namespaced`: the secret reference names a namespace, as in a persistent volume.
pub(crate) fn storage_os(v: &View, namespaced: bool, errors: &mut Errors) {
    if required(&v.get("volumeName"), errors) {
        dns_label(&v.get("volumeName"), errors);
    }
    if !v.get("volumeNamespace").is_empty() {
        dns_label(&v.get("volumeNamespace"), errors);
    }
    if v.has("secretRef") {
        required(&v.get("secretRef").get("name"), errors);
        if namespaced {
            required(&v.get("secretRef").get("namespace"), errors);
        }
    }
}

pub(crate) fn scale_io(v: &View, errors: &mut Errors) {
    for field in ["gateway", "system", "volumeName"] {
        required(&v.get(field), errors);
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver_name(name: &View, errors: &mut Errors) {
    if !required(name, errors) {
        return;
    }
    if name.str().len() > 63 {
        errors.push(Error::too_long(name.path(), 63));
    }
    each(name, content::is_dns1123_subdomain(&name.str().to_lowercase()), errors);
}
