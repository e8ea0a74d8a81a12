//! Writes statuses to the API.
//!
//! The latest status of each pod is kept; one write per pod is under way at a time, and what changes
//! meanwhile goes with the next. A failed write is repeated. A pod that is over, and that the API was
//! asked to delete, is deleted by the last write.

use super::{merge, patch};
use crate::api::{Pod, PodStatus, PodView, is_terminal_phase};
use crate::pods::Pods;
use component_base::client::known::PODS;
use component_base::client::{Client, DeleteOptions, Error, Patch};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Writes under way at once.
const PARALLEL: usize = 16;
const RETRY: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Entry {
    pod: Arc<Pod>,
    status: PodStatus,
    /// Something wasn't written yet.
    dirty: bool,
    /// A write is under way.
    sending: bool,
    /// Nothing of the pod can run any more.
    finished: bool,
    /// What the API is known to hold: the pod's uid there, the revision, the status.
    base: Option<(String, u64, PodStatus)>,
}

/// The statuses of all pods, by the uid the node knows them by.
#[derive(Default)]
pub struct Manager {
    entries: Mutex<HashMap<String, Entry>>,
    changed: Notify,
}

impl Manager {
    /// The latest status.
    pub fn get(&self, uid: &str) -> Option<PodStatus> {
        self.entries.lock().get(uid).map(|e| e.status.clone())
    }

    /// Replaces a status; tells whether it differs from the one before.
    pub fn set(&self, pod: &Arc<Pod>, mut status: PodStatus) -> bool {
        let mut entries = self.entries.lock();
        let old = entries.get(pod.uid());
        let before = old.map_or_else(|| pod.status().clone(), |e| e.status.clone());
        merge::carry_over(pod, &mut status, &before);
        let entry = match entries.get_mut(pod.uid()) {
            Some(entry) => entry,
            None => entries.entry(pod.uid().to_string()).or_insert(Entry {
                pod: pod.clone(),
                status: PodStatus::default(),
                dirty: true,
                sending: false,
                finished: false,
                base: None,
            }),
        };
        entry.pod = pod.clone();
        let differs = entry.status != status;
        entry.status = status;
        entry.dirty |= differs;
        drop(entries);
        if differs {
            self.changed.notify_one();
        }
        differs
    }

    /// Nothing of the pod can run any more: its containers are declared ended, and the API may forget it.
    pub fn finish(&self, pod: &Arc<Pod>) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(pod.uid()) else { return };
        entry.pod = pod.clone();
        merge::terminate(pod, &mut entry.status);
        (entry.finished, entry.dirty) = (true, true);
        drop(entries);
        self.changed.notify_one();
    }

    /// The API shows another status than before. If that isn't what was written, it is written again.
    pub fn api_changed(&self, uid: &str, api: &Pod) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(uid) else { return };
        let revision = revision(api);
        let newer = entry.base.as_ref().is_none_or(|(uid, known, _)| uid != api.uid() || revision > *known);
        if newer {
            entry.base = Some((api.uid().to_string(), revision, api.status().clone()));
            // Deletion may only have become possible now.
            entry.dirty = true;
            drop(entries);
            self.changed.notify_one();
        }
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
    }

    /// Writes until the process ends.
    pub async fn run(self: Arc<Self>, client: Client, pods: Arc<Pods>) -> anyhow::Result<()> {
        let permits = Arc::new(Semaphore::new(PARALLEL));
        loop {
            let due: Vec<String> = {
                let mut entries = self.entries.lock();
                let due = entries.iter_mut().filter(|(_, e)| e.dirty && !e.sending);
                due.map(|(uid, e)| {
                    (e.sending, e.dirty) = (true, false);
                    uid.clone()
                })
                .collect()
            };
            for uid in due {
                let Ok(permit) = permits.clone().acquire_owned().await else { return Ok(()) };
                let (this, client, pods) = (self.clone(), client.clone(), pods.clone());
                tokio::spawn(async move {
                    let result = this.send(&client, &pods, &uid).await;
                    drop(permit);
                    this.sent(&uid, result).await;
                });
            }
            self.changed.notified().await;
        }
    }

    async fn sent(&self, uid: &str, result: Result<(), Error>) {
        let failed = match result {
            Ok(()) => false,
            Err(e) if e.is_not_found() || e.is_conflict() => {
                tracing::debug!(uid, error = %e, "Pod is gone from the API or another of its name");
                false
            }
            Err(e) => {
                tracing::warn!(uid, error = %e, "Failed to update status for pod");
                tokio::time::sleep(RETRY).await;
                true
            }
        };
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(uid) {
            entry.sending = false;
            entry.dirty |= failed;
            if entry.dirty {
                self.changed.notify_one();
            }
        }
    }

    async fn send(&self, client: &Client, pods: &Pods, uid: &str) -> Result<(), Error> {
        let Some(entry) = self.entries.lock().get(uid).cloned() else { return Ok(()) };
        let latest = pods.get(uid).unwrap_or(entry.pod);
        // A static pod is written when it has a mirror: that calls `api_changed`.
        let Some(api) = pods.api_form(&latest) else { return Ok(()) };
        let known = entry.base.filter(|(uid, known, _)| uid == api.uid() && *known >= revision(&api));
        let base = known.map_or_else(|| api.status().clone(), |(_, _, status)| status);
        let mut merged = merge::with_api(&latest, &base, &entry.status, !entry.finished);
        if let Some(patch) = patch::patch(api.uid(), &base, &merged) {
            let sub = PODS.sub("status");
            let written: Pod =
                client.patch(&sub, api.namespace(), api.name(), Patch::Strategic, &patch).await?;
            merged = written.status().clone();
            if let Some(entry) = self.entries.lock().get_mut(uid) {
                entry.base = Some((written.uid().to_string(), revision(&written), merged.clone()));
            }
        }
        let over = merged.phase.as_deref().is_some_and(is_terminal_phase);
        if api.deleted() && !api.is_mirror() && over && entry.finished {
            let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(api.uid()) };
            client.delete(&PODS, api.namespace(), api.name(), &options).await?;
        }
        Ok(())
    }
}

/// Revisions of one server grow; one that isn't a number is older than any.
fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0)
}
