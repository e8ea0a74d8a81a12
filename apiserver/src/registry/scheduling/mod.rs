//! The group scheduling.k8s.io: priorities of pods, and pods that are scheduled together.

mod class;
mod group;

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "scheduling.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "priorityclasses", "PriorityClass")
        .cluster()
        .short(&["pc"])
        .columns(class::COLUMNS)
        .default(|object| super::defaults::fill(object, "preemptionPolicy", "PreemptLowerPriority"))
        .hooks(Hooks {
            prepare_create: |_, new| strategy::first_generation(new),
            validate: |_, new| class::validate(new),
            validate_update: |_, new, old| class::validate_update(new, old),
            ..Hooks::default()
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1alpha2", "workloads", "Workload")
        .gated("GenericWorkload")
        .hooks(group::workload())
        .install(builder, enabled);
    Kind::new(GROUP, "v1alpha2", "podgroups", "PodGroup")
        .gated("GenericWorkload")
        .hooks(group::pod_group())
        .status(group::status())
        .without_table()
        .install(builder, enabled);
}
