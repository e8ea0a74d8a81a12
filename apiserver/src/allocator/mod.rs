//! Allocation of what services must not share: cluster IPs and ports on nodes.
//!
//! Invariants:
//! - A cluster IP is taken exactly while an IPAddress object of its name exists. Creating the object decides races.
//! - A node port is taken exactly while its bit is set in the one RangeAllocation object `servicenodeports`.
//!   Changing the object under its revision decides races.
//! - What a write allocates is released when the write fails, and what it no longer needs only once it has succeeded. A
//!   server that dies in between leaks; [`repair`] finds the leaks from the services themselves.

pub(crate) mod addresses;
mod families;
mod ports;
mod repair;
pub(crate) mod service;

pub use repair::{PERIOD as REPAIR_PERIOD, repair};

use serde_json::{Value, json};

/// The name of the ServiceCIDR object that stands for the configured ranges.
pub const DEFAULT_SERVICE_CIDR: &str = "kubernetes";

/// The ServiceCIDR object for the configured ranges.
pub fn default_service_cidr(settings: &crate::registry::Settings) -> Value {
    let ranges: Vec<String> =
        settings.service_ranges.iter().map(|(address, bits)| format!("{address}/{bits}")).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": DEFAULT_SERVICE_CIDR},
        "spec": {"cidrs": ranges},
    })
}
