//! Probes: one task per container and kind, for as long as the pod lives.
//!
//! A task waits without polling until its container runs, and begins anew when the container does. What
//! it finds out is kept by container id, and a change wakes the pod's worker.

mod run;
mod schedule;

pub use schedule::Threshold;

use crate::api::{Container, ContainerKind, Pod, PodView, is_sidecar};
use crate::events::Events;
use crate::pod::plan::{Health, Outcome};
use crate::status::Probed;
use parking_lot::Mutex;
use proto::cri;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The kinds of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Whether it has come up.
    Startup,
    /// Whether it can take work.
    Readiness,
    /// Whether it must be restarted.
    Liveness,
}

impl Kind {
    /// The word in events.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }

    /// The container's probe of this kind.
    pub fn of(self, container: &Container) -> Option<&k8s_openapi::api::core::v1::Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// What a task must know of its container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Target {
    /// The runtime's id; empty while it doesn't run.
    id: String,
    /// Nanoseconds since the epoch.
    started_at: i64,
    /// Whether it is past its startup probe.
    started: bool,
    /// The pod's address.
    ip: String,
}

struct Task {
    target: watch::Sender<Target>,
    _stop: DropGuard,
}

/// What tells a pod's worker to look again.
pub type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// All probes of the node.
pub struct Probes {
    tasks: Mutex<HashMap<(String, String, Kind), Task>>,
    results: Mutex<HashMap<(String, Kind), Outcome>>,
    cri: cri::Client,
    events: Events,
    wake: Wake,
    /// Containers that started well before this belong to an earlier kubelet.
    began: i64,
}

impl Probes {
    /// No probes yet.
    pub fn new(cri: cri::Client, events: Events, wake: Wake) -> Arc<Probes> {
        const GRACE: i64 = 10_000_000_000;
        let began = crate::pod::backoff::now() - GRACE;
        Arc::new(Probes { tasks: Mutex::default(), results: Mutex::default(), cri, events, wake, began })
    }

    /// Starts the pod's probes, those that aren't running yet.
    pub fn add(self: &Arc<Self>, pod: &Arc<Pod>) {
        let sidecars =
            pod.init_containers().iter().filter(|c| is_sidecar(c)).map(|c| (ContainerKind::Init, c));
        let regular = pod.containers().iter().map(|c| (ContainerKind::Regular, c));
        for (list, container) in sidecars.chain(regular) {
            for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
                let Some(spec) = kind.of(container) else { continue };
                let key = (pod.uid().to_string(), container.name.clone(), kind);
                let mut tasks = self.tasks.lock();
                if tasks.contains_key(&key) {
                    continue;
                }
                let stop = CancellationToken::new();
                let (target, seen) = watch::channel(Target::default());
                let task = schedule::Task {
                    probes: self.clone(),
                    pod: pod.clone(),
                    container: container.clone(),
                    list,
                    kind,
                    spec: spec.clone(),
                };
                let stopped = stop.clone();
                tokio::spawn(async move { stopped.run_until_cancelled(task.run(seen)).await });
                tasks.insert(key, Task { target, _stop: stop.drop_guard() });
            }
        }
    }

    /// Stops the pod's probes of these kinds.
    pub fn stop(&self, uid: &str, kinds: &[Kind]) {
        self.tasks.lock().retain(|(owner, _, kind), _| owner != uid || !kinds.contains(kind));
    }

    /// Stops all the pod's probes and forgets what they found out about these containers.
    pub fn remove<'a>(&self, uid: &str, ids: impl Iterator<Item = &'a str>) {
        self.stop(uid, &[Kind::Startup, Kind::Readiness, Kind::Liveness]);
        let mut results = self.results.lock();
        for id in ids {
            for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
                results.remove(&(id.to_string(), kind));
            }
        }
    }

    /// Tells tasks what their containers do now.
    pub fn observe(&self, uid: &str, containers: &BTreeMap<String, (String, i64, bool)>, ip: &str) {
        let tasks = self.tasks.lock();
        for ((owner, name, _), task) in tasks.iter().filter(|((owner, ..), _)| owner == uid) {
            debug_assert_eq!(owner, uid);
            let target = match containers.get(name) {
                Some((id, started_at, started)) => {
                    Target { id: id.clone(), started_at: *started_at, started: *started, ip: ip.into() }
                }
                None => Target::default(),
            };
            task.target.send_if_modified(|old| {
                let changed = *old != target;
                *old = target.clone();
                changed
            });
        }
    }

    /// What is known about these containers.
    pub fn health<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Health {
        let results = self.results.lock();
        let mut health = Health::default();
        for id in ids {
            if let Some(outcome) = results.get(&(id.to_string(), Kind::Startup)) {
                health.startup.insert(id.into(), *outcome);
            }
            if let Some(outcome) = results.get(&(id.to_string(), Kind::Liveness)) {
                health.liveness.insert(id.into(), *outcome);
            }
        }
        health
    }

    /// Whether a running container has started and is ready. `was_started` and `pod_ready` are what the
    /// API shows: after a restart of the kubelet they hold until probes have run.
    pub fn probed(
        &self,
        container: &Container,
        id: &str,
        started_at: i64,
        was_started: bool,
        pod_ready: bool,
    ) -> Probed {
        let results = self.results.lock();
        let get = |kind| results.get(&(id.to_string(), kind)).copied();
        let before = started_at < self.began;
        let started = match get(Kind::Startup) {
            Some(outcome) => outcome == Outcome::Success,
            None => container.startup_probe.is_none() || (before && was_started),
        };
        let ready = match get(Kind::Readiness) {
            Some(outcome) => outcome == Outcome::Success,
            None => container.readiness_probe.is_none() || (before && pod_ready),
        };
        Probed { started, ready }
    }

    fn set(&self, pod: &Pod, id: &str, kind: Kind, outcome: Outcome) {
        let old = self.results.lock().insert((id.to_string(), kind), outcome);
        if old != Some(outcome) {
            (self.wake)(pod.uid());
        }
    }

    fn forget(&self, id: &str, kind: Kind) {
        self.results.lock().remove(&(id.to_string(), kind));
    }
}
