//! Takes pods in: registers them, admits the new ones, and gives them to their workers.

use crate::admission::{self, Rejection};
use crate::api::{CONFIG_SEEN, CONFIG_SOURCE, Pod, PodStatus, PodView};
use crate::kubelet::Kubelet;
use crate::pod::worker::Eviction;
use component_base::events::EventType::Warning;
use std::sync::Arc;

/// Marks a pod with where it came from and since when it is known.
pub fn mark(pod: &mut Pod, source: &str, seen: Option<String>) {
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_SOURCE.into(), source.into());
    let now = || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
    annotations.insert(CONFIG_SEEN.into(), seen.unwrap_or_else(now));
}

impl Kubelet {
    /// A pod came or changed.
    pub fn pod_changed(&self, pod: Arc<Pod>) {
        let known = self.workers.stage(pod.uid()).is_some();
        self.pods.set(pod.clone());
        if !pod.is_static() {
            self.statuses.api_changed(pod.uid(), &pod);
        }
        // A pod that runs already was admitted before the kubelet restarted.
        let runs = pod.status().phase.as_deref() == Some("Running");
        if !known && !runs && !pod.is_terminal() && !pod.deleted() {
            let others: Vec<_> = self.workers.active();
            let admitted =
                self.info.with(|facts| admission::admit(&pod, &others, facts, &self.settings.config));
            if let Err(rejection) = admitted {
                self.reject(&pod, rejection);
                return;
            }
        }
        self.workers.update(&pod);
        self.weigh_groups();
    }

    /// Nobody wants the pod any more.
    pub fn pod_removed(&self, pod: &Arc<Pod>) {
        self.pods.remove(pod);
        self.workers.remove(pod);
        self.weigh_groups();
    }

    fn weigh_groups(&self) {
        let pods = self.workers.active();
        if let Err(e) = self.groups.weigh(pods.iter().map(AsRef::as_ref)) {
            tracing::warn!(error = %e, "Failed to weigh the cgroup of burstable pods");
        }
    }

    /// A pod that can't run here fails at once.
    fn reject(&self, pod: &Arc<Pod>, rejection: Rejection) {
        tracing::info!(
            pod = pod.key(),
            reason = rejection.reason,
            message = rejection.message,
            "Pod is rejected"
        );
        self.events.pod(pod, Warning, &rejection.reason, rejection.message.clone());
        let status = PodStatus {
            qos_class: Some(crate::resources::qos(pod).as_str().into()),
            observed_generation: pod.metadata.generation,
            phase: Some("Failed".into()),
            reason: Some(rejection.reason.clone()),
            message: Some(format!("Pod was rejected: {}", rejection.message)),
            ..PodStatus::default()
        };
        self.statuses.set(pod, status);
        let eviction = Eviction {
            reason: rejection.reason,
            message: format!("Pod was rejected: {}", rejection.message),
            grace: None,
        };
        self.workers.evict(pod, eviction);
    }
}
