//! Defaults of the group apps.

use proto::view::{at, set_at};
use serde_json::{Value, json};

use crate::registry::defaults::{claim, each, fill, inside, pod_template, within};

const HISTORY: i64 = 10;

pub(super) fn deployment(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "replicas", 1);
        inside(spec, "strategy", |strategy| {
            fill(strategy, "type", "RollingUpdate");
            rolling_update(strategy, |update| {
                fill(update, "maxUnavailable", "25%");
                fill(update, "maxSurge", "25%");
            });
        });
        fill(spec, "revisionHistoryLimit", HISTORY);
        fill(spec, "progressDeadlineSeconds", 600);
        inside(spec, "template", pod_template);
    });
}

/// The annotation that counts templates of a DaemonSet.
pub(super) const TEMPLATE_GENERATION: [&str; 3] =
    ["metadata", "annotations", "deprecated.daemonset.template.generation"];

pub(super) fn daemon_set(object: &mut Value) {
    if at(object, &TEMPLATE_GENERATION).is_null() {
        set_at(object, &TEMPLATE_GENERATION, Value::from("0"));
    }
    inside(object, "spec", |spec| {
        inside(spec, "updateStrategy", |strategy| {
            fill(strategy, "type", "RollingUpdate");
            rolling_update(strategy, |update| {
                fill(update, "maxUnavailable", 1);
                fill(update, "maxSurge", 0);
            });
        });
        fill(spec, "revisionHistoryLimit", HISTORY);
        inside(spec, "template", pod_template);
    });
}

pub(super) fn stateful_set(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "podManagementPolicy", "OrderedReady");
        inside(spec, "updateStrategy", |strategy| {
            if strategy.get("type").is_none() {
                fill(strategy, "type", "RollingUpdate");
                fill(strategy, "rollingUpdate", json!({}));
            }
            if strategy.get("type").is_some_and(|kind| kind == "RollingUpdate") {
                within(strategy, "rollingUpdate", |update| fill(update, "partition", 0));
            }
        });
        fill(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
        within(spec, "persistentVolumeClaimRetentionPolicy", |policy| {
            fill(policy, "whenDeleted", "Retain");
            fill(policy, "whenScaled", "Retain");
        });
        fill(spec, "replicas", 1);
        fill(spec, "revisionHistoryLimit", HISTORY);
        inside(spec, "template", pod_template);
        each(spec, "volumeClaimTemplates", |template| {
            set_at(template, &["apiVersion"], Value::from("v1"));
            set_at(template, &["kind"], Value::from("PersistentVolumeClaim"));
            claim(template);
        });
    });
}

pub(super) fn replica_set(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "replicas", 1);
        inside(spec, "template", pod_template);
    });
}

fn rolling_update(strategy: &mut Value, change: impl FnOnce(&mut Value)) {
    if strategy.get("type").is_some_and(|kind| kind == "RollingUpdate") {
        fill(strategy, "rollingUpdate", json!({}));
        within(strategy, "rollingUpdate", change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolling_updates_have_bounds_only_where_they_are_chosen() {
        let mut object = json!({"spec": {"strategy": {"type": "Recreate"}}});
        deployment(&mut object);
        assert_eq!(object["spec"]["strategy"], json!({"type": "Recreate"}));
        let mut object = json!({"spec": {}});
        deployment(&mut object);
        assert_eq!(
            object["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(object["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    }
}
