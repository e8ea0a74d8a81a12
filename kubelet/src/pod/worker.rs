//! One worker per pod: it alone acts on the pod, one step after another.
//!
//! A pod goes from running through ending to ended, never back. The runtime's events, probes, changed
//! objects and the API only wake the worker; it then looks for itself.

use super::backoff::{Nanos, now};
use crate::api::{Pod, PodView, is_terminal_phase};
use crate::kubelet::Kubelet;
use crate::runtime::observe::observe;
use crate::volumes;
use component_base::events::EventType::Warning;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Where a pod is in its life on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its containers are kept as its spec says.
    Running,
    /// Its containers are being stopped.
    Ending,
    /// They have stopped; what is left of it is cleared.
    Ended,
    /// Nothing of it is left.
    Finished,
}

/// Why the kubelet itself ends a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    /// In a word.
    pub reason: String,
    /// At length.
    pub message: String,
    /// The longest grace, in seconds.
    pub grace: Option<i64>,
}

#[derive(Clone)]
struct State {
    pod: Arc<Pod>,
    stage: Stage,
    /// The pod is to end.
    end: bool,
    /// The grace period, which only ever gets shorter.
    grace: Option<i64>,
    eviction: Option<Eviction>,
    /// Nobody wants the pod any more.
    gone: bool,
    /// Only the runtime knows of it.
    orphan: bool,
}

struct Worker {
    state: Mutex<State>,
    wake: Notify,
    /// The grace period became shorter.
    hurry: Notify,
}

/// All workers.
#[derive(Default)]
pub struct Workers {
    map: Mutex<HashMap<String, Arc<Worker>>>,
    kubelet: OnceLock<Weak<Kubelet>>,
}

const RETRY: Duration = Duration::from_secs(10);
const CLEAR_RETRY: Duration = Duration::from_millis(100);

impl Workers {
    /// Ties the workers to the kubelet they work for; before that none starts.
    pub fn attach(&self, kubelet: &Arc<Kubelet>) {
        self.kubelet.set(Arc::downgrade(kubelet)).ok();
    }

    /// Has a pod's worker look again.
    pub fn wake(&self, uid: &str) {
        if let Some(worker) = self.map.lock().get(uid) {
            worker.wake.notify_one();
        }
    }

    /// The stage of a pod; none if it has no worker.
    pub fn stage(&self, uid: &str) -> Option<Stage> {
        self.map.lock().get(uid).map(|w| w.state.lock().stage)
    }

    /// Whether containers of the pod may still run.
    pub fn may_run(&self, uid: &str) -> bool {
        self.stage(uid).is_some_and(|s| s < Stage::Ended)
    }

    /// The uids of all pods that have a worker.
    pub fn uids(&self) -> Vec<String> {
        self.map.lock().keys().cloned().collect()
    }

    /// Pods that are being run or ended.
    pub fn active(&self) -> Vec<Arc<Pod>> {
        let map = self.map.lock();
        let states = map.values().map(|w| w.state.lock().clone());
        states.filter(|s| s.stage < Stage::Ended).map(|s| s.pod).collect()
    }

    /// Gives a pod its worker, or its worker the pod's new form.
    pub fn update(self: &Arc<Self>, pod: &Arc<Pod>) {
        let worker = self.worker(pod, false);
        {
            let mut state = worker.state.lock();
            state.pod = pod.clone();
            let over =
                is_terminal_phase(pod.status().phase.as_deref().unwrap_or_default()) && !pod.is_static();
            if pod.deleted() || over {
                state.end = true;
                if pod.deleted() {
                    shorten(&worker, &mut state, pod.metadata.deletion_grace_period_seconds);
                }
            }
        }
        worker.wake.notify_one();
    }

    /// Nobody wants the pod any more.
    pub fn remove(self: &Arc<Self>, pod: &Arc<Pod>) {
        let Some(worker) = self.map.lock().get(pod.uid()).cloned() else { return };
        {
            let mut state = worker.state.lock();
            (state.gone, state.end) = (true, true);
            shorten(&worker, &mut state, pod.metadata.deletion_grace_period_seconds);
        }
        worker.wake.notify_one();
    }

    /// Ends a pod for a reason of the node's.
    pub fn evict(self: &Arc<Self>, pod: &Arc<Pod>, eviction: Eviction) {
        let worker = self.worker(pod, false);
        {
            let mut state = worker.state.lock();
            state.end = true;
            shorten(&worker, &mut state, eviction.grace);
            state.eviction.get_or_insert(eviction);
        }
        worker.wake.notify_one();
    }

    /// Ends a pod that only the runtime knows.
    pub fn end_orphan(self: &Arc<Self>, pod: Pod) {
        let pod = Arc::new(pod);
        let worker = self.worker(&pod, true);
        {
            let mut state = worker.state.lock();
            (state.end, state.gone) = (true, true);
            shorten(&worker, &mut state, Some(1));
        }
        worker.wake.notify_one();
    }

    fn worker(self: &Arc<Self>, pod: &Arc<Pod>, orphan: bool) -> Arc<Worker> {
        let mut map = self.map.lock();
        if let Some(worker) = map.get(pod.uid()) {
            return worker.clone();
        }
        let state = State {
            pod: pod.clone(),
            stage: Stage::Running,
            end: false,
            grace: None,
            eviction: None,
            gone: false,
            orphan,
        };
        let worker = Arc::new(Worker { state: Mutex::new(state), wake: Notify::new(), hurry: Notify::new() });
        map.insert(pod.uid().to_string(), worker.clone());
        if let Some(kubelet) = self.kubelet.get().and_then(Weak::upgrade) {
            tokio::spawn(run(kubelet, self.clone(), worker.clone()));
        }
        worker
    }

    /// Whether a static pod must wait for another of its name to finish.
    fn must_wait(&self, pod: &Pod) -> bool {
        if !pod.is_static() {
            return false;
        }
        let name = pod.full_name();
        let map = self.map.lock();
        let others = map.iter().filter(|(uid, _)| uid.as_str() != pod.uid());
        others
            .map(|(_, w)| w.state.lock().clone())
            .any(|s| s.stage < Stage::Finished && s.end && s.pod.is_static() && s.pod.full_name() == name)
    }

    fn finish(&self, pod: &Pod) {
        let name = pod.full_name();
        let map = self.map.lock();
        for worker in map.values().filter(|w| w.state.lock().pod.full_name() == name) {
            worker.wake.notify_one();
        }
    }
}

fn shorten(worker: &Worker, state: &mut State, grace: Option<i64>) {
    let Some(grace) = grace else { return };
    // The runtime can't end a container in no time at all.
    let grace = grace.max(1);
    if state.grace.is_none_or(|old| grace < old) {
        state.grace = Some(grace);
        worker.hurry.notify_waiters();
    }
}

/// What a step leads to.
enum Next {
    /// Wait to be woken, at most until then.
    Wait(Option<Nanos>),
    /// Go on at once.
    Go,
    /// The pod is gone and so is its worker.
    Stop,
}

async fn run(kubelet: Arc<Kubelet>, workers: Arc<Workers>, worker: Arc<Worker>) {
    loop {
        let state = worker.state.lock().clone();
        let next = match state.stage {
            Stage::Running if state.end => {
                worker.state.lock().stage = Stage::Ending;
                Next::Go
            }
            Stage::Running if workers.must_wait(&state.pod) => Next::Wait(None),
            Stage::Running => sync(&kubelet, &worker, &state.pod).await,
            Stage::Ending => end(&kubelet, &worker, &state).await,
            Stage::Ended => clear(&kubelet, &workers, &worker, &state).await,
            Stage::Finished if state.gone => Next::Stop,
            Stage::Finished => Next::Wait(None),
        };
        match next {
            Next::Go => {}
            Next::Stop => {
                let uid = state.pod.uid();
                kubelet.forget(uid);
                workers.map.lock().remove(uid);
                return;
            }
            Next::Wait(until) => wait(&worker, until).await,
        }
    }
}

async fn wait(worker: &Worker, until: Option<Nanos>) {
    match until {
        None => worker.wake.notified().await,
        Some(at) => {
            let left = Duration::from_nanos(at.saturating_sub(now()).max(0).unsigned_abs());
            tokio::time::timeout(left, worker.wake.notified()).await.ok();
        }
    }
}

async fn sync(kubelet: &Arc<Kubelet>, worker: &Worker, pod: &Arc<Pod>) -> Next {
    let outcome = kubelet.sync_pod(pod).await;
    if outcome.terminal {
        worker.state.lock().end = true;
        return Next::Go;
    }
    let periodic = kubelet.settings.config.sync_frequency.to_std();
    let latest = now().saturating_add(i64::try_from(periodic.as_nanos()).unwrap_or(i64::MAX));
    let deadline = kubelet.active_deadline(pod);
    if let Some(at) = deadline.filter(|at| *at <= now()) {
        tracing::info!(pod = pod.key(), at, "Pod was active on the node longer than the specified deadline");
        const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
        kubelet.events.pod(pod, component_base::events::EventType::Normal, "DeadlineExceeded", MESSAGE);
        let mut state = worker.state.lock();
        let eviction = Eviction { reason: "DeadlineExceeded".into(), message: MESSAGE.into(), grace: None };
        state.eviction.get_or_insert(eviction);
        state.end = true;
        return Next::Go;
    }
    Next::Wait([outcome.again_at, deadline, Some(latest)].into_iter().flatten().min())
}

/// Stops the pod's containers; begins again with less patience if the grace period becomes shorter.
async fn end(kubelet: &Arc<Kubelet>, worker: &Worker, state: &State) -> Next {
    use crate::probes::Kind::{Liveness, Startup};
    let pod = &state.pod;
    let retry = || Next::Wait(Some(now().saturating_add(1_000_000_000)));
    let observed = match observe(&kubelet.cri, pod.uid()).await {
        Ok(observed) => observed,
        Err(e) => {
            tracing::error!(pod = pod.key(), error = %e, "Can't observe pod");
            return retry();
        }
    };
    let evicted = state.eviction.as_ref().map(|e| (e.reason.as_str(), e.message.as_str()));
    if !state.orphan {
        kubelet.update_status(pod, &observed, false, evicted);
    }
    kubelet.probes.stop(pod.uid(), &[Startup, Liveness]);
    let hurry = worker.hurry.notified();
    tokio::pin!(hurry);
    // Registered before the grace period is read, so that no shortening is missed.
    hurry.as_mut().enable();
    let grace = worker.state.lock().grace;
    let killed = tokio::select! {
        killed = kubelet.kill_pod(pod, &observed, grace) => killed,
        () = hurry => return Next::Go,
    };
    if let Err(e) = killed {
        tracing::error!(pod = pod.key(), error = %e, "Failed to kill pod");
        kubelet.events.pod(
            pod,
            Warning,
            "FailedKillPod",
            format!("error killing pod: {}", crate::images::pull::rpc_text(&e)),
        );
        return retry();
    }
    let stopped = match observe(&kubelet.cri, pod.uid()).await {
        Ok(stopped) if stopped.running().next().is_none() => stopped,
        Ok(_) => return retry(),
        Err(e) => {
            tracing::error!(pod = pod.key(), error = %e, "Can't observe pod");
            return retry();
        }
    };
    kubelet.probes.remove(pod.uid(), stopped.containers.iter().map(|c| c.id.as_str()));
    if !state.orphan {
        // A stopped sandbox has lost its address; the status keeps it.
        let stopped = crate::runtime::Observed { ips: observed.ips, ..stopped };
        kubelet.update_status(pod, &stopped, true, evicted);
    }
    worker.state.lock().stage = Stage::Ended;
    Next::Go
}

/// Clears volumes and groups, and lets the API forget the pod.
async fn clear(kubelet: &Arc<Kubelet>, workers: &Workers, worker: &Worker, state: &State) -> Next {
    let pod = &state.pod;
    let again =
        |wait: Duration| Next::Wait(Some(now().saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(0))));
    if let Err(e) = volumes::clear(&kubelet.pod_dir(pod), &kubelet.sys) {
        tracing::warn!(pod = pod.key(), error = %e, "Can't clear the pod's volumes yet");
        return again(RETRY);
    }
    if let Err(e) = kubelet.groups.remove(pod.uid()) {
        // The last process of a container may still be going.
        tracing::debug!(pod = pod.key(), error = %e, "Can't remove the pod's cgroup yet");
        return again(CLEAR_RETRY);
    }
    worker.state.lock().stage = Stage::Finished;
    if !state.orphan {
        kubelet.statuses.finish(pod);
    }
    workers.finish(pod);
    Next::Go
}
