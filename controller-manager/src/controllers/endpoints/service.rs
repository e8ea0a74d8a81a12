//! What a Service's pods are as endpoints; shared by the controllers of EndpointSlices and Endpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::meta::Key;
use proto::time::Time;

use crate::api::core::{Pod, Service, ServicePort};
use crate::api::discovery::{EndpointPort, ObjectReference};
use crate::api::find_condition;
use crate::common::intstr::IntOrString;
use crate::common::pods;

/// Whether the Service has a cluster address.
pub(super) fn has_cluster_ip(service: &Service) -> bool {
    !matches!(service.spec.cluster_ip.as_str(), "" | "None")
}

/// The selector, if this Service's endpoints are made by a controller at all.
pub(super) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.selector.as_ref().filter(|_| service.spec.kind != "ExternalName")
}

/// Whether labels satisfy a Service's selector. An empty selector selects every pod.
pub(super) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// Whether the pod can be an endpoint: it has an address, and hasn't ended.
pub(super) fn is_endpoint(pod: &Pod, include_terminating: bool) -> bool {
    let has_address = !pod.status.pod_ip.is_empty() || !pod.status.pod_ips.is_empty();
    let leaving = pod.metadata.is_being_deleted() && !include_terminating;
    !pods::is_terminal(pod) && has_address && !leaving
}

/// The hostname under which DNS shall know the pod.
pub(super) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let named = !pod.spec.hostname.is_empty()
        && pod.spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    named.then(|| pod.spec.hostname.clone())
}

/// The number of a Service's target port in one pod.
pub(super) fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref()? {
        IntOrString::Int(number) => i32::try_from(*number).ok(),
        IntOrString::Text(name) => {
            let sidecars = pod.spec.init_containers.iter();
            let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let mut ports = pod.spec.containers.iter().chain(sidecars).flat_map(|c| &c.ports);
            let found = ports.find(|p| p.name == *name && p.protocol == port.protocol);
            found.map(|p| p.container_port)
        }
    }
}

/// A port of the Service as it is in one pod.
pub(super) fn endpoint_port(port: &ServicePort, number: i32) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

/// Refers to a pod.
pub(super) fn pod_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: "Pod".into(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }
}

/// Reads an address as the server's older clients wrote it, with leading zeros in IPv4.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let trimmed: Vec<&str> = text
            .split('.')
            .map(|part| match part.trim_start_matches('0') {
                "" if !part.is_empty() => "0",
                rest => rest,
            })
            .collect();
        trimmed.join(".").parse().ok()
    })
}

/// The Services whose endpoints a change of a pod may change.
pub(super) fn affected<'a>(
    services: impl Iterator<Item = &'a Service>,
    old: Option<&Pod>,
    new: Option<&Pod>,
) -> BTreeSet<Key> {
    let (changed, relabelled) = match (old, new) {
        (Some(old), Some(new)) => (endpoint_changed(old, new), labels_changed(old, new)),
        _ => (true, false),
    };
    if !changed && !relabelled {
        return BTreeSet::new();
    }
    let matches = |selector, pod: Option<&Pod>| pod.is_some_and(|p| selects(selector, &p.metadata.labels));
    services
        .filter(|service| {
            let Some(selector) = &service.spec.selector else { return false };
            let (was, is) = (matches(selector, old), matches(selector, new));
            if changed { was || is } else { was != is || (was && hostname_changed(old, new)) }
        })
        .map(|service| service.metadata.key())
        .collect()
}

fn hostname_changed(old: Option<&Pod>, new: Option<&Pod>) -> bool {
    let names = |p: &Pod| (p.spec.hostname.clone(), p.spec.subdomain.clone());
    old.map(names) != new.map(names)
}

fn labels_changed(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels != new.metadata.labels || hostname_changed(Some(old), Some(new))
}

fn endpoint_changed(old: &Pod, new: &Pod) -> bool {
    old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_terminal(old) != pods::is_terminal(new)
        || old.status.pod_ips != new.status.pod_ips
}

/// Tells when the change happened that a write of endpoints goes back to.
#[derive(Default)]
pub(super) struct TriggerTimes {
    seen: Mutex<HashMap<Key, Seen>>,
}

#[derive(Clone, Default)]
struct Seen {
    service: Option<Time>,
    pods: HashMap<String, Time>,
}

impl TriggerTimes {
    /// The earliest change since the last look; a Service's first look is about its creation.
    pub(super) fn compute(&self, service: &Service, pods: &[Arc<Pod>]) -> Option<Time> {
        let mut map = self.seen.lock();
        let created = service.metadata.creation_timestamp;
        let before = map.get(&service.metadata.key());
        let known = before.is_some();
        let before = before.cloned().unwrap_or_default();
        let mut now = Seen { service: created, ..Default::default() };
        let mut changes: Vec<Time> = Vec::new();
        for pod in pods {
            let condition = find_condition(&pod.status.conditions, "Ready");
            let Some(at) = condition.and_then(|c| c.last_transition_time) else { continue };
            if before.pods.get(&pod.metadata.name).is_none_or(|seen| at > *seen) {
                changes.push(at);
            }
            now.pods.insert(pod.metadata.name.clone(), at);
        }
        if created > before.service {
            changes.extend(created);
        }
        map.insert(service.metadata.key(), now);
        if known { changes.into_iter().min() } else { created }
    }

    pub(super) fn forget(&self, service: &Key) {
        self.seen.lock().remove(service);
    }
}
