//! Asks the runtime about pods.

use super::labels::{self, CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
use super::state::{Observed, ObservedContainer, Sandbox, State};
use super::termination;
use proto::cri;
use std::collections::{BTreeMap, BTreeSet};
use tonic::{Code, Status};

/// One row of what a cheap listing tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Sandboxes: id and whether ready.
    pub sandboxes: BTreeMap<String, bool>,
    /// Containers: id and state.
    pub containers: BTreeMap<String, i32>,
}

/// Lists every pod the runtime knows, by uid. Comparing two listings tells which pods changed.
pub async fn list_pods(cri: &cri::Client) -> Result<BTreeMap<String, Listed>, Status> {
    let (sandboxes, containers) = tokio::try_join!(
        cri.list_pod_sandbox(cri::ListPodSandboxRequest::default()),
        cri.list_containers(cri::ListContainersRequest::default()),
    )?;
    let mut pods: BTreeMap<String, Listed> = BTreeMap::new();
    for sandbox in sandboxes.items {
        let pod = pods.entry(label(&sandbox.labels, POD_UID)).or_default();
        pod.name = label(&sandbox.labels, POD_NAME);
        pod.namespace = label(&sandbox.labels, POD_NAMESPACE);
        pod.sandboxes.insert(sandbox.id, sandbox.state == cri::PodSandboxState::Ready as i32);
    }
    for container in containers.containers {
        let pod = pods.entry(label(&container.labels, POD_UID)).or_default();
        if pod.name.is_empty() {
            pod.name = label(&container.labels, POD_NAME);
            pod.namespace = label(&container.labels, POD_NAMESPACE);
        }
        pod.containers.insert(container.id, container.state);
    }
    // What carries no uid isn't the kubelet's.
    pods.remove("");
    Ok(pods)
}

/// Inspects one pod.
pub async fn observe(cri: &cri::Client, uid: &str) -> Result<Observed, Status> {
    let selector: BTreeMap<String, String> = [(POD_UID.to_string(), uid.to_string())].into();
    let sandbox_filter = cri::PodSandboxFilter { label_selector: selector.clone(), ..Default::default() };
    let container_filter = cri::ContainerFilter { label_selector: selector, ..Default::default() };
    let (sandboxes, containers) = tokio::try_join!(
        cri.list_pod_sandbox(cri::ListPodSandboxRequest { filter: Some(sandbox_filter) }),
        cri.list_containers(cri::ListContainersRequest { filter: Some(container_filter) }),
    )?;
    let mut observed = Observed { uid: uid.into(), ..Default::default() };
    for row in sandboxes.items {
        observed.name = label(&row.labels, POD_NAME);
        observed.namespace = label(&row.labels, POD_NAMESPACE);
        if let Some(sandbox) = sandbox(cri, &row.id).await? {
            observed.sandboxes.push(sandbox);
        }
    }
    observed.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at));
    for row in containers.containers {
        if observed.name.is_empty() {
            observed.name = label(&row.labels, POD_NAME);
            observed.namespace = label(&row.labels, POD_NAMESPACE);
        }
        let request = cri::ContainerStatusRequest { container_id: row.id, verbose: false };
        match cri.container_status(request).await {
            Ok(response) => {
                observed.containers.extend(response.status.map(|s| container(s, row.pod_sandbox_id)));
            }
            // Removed since the listing.
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    observed.containers.sort_by_key(|c| std::cmp::Reverse(c.created_at));
    observed.ips = match observed.sandboxes.first() {
        Some(newest) if newest.ready => newest.ips.clone().unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok(observed)
}

async fn sandbox(cri: &cri::Client, id: &str) -> Result<Option<Sandbox>, Status> {
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
    match cri.pod_sandbox_status(request).await {
        Ok(response) => Ok(response.status.map(convert_sandbox)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// Reads a sandbox's status.
pub fn convert_sandbox(status: cri::PodSandboxStatus) -> Sandbox {
    let network_mode = status.linux.and_then(|l| l.namespaces).and_then(|n| n.options).map(|o| o.network);
    Sandbox {
        ready: status.state == cri::PodSandboxState::Ready as i32,
        attempt: status.metadata.map(|m| m.attempt).unwrap_or_default(),
        created_at: status.created_at,
        host_network: network_mode == Some(cri::NamespaceMode::Node as i32),
        ips: status.network.map(|n| {
            let more = n.additional_ips.into_iter().map(|ip| ip.ip);
            // An address that doesn't parse is the runtime's to explain, not ours to publish.
            std::iter::once(n.ip).chain(more).filter(|ip| ip.parse::<std::net::IpAddr>().is_ok()).collect()
        }),
        id: status.id,
    }
}

fn container(status: cri::ContainerStatus, sandbox_id: String) -> ObservedContainer {
    let state = State::from(status.state);
    let exited = state == State::Exited;
    let image = status.image.unwrap_or_default();
    let mut container = ObservedContainer {
        sandbox_id,
        name: label(&status.labels, CONTAINER_NAME),
        image: image.image,
        image_id: if status.image_id.is_empty() { status.image_ref.clone() } else { status.image_id },
        image_ref: status.image_ref,
        hash: labels::hash_of(&status.annotations),
        restart_count: labels::number_of(&status.annotations, labels::RESTART_COUNT).unwrap_or(0) as i32,
        state,
        created_at: status.created_at,
        started_at: if state == State::Created { 0 } else { status.started_at },
        finished_at: if exited { status.finished_at } else { 0 },
        exit_code: if exited { status.exit_code } else { 0 },
        reason: if exited { status.reason } else { String::new() },
        message: if exited { status.message } else { String::new() },
        log_path: status.log_path,
        resources: status.resources.and_then(|r| r.linux),
        user: status.user.and_then(|u| u.linux),
        stop_signal: cri::Signal::try_from(status.stop_signal).ok().and_then(cri::Signal::name),
        labels: status.labels,
        annotations: status.annotations,
        id: status.id,
    };
    if exited {
        termination::add_message(&mut container, &status.mounts);
    }
    container
}

fn label(labels: &BTreeMap<String, String>, key: &str) -> String {
    labels.get(key).cloned().unwrap_or_default()
}

/// The uids whose listing differs between two looks, gone ones included.
pub fn changed_pods(old: &BTreeMap<String, Listed>, new: &BTreeMap<String, Listed>) -> BTreeSet<String> {
    let differs = |uid: &&String| old.get(*uid) != new.get(*uid);
    old.keys().chain(new.keys()).filter(differs).cloned().collect()
}
