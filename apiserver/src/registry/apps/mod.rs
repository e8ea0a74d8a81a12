//! The group apps: the controllers of long-running pods.

use proto::view::{View, at, remove_at, set_at, text_at};
use serde_json::Value;

mod defaults;
pub(crate) mod validation;

use super::core::claim;
use super::core::pod::warnings as pod_warnings;
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, ScaleSelector, strategy};
use crate::engine::meta;

const GROUP: &str = "apps";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let selector = || ScaleSelector::LabelSelector("spec.selector".into());
    Kind::new(GROUP, "v1", "controllerrevisions", "ControllerRevision")
        .hooks(Hooks {
            validate: |_, new| validation::controller_revision(new, &Value::Null),
            validate_update: |_, new, old| validation::controller_revision(new, old),
            ..Hooks::default()
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "daemonsets", "DaemonSet")
        .short(&["ds"])
        .category("all")
        .default(defaults::daemon_set)
        .hooks(daemon_set())
        .status(Hooks {
            prepare_update: |_, new, old| {
                strategy::keep(new, old, &["spec"]);
                strategy::keep(new, old, &defaults::TEMPLATE_GENERATION);
            },
            validate_update: |_, new, old| validation::daemon_set_status(new, old),
            ..strategy::status()
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "deployments", "Deployment")
        .short(&["deploy"])
        .category("all")
        .default(defaults::deployment)
        .hooks(deployment())
        .status(Hooks {
            prepare_update: |_, new, old| {
                strategy::keep(new, old, &["spec"]);
                strategy::keep(new, old, &["metadata", "labels"]);
            },
            validate_update: |_, new, old| validation::deployment_status(new, old),
            reset_fields: &[&["spec"], &["metadata", "labels"]],
            ..strategy::status()
        })
        .scale(selector())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "replicasets", "ReplicaSet")
        .short(&["rs"])
        .category("all")
        .default(defaults::replica_set)
        .hooks(Hooks {
            validate: |_, new| validation::replica_set(new, &Value::Null),
            validate_update: |_, new, old| validation::replica_set(new, old),
            warnings: pod_warnings::controller,
            warnings_update: pod_warnings::controller_update,
            ..strategy::with_generation()
        })
        .status(Hooks { validate_update: |_, new, _| validation::replicas_status(new), ..strategy::status() })
        .scale(selector())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "statefulsets", "StatefulSet")
        .short(&["sts"])
        .category("all")
        .default(defaults::stateful_set)
        .hooks(stateful_set())
        .status(Hooks {
            validate_update: |_, new, old| validation::stateful_set_status(new, old),
            ..strategy::status()
        })
        .scale(selector())
        .install(builder, enabled);
}

fn deployment() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["status"]);
            // Annotations count: a rollback or a restart may be asked for in one.
            let annotations = ["metadata", "annotations"];
            if at(new, &["spec"]) != at(old, &["spec"]) || at(new, &annotations) != at(old, &annotations) {
                meta::raise_generation(new, meta::generation(old));
            }
        },
        validate: |_, new| validation::deployment(new, &Value::Null),
        validate_update: |_, new, old| validation::deployment(new, old),
        warnings: pod_warnings::controller,
        warnings_update: pod_warnings::controller_update,
        ..strategy::with_generation()
    }
}

fn stateful_set() -> Hooks {
    // Behind a feature gate that is off.
    const UNAVAILABLE: [&str; 4] = ["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];
    Hooks {
        prepare_create: |_, new| {
            strategy::drop_status(new);
            strategy::first_generation(new);
            remove_at(new, &UNAVAILABLE);
        },
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["status"]);
            if at(old, &UNAVAILABLE).is_null() {
                remove_at(new, &UNAVAILABLE);
            }
            strategy::count_changes(new, old, &["spec"]);
        },
        validate: |_, new| validation::stateful_set(new),
        validate_update: |_, new, old| validation::stateful_set_update(new, old),
        validate_name: strategy::label_name,
        warnings: |_, new| stateful_set_warnings(new, true, ""),
        warnings_update: |_, new, old| {
            // The path is upstream's.
            stateful_set_warnings(new, strategy::generation_changes(new, old), "Spec")
        },
        ..strategy::with_generation()
    }
}

fn stateful_set_warnings(new: &Value, with_template: bool, below: &'static str) -> Vec<String> {
    let spec = View::root(new).get("spec");
    let mut warnings = Vec::new();
    if with_template {
        warnings.extend(pod_warnings::template(&spec.get("template")));
    }
    for template in spec.get("volumeClaimTemplates").items() {
        let path = template.path();
        let path = if below.is_empty() { path.clone() } else { path.child(below) };
        warnings.extend(claim::spec_warnings(&template.get("spec").with_path(path)));
    }
    if spec.int("revisionHistoryLimit") < 0 {
        warnings.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
    }
    warnings
}

/// What once was a field of a DaemonSet's spec is an annotation in this version.
fn template_generation(object: &Value) -> i64 {
    text_at(object, &defaults::TEMPLATE_GENERATION).parse().unwrap_or_default()
}

fn set_template_generation(object: &mut Value, generation: i64) {
    set_at(object, &defaults::TEMPLATE_GENERATION, Value::from(generation.to_string()));
}

fn daemon_set() -> Hooks {
    const TEMPLATE: [&str; 2] = ["spec", "template"];
    Hooks {
        prepare_create: |_, new| {
            strategy::drop_status(new);
            strategy::first_generation(new);
            let given = template_generation(new);
            set_template_generation(new, given.max(1));
        },
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["status"]);
            let changed = at(new, &TEMPLATE) != at(old, &TEMPLATE);
            set_template_generation(new, template_generation(old) + i64::from(changed));
            strategy::count_changes(new, old, &["spec"]);
        },
        validate: |_, new| validation::daemon_set(new, &Value::Null),
        validate_update: |_, new, old| validation::daemon_set(new, old),
        warnings: |_, new| pod_warnings::template(&View::root(new).get("spec").get("template")),
        warnings_update: pod_warnings::controller_update,
        ..strategy::with_generation()
    }
}
