//! Carries out what the engine decided: bindings, preemptions, conditions and events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::{PERSISTENT_VOLUME_CLAIMS, PODS};
use component_base::client::{Client, DeleteOptions, Error, Patch};
use component_base::events::{EventType, ObjectRef, SeriesRecorder};
use component_base::tasks::Tasks;
use futures::StreamExt;
use futures::stream::poll_fn;
use parking_lot::Mutex;
use proto::time::Time;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::sync::{Semaphore, mpsc};

use super::Shared;
use crate::cluster::SELECTED_NODE;
use crate::engine::{Action, Binding, Report};
use crate::metrics;
use crate::model::Pod;

/// How many requests are under way at once.
const CONCURRENCY: usize = 128;
/// How long claims may take to be bound.
const BIND_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest note an event may have.
const MAX_NOTE: usize = 1024;

/// What carries actions out.
pub(super) struct Hands {
    client: Client,
    tasks: Tasks,
    shared: Arc<Shared>,
    /// One recorder per profile: events name the profile as their source.
    recorders: Mutex<HashMap<String, SeriesRecorder>>,
    /// Taken while requests are made; those that wait for claims hold none.
    slots: Semaphore,
}

impl Hands {
    pub(super) fn new(client: &Client, tasks: &Tasks, shared: Arc<Shared>) -> Self {
        Hands {
            client: client.clone(),
            tasks: tasks.clone(),
            shared,
            recorders: Mutex::default(),
            slots: Semaphore::new(CONCURRENCY),
        }
    }

    /// Carries out actions, many at a time, until there are no more.
    pub(super) async fn run(self, mut actions: mpsc::Receiver<Action>) -> anyhow::Result<()> {
        let hands = &self;
        poll_fn(move |cx| actions.poll_recv(cx))
            .for_each_concurrent(None, |action| async move {
                match action {
                    Action::Bind(binding) => hands.bind(binding).await,
                    Action::Report(report) => {
                        let _slot = hands.slots.acquire().await;
                        let profile = &report.pod.shape.scheduler_name;
                        metrics::ATTEMPTS.with(&["unschedulable", profile]).inc();
                        hands.report(report).await;
                    }
                }
            })
            .await;
        Ok(())
    }

    async fn bind(&self, binding: Binding) {
        let pod = &binding.pod;
        if let Err(error) = self.provision(&binding).await {
            let message = format!("running PreBind plugin \"VolumeBinding\": {error}");
            return self.bind_failed(&binding, message).await;
        }
        let _slot = self.slots.acquire().await;
        let profile = pod.shape.scheduler_name.as_str();
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace(), "uid": &*pod.key},
            "target": {"kind": "Node", "name": binding.node},
        });
        let answer: Result<IgnoredAny, Error> =
            self.client.create_sub(&PODS.sub("binding"), pod.namespace(), &pod.name, &body).await;
        match answer {
            Ok(_) => {
                self.shared.engine.lock().bound(&pod.key);
                tracing::debug!(pod = %name(pod), node = binding.node, "Successfully bound pod to node");
                let note = format!("Successfully assigned {} to {}", name(pod), binding.node);
                self.event(pod, None, EventType::Normal, "Scheduled", "Binding", note);
                metrics::ATTEMPTS.with(&["scheduled", profile]).inc();
                metrics::ATTEMPT_DURATION.with(&["scheduled", profile]).observe_since(binding.started);
                metrics::POD_ATTEMPTS.with(&[]).observe(f64::from(binding.attempts));
                let attempts =
                    if binding.attempts >= 15 { "15+".to_owned() } else { binding.attempts.to_string() };
                metrics::SLI_DURATION.with(&[&attempts]).observe_since(binding.first_seen);
            }
            Err(error) => {
                let message = format!("running Bind plugin \"DefaultBinder\": {error}");
                self.bind_failed(&binding, message).await;
            }
        }
    }

    async fn bind_failed(&self, binding: &Binding, message: String) {
        let pod = &binding.pod;
        let profile = pod.shape.scheduler_name.as_str();
        tracing::error!(pod = %name(pod), node = binding.node, err = message, "Failed to bind pod");
        metrics::ATTEMPTS.with(&["error", profile]).inc();
        metrics::ATTEMPT_DURATION.with(&["error", profile]).observe_since(binding.started);
        let report = self.shared.engine.lock().bind_failed(binding, message, Instant::now());
        self.shared.changed.notify_one();
        if let Some(report) = report {
            self.report(report).await;
        }
    }

    /// Has the pod's claims provisioned on its node, and waits until they are bound.
    async fn provision(&self, binding: &Binding) -> Result<(), String> {
        if binding.provision.is_empty() {
            return Ok(());
        }
        let namespace = binding.pod.namespace();
        for claim in &binding.provision {
            let patch = json!({"metadata": {"annotations": {SELECTED_NODE: binding.node}}});
            let answer: Result<IgnoredAny, Error> =
                self.client.patch(&PERSISTENT_VOLUME_CLAIMS, namespace, claim, Patch::Merge, &patch).await;
            answer.map_err(|e| e.to_string())?;
        }
        let bound = async {
            // The annotation shows up in the watch first; from then on its going away is the provisioner's no.
            let mut selected = vec![false; binding.provision.len()];
            loop {
                let changed = self.shared.storage_changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if self.are_bound(binding, &mut selected)? {
                    return Ok(());
                }
                changed.await;
            }
        };
        match tokio::time::timeout(BIND_TIMEOUT, bound).await {
            Ok(result) => result,
            Err(_) => Err("binding volumes: context deadline exceeded".to_owned()),
        }
    }

    fn are_bound(&self, binding: &Binding, selected: &mut [bool]) -> Result<bool, String> {
        let engine = self.shared.engine.lock();
        let mut all = true;
        for (name, selected) in binding.provision.iter().zip(selected) {
            let Some(claim) = engine.cluster.volumes.claim(binding.pod.namespace(), name) else {
                return Err(format!("binding volumes: persistentvolumeclaim {name:?} not found"));
            };
            if claim.bound {
                continue;
            }
            all = false;
            match claim.selected_node.as_deref() {
                Some(node) if node == binding.node => *selected = true,
                _ if *selected => {
                    return Err(format!("binding volumes: selectedNode annotation reset for PVC {name:?}"));
                }
                _ => {}
            }
        }
        Ok(all)
    }

    async fn report(&self, report: Report) {
        let pod = &report.pod;
        tracing::info!(pod = %name(pod), err = report.message, "Unable to schedule pod; waiting");
        if let Some(Some(node)) = &report.nominated_node {
            self.preempt(&report, node).await;
        }
        let note = truncate(&report.message);
        self.event(pod, None, EventType::Warning, "FailedScheduling", "Scheduling", note);
        let patch = status_patch(&report);
        if !patch.is_empty() {
            self.patch_status(pod, Value::Object(patch)).await;
        }
    }

    /// Removes the pods that are in the way. What fails here shows at the pod's next attempt.
    async fn preempt(&self, report: &Report, node: &str) {
        let pod = &report.pod;
        for displaced in &report.displaced {
            self.patch_status(displaced, json!({"nominatedNodeName": null})).await;
        }
        let removals = report.victims.iter().map(|victim| async move {
            let message = format!(
                "{}: preempting to accommodate a higher priority pod",
                pod.shape.scheduler_name
            );
            let mut condition = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": message, "lastProbeTime": null, "lastTransitionTime": Time::now().to_string(),
            });
            observe_generation(&mut condition, victim);
            self.patch_status(victim, json!({"conditions": [condition]})).await;
            let options = DeleteOptions::uid(&*victim.key);
            match self.client.delete(&PODS, victim.namespace(), &victim.name, &options).await {
                Ok(()) => {
                    let note = format!("Preempted by pod {} on node {node}", pod.key);
                    self.event(victim, Some(pod), EventType::Normal, "Preempted", "Preempting", note);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::error!(pod = %name(victim), preemptor = %name(pod), err = %error, "Preempting pod");
                }
            }
        });
        futures::future::join_all(removals).await;
    }

    async fn patch_status(&self, pod: &Pod, status: Value) {
        // The uid makes it fail for a later pod of the same name.
        let patch = json!({"metadata": {"uid": &*pod.key}, "status": status});
        let resource = PODS.sub("status");
        let answer: Result<IgnoredAny, Error> =
            self.client.patch(&resource, pod.namespace(), &pod.name, Patch::Strategic, &patch).await;
        match answer {
            Err(error) if !error.is_not_found() && !error.is_conflict() => {
                tracing::error!(pod = %name(pod), err = %error, "Error updating pod status");
            }
            _ => {}
        }
    }

    fn event(
        &self,
        pod: &Pod,
        related: Option<&Pod>,
        kind: EventType,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) {
        let profile = &pod.shape.scheduler_name;
        let recorder = {
            let mut recorders = self.recorders.lock();
            let new = || SeriesRecorder::new(&self.client, profile, &self.tasks);
            match recorders.get(profile) {
                Some(recorder) => recorder.clone(),
                None => recorders.entry(profile.clone()).or_insert_with(new).clone(),
            }
        };
        let reference = |pod: &Pod| ObjectRef::new("v1", "Pod", pod);
        recorder.event(&reference(pod), related.map(reference).as_ref(), kind, reason, action, note);
    }
}

/// What of the pod's status has to change.
fn status_patch(report: &Report) -> serde_json::Map<String, Value> {
    let mut status = serde_json::Map::new();
    let known = report.pod.scheduled.as_ref();
    let same = known
        .is_some_and(|c| c.status == "False" && c.reason == report.reason && c.message == report.message);
    if !same {
        let mut condition = json!({
            "type": "PodScheduled", "status": "False", "reason": report.reason, "message": report.message,
        });
        if known.is_none_or(|c| c.status != "False") {
            condition["lastProbeTime"] = Value::Null;
            condition["lastTransitionTime"] = Time::now().to_string().into();
        }
        observe_generation(&mut condition, &report.pod);
        status.insert("conditions".to_owned(), json!([condition]));
    }
    if let Some(node) = &report.nominated_node {
        status.insert("nominatedNodeName".to_owned(), json!(node));
    }
    status
}

fn observe_generation(condition: &mut Value, pod: &Pod) {
    if pod.generation > 0 {
        condition["observedGeneration"] = pod.generation.into();
    }
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace(), pod.name)
}

fn truncate(message: &str) -> String {
    const SUFFIX: &str = " ...";
    if message.len() <= MAX_NOTE {
        return message.to_owned();
    }
    let mut end = MAX_NOTE - SUFFIX.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", &message[..end])
}
