//! What may change in a pod once it is there.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::{View, at, object_at, set_at};
use serde_json::Value;

use super::{Options, scheduling, spec};
use crate::registry::checks::*;

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const MIRROR: &str = "kubernetes.io/config.mirror";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// A change of the pod itself.
pub(super) fn pod(new: &Value, old: &Value, options: &Options) -> Errors {
    let mut errors = Errors::new();
    let (new_view, old_view) = (View::root(new), View::root(old));
    spec::pod(&new_view, options, &mut errors);
    annotations(&new_view, &old_view, options, &mut errors);
    let (new_spec, old_spec) = (new_view.get("spec"), old_view.get("spec"));
    for list in ["containers", "initContainers"] {
        let (new, old) = (new_spec.get(list), old_spec.get(list));
        if new.len() != old.len() {
            errors.push(new.forbidden("pod updates may not add or remove containers"));
            return errors;
        }
        for container in new.items() {
            required(&container.get("image"), &mut errors);
            super::containers::no_padding(&container, &mut errors);
        }
    }
    deadline(&new_spec, &old_spec, &mut errors);
    tolerations(&new_spec, &old_spec, &mut errors);
    gates(&new_spec, &old_spec, &mut errors);
    if new_spec.value() == old_spec.value() {
        return errors;
    }
    let mut munged = new_spec.value().clone();
    restore_mutable(&mut munged, old_spec.value());
    if !old_spec.get("schedulingGates").is_empty() {
        while_gated(&mut munged, &old_spec, &mut errors);
    }
    if munged != *old_spec.value() {
        let changed = changed_paths(&munged, old_spec.value());
        errors.push(new_spec.forbidden(format!("{MUTABLE}\n{}", changed.join("\n"))));
    }
    errors
}

/// The paths at which two trees differ, for the error that forbids it.
fn changed_paths(new: &Value, old: &Value) -> Vec<String> {
    fn walk(new: &Value, old: &Value, path: &Path, out: &mut Vec<String>) {
        match (new, old) {
            (Value::Object(a), Value::Object(b)) => {
                let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for name in names {
                    let pick =
                        |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                    walk(&pick(a), &pick(b), &path.child_named(name), out);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(a, b, &path.index(index), out);
                }
            }
            _ if new != old => out.push(format!("  {path}: {old} -> {new}")),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(new, old, &Path::new("spec"), &mut out);
    out
}

fn restore_mutable(munged: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let sources = at(old, &[list]).as_array().cloned().unwrap_or_default();
        let containers = munged.get_mut(list).and_then(Value::as_array_mut);
        for (container, source) in containers.into_iter().flatten().zip(&sources) {
            set_at(container, &["image"], at(source, &["image"]).clone());
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        set_at(munged, &[field], at(old, &[field]).clone());
    }
    const GRACE: [&str; 1] = ["terminationGracePeriodSeconds"];
    let was_negative = at(old, &GRACE).as_i64().is_some_and(|grace| grace < 0);
    if was_negative && at(munged, &GRACE).as_i64() == Some(1) {
        set_at(munged, &GRACE, at(old, &GRACE).clone());
    }
}

fn deadline(new: &View, old: &View, errors: &mut Errors) {
    let (new, old) = (new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"));
    if new.is_set() {
        each_int(&new, content::is_in_range(new.i64(), 0, i64::from(i32::MAX)), errors);
        if old.is_set() && old.i64() < new.i64() {
            errors.push(new.invalid_int("must be less than or equal to previous value"));
        }
    } else if old.is_set() {
        errors.push(new.invalid("must not update from a positive integer to nil value"));
    }
}

fn tolerations(new: &View, old: &View, errors: &mut Errors) {
    let list = new.get("tolerations");
    let without_seconds = |toleration: &View| {
        let mut value = toleration.value().clone();
        set_at(&mut value, &["tolerationSeconds"], Value::Null);
        value
    };
    let kept: Vec<Value> = list.items().iter().map(without_seconds).collect();
    for old in old.get("tolerations").items() {
        if !kept.contains(&without_seconds(&old)) {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            errors.push(list.forbidden(detail));
            return;
        }
    }
    scheduling::tolerations(&list, errors);
}

fn gates(new: &View, old: &View, errors: &mut Errors) {
    let old = old.get("schedulingGates").items();
    for gate in new.get("schedulingGates").items() {
        let name = gate.get("name");
        if !old.iter().any(|old| old.text("name") == name.str()) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", name.str());
            errors.push(name.forbidden(detail));
        }
    }
}

/// Until a pod is released for scheduling, its node selector and required node affinity may become narrower.
fn while_gated(munged: &mut Value, old: &View, errors: &mut Errors) {
    let selector = View::at(at(munged, &["nodeSelector"]), old.path().child("nodeSelector"));
    let old_selector = old.get("nodeSelector");
    let kept = old_selector.entries().into_iter().all(|(key, value)| selector.text(key) == value.str());
    if !kept {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(selector.invalid(detail));
    }
    set_at(munged, &["nodeSelector"], old_selector.value().clone());

    let affinity_path = ["affinity", "nodeAffinity"];
    let old_affinity = at(old.value(), &affinity_path).clone();
    if *at(munged, &affinity_path) == old_affinity {
        return;
    }
    node_affinity_narrows(at(munged, &affinity_path), &old_affinity, errors);
    let only_nodes = at(munged, &["affinity", "podAffinity"]).is_null()
        && at(munged, &["affinity", "podAntiAffinity"]).is_null();
    if old.get("affinity").is_set() {
        if object_at(munged, &["affinity"]).is_some() {
            set_at(munged, &affinity_path, old_affinity);
        }
    } else if only_nodes {
        set_at(munged, &["affinity"], Value::Null);
    } else {
        set_at(munged, &affinity_path, Value::Null);
    }
}

fn node_affinity_narrows(new: &Value, old: &Value, errors: &mut Errors) {
    const TERMS: [&str; 2] = ["requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let path = Path::new("spec").child("affinity").child("nodeAffinity").child(TERMS[0]).child(TERMS[1]);
    let list = |value: &Value| at(value, &TERMS).as_array().cloned().unwrap_or_default();
    let (new_terms, old_terms) = (list(new), list(old));
    if !old_terms.is_empty() && old_terms.len() != new_terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid(&path, new_terms, detail));
        return;
    }
    for (index, (new, old)) in new_terms.iter().zip(&old_terms).enumerate() {
        if !only_adds(new, old) {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(Error::invalid(&path.index(index), new.clone(), detail));
        }
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let list = |value: &Value, field| at(value, &[field]).as_array().cloned().unwrap_or_default();
    let fields = ["matchExpressions", "matchFields"];
    // An empty term matches nothing; anything added would make it match more.
    if fields.iter().all(|field| list(old, field).is_empty()) {
        return fields.iter().all(|field| list(new, field).is_empty());
    }
    fields.iter().all(|field| list(new, field).starts_with(&list(old, field)))
}

pub(super) fn annotations(new: &View, old: &View, options: &Options, errors: &mut Errors) {
    let list = |pod: &View<'_>| pod.get("metadata").get("annotations").value().clone();
    let (new_list, old_list) = (list(new), list(old));
    let path = Path::new("metadata").child("annotations");
    for (key, old) in old_list.as_object().into_iter().flatten() {
        if new_list.get(key) == Some(old) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            let detail = "may not remove or update AppArmor annotations";
            errors.push(Error::forbidden(&path.key(key), detail));
        }
        if key == MIRROR {
            let detail = "may not remove or update mirror pod annotation";
            errors.push(Error::forbidden(&path.key(key), detail));
        }
    }
    for key in new_list.as_object().into_iter().flatten().map(|(key, _)| key) {
        if old_list.get(key).is_some() {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.push(Error::forbidden(&path.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(Error::forbidden(&path.key(key), "may not add mirror pod annotation"));
        }
    }
    spec::annotations(&new.get("metadata"), &new.get("spec"), options, errors);
}

/// A change through `ephemeralcontainers`: they come, but neither change nor go.
pub(super) fn ephemeral_containers(new: &Value, old: &Value, options: &Options) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (View::root(new), View::root(old));
    spec::pod(&new, options, &mut errors);
    annotations(&new, &old, options, &mut errors);
    if is_mirror(&old) {
        let detail = "static pods do not support ephemeral containers";
        return vec![Error::forbidden(&Path::new(""), detail)];
    }
    let list = new.get("spec").get("ephemeralContainers");
    for old in old.get("spec").get("ephemeralContainers").items() {
        let name = proto::field::quote(old.text("name"));
        match list.items().iter().rfind(|new| new.text("name") == old.text("name")) {
            None => {
                let detail = format!("existing ephemeral containers {name} may not be removed\n");
                errors.push(list.forbidden(detail));
            }
            Some(new) if new.value() != old.value() => {
                let changed = changed_paths(new.value(), old.value()).join("\n");
                let detail = format!("existing ephemeral containers {name} may not be changed\n{changed}");
                errors.push(list.forbidden(detail));
            }
            Some(_) => {}
        }
    }
    errors
}

pub(super) fn is_mirror(pod: &View) -> bool {
    pod.get("metadata").get("annotations").key(MIRROR).is_set()
}
