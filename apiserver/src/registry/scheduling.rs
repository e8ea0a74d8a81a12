//! The group scheduling.k8s.io: priorities of pods.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "scheduling.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "priorityclasses", "PriorityClass")
        .cluster()
        .short(&["pc"])
        .hooks(Hooks { prepare_create: |_, new| strategy::first_generation(new), ..Hooks::default() })
        .install(builder, enabled);
    Kind::new(GROUP, "v1alpha2", "podgroups", "PodGroup")
        .hooks(strategy::with_status())
        .status(strategy::status())
        .install(builder, enabled);
    Kind::new(GROUP, "v1alpha2", "workloads", "Workload").hooks(Hooks::default()).install(builder, enabled);
}
