//! The group apps: the controllers of long-running pods.

use proto::view::{at, int_at, remove_at, set_at};
use serde_json::Value;

mod defaults;
pub(crate) mod validation;

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, ScaleSelector, strategy};

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
            warnings: strategy::pod_name_warning,
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
                strategy::raise_generation(new, old);
            }
        },
        validate: |_, new| validation::deployment(new, &Value::Null),
        validate_update: |_, new, old| validation::deployment(new, old),
        warnings: strategy::pod_name_warning,
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
        ..strategy::with_generation()
    }
}

fn daemon_set() -> Hooks {
    const TEMPLATE: [&str; 2] = ["spec", "template"];
    const TEMPLATE_GENERATION: [&str; 2] = ["spec", "templateGeneration"];
    Hooks {
        prepare_create: |_, new| {
            strategy::drop_status(new);
            strategy::first_generation(new);
            if int_at(new, &TEMPLATE_GENERATION) < 1 {
                set_at(new, &TEMPLATE_GENERATION, Value::from(1));
            }
        },
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["status"]);
            strategy::keep(new, old, &TEMPLATE_GENERATION);
            let changed = at(new, &["spec"]) != at(old, &["spec"]);
            if at(new, &TEMPLATE) != at(old, &TEMPLATE) {
                let next = int_at(old, &TEMPLATE_GENERATION) + 1;
                set_at(new, &TEMPLATE_GENERATION, Value::from(next));
            }
            if changed {
                strategy::raise_generation(new, old);
            }
        },
        validate: |_, new| validation::daemon_set(new, &Value::Null),
        validate_update: |_, new, old| validation::daemon_set(new, old),
        ..strategy::with_generation()
    }
}
