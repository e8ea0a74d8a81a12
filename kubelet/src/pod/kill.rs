//! Stops containers and sandboxes.

use super::hooks;
use super::order::Order;
use super::plan::KillReason;
use crate::api::{Container, ContainerKind, Pod, PodView, find_container};
use crate::kubelet::Kubelet;
use crate::runtime::labels;
use crate::runtime::{Observed, ObservedContainer};
use component_base::events::EventType::{Normal, Warning};
use proto::cri;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// Even a forced end leaves the runtime this long, in seconds, to kill cleanly.
const MIN_GRACE: i64 = 2;

/// Chooses the grace period in seconds: that of the deletion, of the probe that failed, of the pod.
pub fn grace_period(pod: &Pod, container: &Container, reason: KillReason) -> i64 {
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        return grace;
    }
    let Some(grace) = pod.spec().termination_grace_period_seconds else { return MIN_GRACE };
    let probe = match reason {
        KillReason::StartupProbe => container.startup_probe.as_ref(),
        KillReason::LivenessProbe => container.liveness_probe.as_ref(),
        _ => None,
    };
    probe.and_then(|p| p.termination_grace_period_seconds).unwrap_or(grace)
}

impl Kubelet {
    /// Stops a container: the event, its preStop hook, its turn, then the runtime.
    pub async fn kill_container(
        &self,
        pod: &Pod,
        seen: &ObservedContainer,
        message: &str,
        reason: KillReason,
        grace_override: Option<i64>,
        ip: &str,
        order: Option<&Order>,
    ) -> Result<(), Status> {
        let (list, container) = find_container(pod, &seen.name).unwrap_or_else(|| restore(seen));
        let mut grace = grace_override.unwrap_or_else(|| grace_period(pod, &container, reason));
        let default = format!("Stopping container {}", container.name);
        let text = if message.is_empty() { &default } else { message };
        let place = (list, container.name.as_str());
        self.events.container(pod, place, &seen.id, Normal, "Killing", text);
        let hook = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
        if let Some(hook) = hook.filter(|_| grace > 0) {
            let begun = Instant::now();
            let run = hooks::run(&self.cri, &self.events, pod, &container, &seen.id, ip, hook);
            if let Ok(Err(e)) = tokio::time::timeout(seconds(grace), run).await {
                tracing::warn!(pod = pod.key(), container = container.name, error = e, "PreStop hook failed");
                self.events.container(
                    pod,
                    place,
                    &seen.id,
                    Warning,
                    "FailedPreStopHook",
                    "PreStopHook failed",
                );
            }
            grace -= i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
        }
        if let Some(order) = order.filter(|_| grace > 0) {
            let waited = order.wait_for_turn(&container.name, seconds(grace)).await;
            grace -= i64::try_from(waited.as_secs()).unwrap_or(i64::MAX);
        }
        let request =
            cri::StopContainerRequest { container_id: seen.id.clone(), timeout: grace.max(MIN_GRACE) };
        match self.cri.stop_container(request).await {
            Err(status) if status.code() != Code::NotFound => return Err(status),
            _ => {}
        }
        if let Some(order) = order {
            order.ended(&container.name);
        }
        Ok(())
    }

    /// Stops all that runs of a pod, then its sandboxes. They are removed later.
    pub async fn kill_pod(&self, pod: &Pod, observed: &Observed, grace: Option<i64>) -> Result<(), Status> {
        let running: Vec<_> = observed.running().collect();
        let names: Vec<_> = running.iter().map(|c| c.name.as_str()).collect();
        let order = Order::new(pod, &names);
        let ip = observed.ips.first().map(String::as_str).unwrap_or_default();
        let kills = running
            .iter()
            .map(|c| self.kill_container(pod, c, "", KillReason::Other, grace, ip, Some(&order)));
        for result in futures::future::join_all(kills).await {
            result?;
        }
        let stops = observed.sandboxes.iter().filter(|s| s.ready).map(|s| async {
            let request = cri::StopPodSandboxRequest { pod_sandbox_id: s.id.clone() };
            match self.cri.stop_pod_sandbox(request).await {
                Err(status) if status.code() != Code::NotFound => Err(status),
                _ => Ok(()),
            }
        });
        futures::future::try_join_all(stops).await.map(drop)
    }

    /// Removes a container with its log and the log's symlink.
    pub async fn remove_container(&self, seen: &ObservedContainer, keep_log: bool) -> Result<(), Status> {
        if !keep_log {
            crate::logs::rotate::remove_all(std::path::Path::new(&seen.log_path));
            let of = |key: &str| seen.labels.get(key).map(String::as_str).unwrap_or_default();
            let link = crate::logs::paths::link(
                &seen.id,
                &seen.name,
                of(labels::POD_NAME),
                of(labels::POD_NAMESPACE),
            );
            std::fs::remove_file(link).ok();
        }
        let request = cri::RemoveContainerRequest { container_id: seen.id.clone() };
        match self.cri.remove_container(request).await {
            Err(status) if status.code() != Code::NotFound => Err(status),
            _ => Ok(()),
        }
    }
}

/// A container whose spec is gone: its annotations keep what is needed to stop it well.
fn restore(seen: &ObservedContainer) -> (ContainerKind, Container) {
    let hook = seen.annotations.get(labels::PRE_STOP).and_then(|json| serde_json::from_str(json).ok());
    let lifecycle =
        hook.map(|hook| k8s_openapi::api::core::v1::Lifecycle { pre_stop: Some(hook), ..Default::default() });
    let ports = seen.annotations.get(labels::PORTS).and_then(|json| serde_json::from_str(json).ok());
    let container = Container { name: seen.name.clone(), lifecycle, ports, ..Default::default() };
    (ContainerKind::Regular, container)
}

fn seconds(n: i64) -> Duration {
    Duration::from_secs(n.max(0).unsigned_abs())
}
