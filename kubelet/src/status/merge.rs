//! Joins a generated status with the one before it.

use super::conditions::{OWNED, finish};
use crate::api::{
    ContainerStatus, Pod, PodCondition, PodStatus, PodView, condition_of, is_terminal_phase, now,
};

/// A message longer than this, shared among the pod's containers, is cut.
const MAX_MESSAGES: usize = 12 * 1024;

/// Keeps what must not change from one status to the next: the start time, the times of transitions
/// that weren't any; and cuts long messages.
pub fn carry_over(pod: &Pod, new: &mut PodStatus, old: &PodStatus) {
    for c in new.conditions.iter_mut().flatten() {
        let before = condition_of(old.conditions.as_deref().unwrap_or_default(), &c.type_);
        c.last_transition_time = match before {
            Some(before) if before.status == c.status && before.last_transition_time.is_some() => {
                before.last_transition_time.clone()
            }
            _ if c.last_transition_time.is_some() && !OWNED.contains(&c.type_.as_str()) => {
                c.last_transition_time.clone()
            }
            _ => Some(now()),
        };
    }
    new.start_time = old.start_time.clone().or_else(|| new.start_time.clone()).or_else(|| Some(now()));
    new.observed_generation = new.observed_generation.max(old.observed_generation);
    let count = pod.containers().len() + pod.init_containers().len() + pod.ephemeral_containers().len();
    let each = MAX_MESSAGES / count.max(1);
    let lists = [
        &mut new.container_statuses,
        &mut new.init_container_statuses,
        &mut new.ephemeral_container_statuses,
    ];
    for status in lists.into_iter().flatten().flatten() {
        for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
            let message = state.terminated.as_mut().and_then(|t| t.message.as_mut());
            if let Some(message) = message.filter(|m| m.len() > each) {
                let end = (0..=each).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
                message.truncate(end);
            }
        }
    }
}

/// What to write over the API's status: other writers' conditions stay, and a final phase waits until
/// nothing of the pod can run any more.
pub fn with_api(pod: &Pod, api: &PodStatus, new: &PodStatus, may_run: bool) -> PodStatus {
    let mut out = new.clone();
    let owned = |c: &&PodCondition| OWNED.contains(&c.type_.as_str());
    let ends = !phase_is_final(api) && phase_is_final(new);
    let mut conditions: Vec<_> = api.conditions.iter().flatten().filter(|c| !owned(c)).cloned().collect();
    for c in new.conditions.iter().flatten() {
        if owned(&c) {
            conditions.push(c.clone());
        } else if c.type_ == "DisruptionTarget" && ends && !may_run {
            conditions.retain(|other| other.type_ != c.type_);
            conditions.push(c.clone());
        }
    }
    out.resource_claim_statuses = api.resource_claim_statuses.clone();
    out.extended_resource_claim_status = api.extended_resource_claim_status.clone();
    out.node_allocatable_resource_claim_statuses = api.node_allocatable_resource_claim_statuses.clone();
    out.nominated_node_name = api.nominated_node_name.clone();
    if ends && may_run {
        (out.phase, out.reason, out.message) = (api.phase.clone(), api.reason.clone(), api.message.clone());
    }
    if let Some(phase) = out.phase.clone().filter(|p| is_terminal_phase(p)) {
        finish(pod, &mut conditions, &phase);
    }
    out.conditions = Some(conditions);
    out
}

fn phase_is_final(status: &PodStatus) -> bool {
    status.phase.as_deref().is_some_and(is_terminal_phase)
}

/// Nothing of the pod runs, nor will: every container that hasn't ended is declared so.
pub fn terminate(pod: &Pod, status: &mut PodStatus) {
    let lost = |c: &mut ContainerStatus| {
        if c.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
            return;
        }
        let terminated = crate::api::ContainerStateTerminated {
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            exit_code: 137,
            ..Default::default()
        };
        c.state = Some(crate::api::ContainerState { terminated: Some(terminated), ..Default::default() });
    };
    if has_initialized(pod, status) {
        status.container_statuses.iter_mut().flatten().for_each(lost);
    }
    let init = status.init_container_statuses.as_deref_mut().unwrap_or_default();
    let begun = |c: &ContainerStatus| {
        c.state.as_ref().is_none_or(|s| s.waiting.is_none())
            || c.last_state.as_ref().is_some_and(|l| l.terminated.is_some())
    };
    let upto = init.iter().rposition(begun).map_or(usize::from(!init.is_empty()), |i| i + 1);
    init.iter_mut().take(upto).for_each(lost);
    if !pod.is_static() && !phase_is_final(status) {
        status.phase = Some("Failed".into());
    }
}

fn has_initialized(pod: &Pod, status: &PodStatus) -> bool {
    if pod.init_containers().is_empty() {
        return true;
    }
    let list = status.container_statuses.as_deref().unwrap_or_default();
    if super::conditions::any_regular_started(pod, list) {
        return true;
    }
    let last = status.init_container_statuses.as_deref().unwrap_or_default().last();
    last.is_some_and(|c| {
        let zero = |s: &Option<crate::api::ContainerState>| {
            s.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0)
        };
        let runs = c.state.as_ref().is_some_and(|s| s.running.is_some()) && c.started == Some(true);
        zero(&c.state) || zero(&c.last_state) || runs
    })
}
