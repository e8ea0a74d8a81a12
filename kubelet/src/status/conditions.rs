//! The conditions of a pod that are the kubelet's.

use crate::api::{
    ContainerStatus, Pod, PodCondition, PodStatus, PodView, condition_of, is_sidecar, status_of,
};
use crate::pod::plan::sandbox_need;
use crate::pod::restart::could_restart_all;
use crate::runtime::Observed;

/// Conditions the kubelet sets; all others belong to someone else and stay as they are.
pub const OWNED: &[&str] = &[
    "PodScheduled",
    "Ready",
    "Initialized",
    "ContainersReady",
    "PodResizeInProgress",
    "PodResizePending",
    "PodReadyToStartContainers",
    "AllContainersRestarting",
];

fn condition(pod: &Pod, kind: &str, status: bool, reason: &str, message: &str) -> PodCondition {
    let text = |s: &str| (!s.is_empty()).then(|| s.to_string());
    PodCondition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: text(reason),
        message: text(message),
        observed_generation: pod.metadata.generation.filter(|g| *g != 0),
        ..Default::default()
    }
}

/// All of them, in upstream's order. `others` are the conditions that aren't the kubelet's, which
/// readiness gates refer to.
pub fn all(
    pod: &Pod,
    observed: &Observed,
    old: &PodStatus,
    statuses: &[ContainerStatus],
    phase: &str,
    others: &[PodCondition],
    restarting_all: bool,
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(pod, statuses, phase);
    let mut list = vec![
        condition(pod, "PodReadyToStartContainers", !sandbox_need(pod, observed).create, "", ""),
        initialized(pod, old, statuses, phase),
        ready(pod, &containers_ready, others),
        containers_ready,
        condition(pod, "PodScheduled", true, "", ""),
    ];
    if could_restart_all(pod) {
        let (status, reason, message) = match phase {
            "Succeeded" => (false, "PodCompleted", ""),
            "Failed" => (false, "PodFailed", ""),
            _ if restarting_all && !observed.containers.is_empty() => {
                (true, "RestartAllContainersStarted", "container exited with restart policy rule")
            }
            _ => (false, "", ""),
        };
        let mut c = condition(pod, "AllContainersRestarting", status, reason, message);
        c.observed_generation = None;
        list.push(c);
    }
    list
}

/// Both conditions of a pod in a final phase, which may still show `True` from before.
pub fn finish(pod: &Pod, conditions: &mut [PodCondition], phase: &str) {
    let reason = if phase == "Failed" { "PodFailed" } else { "PodCompleted" };
    let shown_ready = conditions
        .iter()
        .any(|c| matches!(c.type_.as_str(), "Ready" | "ContainersReady") && c.status == "True");
    if !shown_ready {
        return;
    }
    for c in conditions.iter_mut().filter(|c| matches!(c.type_.as_str(), "Ready" | "ContainersReady")) {
        let fresh = condition(pod, &c.type_, false, reason, "");
        let changed = c.status != fresh.status;
        let since = if changed { Some(crate::api::now()) } else { c.last_transition_time.clone() };
        *c = PodCondition { last_transition_time: since, ..fresh };
    }
}

fn containers_ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> PodCondition {
    const KIND: &str = "ContainersReady";
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = pod.init_containers().iter().filter(|c| is_sidecar(c));
    for container in sidecars.chain(pod.containers()) {
        match status_of(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    match phase {
        "Succeeded" if unknown.is_empty() => return condition(pod, KIND, false, "PodCompleted", ""),
        "Failed" => return condition(pod, KIND, false, "PodFailed", ""),
        _ => {}
    }
    let message = message(&[("unknown", &unknown), ("unready", &unready)]);
    let reason = if message.is_empty() { "" } else { "ContainersNotReady" };
    condition(pod, KIND, message.is_empty(), reason, &message)
}

fn message(parts: &[(&str, &[&str])]) -> String {
    let named = parts.iter().filter(|(_, names)| !names.is_empty());
    let texts: Vec<_> =
        named.map(|(what, names)| format!("containers with {what} status: [{}]", names.join(" "))).collect();
    texts.join(", ")
}

fn ready(pod: &Pod, containers_ready: &PodCondition, others: &[PodCondition]) -> PodCondition {
    if containers_ready.status != "True" {
        return PodCondition { type_: "Ready".into(), ..containers_ready.clone() };
    }
    let gates = pod.spec().readiness_gates.iter().flatten();
    let unready: Vec<_> = gates
        .filter_map(|gate| match condition_of(others, &gate.condition_type) {
            None => Some(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                gate.condition_type
            )),
            Some(c) if c.status != "True" => Some(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, c.status
            )),
            Some(_) => None,
        })
        .collect();
    let reason = if unready.is_empty() { "" } else { "ReadinessGatesNotReady" };
    condition(pod, "Ready", unready.is_empty(), reason, &unready.join(", "))
}

fn initialized(pod: &Pod, old: &PodStatus, statuses: &[ContainerStatus], phase: &str) -> PodCondition {
    const KIND: &str = "Initialized";
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in pod.init_containers() {
        let Some(status) = status_of(statuses, &container.name) else {
            unknown.push(container.name.as_str());
            continue;
        };
        let done = if is_sidecar(container) { status.started == Some(true) } else { status.ready };
        if !done {
            incomplete.push(container.name.as_str());
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return condition(pod, KIND, true, "PodCompleted", "");
    }
    let message = message(&[("unknown", &unknown), ("incomplete", &incomplete)]);
    let once =
        condition_of(old.conditions.as_deref().unwrap_or_default(), KIND).is_some_and(|c| c.status == "True");
    if any_regular_started(pod, statuses) || message.is_empty() || once {
        return condition(pod, KIND, true, "", "");
    }
    condition(pod, KIND, false, "ContainersNotInitialized", &message)
}

/// A regular container that runs or has run proves that the pod was initialized.
pub fn any_regular_started(pod: &Pod, statuses: &[ContainerStatus]) -> bool {
    pod.containers().iter().filter_map(|c| status_of(statuses, &c.name)).any(|status| {
        let last = status.last_state.as_ref().is_some_and(|l| l.terminated.is_some());
        last || status.state.as_ref().is_none_or(|s| s.waiting.is_none())
    })
}
