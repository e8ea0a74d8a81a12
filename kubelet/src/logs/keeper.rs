//! Rotates the logs of running containers.

use super::rotate::{Policy, is_full, rotate};
use crate::kubelet::Kubelet;
use anyhow::Context;
use proto::cri;
use proto::quantity::Quantity;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Looks at all logs every so often, until the process ends.
pub async fn run(kubelet: Arc<Kubelet>) -> anyhow::Result<()> {
    let config = &kubelet.settings.config;
    let size = Quantity::parse(&config.container_log_max_size)
        .with_context(|| format!("containerLogMaxSize: {:?}", config.container_log_max_size))?;
    let Ok(max_size) = u64::try_from(size.value()) else {
        // A negative size turns rotation off.
        return Ok(());
    };
    let policy = Policy { max_size, max_files: usize::try_from(config.container_log_max_files).unwrap_or(5) };
    let mut paths = HashMap::new();
    loop {
        tokio::time::sleep(config.container_log_monitor_interval.to_std()).await;
        if let Err(e) = look(&kubelet, policy, &mut paths).await {
            tracing::error!(error = %e, "Failed to rotate container logs");
        }
    }
}

async fn look(kubelet: &Kubelet, policy: Policy, paths: &mut HashMap<String, PathBuf>) -> anyhow::Result<()> {
    let state = cri::ContainerStateValue { state: cri::ContainerState::Running as i32 };
    let filter = cri::ContainerFilter { state: Some(state), ..Default::default() };
    let running =
        kubelet.cri.list_containers(cri::ListContainersRequest { filter: Some(filter) }).await?.containers;
    paths.retain(|id, _| running.iter().any(|c| c.id == *id));
    for container in running {
        if !paths.contains_key(&container.id) {
            let request = cri::ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
            let Ok(response) = kubelet.cri.container_status(request).await else { continue };
            let path = response.status.map(|s| s.log_path).unwrap_or_default();
            paths.insert(container.id.clone(), path.into());
        }
        let Some(path) = paths.get(&container.id).filter(|p| is_full(p, policy)) else { continue };
        if let Err(e) = turn(kubelet, &container.id, path, policy).await {
            tracing::error!(path = %path.display(), error = %e, "Failed to rotate log for container");
        }
    }
    Ok(())
}

async fn turn(kubelet: &Kubelet, id: &str, path: &Path, policy: Policy) -> anyhow::Result<()> {
    let moved = rotate(path, policy)?;
    let request = cri::ReopenContainerLogRequest { container_id: id.into() };
    if let Err(e) = kubelet.cri.reopen_container_log(request).await {
        // The runtime still writes to the old file: give it its name back.
        std::fs::rename(moved, path)?;
        return Err(e.into());
    }
    Ok(())
}
