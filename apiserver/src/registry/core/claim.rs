//! Persistent volume claims: what a pod wants of storage.

use proto::content;
use proto::field::{Error, Errors, Path, quote};
use proto::view::{View, at, set_at, text_at};
use serde_json::{Value, json};

use super::kind;
use super::pod::resources;
use crate::registry::checks::*;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Ctx, Hooks, Settings, defaults, gates, strategy};

/// The ways a volume may be mounted, in the order messages list them.
pub(crate) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(crate) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEPRECATED_CLASS: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("persistentvolumeclaims", "PersistentVolumeClaim")
        .short(&["pvc"])
        .default(defaults::claim)
        .hooks(Hooks {
            prepare_create: |ctx, new| {
                strategy::drop_status(new);
                set_at(new, &["status", "phase"], json!("Pending"));
                prepare_sources(ctx, new, &Value::Null);
            },
            prepare_update: |ctx, new, old| {
                strategy::keep(new, old, &["status"]);
                prepare_sources(ctx, new, old);
            },
            validate: |_, new| validate(&View::root(new), &Value::Null),
            validate_update,
            warnings: |_, new| warnings(new),
            warnings_update: |_, new, _| warnings(new),
            ..strategy::with_status()
        })
        .status(Hooks { validate_update: validate_status, ..strategy::status() })
        .install(builder, enabled);
}

/// What is to be said of the spec of a claim.
pub(crate) fn spec_warnings(spec: &View) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["requests", "limits"] {
        let amount = spec.get("resources").get(list).key("storage");
        let value = quantity(amount.value());
        if value.milli_value() % 1000 != 0 {
            let text = quote(&value.to_string());
            warnings.push(format!(
                "{}: fractional byte value {text} is invalid, must be an integer",
                amount.path()
            ));
        }
    }
    warnings
}

fn warnings(claim: &Value) -> Vec<String> {
    let claim = View::root(claim);
    let mut warnings = Vec::new();
    let class = claim.get("metadata").get("annotations").key(CLASS);
    if class.is_set() {
        warnings.push(format!("{}: {DEPRECATED_CLASS}", class.path()));
    }
    warnings.extend(spec_warnings(&claim.get("spec")));
    warnings
}

/// Keeps the two forms of a data source in step, and drops what was never accepted in the older one.
fn prepare_sources(ctx: &Ctx, new: &mut Value, old: &Value) {
    let cross_namespace = Settings::has(ctx, gates::CROSS_NAMESPACE_SOURCES);
    const OLDER: [&str; 2] = ["spec", "dataSource"];
    const NEWER: [&str; 2] = ["spec", "dataSourceRef"];
    // Sources in other namespaces are behind a gate.
    let elsewhere = !text_at(new, &["spec", "dataSourceRef", "namespace"]).is_empty();
    if elsewhere && !cross_namespace && at(old, &NEWER).is_null() {
        set_at(new, &NEWER, Value::Null);
    }
    if at(old, &OLDER).is_null() && at(old, &NEWER).is_null() {
        let source = at(new, &OLDER);
        let pair = (text_at(source, &["apiGroup"]), text_at(source, &["kind"]));
        if !matches!(pair, ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")) {
            set_at(new, &OLDER, Value::Null);
        }
    }
    let (older, newer) = (at(new, &OLDER).clone(), at(new, &NEWER).clone());
    match (older.is_null(), newer.is_null()) {
        (false, true) => set_at(new, &NEWER, older),
        (true, false) if text_at(&newer, &["namespace"]).is_empty() => {
            let mut source = newer;
            set_at(&mut source, &["namespace"], Value::Null);
            set_at(new, &OLDER, source);
        }
        _ => {}
    }
}

/// Leniency for what the old claim had wrong.
#[derive(Default)]
struct Lenient {
    selector: bool,
    source_group: bool,
}

impl Lenient {
    fn of(old: &Value) -> Self {
        let view = View::root(old).get("spec");
        let mut errors = Errors::new();
        label_selector(&view.get("selector"), false, &mut errors);
        Lenient {
            selector: !errors.is_empty(),
            source_group: view.get("dataSource").has("apiGroup") || view.get("dataSourceRef").has("apiGroup"),
        }
    }
}

fn validate(claim: &View, old: &Value) -> Errors {
    let mut errors = Errors::new();
    spec(&claim.get("spec"), &Lenient::of(old), &mut errors);
    errors
}

/// The template of a claim in an ephemeral volume.
pub(crate) fn validate_template(template: &View, errors: &mut Errors) {
    let metadata = template.get("metadata");
    annotations(&metadata.get("annotations"), errors);
    labels(&metadata.get("labels"), errors);
    for (field, _) in metadata.entries() {
        if field != "annotations" && field != "labels" {
            errors.push(Error::forbidden(&metadata.path().child_named(field), "cannot be set"));
        }
    }
    spec(&template.get("spec"), &Lenient::default(), errors);
}

/// The spec of a claim in a StatefulSet.
pub(crate) fn validate_spec(view: &View, errors: &mut Errors) {
    spec(view, &Lenient::default(), errors);
}

fn spec(spec: &View, lenient: &Lenient, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    label_selector(&spec.get("selector"), lenient.selector, errors);
    access_modes(&modes, errors);
    let storage = spec.get("resources").get("requests").raw("storage");
    let size = View::at(storage, spec.path().child("resources").key("storage"));
    if !size.is_set() {
        errors.push(size.required(""));
    } else {
        let before = errors.len();
        positive_quantity(&size, errors);
        if errors.len() == before {
            resources::resource_amount(&size, "storage", errors);
        }
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let name = spec.get(field);
        if field == "volumeAttributesClassName" {
            data_sources(spec, lenient, errors);
        }
        if !name.is_empty() {
            dns_subdomain(&name, errors);
        }
        if field == "storageClassName" && spec.has("volumeMode") {
            supported(&spec.get("volumeMode"), &VOLUME_MODES, errors);
        }
    }
}

/// The access modes of a claim or a volume.
pub(crate) fn access_modes(modes: &View, errors: &mut Errors) {
    let list = modes.strs();
    for mode in &list {
        if !ACCESS_MODES.contains(mode) {
            errors.push(Error::not_supported(modes.path(), *mode, &ACCESS_MODES));
        }
    }
    let others = list.iter().any(|mode| *mode != "ReadWriteOncePod" && ACCESS_MODES.contains(mode));
    if list.contains(&"ReadWriteOncePod") && others {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn data_sources(spec: &View, lenient: &Lenient, errors: &mut Errors) {
    let (older, newer) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    for source in [&older, &newer] {
        if source.is_set() {
            data_source(source, lenient, errors);
        }
    }
    // Upstream shows an empty object for the value.
    let invalid = |detail: &str| Error::invalid(spec.path(), json!({}), detail);
    if !newer.get("namespace").is_empty() {
        if older.is_set() {
            errors.push(invalid("may not be specified when dataSourceRef.namespace is specified"));
        }
    } else if older.is_set() && newer.is_set() {
        let same = ["apiGroup", "kind", "name"].iter().all(|field| older.raw(field) == newer.raw(field));
        if !same {
            errors.push(invalid("must match dataSourceRef"));
        }
    }
}

fn data_source(source: &View, lenient: &Lenient, errors: &mut Errors) {
    required(&source.get("name"), errors);
    required(&source.get("kind"), errors);
    let (group, kind) = (source.get("apiGroup"), source.text("kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(source.path(), kind, detail));
    }
    if !group.is_empty() && !lenient.source_group {
        dns_subdomain(&group, errors);
    }
    if !source.get("namespace").is_empty() {
        each(&source.get("namespace"), content::is_dns1123_label(source.text("namespace")), errors);
    }
}

fn validate_update(_: &crate::registry::Ctx, new: &Value, old: &Value) -> Errors {
    let mut errors = validate(&View::root(new), old);
    let spec_path = Path::new("spec");
    let class = |claim: &Value| at(claim, &["metadata", "annotations", CLASS]).clone();
    let class_name = ["spec", "storageClassName"];
    let (mut new_clone, mut old_clone) = (new.clone(), old.clone());
    if text_at(old, &["spec", "volumeName"]).is_empty() {
        set_at(&mut old_clone, &["spec", "volumeName"], at(new, &["spec", "volumeName"]).clone());
    }
    let (old_class, new_class) = (class(old), class(new));
    let (old_name, new_name) = (at(old, &class_name), at(new, &class_name));
    let moved_to_field = !old_class.is_null()
        && old_name.is_null()
        && *new_name == old_class
        && (new_class.is_null() || new_class == old_class);
    if moved_to_field {
        set_at(&mut new_clone, &class_name, Value::Null);
    } else {
        if new_class != old_class {
            let path = Path::new("metadata").child("annotations").child(CLASS);
            errors.push(Error::invalid(&path, new_class.as_str().unwrap_or_default(), IMMUTABLE));
        }
        if !new_name.is_null() && old_name.is_null() && (old_class.is_null() || *new_name == old_class) {
            set_at(&mut new_clone, &class_name, Value::Null);
        }
    }
    let storage = ["spec", "resources", "requests", "storage"];
    if text_at(new, &["status", "phase"]) == "Bound" {
        for path in [&storage[..], &["spec", "volumeAttributesClassName"]] {
            set_at(&mut new_clone, path, at(old, path).clone());
        }
    }
    if at(&new_clone, &["spec"]) != at(&old_clone, &["spec"]) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&spec_path, detail));
    }
    let new_size = quantity(at(new, &storage));
    if new_size < quantity(at(old, &storage))
        && new_size <= quantity(at(old, &["status", "capacity", "storage"]))
    {
        let path = spec_path.child("resources").child("requests").child("storage");
        errors.push(Error::forbidden(&path, "field can not be less than status.capacity"));
    }
    let mode = |claim| View::root(claim).get("spec").get("volumeMode").with_path(Path::new("volumeMode"));
    immutable(&mode(new), &mode(old), &mut errors);
    attributes_class(new, old, &mut errors);
    errors
}

fn attributes_class(new: &Value, old: &Value, errors: &mut Errors) {
    let view = View::root(new).get("spec").get("volumeAttributesClassName");
    let unchanged = view.value() == at(old, &["spec", "volumeAttributesClassName"]);
    if unchanged || at(old, &["status", "currentVolumeAttributesClassName"]).is_null() {
        return;
    }
    let to = if !view.is_set() {
        "nil"
    } else if view.is_empty() {
        "empty string"
    } else {
        return;
    };
    errors.push(view.forbidden(format!(
        "update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
    )));
}

fn validate_status(_: &crate::registry::Ctx, new: &Value, _old: &Value) -> Errors {
    const RESIZE: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    for (_, amount) in status.get("capacity").entries() {
        basic_amount(&amount, &mut errors);
    }
    let statuses = status.get("allocatedResourceStatuses");
    for (name, value) in statuses.entries() {
        resource_key(&statuses, name, &mut errors);
        if !RESIZE.contains(&value.str()) {
            errors.push(Error::not_supported(statuses.path(), name, &RESIZE));
        }
    }
    let allocated = status.get("allocatedResources");
    for (name, amount) in allocated.entries() {
        let before = errors.len();
        resource_key(&allocated, name, &mut errors);
        if errors.len() == before {
            basic_amount(&amount, &mut errors);
            if errors.len() == before {
                resources::resource_amount(&amount, "storage", &mut errors);
            }
        }
    }
    errors
}

/// An amount that is not negative.
pub(crate) fn basic_amount(view: &View, errors: &mut Errors) {
    let value = quantity(view.value()).value();
    if value < 0 {
        errors.push(Error::invalid(view.path(), value, "must be a valid resource quantity"));
    }
}

/// Storage, or a resource of someone else's.
fn resource_key(list: &View, name: &str, errors: &mut Errors) {
    let before = errors.len();
    each_at(list.path(), name, content::is_qualified_name(name), errors);
    if errors.len() == before && resources::is_native(name) && name != "storage" {
        errors.push(Error::not_supported(list.path(), name, &["storage"]));
    }
}
