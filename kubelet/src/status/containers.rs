//! The statuses of a pod's containers.

use super::Reasons;
use crate::api::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod, PodView, is_sidecar, status_of, time_from_nanos,
};
use crate::container::limits::{MIN_SHARES, read_back};
use crate::container::mounts::recursive_read_only;
use crate::pod::plan::any_regular_created;
use crate::pod::restart::should_start;
use crate::resources::{self, List};
use crate::runtime::{Observed, ObservedContainer, State};
use k8s_openapi::api::core::v1::{
    ContainerUser, LinuxContainerUser, ResourceRequirements, VolumeMountStatus,
};
use proto::quantity::{Format, Quantity};
use std::collections::BTreeMap;

/// The reason of containers that were removed so that their pod starts over.
pub const RESTARTING_ALL: &str = "RestartingAllContainers";
const UNKNOWN: &str = "ContainerStatusUnknown";

/// What statuses depend on.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What runs.
    pub observed: &'a Observed,
    /// Why containers don't run.
    pub reasons: &'a Reasons,
    /// The pod is starting over as a whole.
    pub restarting_all: bool,
    /// What stands before container ids: `containerd`.
    pub runtime: &'a str,
    /// Whether the runtime can make mounts read-only with all below them.
    pub recursive_read_only: bool,
}

/// Computes the statuses of one list of containers from the old ones.
pub fn statuses(
    inputs: &Inputs<'_>,
    containers: &[Container],
    old: &[ContainerStatus],
    init: bool,
) -> Vec<ContainerStatus> {
    let mut statuses: BTreeMap<&str, ContainerStatus> = BTreeMap::new();
    for container in containers {
        let mut status = default_status(inputs, container, status_of(old, &container.name));
        if inputs.observed.container(&container.name).is_none() {
            infer_end(inputs, &mut status, status_of(old, &container.name));
        }
        statuses.insert(&container.name, status);
    }
    add_observed(inputs, containers, old, &mut statuses);
    for container in containers {
        if let Some(status) = statuses.get_mut(container.name.as_str()) {
            add_waiting(inputs, container, status, init);
        }
    }
    if init {
        return containers.iter().filter_map(|c| statuses.remove(c.name.as_str())).collect();
    }
    statuses.into_values().collect()
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let text = |s: &str| (!s.is_empty()).then(|| s.to_string());
    let waiting = ContainerStateWaiting { reason: text(reason), message: text(message) };
    ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn default_waiting(pod: &Pod) -> &'static str {
    if pod.init_containers().is_empty() { "ContainerCreating" } else { "PodInitializing" }
}

/// What a container is until the runtime knows of it.
fn default_status(
    inputs: &Inputs<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    if let Some(old) = old.filter(|o| state(o).terminated.is_some()) {
        return old.clone();
    }
    let mounts: Vec<_> = container.volume_mounts.iter().flatten().map(|m| mount_status(inputs, m)).collect();
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(default_waiting(inputs.pod), "")),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        restart_count: old.map_or(0, |o| o.restart_count),
        last_state: old.and_then(|o| o.last_state.clone()),
        ..Default::default()
    }
}

fn mount_status(inputs: &Inputs<'_>, mount: &k8s_openapi::api::core::v1::VolumeMount) -> VolumeMountStatus {
    let read_only = mount.read_only == Some(true);
    let mode = || match recursive_read_only(mount, inputs.recursive_read_only) {
        Ok(true) => "Enabled",
        _ => "Disabled",
    };
    VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|r| *r),
        recursive_read_only: read_only.then(|| mode().to_string()),
        ..Default::default()
    }
}

/// A container that ran and that the runtime no longer knows must have ended.
fn infer_end(inputs: &Inputs<'_>, status: &mut ContainerStatus, old: Option<&ContainerStatus>) {
    let Some(old) = old else { return };
    let lost = |reason: &str, message: &str| ContainerStateTerminated {
        reason: Some(reason.into()),
        message: Some(message.into()),
        exit_code: 137,
        ..Default::default()
    };
    if inputs.restarting_all && state(old).waiting.is_none() {
        let message = "The container is removed because RestartAllContainers in place";
        status.state = Some(waiting(RESTARTING_ALL, message));
        status.last_state = Some(terminated(lost(RESTARTING_ALL, message)));
        status.restart_count = old.restart_count + 1;
        return;
    }
    if state(old).running.is_none() || last(status).terminated.is_some() {
        return;
    }
    let message =
        "The container could not be located when the pod was deleted.  The container used to be Running";
    status.last_state = Some(terminated(lost(UNKNOWN, message)));
    if !inputs.pod.deleted() {
        status.restart_count += 1;
    }
}

fn terminated(t: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(t), ..Default::default() }
}

fn state(status: &ContainerStatus) -> ContainerState {
    status.state.clone().unwrap_or_default()
}

fn last(status: &ContainerStatus) -> ContainerState {
    status.last_state.clone().unwrap_or_default()
}

/// The newest container gives the state, the one before it the last state.
fn add_observed<'a>(
    inputs: &Inputs<'_>,
    containers: &'a [Container],
    old: &[ContainerStatus],
    statuses: &mut BTreeMap<&'a str, ContainerStatus>,
) {
    for container in containers {
        let mut seen = inputs.observed.containers.iter().filter(|c| c.name == container.name);
        let Some(newest) = seen.next() else { continue };
        let before = status_of(old, &container.name);
        let mut status = convert(inputs, newest, before);
        status.resources = in_force(container, newest, &status, before);
        status.allocated_resources = container.resources.as_ref().and_then(|r| r.requests.clone());
        status.user = newest.user.as_ref().map(|u| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: u.uid,
                gid: u.gid,
                supplemental_groups: Some(u.supplemental_groups.clone()).filter(|g| !g.is_empty()),
            }),
        });
        status.stop_signal = newest.stop_signal.clone();
        if let Some(previous) = seen.next() {
            status.last_state = convert(inputs, previous, before).state;
        }
        statuses.insert(&container.name, status);
    }
}

fn convert(inputs: &Inputs<'_>, seen: &ObservedContainer, old: Option<&ContainerStatus>) -> ContainerStatus {
    let id = format!("{}://{}", inputs.runtime, seen.id);
    let mut status = ContainerStatus {
        name: seen.name.clone(),
        restart_count: seen.restart_count,
        image: seen.image.clone(),
        image_id: seen.image_ref.clone(),
        container_id: Some(id.clone()),
        ..Default::default()
    };
    if let Some(old) = old {
        status.volume_mounts = old.volume_mounts.clone();
        status.restart_count = status.restart_count.max(old.restart_count);
        // A container that was removed can't be asked any more how it ended.
        let moved_on = old.container_id != status.container_id;
        status.last_state = match (state(old).terminated, last(old).terminated) {
            (Some(t), _) if moved_on => Some(terminated(t)),
            (_, Some(t)) => Some(terminated(t)),
            _ => None,
        };
    }
    if status.volume_mounts.is_none()
        && let Some((_, container)) = crate::api::find_container(inputs.pod, &seen.name)
    {
        status.volume_mounts = default_status(inputs, &container, None).volume_mounts;
    }
    status.state = Some(match seen.state {
        State::Running => {
            if let Some(old) = old
                && state(old).terminated.is_some()
                && old.restart_count >= seen.restart_count
                && old.container_id.as_ref() != Some(&id)
            {
                status.restart_count = old.restart_count + 1;
            }
            let running = ContainerStateRunning { started_at: time_from_nanos(seen.started_at) };
            ContainerState { running: Some(running), ..Default::default() }
        }
        State::Exited => terminated(ContainerStateTerminated {
            exit_code: seen.exit_code,
            reason: Some(seen.reason.clone()).filter(|r| !r.is_empty()),
            message: Some(seen.message.clone()).filter(|m| !m.is_empty()),
            started_at: time_from_nanos(seen.started_at),
            finished_at: time_from_nanos(seen.finished_at),
            container_id: Some(id),
            ..Default::default()
        }),
        State::Unknown if old.is_some_and(|o| state(o).running.is_some()) => {
            status.restart_count = old.map_or(0, |o| o.restart_count) + 1;
            terminated(ContainerStateTerminated {
                reason: Some(if inputs.restarting_all { RESTARTING_ALL } else { UNKNOWN }.into()),
                message: Some("The container could not be located when the pod was terminated".into()),
                exit_code: 137,
                ..Default::default()
            })
        }
        State::Created | State::Unknown => waiting("", ""),
    });
    status
}

/// The resources in force: what the spec says, corrected by what the runtime reports of a running one.
fn in_force(
    container: &Container,
    seen: &ObservedContainer,
    status: &ContainerStatus,
    old: Option<&ContainerStatus>,
) -> Option<ResourceRequirements> {
    let mut out = container.resources.clone().unwrap_or_default();
    if seen.state != State::Running {
        return Some(out);
    }
    let reported = seen.resources.as_ref().map(read_back);
    let same = old.filter(|o| o.container_id == status.container_id && state(o).running.is_some());
    let previous = same.and_then(|o| o.resources.as_ref());
    let milli = |n: i64| Quantity::from_milli(n, Format::DecimalSi);
    if out.limits.is_some() {
        let mut limits: List = resources::limits(container);
        let prior = resources::parse(previous.and_then(|r| r.limits.as_ref()));
        let cpu = reported.as_ref().and_then(|r| r.cpu_limit);
        // Tiny limits are all enforced as ten thousandths, so a report of that says nothing.
        let cpu = cpu.filter(|c| *c > 10 || resources::milli(&limits, "cpu") > 10);
        correct(&mut limits, "cpu", cpu.map(milli), &prior);
        let memory = reported.as_ref().and_then(|r| r.memory_limit);
        correct(&mut limits, "memory", memory.map(|m| Quantity::new(m, Format::BinarySi)), &prior);
        out.limits = Some(resources::print(&limits));
    }
    if out.requests.is_some() {
        let mut requests = resources::requests(container);
        let prior = resources::parse(previous.and_then(|r| r.requests.as_ref()));
        let cpu = reported.as_ref().and_then(|r| r.cpu_request);
        let cpu = cpu.filter(|c| *c > MIN_SHARES || resources::milli(&requests, "cpu") > MIN_SHARES);
        correct(&mut requests, "cpu", cpu.map(milli), &prior);
        out.requests = Some(resources::print(&requests));
    }
    Some(out)
}

fn correct(list: &mut List, name: &str, reported: Option<Quantity>, prior: &List) {
    // Only what the spec states is shown, so that a default of the runtime's doesn't look like a wish.
    let Some(stated) = list.get(name).cloned() else { return };
    let value = reported.or_else(|| prior.get(name).cloned()).unwrap_or_else(|| stated.clone());
    // Weights are coarse: a report that rounds to what is stated confirms it.
    let same = crate::container::limits::shares(value.milli_value())
        == crate::container::limits::shares(stated.milli_value());
    if !(name == "cpu" && same) {
        list.insert(name.into(), value);
    }
}

/// A container that is to be started, and couldn't be, waits for a reason.
fn add_waiting(inputs: &Inputs<'_>, container: &Container, status: &mut ContainerStatus, init: bool) {
    if init {
        let seen = inputs.observed.container(&container.name);
        if seen.is_some_and(|s| s.state == State::Exited && s.exit_code == 0) {
            return;
        }
        let gone = seen.is_none() && state(status).waiting.is_some();
        if gone && !is_sidecar(container) && any_regular_created(inputs.pod, inputs.observed) {
            status.state = Some(terminated(ContainerStateTerminated {
                reason: Some("Completed".into()),
                message: Some(
                    "Unable to get init container status from container runtime and pod has been initialized, \
                     treat it as exited normally"
                        .into(),
                ),
                ..Default::default()
            }));
            return;
        }
    }
    if !should_start(container, inputs.pod, inputs.observed) {
        return;
    }
    let Some(reason) = inputs.reasons.get(&container.name) else { return };
    if state(status).terminated.is_some() {
        status.last_state = status.state.take();
    }
    status.state = Some(waiting(&reason.reason, &reason.message));
}
