//! Clears what pods leave behind: dead containers and sandboxes, directories, groups, mirrors, images.

use crate::api::Pod;
use crate::images::gc::{Ages, Policy};
use crate::kubelet::{DeadContainers, Kubelet};
use crate::pod::backoff::now;
use crate::pod::worker::Stage;
use crate::runtime::observe::{Listed, observe};
use crate::runtime::{ObservedContainer, State};
use crate::volumes;
use component_base::events::EventType::Warning;
use proto::cri;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CONTAINERS: Duration = Duration::from_secs(60);
const IMAGES: Duration = Duration::from_secs(300);
/// Beside a running pod's, so many dead sandboxes are kept.
const SPARE_SANDBOXES: usize = 0;

/// Chooses the dead containers of one pod to remove. `finished` pods keep none, those that still run the
/// newest of each, and no dead container is older than needed.
pub fn dead_containers(
    containers: &[ObservedContainer],
    policy: DeadContainers,
    finished: bool,
    now: i64,
) -> Vec<&ObservedContainer> {
    let mut kept: BTreeMap<&str, i64> = BTreeMap::new();
    let mut remove = Vec::new();
    // The newest come first.
    for c in containers.iter().filter(|c| c.state != State::Running) {
        let old_enough = now - c.created_at >= policy.min_age * 1_000_000_000;
        if !old_enough {
            continue;
        }
        let count = kept.entry(&c.name).or_default();
        let room = policy.per_container < 0 || *count < policy.per_container;
        if room && !finished {
            *count += 1;
        } else {
            remove.push(c);
        }
    }
    remove
}

impl Kubelet {
    /// Removes dead containers and sandboxes, then logs of pods that are gone.
    pub async fn collect_containers(&self, listed: &BTreeMap<String, Listed>) {
        for uid in listed.keys() {
            let wanted = self.pods.get(uid).is_some();
            let stage = self.workers.stage(uid);
            let finished = stage == Some(Stage::Finished) || (stage.is_none() && !wanted);
            if let Err(e) = self.collect_pod(uid, finished, wanted).await {
                tracing::warn!(uid, error = %e, "Can't collect a pod's dead containers");
            }
        }
        self.collect_logs(listed);
    }

    async fn collect_pod(&self, uid: &str, finished: bool, wanted: bool) -> Result<(), tonic::Status> {
        let observed = observe(&self.cri, uid).await?;
        // A pod that is over but still in the API keeps its last containers, whose logs can be read.
        let all = finished && !wanted;
        let policy = self.settings.dead;
        let mut removed = BTreeSet::new();
        for c in dead_containers(&observed.containers, policy, all, now()) {
            self.remove_container(c, false).await?;
            removed.insert(c.id.clone());
        }
        let in_use: BTreeSet<_> = observed
            .containers
            .iter()
            .filter(|c| !removed.contains(&c.id))
            .map(|c| c.sandbox_id.as_str())
            .collect();
        let keep = if all { 0 } else { 1 + SPARE_SANDBOXES };
        for sandbox in
            observed.sandboxes.iter().skip(keep).filter(|s| !s.ready && !in_use.contains(s.id.as_str()))
        {
            let request = cri::StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
            self.cri.stop_pod_sandbox(request).await?;
            let request = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
            self.cri.remove_pod_sandbox(request).await?;
        }
        Ok(())
    }

    fn collect_logs(&self, listed: &BTreeMap<String, Listed>) {
        let known = |uid: &str| listed.contains_key(uid) || self.pods.get(uid).is_some();
        for path in entries(&self.settings.log_root) {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_string();
            let Some((_, uid)) = name.rsplit_once('_') else { continue };
            if !known(uid)
                && let Err(e) = std::fs::remove_dir_all(&path)
            {
                tracing::warn!(path = %path.display(), error = %e, "Failed to remove a pod's logs");
            }
        }
        for link in entries(Path::new(crate::logs::paths::LINKS)) {
            let dangling = std::fs::symlink_metadata(&link).is_ok_and(|m| m.is_symlink()) && !link.exists();
            if dangling {
                std::fs::remove_file(&link).ok();
            }
        }
    }

    /// Ends pods that only the runtime knows, and clears directories and groups of pods nobody knows.
    pub fn collect_orphans(&self, listed: &BTreeMap<String, Listed>) {
        for (uid, pod) in listed {
            let runs = pod.sandboxes.values().any(|ready| *ready)
                || pod.containers.values().any(|s| *s == cri::ContainerState::Running as i32);
            if runs && self.pods.get(uid).is_none() && self.workers.stage(uid).is_none() {
                tracing::info!(
                    pod = format!("{}/{}", pod.namespace, pod.name),
                    uid,
                    "Ending a pod nobody wants"
                );
                if let Some(orphan) = orphan(uid, pod) {
                    self.workers.end_orphan(orphan);
                }
            }
        }
        let known = |uid: &str| {
            self.workers.stage(uid).is_some() || self.pods.get(uid).is_some() || listed.contains_key(uid)
        };
        for dir in entries(&self.settings.pods_root) {
            let Some(uid) = dir.file_name().and_then(|n| n.to_str()) else { continue };
            if known(uid) {
                continue;
            }
            let cleared = volumes::clear(&dir, &self.sys).and_then(|()| std::fs::remove_dir_all(&dir));
            if let Err(e) = cleared {
                tracing::warn!(uid, error = %e, "Can't remove an orphaned pod's directory yet");
            }
        }
        for uid in self.groups.uids() {
            if !known(&uid)
                && let Err(e) = self.groups.remove(&uid)
            {
                tracing::debug!(uid, error = %e, "Can't remove an orphaned pod's cgroup yet");
            }
        }
    }

    /// Removes images if the disk is full.
    pub async fn collect_images(&self, ages: &mut Ages, policy: Policy) -> Result<(), tonic::Status> {
        let images = self.cri.list_images(cri::ListImagesRequest::default()).await?.images;
        let containers = self.cri.list_containers(cri::ListContainersRequest::default()).await?.containers;
        let mut in_use: BTreeSet<String> = containers.iter().map(|c| c.image_ref.clone()).collect();
        in_use.extend(containers.into_iter().filter_map(|c| c.image.map(|i| i.image)));
        let seconds = now() / 1_000_000_000;
        ages.observe(&images, &in_use, seconds);
        let fs =
            self.cri.image_fs_info(cri::ImageFsInfoRequest {}).await?.image_filesystems.into_iter().next();
        let mount = fs.and_then(|f| f.fs_id).map(|id| id.mountpoint).unwrap_or_else(|| "/".into());
        let space = self.sys.space(Path::new(&mount)).unwrap_or_default();
        for id in ages.plan(&images, &in_use, (space.capacity, space.available), policy, seconds) {
            tracing::info!(image = id, "Removing image to free bytes");
            let image = Some(cri::ImageSpec { image: id, ..Default::default() });
            self.cri.remove_image(cri::RemoveImageRequest { image }).await?;
        }
        Ok(())
    }
}

/// What is known of a pod that only the runtime knows.
fn orphan(uid: &str, pod: &Listed) -> Option<Pod> {
    let object = json!({
        "metadata": { "uid": uid, "name": pod.name, "namespace": pod.namespace },
        "spec": { "containers": [] },
    });
    serde_json::from_value(object).ok()
}

fn entries(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

/// Collects containers every minute, until the process ends.
pub async fn run_containers(kubelet: Arc<Kubelet>) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(CONTAINERS).await;
        match crate::runtime::observe::list_pods(&kubelet.cri).await {
            Ok(listed) => kubelet.collect_containers(&listed).await,
            Err(e) => tracing::error!(error = %e, "Container garbage collection failed"),
        }
    }
}

/// Collects images every five minutes, until the process ends.
pub async fn run_images(kubelet: Arc<Kubelet>, policy: Policy) -> anyhow::Result<()> {
    let mut ages = Ages::default();
    loop {
        if let Err(e) = kubelet.collect_images(&mut ages, policy).await {
            tracing::error!(error = %e, "Image garbage collection failed");
            kubelet.events.node(Warning, "ImageGCFailed", e.message());
        }
        tokio::time::sleep(IMAGES).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_dead_container_of_each_is_kept() {
        let c = |name: &str, id: &str, state| ObservedContainer {
            name: name.into(),
            id: id.into(),
            state,
            ..Default::default()
        };
        let all = [
            c("a", "a3", State::Running),
            c("a", "a2", State::Exited),
            c("a", "a1", State::Exited),
            c("b", "b1", State::Exited),
        ];
        let policy = DeadContainers { min_age: 0, per_container: 1, total: -1 };
        let ids = |finished| {
            dead_containers(&all, policy, finished, 1).iter().map(|c| c.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(false), ["a1"]);
        assert_eq!(ids(true), ["a2", "a1", "b1"]);
    }
}
