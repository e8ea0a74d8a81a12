//! The scheduler's state and what events and attempts do to it. No I/O: attempts return [`Action`]s.

use std::sync::Arc;
use std::time::Instant;

use crate::cluster::{Cluster, ObjectKey, Storage, Workload, WorkloadKind};
use crate::framework::Event;
use crate::framework::cycle::{Decision, Diagnosis, schedule};
use crate::framework::event::{NodeChange, PodChange};
use crate::metrics;
use crate::model::{Node, Pod, PodKey};
use crate::plugins::names::DEFAULT_PREEMPTION;
use crate::plugins::names::DYNAMIC_RESOURCES;
use crate::preemption::Outcome;
use crate::profile::Profile;
use crate::queue::{Entry, Place, Promises, Queue};

/// What has to be done about a pod.
#[derive(Debug)]
pub enum Action {
    /// Bind it.
    Bind(Binding),
    /// Tell why it waits.
    Report(Report),
}

/// A placement to carry out.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The node.
    pub node: String,
    /// When the attempt began.
    pub started: Instant,
    /// Since when the pod waits.
    pub first_seen: Instant,
    /// How many attempts it took.
    pub attempts: u32,
    /// Claims to be provisioned on the node first.
    pub provision: Vec<String>,
}

/// Why a pod waits.
#[derive(Clone, Debug)]
pub struct Report {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The condition's reason: `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    /// The condition's (and the event's) message.
    pub message: String,
    /// The node promised to it, if that changed; `Some(None)` takes a promise back.
    pub nominated_node: Option<Option<String>>,
    /// Pods to remove to make room.
    pub victims: Vec<Arc<Pod>>,
    /// Pods whose promise is void because this one gets the place.
    pub displaced: Vec<Arc<Pod>>,
}

/// The state.
pub struct Engine {
    /// The cluster.
    pub cluster: Cluster,
    /// The waiting pods.
    pub queue: Queue,
    profiles: Vec<Profile>,
    promises: Promises,
    start: usize,
}

impl Engine {
    /// An empty cluster.
    pub fn new(profiles: Vec<Profile>, queue: Queue) -> Self {
        Engine { cluster: Cluster::default(), queue, profiles, promises: Promises::default(), start: 0 }
    }

    fn profile_of(&self, pod: &Pod) -> Option<&Profile> {
        self.profiles.iter().find(|p| p.name == pod.shape.scheduler_name)
    }

    /// A pod appeared, changed or went away.
    pub fn pod_changed(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>, now: Instant) {
        if let (Some(old), Some(new)) = (old, new)
            && old.key != new.key
        {
            // The watch missed the deletion in between.
            self.pod_changed(Some(old), None, now);
            return self.pod_changed(None, Some(new), now);
        }
        let live = |p: Option<&Arc<Pod>>| p.filter(|p| !p.finished).cloned();
        match (live(old), live(new)) {
            (old, Some(new)) if new.node.is_some() => self.assigned(old, new, now),
            (Some(old), None) if old.node.is_some() => self.left(&old, now),
            (Some(old), None) => self.gave_up(&old, now),
            (old, Some(new)) => self.waits(old, new, now),
            (None, None) => {}
        }
    }

    fn assigned(&mut self, old: Option<Arc<Pod>>, new: Arc<Pod>, now: Instant) {
        self.cluster.place(new.clone(), false);
        match old.filter(|old| old.node.is_some()) {
            Some(old) => {
                let change = PodChange::between(&old, &new);
                self.tell(&Event::AssignedPodUpdated { old: &old, new: &new, change }, now);
            }
            None => {
                self.queue.remove(&new.key);
                self.promises.set(&new, None);
                self.tell(&Event::PodAssigned(&new), now);
            }
        }
    }

    fn left(&mut self, old: &Arc<Pod>, now: Instant) {
        self.cluster.unplace(&old.key);
        self.tell(&Event::AssignedPodDeleted(old), now);
    }

    fn gave_up(&mut self, old: &Arc<Pod>, now: Instant) {
        self.queue.remove(&old.key);
        let promised = self.promises.get(&old.key).is_some() || old.nominated_node.is_some();
        self.promises.set(old, None);
        if self.cluster.unplace(&old.key).is_some() || promised {
            self.tell(&Event::AssignedPodDeleted(old), now);
        }
    }

    fn waits(&mut self, old: Option<Arc<Pod>>, new: Arc<Pod>, now: Instant) {
        if self.profile_of(&new).is_none() || self.cluster.is_assumed(&new.key) {
            return;
        }
        self.promises.set(&new, new.nominated_node.as_deref());
        let Some(entry) = self.queue.get(&new.key) else {
            if !new.deleting {
                self.queue.insert(new.clone(), Place::Unschedulable, now);
                self.admit(&new.key, "PodAdd", now);
            }
            return;
        };
        let (place, plugins) = (entry.place, entry.plugins.clone());
        self.queue.update(new.clone());
        match (place, old) {
            (Place::Gated, _) => self.admit(&new.key, "PodUpdate", now),
            (Place::Unschedulable, Some(old)) => {
                let event = Event::Updated { old: &old, change: PodChange::between(&old, &new) };
                let profile = self.profile_of(&new);
                let worth = profile.is_some_and(|profile| {
                    plugins
                        .iter()
                        .filter_map(|p| profile.rejector(p))
                        .any(|p| p.hint(&self.cluster, &new, &event))
                });
                if worth {
                    self.admit(&new.key, event.label(), now);
                }
            }
            _ => {}
        }
    }

    /// Lets a pod into the queue, unless a plugin keeps it out.
    fn admit(&mut self, key: &PodKey, event: &str, now: Instant) {
        let Some(entry) = self.queue.get(key) else { return };
        let Some(profile) = self.profile_of(&entry.pod) else { return };
        let closed = profile.pre_enqueue.iter().find_map(|p| p.pre_enqueue(&entry.pod).err());
        match closed {
            Some(rejection) => self.queue.gate(key, rejection.plugin, now),
            None => {
                self.queue.activate(key, now);
                let place = self.queue.get(key).map(|e| e.place);
                let name = if place == Some(Place::Backoff) { "backoff" } else { "active" };
                metrics::QUEUE_INCOMING.with(&[name, event]).inc();
            }
        }
    }

    /// A node appeared, changed or went away.
    pub fn node_changed(&mut self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>, now: Instant) {
        let Some(new) = new else {
            if let Some(old) = old {
                self.cluster.remove_node(&old.name);
                self.tell(&Event::NodeDeleted(old), now);
            }
            return;
        };
        if old.is_some_and(|old| old == new) {
            // Heartbeats change nothing that is read here.
            return;
        }
        let (_, old) = self.cluster.set_node((**new).clone());
        match old {
            None => self.tell(&Event::NodeAdded(new), now),
            Some(old) => {
                let change = NodeChange::between(&old, new);
                if !change.is_empty() {
                    self.tell(&Event::NodeUpdated { old: &old, new, change }, now);
                }
            }
        }
    }

    /// A Service, controller or budget appeared, changed or went away.
    pub fn workload_changed(&mut self, kind: WorkloadKind, key: ObjectKey, new: Option<Workload>) {
        self.cluster.workloads.set(kind, key, new);
    }

    /// A claim, a volume or a storage class appeared, changed or went away.
    pub fn storage_changed(&mut self, change: Storage, now: Instant) {
        self.cluster.volumes.set(change);
        self.tell(&Event::StorageChanged, now);
    }

    /// Gives another try to the pods that an event concerns.
    fn tell(&mut self, event: &Event, now: Instant) {
        let concerned = |entry: &&Entry| {
            self.profile_of(&entry.pod).is_some_and(|profile| {
                let rejectors = entry.plugins.iter().filter_map(|p| profile.rejector(p));
                rejectors.into_iter().any(|p| p.hint(&self.cluster, &entry.pod, event))
            })
        };
        let keys: Vec<_> =
            self.queue.in_place(Place::Unschedulable).filter(concerned).map(|e| e.pod.key.clone()).collect();
        for key in keys {
            self.admit(&key, event.label(), now);
        }
    }

    /// Tries again what no event concerned for long.
    pub fn flush(&mut self, now: Instant) {
        for key in self.queue.stale(now) {
            self.admit(&key, "UnschedulableTimeout", now);
        }
    }

    /// Tries the next pod. `None` if none is due.
    pub fn attempt(&mut self, now: Instant) -> Option<Action> {
        loop {
            let entry = self.queue.pop(now)?;
            let pod = entry.pod.clone();
            if pod.deleting || self.cluster.is_placed(&pod.key) {
                self.queue.remove(&pod.key);
                continue;
            }
            let Some(profile) = self.profiles.iter().find(|p| p.name == pod.shape.scheduler_name) else {
                self.queue.remove(&pod.key);
                continue;
            };
            let decision = schedule(profile, &mut self.cluster, &self.promises, &pod, &mut self.start);
            metrics::ALGORITHM_DURATION.with(&[]).observe_since(now);
            return Some(match decision {
                Decision::Place { node, .. } => {
                    let node = self.cluster.name(node).to_owned();
                    let placed = Pod { node: Some(node.clone()), ..(*pod).clone() };
                    self.cluster.place(Arc::new(placed), true);
                    self.promises.set(&pod, None);
                    let (attempts, first_seen) = (entry.attempts, entry.first_seen);
                    let provision = self.cluster.volumes.to_provision(&pod);
                    Action::Bind(Binding { pod, node, started: now, first_seen, attempts, provision })
                }
                Decision::Wait(diagnosis) => Action::Report(self.wait(pod, diagnosis, now)),
            });
        }
    }

    fn wait(&mut self, pod: Arc<Pod>, mut diagnosis: Diagnosis, now: Instant) -> Report {
        let mut report = Report {
            pod: pod.clone(),
            reason: "Unschedulable",
            message: String::new(),
            nominated_node: None,
            victims: Vec::new(),
            displaced: Vec::new(),
        };
        let profile = self.profiles.iter().find(|p| p.name == pod.shape.scheduler_name);
        if let Some((profile, preemption)) = profile.and_then(|p| Some((p, p.preemption?)))
            && diagnosis.nodes > 0
        {
            metrics::PREEMPTION_ATTEMPTS.with(&[]).inc();
            match preemption.plan(profile, &mut self.cluster, &self.promises, &pod, &diagnosis) {
                Outcome::Preempt(victims) => {
                    let node = self.cluster.name(victims.node).to_owned();
                    metrics::PREEMPTION_VICTIMS.with(&[]).observe(victims.pods.len() as f64);
                    report.displaced = self.promises.below(&node, pod.priority());
                    report.victims = victims.pods;
                    report.nominated_node = Some(Some(node));
                }
                Outcome::Nothing { message, withdraw } => {
                    // Upstream's other plugin of that point has its say first.
                    let claims = diagnosis.pod_rejection.is_none()
                        && profile.filters.iter().any(|filter| filter.name() == DYNAMIC_RESOURCES);
                    let claims = if claims { "no new claims to deallocate, " } else { "" };
                    diagnosis.preemption = format!("{claims}{message}");
                    report.nominated_node = withdraw.then_some(None);
                }
            }
        } else {
            report.nominated_node = Some(None);
        }
        for displaced in &report.displaced {
            self.promises.set(displaced, None);
        }
        if let Some(node) = &report.nominated_node {
            self.promises.set(&pod, node.as_deref());
            if node.as_deref() == pod.nominated_node.as_deref() {
                report.nominated_node = None;
            }
        }
        for plugin in &diagnosis.plugins {
            metrics::UNSCHEDULABLE_PODS.with(&[plugin, &pod.shape.scheduler_name]).inc();
        }
        report.message = diagnosis.message();
        let mut plugins = diagnosis.plugins;
        if diagnosis.nodes == 0 {
            // With no nodes nothing was asked; the first node is what it waits for.
            plugins.extend(profile.into_iter().flat_map(|p| &p.filters).map(|p| p.name()));
        }
        plugins.remove(DEFAULT_PREEMPTION);
        self.queue.unschedulable(&pod.key, plugins, now);
        report
    }

    /// The pod is bound; the watch will confirm it.
    pub fn bound(&mut self, key: &PodKey) {
        self.queue.remove(key);
    }

    /// The pod could not be bound: its place is free again, and it is tried again later.
    pub fn bind_failed(&mut self, binding: &Binding, message: String, now: Instant) -> Option<Report> {
        let key = &binding.pod.key;
        if self.cluster.is_assumed(key)
            && let Some(pod) = self.cluster.unplace(key)
        {
            self.tell(&Event::AssignedPodDeleted(&pod), now);
        }
        let pod = self.queue.get(key)?.pod.clone();
        self.queue.failed(key, now);
        let nominated_node = pod.nominated_node.is_some().then_some(None);
        let reason = "SchedulerError";
        Some(Report { pod, reason, message, nominated_node, victims: Vec::new(), displaced: Vec::new() })
    }
}
