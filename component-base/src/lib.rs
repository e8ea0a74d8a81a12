//! The harness that every daemon stands on: flags, client, watches, queues, tasks, leases, health,
//! metrics and the secure port.
//!
//! Each module does one thing and can be used alone.

pub mod backoff;
pub mod client;
pub mod config;
pub mod daemon;
pub mod events;
pub mod features;
pub mod files;
pub mod flags;
pub mod health;
pub mod leader;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod queue;
pub mod serving;
pub mod tasks;
pub mod tls;
pub mod version;
pub mod watch;
