//! The kubelet's API.

use crate::kubelet::Kubelet;
use component_base::flags::Parsed;
use component_base::tasks::Tasks;
use std::sync::Arc;

/// Serves.
pub async fn start(_tasks: &Tasks, _flags: &Parsed, _kubelet: Arc<Kubelet>) -> anyhow::Result<()> {
    Ok(())
}
