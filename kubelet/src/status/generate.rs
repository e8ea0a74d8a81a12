//! Computes a pod's whole status.

use super::conditions::{self, OWNED, any_regular_started};
use super::{Probed, Reasons, containers, phase};
use crate::api::{
    ContainerStatus, Pod, PodStatus, PodView, as_container, condition_of, is_sidecar, is_terminal_phase,
};
use crate::pod::restart::{could_restart_all, restarts_all};
use crate::resources;
use crate::runtime::{Observed, State};
use k8s_openapi::api::core::v1::{HostIP, PodIP, ResourceRequirements};

/// What a status depends on.
pub struct Inputs<'a> {
    /// The pod, with the status the API shows.
    pub pod: &'a Pod,
    /// What runs.
    pub observed: &'a Observed,
    /// The status generated last, or the API's.
    pub old: &'a PodStatus,
    /// Why containers don't run.
    pub reasons: &'a Reasons,
    /// What probes know of the container with this name and id.
    pub probed: &'a dyn Fn(&str, &str) -> Probed,
    /// The node's addresses, the main one first.
    pub host_ips: &'a [String],
    /// Nothing will be started any more.
    pub terminal: bool,
    /// The pod was ended by the kubelet: reason and message.
    pub evicted: Option<(&'a str, &'a str)>,
    /// What stands before container ids.
    pub runtime: &'a str,
    /// Whether the runtime can make mounts read-only with all below them.
    pub recursive_read_only: bool,
}

/// Computes the status. Transition times are left out; merging with the old status adds them.
pub fn generate(inputs: &Inputs<'_>) -> PodStatus {
    let (pod, old) = (inputs.pod, inputs.old);
    let restarting_all = restarting_all(pod, inputs.observed, old);
    let common = containers::Inputs {
        pod,
        observed: inputs.observed,
        reasons: inputs.reasons,
        restarting_all,
        runtime: inputs.runtime,
        recursive_read_only: inputs.recursive_read_only,
    };
    let of = |list: &Option<Vec<ContainerStatus>>| list.clone().unwrap_or_default();
    let mut regular = containers::statuses(&common, pod.containers(), &of(&old.container_statuses), false);
    let mut init =
        containers::statuses(&common, pod.init_containers(), &of(&old.init_container_statuses), true);
    let specs: Vec<_> = pod.ephemeral_containers().iter().map(as_container).collect();
    let ephemeral = containers::statuses(&common, &specs, &of(&old.ephemeral_container_statuses), false);

    let mut status = PodStatus {
        qos_class: Some(resources::qos(pod).as_str().into()),
        observed_generation: pod.metadata.generation.filter(|g| *g != 0),
        start_time: old.start_time.clone(),
        ..Default::default()
    };
    let ips = sort_ips(&inputs.observed.ips, inputs.host_ips);
    let over = inputs.terminal || pod.is_terminal();
    set_ips(&mut status, pod, &ips, old, inputs.host_ips, over);
    set_phase(&mut status, inputs, &init, &regular);
    add_probed(pod, inputs.probed, &mut regular, &mut init);

    let others = pod.status().conditions.iter().flatten().filter(|c| !OWNED.contains(&c.type_.as_str()));
    let mut list: Vec<_> = others.cloned().collect();
    // A disruption noted here isn't in the API yet.
    if let Some(disruption) = condition_of(old.conditions.as_deref().unwrap_or_default(), "DisruptionTarget")
    {
        list.retain(|c| c.type_ != disruption.type_);
        list.push(disruption.clone());
    }
    let all: Vec<_> = init.iter().chain(&regular).cloned().collect();
    let phase = status.phase.clone().unwrap_or_default();
    let owned = conditions::all(pod, inputs.observed, old, &all, &phase, &list, restarting_all);
    list.extend(owned);
    status.conditions = Some(list);

    let some = |list: Vec<ContainerStatus>| (!list.is_empty()).then_some(list);
    status.container_statuses = some(regular);
    status.init_container_statuses = some(init);
    status.ephemeral_container_statuses = some(ephemeral);
    status.allocated_resources = {
        let requests = resources::pod_requests(pod);
        (!requests.is_empty()).then(|| resources::print(&requests))
    };
    let some_list = |list: resources::List| (!list.is_empty()).then(|| resources::print(&list));
    status.resources = Some(ResourceRequirements {
        requests: some_list(resources::pod_requests(pod)),
        limits: some_list(resources::pod_limits(pod)),
        ..ResourceRequirements::default()
    });
    status
}

/// Whether the pod is starting over as a whole.
pub fn restarting_all(pod: &Pod, observed: &Observed, old: &PodStatus) -> bool {
    if !could_restart_all(pod) {
        return false;
    }
    let conditions = old.conditions.as_deref().unwrap_or_default();
    if condition_of(conditions, "AllContainersRestarting").is_some_and(|c| c.status == "True") {
        return true;
    }
    pod.containers().iter().chain(pod.init_containers()).any(|c| {
        let ended = observed.container(&c.name).filter(|o| o.state == State::Exited);
        ended.is_some_and(|o| restarts_all(c, o.exit_code))
    })
}

fn set_phase(
    status: &mut PodStatus,
    inputs: &Inputs<'_>,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) {
    let (pod, old) = (inputs.pod, inputs.old);
    let all: Vec<_> = regular.iter().chain(init).cloned().collect();
    let was_initialized = any_regular_started(pod, regular);
    let api = pod.status();
    let mut phase = phase::phase(pod, &all, inputs.terminal, was_initialized).to_string();
    let final_phase = |s: &PodStatus| s.phase.clone().filter(|p| is_terminal_phase(p));
    if !is_terminal_phase(&phase) {
        phase = final_phase(old).or_else(|| final_phase(api)).unwrap_or(phase);
    }
    if Some(&phase) == old.phase.as_ref() {
        let keep = |old: &Option<String>, api: &Option<String>| {
            old.clone().filter(|s| !s.is_empty()).or_else(|| api.clone())
        };
        status.reason = keep(&old.reason, &api.reason);
        status.message = keep(&old.message, &api.message);
    }
    if let Some((reason, message)) = inputs.evicted {
        phase = "Failed".into();
        status.reason = Some(reason.into());
        status.message = Some(message.into());
    }
    // Nothing follows a final phase.
    status.phase = Some(final_phase(api).unwrap_or(phase));
}

fn add_probed(
    pod: &Pod,
    probed: &dyn Fn(&str, &str) -> Probed,
    regular: &mut [ContainerStatus],
    init: &mut [ContainerStatus],
) {
    let look = |status: &ContainerStatus| {
        let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        let id = status.container_id.as_deref().and_then(|id| id.split("://").nth(1)).unwrap_or_default();
        if running { probed(&status.name, id) } else { Probed { started: false, ready: false } }
    };
    for status in regular {
        let found = look(status);
        status.started = Some(found.started);
        status.ready = found.started && found.ready;
    }
    for status in init {
        let found = look(status);
        status.started = Some(found.started);
        let sidecar = pod.init_containers().iter().any(|c| c.name == status.name && is_sidecar(c));
        status.ready = if sidecar {
            found.started && found.ready
        } else {
            let ended = status.state.as_ref().and_then(|s| s.terminated.as_ref());
            ended.is_some_and(|t| t.exit_code == 0)
        };
    }
}

fn set_ips(
    status: &mut PodStatus,
    pod: &Pod,
    ips: &[String],
    old: &PodStatus,
    host_ips: &[String],
    over: bool,
) {
    let mut ips = ips.to_vec();
    if !host_ips.is_empty() {
        status.host_ip = host_ips.first().cloned();
        status.host_ips = Some(host_ips.iter().take(2).map(|ip| HostIP { ip: ip.clone() }).collect());
        if pod.host_network() && ips.is_empty() {
            // They stay what they were, even if the node's change.
            let before = old.pod_ips.iter().flatten().map(|p| p.ip.clone());
            ips = before.filter(|ip| !ip.is_empty()).collect();
            if ips.is_empty() {
                ips = host_ips.iter().take(2).cloned().collect();
            }
        }
    }
    if ips.is_empty() && over {
        // The sandbox is gone and its address with it, but it was this pod's.
        ips = old.pod_ips.iter().flatten().map(|p| p.ip.clone()).collect();
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
}

/// The first address of the node's family, then the first of the other.
pub fn sort_ips(ips: &[String], host_ips: &[String]) -> Vec<String> {
    let v6 = |ip: &String| ip.contains(':');
    let v6_first = host_ips.first().is_some_and(v6);
    let first = ips.iter().find(|ip| v6(ip) == v6_first);
    let second = ips.iter().find(|ip| v6(ip) != v6_first);
    first.into_iter().chain(second).cloned().collect()
}
