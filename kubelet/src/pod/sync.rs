//! Brings one pod to what its spec says, then tells how it is.

use super::backoff::{Nanos, now};
use super::plan::{self, Plan};
use super::start::Common;
use crate::api::{ContainerKind, Pod, PodStatus, PodView, as_container, is_sidecar, is_terminal_phase};
use crate::kubelet::Kubelet;
use crate::references::Gathered;
use crate::runtime::observe::observe;
use crate::runtime::{Observed, State};
use crate::status::{Inputs, Probed, generate};
use crate::volumes;
use component_base::events::EventType::{Normal, Warning};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The wait after a failure that sets none itself.
const RETRY: Duration = Duration::from_secs(10);
/// The wait for the node's network.
const NETWORK_RETRY: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All its containers have ended for good: it is to be wound up.
    pub terminal: bool,
    /// When to look again without being told, in nanoseconds since the epoch.
    pub again_at: Option<Nanos>,
}

impl Outcome {
    fn again(wait: Duration) -> Outcome {
        Outcome { again_at: Some(later(wait)), ..Outcome::default() }
    }
}

fn later(wait: Duration) -> Nanos {
    now().saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
}

impl Kubelet {
    /// Computes and keeps the pod's status; tells what it is.
    pub fn update_status(
        &self,
        pod: &Arc<Pod>,
        observed: &Observed,
        terminal: bool,
        evicted: Option<(&str, &str)>,
    ) -> PodStatus {
        // A static pod's last status is that of its mirror.
        let api = self.pods.api_form(pod).unwrap_or_else(|| pod.clone());
        let old = self.statuses.get(pod.uid()).unwrap_or_else(|| api.status().clone());
        let pod_ready =
            api.status().conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        let probed = |name: &str, id: &str| {
            let Some((_, container)) = crate::api::find_container(pod, name) else {
                return Probed { started: true, ready: true };
            };
            let started_at = observed.containers.iter().find(|c| c.id == id).map_or(0, |c| c.started_at);
            let lists = old.container_statuses.iter().chain(&old.init_container_statuses).flatten();
            let was_started = lists.clone().any(|s| s.name == name && s.started == Some(true));
            self.probes.probed(&container, id, started_at, was_started, pod_ready)
        };
        let (host_ips, runtime) = self.info.with(|f| (f.host_ips.clone(), f.runtime_name.clone()));
        let inputs = Inputs {
            pod,
            observed,
            old: &old,
            reasons: &self.reasons_of(pod.uid()),
            probed: &probed,
            host_ips: &host_ips,
            terminal,
            evicted,
            runtime: &runtime,
            recursive_read_only: self.info.recursive_read_only(""),
        };
        let status = generate(&inputs);
        self.statuses.set(pod, status.clone());
        self.tell_probes(pod, observed, &status);
        status
    }

    fn tell_probes(&self, pod: &Pod, observed: &Observed, status: &PodStatus) {
        let lists = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let started: BTreeMap<_, _> = lists.map(|s| (s.name.as_str(), s.started == Some(true))).collect();
        let mut running = BTreeMap::new();
        for c in observed.running() {
            let up = started.get(c.name.as_str()).copied().unwrap_or(false);
            running.entry(c.name.clone()).or_insert((c.id.clone(), c.started_at, up));
        }
        let ip = status.pod_ip.as_deref().unwrap_or_default();
        self.probes.observe(pod.uid(), &running, ip);
    }

    /// One look at a pod that is to run: observe, tell, decide, do; again while that leads on.
    pub async fn sync_pod(&self, pod: &Arc<Pod>) -> Outcome {
        let mut gathered: Option<Gathered> = None;
        let mut again_at = None;
        let mut rounds = 0;
        loop {
            let observed = match observe(&self.cri, pod.uid()).await {
                Ok(observed) => observed,
                Err(e) => {
                    tracing::error!(pod = pod.key(), error = %e, "Can't observe pod");
                    return Outcome::again(NETWORK_RETRY);
                }
            };
            let status = self.update_status(pod, &observed, false, None);
            if status.phase.as_deref().is_some_and(is_terminal_phase) {
                return Outcome { terminal: true, again_at: None };
            }
            // Each round starts something or ends the loop; the bound guards against a runtime that lies.
            rounds += 1;
            if rounds > 64 {
                return Outcome::again(RETRY);
            }
            let network_error = self.info.with(|f| f.network_error.clone());
            if !network_error.is_empty() && !pod.host_network() {
                self.events.pod(
                    pod,
                    Warning,
                    "NetworkNotReady",
                    format!("network is not ready: {network_error}"),
                );
                return Outcome::again(NETWORK_RETRY);
            }
            if rounds == 1
                && let Err(wait) = self.prepare(pod, &mut gathered).await
            {
                return Outcome::again(wait);
            }
            let ids = observed.containers.iter().map(|c| c.id.as_str());
            let restarting = crate::status::generate::restarting_all(pod, &observed, &status);
            let plan = plan::plan(pod, &observed, &self.probes.health(ids), restarting);
            if let Some(at) = gathered.as_ref().and_then(|g| g.renew_at) {
                again_at = Some(at.saturating_mul(1_000_000_000));
            }
            if plan.is_empty() || (plan.kill_pod && !plan.create_sandbox && observed.is_stopped()) {
                return Outcome { terminal: false, again_at };
            }
            let refs = match gathered.take() {
                Some(refs) => refs,
                None => match &self.references {
                    Some(references) => references.gather(pod).await,
                    None => Gathered::default(),
                },
            };
            match self.execute(pod, &plan, &observed, refs).await {
                Done::OneMore => {}
                Done::Failed(retry_at) => {
                    // The status tells why.
                    if let Ok(observed) = observe(&self.cri, pod.uid()).await {
                        self.update_status(pod, &observed, false, None);
                    }
                    let at = retry_at.unwrap_or_else(|| later(RETRY));
                    return Outcome { terminal: false, again_at: Some(again_at.map_or(at, |a| a.min(at))) };
                }
            }
        }
    }

    /// When a pod that may be active only for so long has been, in nanoseconds since the epoch.
    pub fn active_deadline(&self, pod: &Pod) -> Option<Nanos> {
        let seconds = pod.spec().active_deadline_seconds?;
        let started = self.statuses.get(pod.uid())?.start_time?.0.as_second();
        Some(started.saturating_add(seconds).saturating_mul(1_000_000_000))
    }

    /// Groups, directories, volumes, probes. The error is the time to wait.
    async fn prepare(&self, pod: &Arc<Pod>, gathered: &mut Option<Gathered>) -> Result<(), Duration> {
        if let Err(e) = self.groups.ensure(pod) {
            let message = format!("error determining status: {e}");
            tracing::error!(pod = pod.key(), error = %e, "Failed to create the pod's cgroup");
            self.events.pod(
                pod,
                Warning,
                "FailedCreatePodContainer",
                format!("unable to ensure pod container exists: {message}"),
            );
            return Err(RETRY);
        }
        let dir = self.pod_dir(pod);
        for part in ["", "volumes", "plugins"] {
            if let Err(e) = make_dir(&dir.join(part)) {
                let text = format!("error making pod data directories: {e}");
                self.events.pod(pod, Warning, "Failed", text);
                return Err(RETRY);
            }
        }
        let refs = match &self.references {
            Some(references) => references.gather(pod).await,
            None => Gathered::default(),
        };
        let pod_ips = self.statuses.get(pod.uid()).and_then(|s| s.pod_ips).unwrap_or_default();
        let inputs = volumes::Inputs {
            pods_root: &self.settings.pods_root,
            sources: &refs.sources,
            tokens: &refs.tokens,
            claims: &refs.claims,
            around: &self.info.surroundings(pod_ips.into_iter().map(|p| p.ip).collect()),
            sys: &self.sys,
        };
        let errors = volumes::setup_all(pod, &inputs);
        *gathered = Some(refs);
        if !errors.is_empty() {
            for error in &errors {
                self.events.pod(pod, Warning, "FailedMount", error.to_string());
            }
            return Err(self.volume_wait(pod.uid()));
        }
        self.volume_failures.lock().remove(pod.uid());
        self.probes.add(pod);
        Ok(())
    }

    /// Volumes are tried again soon at first, then ever more seldom.
    fn volume_wait(&self, uid: &str) -> Duration {
        const FIRST: Duration = Duration::from_millis(500);
        const MAX: Duration = Duration::from_secs(122);
        let mut failures = self.volume_failures.lock();
        let count = failures.entry(uid.to_string()).or_insert(0);
        *count += 1;
        FIRST.saturating_mul(1 << (*count - 1).min(8)).min(MAX)
    }

    async fn execute(&self, pod: &Arc<Pod>, plan: &Plan, observed: &Observed, refs: Gathered) -> Done {
        let failed = |what: &str, e: &tonic::Status| {
            tracing::error!(pod = pod.key(), error = %e, "{what}");
            Done::Failed(None)
        };
        if plan.kill_pod {
            if plan.create_sandbox && !observed.sandboxes.is_empty() {
                self.events.pod(
                    pod,
                    Normal,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.",
                );
            }
            if let Err(e) = self.kill_pod(pod, observed, None).await {
                self.events.pod(
                    pod,
                    Warning,
                    "FailedKillPod",
                    format!("error killing pod: {}", crate::images::pull::rpc_text(&e)),
                );
                return failed("Failed to kill pod", &e);
            }
            if !plan.create_sandbox {
                return Done::OneMore;
            }
            if let Err(e) = self.drop_init_containers(pod, observed, 0).await {
                return failed("Failed to remove init containers", &e);
            }
        }
        let ip = observed.ips.first().map(String::as_str).unwrap_or_default();
        for kill in &plan.kill {
            let Some(seen) = observed.containers.iter().find(|c| c.id == kill.id) else { continue };
            let killed = self.kill_container(pod, seen, &kill.message, kill.reason, None, ip, None).await;
            if let Err(e) = killed {
                return failed("Failed to kill container", &e);
            }
        }
        for reset in &plan.reset {
            let Some(seen) = observed.containers.iter().find(|c| c.id == reset.id) else { continue };
            if reset.kill
                && let Err(e) = self
                    .kill_container(pod, seen, "killing", plan::KillReason::Other, Some(0), ip, None)
                    .await
            {
                return failed("Failed to kill container", &e);
            }
            if let Err(e) = self.remove_container(seen, true).await {
                return failed("Failed to remove container", &e);
            }
        }
        // Of init containers one ended instance is enough to know that they are done.
        if let Err(e) = self.drop_init_containers(pod, observed, 1).await {
            return failed("Failed to remove init containers", &e);
        }
        let common = match self.common(pod, refs, plan.attempt).await {
            Ok(common) => common,
            Err(e) => {
                tracing::error!(pod = pod.key(), error = e, "Can't make the pod's sandbox configuration");
                self.events.pod(
                    pod,
                    Warning,
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {e}"),
                );
                return Done::Failed(None);
            }
        };
        if plan.create_sandbox {
            // Its containers follow in the next round, which knows its address.
            return match self.create_sandbox(pod, &common).await {
                Ok(_) => Done::OneMore,
                Err(e) => {
                    tracing::error!(pod = pod.key(), error = e, "CreatePodSandbox for pod failed");
                    Done::Failed(None)
                }
            };
        }
        self.start_all(pod, plan, observed, &common).await
    }

    async fn start_all(&self, pod: &Arc<Pod>, plan: &Plan, observed: &Observed, common: &Common) -> Done {
        let mut failure: Option<Option<Nanos>> = None;
        let mut note = |result: Result<(), super::start::Failure>, name: &str| {
            let mut reasons = self.reasons.lock();
            let reasons = reasons.entry(pod.uid().to_string()).or_default();
            match result {
                Ok(()) => {
                    reasons.remove(name);
                    true
                }
                Err(e) => {
                    // What failed the same way before was told before.
                    if reasons.get(name) != Some(&e.reason) {
                        let (reason, error) = (&e.reason.reason, &e.reason.message);
                        tracing::error!(
                            pod = pod.key(),
                            container = name,
                            reason,
                            error,
                            "Container start failed"
                        );
                    }
                    let sooner = match (failure, e.retry_at) {
                        (Some(Some(a)), Some(b)) => Some(a.min(b)),
                        (Some(a), b) => a.or(b),
                        (None, b) => b,
                    };
                    failure = Some(sooner);
                    reasons.insert(name.to_string(), e.reason);
                    false
                }
            }
        };
        for e in plan.start_ephemeral.iter().filter_map(|i| pod.ephemeral_containers().get(*i)) {
            let container = as_container(e);
            let target = e.target_container_name.as_deref();
            let place = (ContainerKind::Ephemeral, &container);
            note(self.start_container(pod, place, target, &plan.sandbox_id, common, observed).await, &e.name);
        }
        for c in plan.start_init.iter().filter_map(|i| pod.init_containers().get(*i)) {
            let place = (ContainerKind::Init, c);
            let started = self.start_container(pod, place, None, &plan.sandbox_id, common, observed).await;
            if !note(started, &c.name) && !is_sidecar(c) {
                return Done::Failed(failure.flatten());
            }
        }
        for c in plan.start.iter().filter_map(|i| pod.containers().get(*i)) {
            let place = (ContainerKind::Regular, c);
            note(self.start_container(pod, place, None, &plan.sandbox_id, common, observed).await, &c.name);
        }
        match failure {
            None => Done::OneMore,
            Some(retry_at) => Done::Failed(retry_at),
        }
    }

    /// Removes ended init containers but the newest few of each.
    async fn drop_init_containers(
        &self,
        pod: &Pod,
        observed: &Observed,
        keep: usize,
    ) -> Result<(), tonic::Status> {
        for init in pod.init_containers() {
            let of_name = observed.containers.iter().filter(|c| c.name == init.name);
            let ended = of_name.filter(|c| keep == 0 || matches!(c.state, State::Exited | State::Unknown));
            for seen in ended.skip(keep) {
                self.remove_container(seen, false).await?;
            }
        }
        Ok(())
    }
}

enum Done {
    /// Look again.
    OneMore,
    /// Something failed; when to try again, if that is decided.
    Failed(Option<Nanos>),
}

fn make_dir(dir: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)
}
