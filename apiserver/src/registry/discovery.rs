//! The group discovery.k8s.io: endpoint slices.

use super::defaults::{each, fill};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "discovery.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "endpointslices", "EndpointSlice")
        .default(|object| {
            each(object, "ports", |port| {
                fill(port, "name", "");
                fill(port, "protocol", "TCP");
            });
        })
        .hooks(Hooks {
            prepare_create: |_, new| strategy::first_generation(new),
            prepare_update: |_, new, old| {
                strategy::count_changes(new, old, &["addressType", "endpoints", "ports"]);
            },
            ..Hooks::default()
        })
        .install(builder, enabled);
}
