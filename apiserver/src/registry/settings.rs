//! What the configuration says about built-in kinds.

use std::net::IpAddr;
use std::sync::Arc;

use component_base::features::Gates;

use super::Ctx;

/// Settings of the built-in kinds. Hooks find them as the data of their storage row.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether containers may be privileged (`--allow-privileged`).
    pub allow_privileged: bool,
    /// Where services get their addresses (`--service-cluster-ip-range`): one range, or one of each family. The first
    /// one's family is the default.
    pub service_ranges: Vec<(IpAddr, u8)>,
    /// The first and the last of the ports on nodes that services may have (`--service-node-port-range`).
    pub node_ports: (u16, u16),
    /// The feature gates (`--feature-gates`).
    pub gates: Gates,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            allow_privileged: false,
            service_ranges: vec![(IpAddr::from([10, 0, 0, 0]), 24)],
            node_ports: (30000, 32767),
            gates: Gates::default(),
        }
    }
}

impl Settings {
    /// The settings of the request's storage row.
    pub(crate) fn of(ctx: &Ctx) -> Arc<Settings> {
        let data = ctx.storage.as_ref().and_then(|storage| storage.data.clone());
        data.and_then(|data| data.downcast::<Settings>().ok()).unwrap_or_default()
    }

    /// Whether a feature is on for the request.
    pub(crate) fn has(ctx: &Ctx, gate: &str) -> bool {
        Settings::of(ctx).gates.enabled(gate)
    }
}
