//! Changes of a running pod's cpu and memory.

use proto::field::{Error, Errors, Path};
use proto::view::{View, at, is_empty, set_at};
use serde_json::Value;

use super::{Options, qos, spec, update};

const ONLY_CPU_AND_MEMORY: &str = "only cpu and memory resources are mutable";

/// A change through `resize`.
pub(super) fn validate(new: &Value, old: &Value, options: &Options) -> Errors {
    let mut errors = Errors::new();
    let (new_view, old_view) = (View::root(new), View::root(old));
    spec::pod(&new_view, options, &mut errors);
    let (new_spec, old_spec) = (new_view.get("spec"), old_view.get("spec"));
    let refused = |detail: &str| vec![Error::forbidden(&Path::new(""), detail)];
    if update::is_mirror(&old_view) {
        return refused("static pods cannot be resized");
    }
    if old_spec.get("os").text("name") == "windows" {
        return refused("windows pods cannot be resized");
    }
    let old_class = old_view.get("status").text("qosClass");
    let old_class = if old_class.is_empty() { qos::class(old) } else { old_class };
    if old_class != qos::class(new) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(new_spec.path(), new_view.get("status").text("qosClass"), detail));
    }
    let statuses = old_view.get("status").get("containerStatuses").items();
    let running = statuses.iter().find(|status| status.get("state").has("running"));
    if running.is_some_and(|status| !status.has("resources")) {
        errors.push(new_spec.forbidden("Pod running on node without support for resize"));
    }
    let mut munged = new_spec.value().clone();
    pod_level(&new_spec, &old_spec, &mut munged, &mut errors);
    if !old_view.get("status").get("nodeAllocatableResourceClaimStatuses").is_empty() {
        errors.push(new_spec.forbidden("pods with node allocatable resource claims cannot be resized"));
    }
    let before = errors.len();
    for list in ["containers", "initContainers"] {
        same_order(&new_spec.get(list), &old_spec.get(list), list, &mut errors);
    }
    if errors.len() > before {
        return errors;
    }
    init_containers(&new_spec, &old_spec, &mut munged, &mut errors);
    containers(&new_spec, &old_spec, &mut munged, &mut errors);
    if errors.is_empty() && munged != *old_spec.value() {
        errors.push(new_spec.forbidden(ONLY_CPU_AND_MEMORY));
    }
    errors
}

fn same_order(new: &View, old: &View, what: &str, errors: &mut Errors) {
    if new.len() != old.len() {
        errors.push(new.forbidden(format!("{what} may not be added or removed on resize")));
        return;
    }
    for (new, old) in new.items().iter().zip(old.items()) {
        if new.text("name") != old.text("name") {
            let detail = format!("{what} may not be renamed or reordered on resize");
            errors.push(new.get("name").forbidden(detail));
        }
    }
}

fn pod_level(new: &View, old: &View, munged: &mut Value, errors: &mut Errors) {
    let (new_own, old_own) = (new.get("resources"), old.get("resources"));
    let given = |own: &View| !own.get("requests").is_empty() || !own.get("limits").is_empty();
    if !given(&new_own) && !given(&old_own) {
        return;
    }
    if old_own.is_set() && !new_own.is_set() {
        errors.push(new_own.forbidden("pod-level resources cannot be removed"));
        return;
    }
    for (field, what) in [("requests", "requests"), ("limits", "limits")] {
        if removed(&new_own.get(field), &old_own.get(field)) {
            let detail = format!("pod-level resource {what} cannot be removed");
            errors.push(new_own.get(field).forbidden(detail));
        }
    }
    restore_cpu_and_memory(munged, old.value());
    if !old_own.is_set() && is_empty(at(munged, &["resources"])) {
        set_at(munged, &["resources"], Value::Null);
    }
    if at(munged, &["resources"]) != old_own.value() {
        errors.push(new.forbidden("only cpu and memory resources are mutable at pod-level"));
    }
}

fn removed(new: &View, old: &View) -> bool {
    old.entries().iter().any(|(name, _)| !new.key(name).is_set())
}

/// Gives `new.resources` the cpu and memory of `old.resources`.
fn restore_cpu_and_memory(new: &mut Value, old: &Value) {
    for field in ["limits", "requests"] {
        for name in ["cpu", "memory"] {
            let path = ["resources", field, name];
            set_at(new, &path, at(old, &path).clone());
        }
        if is_empty(at(new, &["resources", field])) {
            set_at(new, &["resources", field], at(old, &["resources", field]).clone());
        }
    }
    if is_empty(at(new, &["resources"])) {
        set_at(new, &["resources"], at(old, &["resources"]).clone());
    }
}

fn not_removed(new: &View, old: &View, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let (new, old) = (new.get("resources").get(field), old.get("resources").get(field));
        if removed(&new, &old) {
            errors.push(new.forbidden(format!("resource {field} cannot be removed")));
        }
    }
}

fn munged_item<'a>(munged: &'a mut Value, list: &str, index: usize) -> Option<&'a mut Value> {
    munged.get_mut(list)?.get_mut(index)
}

fn init_containers(new: &View, old: &View, munged: &mut Value, errors: &mut Errors) {
    const LIST: &str = "initContainers";
    let pairs = || new.get(LIST).items().into_iter().zip(old.get(LIST).items());
    let sidecar = |container: &View| container.text("restartPolicy") == "Always";
    for (new, old) in pairs().filter(|(_, old)| sidecar(old)) {
        not_removed(&new, &old, errors);
    }
    for (index, (new_container, old_container)) in pairs().enumerate() {
        let Some(container) = munged_item(munged, LIST, index) else { continue };
        if sidecar(&new_container) {
            restore_cpu_and_memory(container, old_container.value());
            if container != old_container.value() {
                let detail = "only cpu and memory resources for init or sidecar containers are mutable";
                errors.push(new_container.forbidden(detail));
            }
        } else if new_container.value() != old_container.value() {
            errors.push(new.forbidden("resources for non-sidecar init containers are immutable"));
        }
    }
}

fn containers(new: &View, old: &View, munged: &mut Value, errors: &mut Errors) {
    const LIST: &str = "containers";
    for (index, (new_container, old_container)) in
        new.get(LIST).items().into_iter().zip(old.get(LIST).items()).enumerate()
    {
        not_removed(&new_container, &old_container, errors);
        let Some(container) = munged_item(munged, LIST, index) else { continue };
        restore_cpu_and_memory(container, old_container.value());
        if container != old_container.value() {
            errors.push(new.forbidden(ONLY_CPU_AND_MEMORY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str, extra: Value) -> Value {
        let mut container = json!({
            "name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
            "resources": {"requests": {"cpu": cpu}},
        });
        if let (Some(container), Some(extra)) = (container.as_object_mut(), extra.as_object()) {
            container.extend(extra.clone());
        }
        json!({"metadata": {"name": "p"}, "spec": {
            "containers": [container], "restartPolicy": "Always", "dnsPolicy": "Default",
            "terminationGracePeriodSeconds": 30,
        }})
    }

    #[test]
    fn only_cpu_and_memory_change() {
        let old = pod("1", json!({}));
        let texts = |new: &Value| -> Vec<String> {
            validate(new, &old, &Options::default()).iter().map(|error| error.to_string()).collect()
        };
        assert_eq!(texts(&pod("2", json!({}))), Vec::<String>::new());
        assert_eq!(
            texts(&pod("2", json!({"image": "other"}))),
            ["spec: Forbidden: only cpu and memory resources are mutable"]
        );
        let gone = pod("2", json!({"resources": {}}));
        assert!(texts(&gone).iter().any(|text| text.contains("resource requests cannot be removed")));
    }
}
