//! The core group: pods, nodes, services and what they need.

pub(crate) mod claim;
mod component;
mod config;
mod controller;
mod defaults;
pub(crate) mod endpoints;
pub(crate) mod event;
mod key_pair;
mod limits;
mod namespace;
mod node;
pub(crate) mod pod;
pub(crate) mod service;
pub(crate) mod volume;

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, Verbs};

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    component::install(builder, enabled);
    config::install(builder, enabled);
    endpoints::install(builder, enabled);
    event::install(builder, enabled);
    limits::install(builder, enabled);
    namespace::install(builder, enabled);
    node::install(builder, enabled);
    claim::install(builder, enabled);
    volume::install(builder, enabled);
    pod::install(builder, enabled);
    controller::install(builder, enabled);
    service::install(builder, enabled);
    kind("rangeallocations", "RangeAllocation")
        .cluster()
        .prefix("ranges")
        .verbs(Verbs::NONE)
        .storage(|storage| storage.cached = false)
        .hooks(Hooks::default())
        .install(builder, enabled);
}

fn kind(resource: &'static str, kind: &'static str) -> Kind {
    Kind::new("", "v1", resource, kind)
}
