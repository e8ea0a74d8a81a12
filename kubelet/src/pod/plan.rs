//! What must be done to bring a pod's containers to what its spec says.
//!
//! [`plan`] is pure: everything it needs is passed in, and the same input gives the same plan. It
//! follows upstream's order: sandbox, then ephemeral containers, then init containers one by one
//! (sidecars stay), then the regular ones.

use super::restart::{restarts_all, returns_after_kill, should_restart, should_start};
use crate::api::{Container, Pod, PodView, is_sidecar};
use crate::runtime::hash::container_hash;
use crate::runtime::{Observed, ObservedContainer, State};
use std::collections::BTreeMap;

/// What a probe last found out about one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Success,
    /// It failed often enough.
    Failure,
}

/// Probe outcomes by container id. No entry: the probe hasn't run yet.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Startup probes.
    pub startup: BTreeMap<String, Outcome>,
    /// Liveness probes.
    pub liveness: BTreeMap<String, Outcome>,
}

/// Why a container is killed; it decides which grace period applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its startup probe failed.
    StartupProbe,
    /// Its liveness probe failed.
    LivenessProbe,
    /// Its postStart hook failed.
    FailedPostStartHook,
    /// The pod ends, or its spec changed.
    Other,
}

/// A container to kill.
#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    /// The runtime's id.
    pub id: String,
    /// The name in the spec.
    pub name: String,
    /// The text of the event.
    pub message: String,
    /// Why.
    pub reason: KillReason,
}

/// A container to remove, so that the pod can start over in its sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Reset {
    /// The runtime's id.
    pub id: String,
    /// The name in the spec.
    pub name: String,
    /// Whether it must be killed first.
    pub kill: bool,
}

/// What to do, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Stop all containers and the sandbox.
    pub kill_pod: bool,
    /// Kill these, if the pod as a whole stays.
    pub kill: Vec<Kill>,
    /// Remove these, in this order.
    pub reset: Vec<Reset>,
    /// Make a new sandbox.
    pub create_sandbox: bool,
    /// The sandbox there is; empty if none can be used.
    pub sandbox_id: String,
    /// The number of the sandbox, present or to be made.
    pub attempt: u32,
    /// Indexes of ephemeral containers to start.
    pub start_ephemeral: Vec<usize>,
    /// Indexes of init containers to start.
    pub start_init: Vec<usize>,
    /// Indexes of regular containers to start.
    pub start: Vec<usize>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let keep = !self.kill_pod && !self.create_sandbox && self.kill.is_empty() && self.reset.is_empty();
        keep && self.start_ephemeral.is_empty() && self.start_init.is_empty() && self.start.is_empty()
    }
}

/// The state of a pod's sandbox.
#[derive(Debug, PartialEq)]
pub struct SandboxNeed {
    /// Whether a new one is needed.
    pub create: bool,
    /// Its number.
    pub attempt: u32,
    /// The present one, if it is still of use.
    pub id: String,
}

/// Decides whether the pod needs a new sandbox.
pub fn sandbox_need(pod: &Pod, observed: &Observed) -> SandboxNeed {
    let Some(newest) = observed.sandboxes.first() else {
        return SandboxNeed { create: true, attempt: 0, id: String::new() };
    };
    let next = newest.attempt + 1;
    let ready = observed.sandboxes.iter().filter(|s| s.ready).count();
    if ready > 1 || !newest.ready {
        return SandboxNeed { create: true, attempt: next, id: newest.id.clone() };
    }
    if newest.host_network != pod.host_network() {
        return SandboxNeed { create: true, attempt: next, id: String::new() };
    }
    let lost_address = newest.ips.as_ref().is_some_and(Vec::is_empty);
    if !pod.host_network() && lost_address {
        return SandboxNeed { create: true, attempt: next, id: newest.id.clone() };
    }
    SandboxNeed { create: false, attempt: newest.attempt, id: newest.id.clone() }
}

/// Decides what to do for a pod that is to run.
pub fn plan(pod: &Pod, observed: &Observed, health: &Health, restart_all: bool) -> Plan {
    let need = sandbox_need(pod, observed);
    let mut plan = Plan {
        kill_pod: need.create,
        create_sandbox: need.create,
        sandbox_id: need.id,
        attempt: need.attempt,
        ..Plan::default()
    };
    if restart_all {
        plan.reset = resets(pod, observed);
        return plan;
    }
    if need.create {
        return start_over(pod, observed, plan);
    }
    for (i, e) in pod.ephemeral_containers().iter().enumerate() {
        // They are never restarted.
        if observed.container(&e.name).is_none() {
            plan.start_ephemeral.push(i);
        }
    }
    let initialized = plan_init(pod, observed, health, &mut plan);
    if !plan.kill_pod && initialized {
        plan_regular(pod, observed, health, &mut plan);
    }
    plan
}

/// A pod without a usable sandbox begins from the start, unless it has nothing left to run.
fn start_over(pod: &Pod, observed: &Observed, mut plan: Plan) -> Plan {
    let never = pod.restart_policy() == "Never";
    if never && plan.attempt != 0 && !observed.containers.is_empty() {
        plan.create_sandbox = false;
        return plan;
    }
    let done = |c: &Container| {
        let policy = c.restart_policy.as_deref().unwrap_or(pod.restart_policy());
        policy == "OnFailure"
            && observed.container(&c.name).is_some_and(|o| o.state == State::Exited && o.exit_code == 0)
    };
    let regular = pod.containers();
    let start: Vec<usize> = (0..regular.len()).filter(|i| !done(&regular[*i])).collect();
    if start.is_empty() && any_regular_created(pod, observed) {
        plan.create_sandbox = false;
        return plan;
    }
    if pod.init_containers().is_empty() {
        plan.start = start;
    } else {
        plan.start_init = vec![0];
    }
    plan
}

/// Whether any regular container was ever made, which proves that the init containers are done.
pub fn any_regular_created(pod: &Pod, observed: &Observed) -> bool {
    pod.containers().iter().any(|c| observed.container(&c.name).is_some_and(|o| o.state != State::Unknown))
}

/// Looks at init containers from the last to the first, because finished ones may have been removed.
/// Tells whether initialization is over.
fn plan_init(pod: &Pod, observed: &Observed, health: &Health, plan: &mut Plan) -> bool {
    let init = pod.init_containers();
    if init.is_empty() {
        return true;
    }
    // A regular container that runs proves it. An ended one doesn't: it may be from before a reboot.
    let started = pod.containers().iter().any(|c| {
        observed.container(&c.name).is_some_and(|o| matches!(o.state, State::Created | State::Running))
    });
    let mut initialized = started;
    // True from the newest init container that has a status on: all before it have been through.
    let mut previously = started;
    for (i, container) in init.iter().enumerate().rev() {
        let sidecar = is_sidecar(container);
        let Some(status) = observed.container(&container.name) else {
            if previously && sidecar {
                plan.start_init.push(i);
            }
            continue;
        };
        if previously && !sidecar {
            continue;
        }
        let last = i + 1 == init.len();
        match status.state {
            State::Created => plan.start_init.push(i),
            State::Running if sidecar => {
                if sidecar_up(container, status, health, i, plan) {
                    if last {
                        initialized = true;
                    } else if !previously {
                        plan.start_init.push(i + 1);
                    }
                    check_sidecar(container, status, health, i, plan);
                }
            }
            State::Running => {}
            State::Exited if sidecar => plan.start_init.push(i),
            State::Exited if status.exit_code != 0 => {
                if !should_restart(container, pod, status.exit_code) {
                    return give_up(plan);
                }
                plan.start_init.push(i);
            }
            State::Exited if last => initialized = true,
            State::Exited => plan.start_init.push(i + 1),
            State::Unknown => {
                if !sidecar && !returns_after_kill(container, pod) {
                    return give_up(plan);
                }
                plan.kill.push(kill_unknown("Init container", status));
                plan.start_init.push(i);
            }
        }
        previously = true;
    }
    if !previously {
        plan.start_init.push(0);
    }
    // Found from the end, started from the beginning.
    plan.start_init.reverse();
    initialized
}

/// An init container failed for good, so the pod has.
fn give_up(plan: &mut Plan) -> bool {
    plan.kill_pod = true;
    plan.start_init.clear();
    false
}

/// Whether a running sidecar has passed its startup probe; plans its restart if it failed it.
fn sidecar_up(
    container: &Container,
    status: &ObservedContainer,
    health: &Health,
    i: usize,
    plan: &mut Plan,
) -> bool {
    if container.startup_probe.is_none() {
        return true;
    }
    match health.startup.get(&status.id) {
        Some(Outcome::Success) => true,
        Some(Outcome::Failure) => {
            let message = format!("Init container {} failed startup probe", container.name);
            plan.kill.push(kill(status, message, KillReason::StartupProbe));
            plan.start_init.push(i);
            false
        }
        None => false,
    }
}

/// Plans the restart of a running sidecar whose spec changed or whose liveness probe failed.
fn check_sidecar(
    container: &Container,
    status: &ObservedContainer,
    health: &Health,
    i: usize,
    plan: &mut Plan,
) {
    let (message, reason) = if changed(container, status) {
        (format!("Init container {} definition changed", container.name), KillReason::Other)
    } else if container.liveness_probe.is_some() && health.liveness.get(&status.id) == Some(&Outcome::Failure)
    {
        (format!("Init container {} failed liveness probe", container.name), KillReason::LivenessProbe)
    } else {
        return;
    };
    plan.kill.push(kill(status, message, reason));
    plan.start_init.push(i);
}

fn plan_regular(pod: &Pod, observed: &Observed, health: &Health, plan: &mut Plan) {
    let mut keep = 0;
    for (i, container) in pod.containers().iter().enumerate() {
        let status = match observed.container(&container.name) {
            Some(status) if status.state == State::Running => status,
            other => {
                if should_start(container, pod, observed) {
                    plan.start.push(i);
                    if let Some(status) = other.filter(|s| s.state == State::Unknown) {
                        plan.kill.push(kill_unknown("Container", status));
                    }
                }
                continue;
            }
        };
        let mut restart = returns_after_kill(container, pod);
        let (mut message, reason) = if changed(container, status) {
            restart = true;
            (format!("Container {} definition changed", container.name), KillReason::Other)
        } else if health.liveness.get(&status.id) == Some(&Outcome::Failure) {
            (format!("Container {} failed liveness probe", container.name), KillReason::LivenessProbe)
        } else if health.startup.get(&status.id) == Some(&Outcome::Failure) {
            (format!("Container {} failed startup probe", container.name), KillReason::StartupProbe)
        } else {
            keep += 1;
            continue;
        };
        if restart {
            message.push_str(", will be restarted");
            plan.start.push(i);
        }
        plan.kill.push(kill(status, message, reason));
    }
    if keep == 0 && plan.start.is_empty() {
        plan.kill_pod = true;
        // Sidecars don't keep a finished pod alive.
        plan.start_init.clear();
    }
}

fn changed(container: &Container, status: &ObservedContainer) -> bool {
    container_hash(&container.name, container.image.as_deref().unwrap_or_default()) != status.hash
}

fn kill(status: &ObservedContainer, message: String, reason: KillReason) -> Kill {
    Kill { id: status.id.clone(), name: status.name.clone(), message, reason }
}

fn kill_unknown(what: &str, status: &ObservedContainer) -> Kill {
    let message = format!("{what} is in {:?} state, try killing it before restart", status.state.as_str());
    kill(status, message, KillReason::Other)
}

/// Everything goes; the containers whose end caused it go last, so that a crash in between repeats it.
fn resets(pod: &Pod, observed: &Observed) -> Vec<Reset> {
    let (mut targets, mut sources) = (Vec::new(), Vec::new());
    for container in pod.containers().iter().chain(pod.init_containers()) {
        for status in observed.containers.iter().filter(|c| c.name == container.name) {
            let exited = status.state == State::Exited;
            let reset = Reset { id: status.id.clone(), name: status.name.clone(), kill: !exited };
            if exited && restarts_all(container, status.exit_code) {
                sources.push(reset);
            } else {
                targets.push(reset);
            }
        }
    }
    targets.extend(sources);
    targets
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
