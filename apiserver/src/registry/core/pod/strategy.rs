//! What a write of a pod may change, and how a pod is deleted.

use proto::view::{View, at, int_at, object_at, set_at, text_at};
use serde_json::{Map, Value, json};

use super::{options, qos, resize, status as pod_status, update, warnings};
use crate::engine::meta;
use crate::registry::strategy::{first_generation, host_name_warning, keep, keep_metadata};
use crate::registry::{Ctx, Hooks};

/// Hooks of pods.
pub(super) fn pod() -> Hooks {
    Hooks {
        prepare_create,
        prepare_update: |_, new, old| {
            keep(new, old, &["status"]);
            count_spec(new, old);
        },
        validate: |_, new| super::validate(&View::root(new)),
        validate_update: |_, new, old| update::pod(new, old, &options::of_pod(old)),
        warnings: |_, new| {
            let mut warnings = host_name_warning("the Pod's hostname", text_at(new, &["metadata", "name"]));
            warnings.extend(warnings::pod(new));
            warnings
        },
        canonicalize: app_armor_fields,
        graceful_delete: Some(graceful_delete),
        return_deleted: true,
        reset_fields: &[&["status"]],
        ..Hooks::default()
    }
}

fn prepare_create(ctx: &Ctx, pod: &mut Value) {
    first_generation(pod);
    // Upstream takes over a class that the client gives.
    let given = at(pod, &["status", "qosClass"]);
    let class = if given.is_null() { Value::from(qos::class(pod)) } else { given.clone() };
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !at(pod, &["spec", "schedulingGates"]).is_null() {
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        });
        set_condition(&mut status, condition, &meta::time(ctx.now));
    }
    set_at(pod, &["status"], status);
    merge_match_label_keys(pod);
}

/// A new pod's AppArmor annotations become fields, where these say something else than the pod's own.
fn app_armor_fields(pod: &mut Value) {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let is_new = at(pod, &["metadata", "resourceVersion"]).is_null();
    if !is_new || text_at(pod, &["spec", "os", "name"]) == "windows" {
        return;
    }
    let annotations = at(pod, &["metadata", "annotations"]).clone();
    let own = at(pod, &["spec", "securityContext", "appArmorProfile"]).clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(pod, &["spec"], list) {
            let annotation = at(&annotations, &[&format!("{PREFIX}{}", text_at(container, &["name"]))]);
            let field = ["securityContext", "appArmorProfile"];
            let Some(profile) = annotation.as_str().and_then(warnings::app_armor_profile) else { continue };
            if at(container, &field).is_null() && profile != own {
                set_at(container, &field, profile);
            }
        }
    }
}

/// Sets a condition of a status. Its transition time moves only with its status.
pub(super) fn set_condition(status: &mut Value, mut condition: Value, now: &str) {
    set_at(&mut condition, &["lastTransitionTime"], Value::from(now));
    let mut conditions = at(status, &["conditions"]).as_array().cloned().unwrap_or_default();
    let same = |old: &&mut Value| old.get("type") == condition.get("type");
    match conditions.iter_mut().find(same) {
        None => conditions.push(condition),
        Some(old) => {
            if old.get("status") == condition.get("status") {
                keep(&mut condition, old, &["lastTransitionTime"]);
            }
            *old = condition;
        }
    }
    set_at(status, &["conditions"], Value::from(conditions));
}

fn count_spec(new: &mut Value, old: &Value) {
    if at(new, &["spec"]) != at(old, &["spec"]) {
        meta::raise_generation(new, meta::generation(new));
    }
}

/// Turns `matchLabelKeys` and `mismatchLabelKeys` into requirements on the pod's own label values.
fn merge_match_label_keys(pod: &mut Value) {
    let labels = at(pod, &["metadata", "labels"]).as_object().cloned().unwrap_or_default();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = ["spec", "affinity", kind];
        for term in items_mut(pod, &path, "requiredDuringSchedulingIgnoredDuringExecution") {
            merge_keys(term, &labels);
        }
        for weighted in items_mut(pod, &path, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                merge_keys(term, &labels);
            }
        }
    }
    for constraint in items_mut(pod, &["spec"], "topologySpreadConstraints") {
        merge_keys(constraint, &labels);
    }
}

fn items_mut<'a>(object: &'a mut Value, path: &[&str], field: &str) -> impl Iterator<Item = &'a mut Value> {
    let parent = path.iter().try_fold(object, |here, name| here.get_mut(*name));
    let items = parent.and_then(|parent| parent.get_mut(field)).and_then(Value::as_array_mut);
    items.into_iter().flatten()
}

fn merge_keys(term: &mut Value, labels: &Map<String, Value>) {
    if at(term, &["labelSelector"]).is_null() {
        return;
    }
    let mut requirements = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in View::root(term).texts(field) {
            if let Some(value) = labels.get(key) {
                requirements.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if requirements.is_empty() {
        return;
    }
    let Some(selector) = object_at(term, &["labelSelector"]) else { return };
    let list = selector.entry("matchExpressions").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(list) = list.as_array_mut() {
        list.extend(requirements);
    }
}

/// A pod is given its grace period, unless no kubelet could use it.
fn graceful_delete(_: &Ctx, pod: &Value, options: &mut Value) -> bool {
    let wanted = at(options, &["gracePeriodSeconds"]).as_i64();
    let own = int_at(pod, &["spec", "terminationGracePeriodSeconds"]);
    let phase = text_at(pod, &["status", "phase"]);
    let mut period = wanted.unwrap_or(own);
    if text_at(pod, &["spec", "nodeName"]).is_empty() || matches!(phase, "Failed" | "Succeeded") {
        period = 0;
    }
    if period < 0 {
        period = 1;
    }
    set_at(options, &["gracePeriodSeconds"], Value::from(period));
    true
}

/// Hooks of the subresource `status`.
pub(super) fn status() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| {
            keep(new, old, &["spec"]);
            keep(new, old, &["metadata", "deletionTimestamp"]);
            keep(new, old, &["metadata", "ownerReferences"]);
            for field in ["qosClass", "observedGeneration"] {
                if at(new, &["status", field]).is_null() {
                    keep(new, old, &["status", field]);
                }
            }
            keep_condition_generations(new, old);
        },
        validate_update: |_, new, old| pod_status::validate(new, old, &options::of_pod(old)),
        warnings_update: |_, new, _| warnings::status(new),
        reset_fields: &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        ..Hooks::default()
    }
}

/// Writers that know nothing of a condition's generation do not erase it.
fn keep_condition_generations(new: &mut Value, old: &Value) {
    let old_conditions = View::root(old).get("status").get("conditions").items();
    for condition in items_mut(new, &["status"], "conditions") {
        if condition.get("observedGeneration").is_some() {
            continue;
        }
        let kind = text_at(condition, &["type"]);
        let before = old_conditions.iter().find(|old| old.text("type") == kind);
        if let Some(generation) = before.map(|old| old.int("observedGeneration")).filter(|g| *g != 0) {
            set_at(condition, &["observedGeneration"], Value::from(generation));
        }
    }
}

/// Hooks of the subresource `ephemeralcontainers`: nothing else of the pod changes.
pub(super) fn ephemeral_containers() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| {
            let containers = at(new, &["spec", "ephemeralContainers"]).clone();
            keep(new, old, &["spec"]);
            keep(new, old, &["status"]);
            keep_metadata(new, old);
            set_at(new, &["spec", "ephemeralContainers"], containers);
            count_spec(new, old);
        },
        validate_update: |_, new, old| update::ephemeral_containers(new, old, &options::of_pod(old)),
        ..Hooks::default()
    }
}

/// Hooks of the subresource `resize`: only resources and resize policies change.
pub(super) fn resize() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| {
            drop_all_but_resources(new, old);
            count_spec(new, old);
        },
        validate_update: |_, new, old| resize::validate(new, old, &options::of_pod(old)),
        ..Hooks::default()
    }
}

fn drop_all_but_resources(new: &mut Value, old: &Value) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let old_view = View::root(old).get("spec");
    let new_view = View::root(new).get("spec");
    let names = |spec: &View, list| -> Vec<String> {
        spec.get(list).items().iter().map(|container| container.text("name").to_owned()).collect()
    };
    // Containers that came, went or moved are left for validation to refuse.
    if LISTS.iter().any(|list| names(&new_view, list) != names(&old_view, list)) {
        return;
    }
    let wanted = at(new, &["spec"]).clone();
    keep(new, old, &["spec"]);
    keep(new, old, &["status"]);
    keep_metadata(new, old);
    set_at(new, &["spec", "resources"], at(&wanted, &["resources"]).clone());
    for list in LISTS {
        let sources = at(&wanted, &[list]).as_array().cloned().unwrap_or_default();
        for (container, source) in items_mut(new, &["spec"], list).zip(&sources) {
            for field in ["resources", "resizePolicy"] {
                keep(container, source, &[field]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn match_label_keys_become_requirements() {
        let mut pod = json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {"topologySpreadConstraints": [{"labelSelector": {}, "matchLabelKeys": ["a", "missing"]}]}
        });
        merge_match_label_keys(&mut pod);
        let expressions = &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"];
        assert_eq!(*expressions, json!([{"key": "a", "operator": "In", "values": ["1"]}]));
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let mut status = json!({"conditions": [{"type": "A", "status": "True", "lastTransitionTime": "t0"}]});
        set_condition(&mut status, json!({"type": "A", "status": "True"}), "t1");
        assert_eq!(status["conditions"][0]["lastTransitionTime"], "t0");
        set_condition(&mut status, json!({"type": "A", "status": "False"}), "t1");
        assert_eq!(status["conditions"][0]["lastTransitionTime"], "t1");
    }
}
