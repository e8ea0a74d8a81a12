//! Defaults of the small kinds of the core group.

use proto::view::{at, is_empty, set_at};
use serde_json::Value;

use crate::registry::defaults::{each, fill, inside, pod_template, resource_lists, single_and_list, within};

pub(super) fn replication_controller(object: &mut Value) {
    let labels = at(object, &["spec", "template", "metadata", "labels"]).clone();
    if !is_empty(&labels) {
        for path in [&["spec", "selector"], &["metadata", "labels"]] {
            if is_empty(at(object, path)) {
                set_at(object, path, labels.clone());
            }
        }
    }
    within(object, "spec", |spec| within(spec, "template", pod_template));
}

pub(super) fn template(object: &mut Value) {
    inside(object, "template", pod_template);
}

pub(super) fn node(object: &mut Value) {
    within(object, "spec", |spec| single_and_list(spec, "podCIDR", "podCIDRs", None));
    within(object, "status", |status| {
        resource_lists(status, &["capacity", "allocatable"]);
        if let Some(capacity) = status.get("capacity").cloned() {
            fill(status, "allocatable", capacity);
        }
    });
}

pub(super) fn persistent_volume(object: &mut Value) {
    inside(object, "status", |status| fill(status, "phase", "Pending"));
    inside(object, "spec", |spec| {
        fill(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
        within(spec, "hostPath", |source| fill(source, "type", ""));
        resource_lists(spec, &["capacity"]);
    });
}

pub(super) fn resource_quota(object: &mut Value) {
    within(object, "spec", |spec| resource_lists(spec, &["hard"]));
    within(object, "status", |status| resource_lists(status, &["hard", "used"]));
}

pub(super) fn limit_range(object: &mut Value) {
    within(object, "spec", |spec| each(spec, "limits", limit_range_item));
}

/// A container's maximum is its default limit, which is its default request; else its minimum is.
fn limit_range_item(item: &mut Value) {
    resource_lists(item, &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]);
    if item.get("type").is_none_or(|kind| kind != "Container") {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let amounts = at(item, &[from]).as_object().cloned().unwrap_or_default();
        for (name, amount) in amounts {
            if at(item, &[to, &name]).is_null() {
                set_at(item, &[to, &name], amount);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_follow_from_each_other() {
        let mut item = json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}});
        limit_range_item(&mut item);
        assert_eq!(item["default"], json!({"cpu": "2"}));
        assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    }
}
