//! The group scheduling.k8s.io: priorities of pods.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "scheduling.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "priorityclasses", "PriorityClass")
        .cluster()
        .short(&["pc"])
        .default(|object| super::defaults::fill(object, "preemptionPolicy", "PreemptLowerPriority"))
        .hooks(Hooks { prepare_create: |_, new| strategy::first_generation(new), ..Hooks::default() })
        .install(builder, enabled);
}
