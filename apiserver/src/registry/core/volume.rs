//! Persistent volumes.

use proto::field::{Error, Errors, Path};
use proto::view::{View, at, is_empty, set_at, text_at};
use serde_json::{Value, json};

use super::claim::{VOLUME_MODES, access_modes, basic_amount};
use super::pod::{scheduling, sources};
use super::{defaults, kind};
use crate::engine::meta;
use crate::registry::checks::*;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Ctx, Hooks, strategy, warnings as shared_warnings};

const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("persistentvolumes", "PersistentVolume")
        .cluster()
        .short(&["pv"])
        .default(defaults::persistent_volume)
        .hooks(Hooks {
            prepare_create: |ctx, new| {
                let now = meta::time(ctx.now);
                set_at(new, &["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": now}));
            },
            validate: |_, new| validate(new, &Value::Null),
            validate_update: |_, new, old| validate_update(new, old),
            warnings: |_, new| warnings(new),
            warnings_update: |_, new, _| warnings(new),
            return_deleted: true,
            ..strategy::with_status()
        })
        .status(Hooks { prepare_update: prepare_status, ..strategy::status() })
        .install(builder, enabled);
}

/// The time of the last change of phase moves by itself.
fn prepare_status(ctx: &Ctx, new: &mut Value, old: &Value) {
    const TIME: [&str; 2] = ["status", "lastPhaseTransitionTime"];
    const PHASE: [&str; 2] = ["status", "phase"];
    strategy::keep(new, old, &["spec"]);
    let given = at(new, &TIME);
    if at(new, &PHASE) == at(old, &PHASE) {
        if given.is_null() {
            strategy::keep(new, old, &TIME);
        }
    } else if given.is_null() || given == at(old, &TIME) {
        let now = meta::time(ctx.now);
        set_at(new, &TIME, Value::from(now));
    }
}

fn warnings(volume: &Value) -> Vec<String> {
    const ANNOTATIONS: [(&str, &str); 2] = [
        (
            "volume.beta.kubernetes.io/storage-class",
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ),
        (MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    const PLUGINS: [(&str, &str); 6] = [
        ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    let (metadata, spec) = (View::root(volume).get("metadata"), View::root(volume).get("spec"));
    let mut warnings = Vec::new();
    for (key, message) in ANNOTATIONS {
        let annotation = metadata.get("annotations").key(key);
        if annotation.is_set() {
            warnings.push(format!("{}: {message}", annotation.path()));
        }
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if policy.str() == "Recycle" {
        warnings.push(format!("{}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.", policy.path()));
    }
    for term in spec.get("nodeAffinity").get("required").get("nodeSelectorTerms").items() {
        warnings.extend(shared_warnings::node_selector_term(&term, false));
    }
    for (shown, message) in PLUGINS {
        if spec.has(if shown == "storageOS" { "storageos" } else { shown }) {
            warnings.push(format!("{}: {message}", spec.path().child(shown)));
        }
    }
    warnings
}

type Check = fn(&View, &str, &mut Errors);

/// A source: its field, the path of its own errors, and its rules (with the volume's name).
const SOURCES: &[(&str, &str, Check)] = &[
    ("hostPath", "hostPath", |v, _, errors| sources::host_path(v, errors)),
    ("gcePersistentDisk", "persistentDisk", |v, _, errors| sources::disk(v, "pdName", errors)),
    ("awsElasticBlockStore", "awsElasticBlockStore", |v, _, errors| sources::disk(v, "volumeID", errors)),
    ("glusterfs", "glusterfs", |v, _, errors| {
        sources::glusterfs(v, errors);
        let namespace = v.get("endpointsNamespace");
        if namespace.is_set() {
            if namespace.is_empty() {
                let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.push(namespace.invalid_str(detail));
            } else {
                dns_label(&namespace, errors);
            }
        }
    }),
    ("flocker", "flocker", |v, _, errors| sources::flocker(v, errors)),
    ("nfs", "nfs", |v, _, errors| sources::nfs(v, errors)),
    ("rbd", "rbd", |v, _, errors| sources::rbd(v, errors)),
    ("quobyte", "quobyte", |v, _, errors| sources::quobyte(v, errors)),
    ("cephfs", "cephfs", |v, _, errors| {
        required(&v.get("monitors"), errors);
    }),
    ("iscsi", "iscsi", |v, name, errors| {
        let portal = v.get("targetPortal");
        if v.has("initiatorName") && name.len() + 1 + portal.str().len() > 64 {
            let path = v.path().child("targetportal");
            errors.push(Error::invalid(&path, portal.str(), sources::ISCSI_TOO_LONG));
        }
        sources::iscsi(v, "must be valid format", errors);
        if v.has("secretRef") {
            required(&v.get("secretRef").get("name"), errors);
        }
    }),
    ("cinder", "cinder", |v, _, errors| {
        sources::cinder(v, errors);
        if v.has("secretRef") {
            required(&v.get("secretRef").get("namespace"), errors);
        }
    }),
    ("fc", "fc", |v, _, errors| sources::fc(v, errors)),
    ("flexVolume", "flexVolume", |v, _, errors| sources::flex(v, errors)),
    ("azureFile", "azureFile", |v, _, errors| {
        required(&v.get("secretName"), errors);
        required(&v.get("shareName"), errors);
        if v.has("secretNamespace") {
            required(&v.get("secretNamespace"), errors);
        }
    }),
    ("vsphereVolume", "vsphereVolume", |v, _, errors| {
        required(&v.get("volumePath"), errors);
    }),
    ("photonPersistentDisk", "photonPersistentDisk", |v, _, errors| {
        required(&v.get("pdID"), errors);
    }),
    ("portworxVolume", "portworxVolume", |v, _, errors| {
        required(&v.get("volumeID"), errors);
    }),
    ("azureDisk", "azureDisk", |v, _, errors| sources::azure_disk(v, errors)),
    ("scaleIO", "scaleIO", |v, _, errors| sources::scale_io(v, errors)),
    ("local", "local", |v, _, errors| {
        required(&v.get("path"), errors);
        no_backsteps(&v.get("path"), errors);
    }),
    ("storageos", "storageos", |v, _, errors| sources::storage_os(v, true, errors)),
    ("csi", "csi", csi),
];

/// Sources whose mounts take options.
const MOUNTABLE: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

fn csi(v: &View, _: &str, errors: &mut Errors) {
    sources::csi_driver_name(&v.get("driver"), errors);
    required(&v.get("volumeHandle"), errors);
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = v.get(field);
        if secret.is_set() {
            if required(&secret.get("name"), errors) {
                dns_subdomain(&secret.get("name"), errors);
            }
            if required(&secret.get("namespace"), errors) {
                dns_label(&secret.get("namespace"), errors);
            }
        }
    }
}

fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let name = view.get("metadata").text("name");
    let spec = view.get("spec");
    self::spec(&spec, name, Inline::No, bad_affinity(old), &mut errors);
    let options = view.get("metadata").get("annotations").key(MOUNT_OPTIONS);
    if options.is_set() && !MOUNTABLE.iter().any(|source| spec.has(source)) {
        let path = Path::new("metadata").child("annotations").child(MOUNT_OPTIONS);
        errors.push(Error::forbidden(&path, "may not specify mount options for this volume type"));
    }
    errors
}

fn bad_affinity(old: &Value) -> bool {
    let required = View::root(old).get("spec").get("nodeAffinity").get("required");
    let mut errors = Errors::new();
    if required.is_set() {
        scheduling::node_selector(&required, false, &mut errors);
    }
    !errors.is_empty()
}

/// Whether a volume's spec stands in a VolumeAttachment instead of a volume.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Inline {
    Yes,
    No,
}

/// The spec of a volume, in a PersistentVolume or inline.
pub(crate) fn spec(spec: &View, name: &str, inline: Inline, lenient: bool, errors: &mut Errors) {
    const CONTEXT: &str = "in the context of inline volumes";
    let inline = inline == Inline::Yes;
    if inline {
        for field in ["claimRef", "capacity"] {
            if !is_empty(spec.raw(field)) {
                errors.push(spec.get(field).forbidden(format!("may not be specified {CONTEXT}")));
            }
        }
        if !spec.has("csi") {
            errors.push(spec.get("csi").required(format!("has to be specified {CONTEXT}")));
        }
    }
    let modes = spec.get("accessModes");
    required(&modes, errors);
    access_modes(&modes, errors);
    if !inline {
        capacity(&spec.get("capacity"), errors);
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if inline {
        if !policy.is_empty() && policy.str() != "Retain" {
            errors.push(policy.forbidden(format!("may only be Retain {CONTEXT}")));
        }
    } else if !policy.is_empty() {
        supported(&policy, &["Delete", "Recycle", "Retain"], errors);
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() {
        if inline {
            errors.push(affinity.forbidden(format!("may not be specified {CONTEXT}")));
        } else if affinity.has("required") {
            scheduling::node_selector(&affinity.get("required"), lenient, errors);
        } else {
            errors.push(affinity.get("required").required("must specify required node constraints"));
        }
    }
    source(spec, name, affinity.is_set(), errors);
    if clean_path(spec.get("hostPath").text("path")) == "/" && policy.str() == "Recycle" {
        errors.push(policy.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = spec.get("storageClassName");
    if !class.is_empty() {
        if inline {
            errors.push(class.forbidden(format!("may not be specified {CONTEXT}")));
        } else {
            dns_subdomain(&class, errors);
        }
    }
    let mode = spec.get("volumeMode");
    if mode.is_set() {
        if !inline {
            supported(&mode, &VOLUME_MODES, errors);
        } else if mode.str() != "Filesystem" {
            let detail = format!("may not specify volumeMode other than Filesystem {CONTEXT}");
            errors.push(mode.forbidden(detail));
        }
    }
    let attributes = spec.get("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            errors.push(attributes.required("an empty string is disallowed"));
        } else {
            dns_subdomain(&attributes, errors);
        }
        if !spec.has("csi") {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(spec.get("csi").required(detail));
        }
    }
}

fn capacity(capacity: &View, errors: &mut Errors) {
    required(capacity, errors);
    if !capacity.has("storage") || capacity.len() > 1 {
        let shown = capacity.value().clone();
        errors.push(Error::not_supported(capacity.path(), shown, &["storage"]));
    }
    for (_, amount) in capacity.entries() {
        basic_amount(&amount, errors);
        positive_quantity(&amount, errors);
    }
}

fn source(spec: &View, name: &str, located: bool, errors: &mut Errors) {
    let mut found = false;
    for (field, errors_at, check) in SOURCES {
        let value = spec.get(field);
        if !value.is_set() {
            continue;
        }
        if found {
            errors.push(value.forbidden("may not specify more than 1 volume type"));
        } else {
            found = true;
            check(&value.with_path(spec.path().child(errors_at)), name, errors);
            if *field == "local" && !located {
                errors.push(spec.get("nodeAffinity").required("Local volume requires node affinity"));
            }
        }
    }
    if !found {
        errors.push(spec.required("must specify a volume type"));
    }
}

/// A path without empty parts and `.`; only whether it is the root matters here.
fn clean_path(path: &str) -> &str {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    if path.starts_with('/') && parts.clone().all(|part| part == "..") { "/" } else { path }
}

fn validate_update(new: &Value, old: &Value) -> Errors {
    let mut errors = validate(new, old);
    let secret = ["spec", "csi", "controllerExpandSecretRef"];
    let mut same = new.clone();
    if !at(old, &["spec", "csi"]).is_null() && at(old, &secret).is_null() {
        set_at(&mut same, &secret, Value::Null);
    }
    if SOURCES.iter().any(|(field, _, _)| at(&same, &["spec", field]) != at(old, &["spec", field])) {
        let path = Path::new("spec").child("persistentvolumesource");
        errors.push(Error::forbidden(&path, "spec.persistentvolumesource is immutable after creation"));
    }
    let mode = |volume| View::root(volume).get("spec").get("volumeMode").with_path(Path::new("volumeMode"));
    immutable(&mode(new), &mode(old), &mut errors);
    node_affinity_change(new, old, &mut errors);
    let class = View::root(new).get("spec").get("volumeAttributesClassName");
    if !class.is_set() && !at(old, &["spec", "volumeAttributesClassName"]).is_null() {
        errors.push(class.forbidden("update from non-nil value to nil is forbidden"));
    }
    errors
}

/// Where a volume can be used does not change, but labels may be called by their newer names.
fn node_affinity_change(new: &Value, old: &Value, errors: &mut Errors) {
    const NEWER: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    const AFFINITY: [&str; 2] = ["spec", "nodeAffinity"];
    let before = at(old, &AFFINITY);
    if before.is_null() || before == at(new, &AFFINITY) {
        return;
    }
    let mut renamed = before.clone();
    let new_terms =
        View::root(new).get("spec").get("nodeAffinity").get("required").get("nodeSelectorTerms").items();
    let terms = renamed.get_mut("required").and_then(|required| required.get_mut("nodeSelectorTerms"));
    for (term, new_term) in terms.and_then(Value::as_array_mut).into_iter().flatten().zip(&new_terms) {
        let expressions = term.get_mut("matchExpressions").and_then(Value::as_array_mut);
        let new_expressions = new_term.get("matchExpressions").items();
        for (expression, new) in expressions.into_iter().flatten().zip(&new_expressions) {
            let pair = (text_at(expression, &["key"]), new.text("key"));
            if NEWER.contains(&pair) {
                let key = Value::from(pair.1);
                set_at(expression, &["key"], key);
            }
        }
    }
    if renamed != *at(new, &AFFINITY) {
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        errors.push(Error::invalid(&Path::new("nodeAffinity"), at(new, &AFFINITY).clone(), detail));
    }
}
