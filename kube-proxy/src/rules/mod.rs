//! From Services to nftables.
//!
//! State is kept in maps, not in chains. A verdict map leads from a Service's address to a chain per *number* of
//! endpoints, which picks an index at random; one map leads from (address, protocol, port, index) to the
//! endpoint. So there are as many chains as there are different numbers, whatever the number of Services, and
//! a change is a few map elements.
//!
//! Invariants:
//! * [`plan`](plan::plan) is a pure function; [`Table`](table::Table) knows what the kernel holds without asking it,
//!   and commits the difference as one transaction.
//! * After a refused transaction the table is built anew, whole.

mod chains;
mod elements;
pub mod plan;
mod skeleton;
pub mod table;

pub use chains::{Balance, Chain, List};
pub use elements::SetId;
pub use plan::{Frontend, Plan};
pub use skeleton::{Local, NodePorts, Settings};
pub use table::Table;

/// The table, named as upstream's, so that the one takes over from the other.
pub const TABLE: &str = "kube-proxy";
