//! The group apps: the controllers of long-running pods.

use proto::view::{at, int_at, set_at};
use serde_json::Value;

mod defaults;

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, ScaleSelector, strategy};

const GROUP: &str = "apps";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let selector = || ScaleSelector::LabelSelector("spec.selector".into());
    Kind::new(GROUP, "v1", "controllerrevisions", "ControllerRevision")
        .hooks(Hooks::default())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "daemonsets", "DaemonSet")
        .short(&["ds"])
        .category("all")
        .default(defaults::daemon_set)
        .hooks(daemon_set())
        .status(strategy::status())
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
            reset_fields: &[&["spec"], &["metadata", "labels"]],
            ..strategy::status()
        })
        .scale(selector())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "replicasets", "ReplicaSet")
        .short(&["rs"])
        .category("all")
        .default(defaults::replica_set)
        .hooks(Hooks { warnings: strategy::pod_name_warning, ..strategy::with_generation() })
        .status(strategy::status())
        .scale(selector())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "statefulsets", "StatefulSet")
        .short(&["sts"])
        .category("all")
        .default(defaults::stateful_set)
        .hooks(Hooks { warnings: strategy::pod_name_warning, ..strategy::with_generation() })
        .status(strategy::status())
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
        warnings: strategy::pod_name_warning,
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
        ..strategy::with_generation()
    }
}
