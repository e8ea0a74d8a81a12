//! The phase of a pod.

use super::containers::RESTARTING_ALL;
use crate::api::{Container, ContainerStatus, Pod, PodView, is_sidecar, status_of};
use crate::pod::restart::should_restart;

/// Computes the phase. `statuses` holds init and regular containers' statuses; `terminal` says that
/// nothing will be started any more.
pub fn phase(pod: &Pod, statuses: &[ContainerStatus], terminal: bool, was_initialized: bool) -> &'static str {
    let init = count_init(pod, statuses);
    if init.failed_for_good {
        return "Failed";
    }
    let mut n = count_sidecars(pod, statuses);
    count_regular(pod, statuses, &mut n);
    let starting_sidecars = n.starting_sidecars > 0 && !was_initialized;
    if init.pending || starting_sidecars || n.waiting > 0 {
        return "Pending";
    }
    if n.running > 0 && n.unknown == 0 {
        return "Running";
    }
    if n.running == 0 && n.stopped > 0 && n.unknown == 0 {
        let all_succeeded = n.stopped == n.succeeded;
        if terminal && !pod.is_static() {
            return if all_succeeded { "Succeeded" } else { "Failed" };
        }
        return match (n.stopped == n.stopped_for_good, all_succeeded) {
            (false, _) => "Running",
            (true, true) => "Succeeded",
            (true, false) => "Failed",
        };
    }
    "Pending"
}

#[derive(Default)]
struct Init {
    pending: bool,
    failed_for_good: bool,
}

#[derive(Default)]
struct Counts {
    starting_sidecars: usize,
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

/// How a container last ended, if it has: the code, and whether it comes back.
fn end(
    pod: &Pod,
    container: &Container,
    state: Option<&k8s_openapi::api::core::v1::ContainerState>,
) -> Option<(i32, bool)> {
    let terminated = state?.terminated.as_ref()?;
    let code = terminated.exit_code;
    let back = should_restart(container, pod, code) || terminated.reason.as_deref() == Some(RESTARTING_ALL);
    Some((code, back))
}

fn count_init(pod: &Pod, statuses: &[ContainerStatus]) -> Init {
    let mut out = Init::default();
    for container in pod.init_containers().iter().filter(|c| !is_sidecar(c)) {
        let Some(status) = status_of(statuses, &container.name) else {
            out.pending = true;
            continue;
        };
        let state = status.state.as_ref();
        let waiting = state.is_some_and(|s| s.waiting.is_some());
        let ended = match end(pod, container, state) {
            None if waiting => end(pod, container, status.last_state.as_ref()),
            other => other,
        };
        match ended {
            None => out.pending = true,
            Some((0, _)) => {}
            Some((_, back)) => out.failed_for_good |= !back,
        }
    }
    out
}

fn count_sidecars(pod: &Pod, statuses: &[ContainerStatus]) -> Counts {
    let mut n = Counts::default();
    for container in pod.init_containers().iter().filter(|c| is_sidecar(c)) {
        let Some(status) = status_of(statuses, &container.name) else {
            n.unknown += 1;
            continue;
        };
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            n.starting_sidecars += usize::from(status.started != Some(true));
            n.running += 1;
        } else if state.terminated.is_some() {
            // An ended sidecar says nothing about the pod.
        } else if state.waiting.is_some() {
            if status.last_state.as_ref().is_none_or(|l| l.terminated.is_none()) {
                n.starting_sidecars += 1;
                n.waiting += 1;
            }
        } else {
            n.starting_sidecars += 1;
            n.unknown += 1;
        }
    }
    n
}

fn count_regular(pod: &Pod, statuses: &[ContainerStatus], n: &mut Counts) {
    for container in pod.containers() {
        let Some(status) = status_of(statuses, &container.name) else {
            n.unknown += 1;
            continue;
        };
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            n.running += 1;
        } else if let Some((code, back)) = end(pod, container, Some(&state)) {
            n.stopped += 1;
            n.stopped_for_good += usize::from(!back);
            n.succeeded += usize::from(code == 0);
        } else if state.waiting.is_some() {
            match end(pod, container, status.last_state.as_ref()) {
                Some((_, back)) => {
                    n.stopped += 1;
                    n.stopped_for_good += usize::from(!back);
                }
                None => n.waiting += 1,
            }
        } else {
            n.unknown += 1;
        }
    }
}
