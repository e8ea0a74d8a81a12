//! The plan for the EndpointSlices of one Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use proto::time::Time;

use super::service::{
    endpoint_port, find_port, has_cluster_ip, hostname, is_endpoint, parse_ip, pod_reference,
};
use crate::api::core::{Node, Pod, Service};
use crate::api::discovery::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, HEADLESS, Hints, MANAGED_BY, Named,
    SERVICE_NAME, TRIGGER_TIME,
};
use crate::common::refs::controller_ref;
use crate::common::template::pod_name_prefix;

/// The value of the managed-by label on this controller's slices.
pub(super) const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

/// What the planner knows.
pub(super) struct View<'a> {
    pub(super) service: &'a Service,
    /// The pods that the Service selects.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) node: &'a dyn Fn(&str) -> Option<Arc<Node>>,
    /// This controller's slices of the Service that aren't being deleted.
    pub(super) slices: &'a [Arc<EndpointSlice>],
    pub(super) max_per_slice: usize,
    pub(super) trigger: Option<Time>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    /// Slices as they shall be, with the name and version of the one each replaces.
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<String>,
    /// Pods that were left out because their nodes aren't known; reason to try again.
    pub(super) errors: Vec<String>,
}

type Ports = Vec<EndpointPort>;
/// What makes an endpoint the same one as before: its addresses, hostname and target.
type Identity = (Vec<String>, Option<String>, Option<(String, String)>);
type EndpointSet = BTreeMap<Identity, Endpoint>;

fn identity(endpoint: &Endpoint) -> Identity {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    let target = endpoint.target_ref.as_ref().map(|t| (t.namespace.clone(), t.name.clone()));
    (addresses, endpoint.hostname.clone().filter(|h| !h.is_empty()), target)
}

fn sorted(ports: &[EndpointPort]) -> Ports {
    let mut ports = ports.to_vec();
    ports.sort();
    ports
}

/// Decides about all slices of a Service.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let families = address_types(view.service);
    let mut plan = Plan::default();
    for family in &families {
        plan_family(view, family, &mut plan);
    }
    let strays = view.slices.iter().filter(|s| !families.contains(s.address_type.as_str()));
    plan.delete.extend(strays.map(|s| s.metadata.name.clone()));
    if view.service.metadata.is_being_deleted() {
        plan.create.clear();
    }
    let written = plan.create.iter_mut().chain(&mut plan.update);
    for slice in written {
        let annotations = &mut slice.metadata.annotations;
        match view.trigger {
            Some(time) => annotations.insert(TRIGGER_TIME.into(), time.to_string()),
            None => annotations.remove(TRIGGER_TIME),
        };
    }
    plan
}

/// The address types of the Service's slices.
fn address_types(service: &Service) -> BTreeSet<&'static str> {
    let families: BTreeSet<&str> = service
        .spec
        .ip_families
        .iter()
        .filter_map(|f| ["IPv4", "IPv6"].into_iter().find(|known| known == f))
        .collect();
    match parse_ip(&service.spec.cluster_ip) {
        _ if !families.is_empty() => families,
        Some(IpAddr::V6(_)) => BTreeSet::from(["IPv6"]),
        Some(IpAddr::V4(_)) => BTreeSet::from(["IPv4"]),
        None => BTreeSet::from(["IPv4", "IPv6"]),
    }
}

fn plan_family(view: &View<'_>, family: &str, plan: &mut Plan) {
    let service = view.service;
    let existing = view.slices.iter().filter(|s| s.address_type == family);
    let (owned, foreign): (Vec<_>, Vec<_>) = existing.partition(|s| owned_by(s, service));
    let existing_count = owned.len() + foreign.len();
    let mut create: Vec<EndpointSlice> = Vec::new();
    let mut update: Vec<EndpointSlice> = Vec::new();
    let mut delete: Vec<&EndpointSlice> = foreign.into_iter().map(Arc::as_ref).collect();
    let mut unchanged: Vec<&EndpointSlice> = Vec::new();

    let mut by_ports: BTreeMap<Ports, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in owned {
        by_ports.entry(sorted(&slice.ports)).or_default().push(slice);
    }
    for (ports, endpoints) in desired(view, family, &mut plan.errors) {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        let blank = new_slice(service, family, ports);
        let filled = fill(view, slices, endpoints, blank);
        create.extend(filled.create);
        update.extend(filled.update);
        delete.extend(filled.delete);
        unchanged.extend(filled.unchanged);
    }
    delete.extend(by_ports.into_values().flatten());

    // A Service always has a slice, if only an empty one.
    if delete.len() == existing_count && create.is_empty() {
        let placeholder = new_slice(service, family, Vec::new());
        match delete.as_slice() {
            [only] if is_placeholder(only, &placeholder) => delete.clear(),
            _ => create.push(placeholder),
        }
    }
    hint(service, &mut create, &mut update, unchanged);

    // A slice to delete becomes one to create: one write instead of two.
    while !create.is_empty() {
        let Some(index) = delete.iter().position(|s| owned_by(s, service)) else { break };
        let (reused, Some(mut slice)) = (delete.remove(index), create.pop()) else { break };
        slice.metadata.name = reused.metadata.name.clone();
        slice.metadata.generate_name.clear();
        slice.metadata.uid = reused.metadata.uid.clone();
        slice.metadata.resource_version = reused.metadata.resource_version.clone();
        update.push(slice);
    }
    plan.create.extend(create);
    plan.update.extend(update);
    plan.delete.extend(delete.into_iter().map(|s| s.metadata.name.clone()));
}

fn owned_by(slice: &EndpointSlice, service: &Service) -> bool {
    let owners = &slice.metadata.owner_references;
    owners.iter().any(|o| o.uid == service.metadata.uid && o.kind == "Service" && o.api_version == "v1")
}

fn is_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    slice.endpoints.is_empty()
        && slice.ports.is_empty()
        && slice.metadata.labels == placeholder.metadata.labels
}

/// The endpoints wanted, by their ports: pods may give a named port different numbers.
fn desired(view: &View<'_>, family: &str, errors: &mut Vec<String>) -> BTreeMap<Ports, EndpointSet> {
    let service = view.service;
    let mut by_ports: BTreeMap<Ports, EndpointSet> = BTreeMap::new();
    for pod in view.pods.iter().filter(|p| is_endpoint(p, true)) {
        let numbered = service.spec.ports.iter().filter_map(|p| Some((p, find_port(pod, p)?)));
        let ports: Ports = numbered.map(|(port, number)| endpoint_port(port, number)).collect();
        let endpoints = by_ports.entry(sorted(&ports)).or_default();
        let node = (view.node)(&pod.spec.node_name);
        if node.is_none() && !service.spec.publish_not_ready_addresses {
            errors.push(format!(
                "skipping Pod {} for Service {}/{}: Node {} Not Found",
                pod.metadata.name, service.metadata.namespace, service.metadata.name, pod.spec.node_name,
            ));
            continue;
        }
        let endpoint = endpoint(pod, node.as_deref(), service, family);
        if !endpoint.addresses.is_empty() {
            endpoints.insert(identity(&endpoint), endpoint);
        }
    }
    by_ports
}

fn endpoint(pod: &Pod, node: Option<&Node>, service: &Service, family: &str) -> Endpoint {
    let serving = crate::common::pods::is_ready(pod);
    let terminating = pod.metadata.is_being_deleted();
    let is_of_family = |ip: &IpAddr| ip.is_ipv6() == (family == "IPv6");
    let ips = pod.status.pod_ips.iter().filter_map(|p| parse_ip(&p.ip)).filter(is_of_family);
    Endpoint {
        addresses: ips.map(|ip| ip.to_string()).collect(),
        conditions: EndpointConditions {
            ready: Some(service.spec.publish_not_ready_addresses || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: hostname(pod, service),
        target_ref: Some(pod_reference(pod)),
        node_name: Some(pod.spec.node_name.clone()).filter(|n| !n.is_empty()),
        zone: node.and_then(|n| n.metadata.labels.get(ZONE)).filter(|z| !z.is_empty()).cloned(),
        ..Default::default()
    }
}

fn new_slice(service: &Service, family: &str, ports: Ports) -> EndpointSlice {
    let mut slice = EndpointSlice { address_type: family.into(), ports, ..Default::default() };
    slice.metadata.generate_name = pod_name_prefix(&service.metadata.name);
    slice.metadata.namespace = service.metadata.namespace.clone();
    slice.metadata.owner_references = vec![controller_ref(&service.metadata, "v1", "Service")];
    slice.metadata.labels = labels(service);
    slice
}

fn is_reserved(label: &str) -> bool {
    [SERVICE_NAME, MANAGED_BY, HEADLESS].contains(&label)
}

/// A slice has the labels of its Service, and some of its own.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let own = service.metadata.labels.iter().filter(|(k, _)| !is_reserved(k));
    let mut labels: BTreeMap<_, _> = own.map(|(k, v)| (k.clone(), v.clone())).collect();
    if !has_cluster_ip(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    labels
}

/// Whether the labels that come from the Service are those.
fn labels_current(slice: &EndpointSlice, wanted: &BTreeMap<String, String>) -> bool {
    let from_service = |labels: &BTreeMap<String, String>| -> Vec<(String, String)> {
        let own = labels.iter().filter(|(k, _)| !is_reserved(k));
        own.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    from_service(&slice.metadata.labels) == from_service(wanted)
}

fn same_state(a: &Endpoint, b: &Endpoint) -> bool {
    a.node_name == b.node_name
        && a.zone == b.zone
        && a.conditions == b.conditions
        && a.target_ref == b.target_ref
}

#[derive(Default)]
struct Filled<'a> {
    create: Vec<EndpointSlice>,
    update: Vec<EndpointSlice>,
    delete: Vec<&'a EndpointSlice>,
    unchanged: Vec<&'a EndpointSlice>,
}

/// Puts endpoints of the same ports into slices with the fewest writes: endpoints stay where they are;
/// new ones go into slices that change anyway, then into the fullest unchanged slice that takes all of
/// them, then into new slices.
fn fill<'a>(
    view: &View<'_>,
    slices: Vec<&'a EndpointSlice>,
    mut desired: EndpointSet,
    blank: EndpointSlice,
) -> Filled<'a> {
    let mut filled = Filled::default();
    for slice in slices {
        let mut changed = false;
        let mut kept: Vec<Endpoint> = Vec::new();
        for endpoint in &slice.endpoints {
            if let Some(mut wanted) = desired.remove(&identity(endpoint)) {
                changed |= !same_state(&wanted, endpoint);
                wanted.hints.clone_from(&endpoint.hints);
                kept.push(wanted);
            }
        }
        changed |= kept.len() != slice.endpoints.len();
        if changed && kept.is_empty() {
            filled.delete.push(slice);
        } else if changed || !labels_current(slice, &blank.metadata.labels) {
            let mut slice = slice.clone();
            slice.endpoints = kept;
            slice.metadata.labels.clone_from(&blank.metadata.labels);
            filled.update.push(slice);
        } else {
            filled.unchanged.push(slice);
        }
    }
    filled.update.sort_by_key(|s| std::cmp::Reverse(s.endpoints.len()));
    let mut rest = desired.into_values();
    let room = |slice: &EndpointSlice| view.max_per_slice.saturating_sub(slice.endpoints.len());
    for slice in &mut filled.update {
        let count = room(slice);
        slice.endpoints.extend(rest.by_ref().take(count));
    }
    while rest.len() > 0 {
        let fits = |s: &EndpointSlice| room(s).checked_sub(rest.len());
        let best = filled.unchanged.iter().enumerate();
        let best = best.filter_map(|(i, s)| Some((fits(s)?, i))).min();
        let mut slice = match best {
            Some((_, index)) => filled.unchanged.remove(index).clone(),
            None => blank.clone(),
        };
        let count = room(&slice).max(1);
        slice.endpoints.extend(rest.by_ref().take(count));
        if slice.metadata.name.is_empty() {
            filled.create.push(slice);
        } else {
            filled.update.push(slice);
        }
    }
    filled
}

/// Sets or drops the hints by which clients prefer near endpoints. Slices that need nothing else are
/// updated for it.
fn hint(
    service: &Service,
    create: &mut [EndpointSlice],
    update: &mut Vec<EndpointSlice>,
    unchanged: Vec<&EndpointSlice>,
) {
    let wish = service.spec.traffic_distribution.as_deref();
    let by_node = wish == Some("PreferSameNode");
    let near = by_node || matches!(wish, Some("PreferClose" | "PreferSameZone"));
    let wanted = |endpoint: &Endpoint| -> Option<Hints> {
        let named = |name: &Option<String>| -> Vec<Named> {
            name.iter().map(|name| Named { name: name.clone() }).collect()
        };
        let hints = Hints {
            for_zones: named(&endpoint.zone),
            for_nodes: if by_node { named(&endpoint.node_name) } else { Vec::new() },
        };
        (near && hints != Hints::default()).then_some(hints)
    };
    let concerns = |endpoint: &Endpoint| !near || endpoint.conditions.ready == Some(true);
    let is_off = |e: &Endpoint| concerns(e) && e.hints != wanted(e);
    update.extend(unchanged.into_iter().filter(|s| s.endpoints.iter().any(is_off)).cloned());
    for endpoint in create.iter_mut().chain(update).flat_map(|s| &mut s.endpoints) {
        if concerns(endpoint) {
            endpoint.hints = wanted(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "d", "uid": "s1", "labels": {"app": "web"}},
            "spec": {
                "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
            },
        }))
        .unwrap()
    }

    fn pod(name: &str, ip: &str, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "d", "uid": name},
                "spec": {"nodeName": "n1"},
                "status": {"podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap(),
        )
    }

    fn run(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>], max: usize) -> Plan {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {ZONE: "z"}}})).unwrap();
        let node = Arc::new(node);
        plan(&View {
            service,
            pods,
            node: &|name| (name == "n1").then(|| node.clone()),
            slices,
            max_per_slice: max,
            trigger: None,
        })
    }

    fn stored(mut slice: EndpointSlice, name: &str) -> Arc<EndpointSlice> {
        slice.metadata.name = name.into();
        Arc::new(slice)
    }

    #[test]
    fn a_service_without_pods_has_an_empty_slice() {
        let mut first = run(&service(), &[], &[], 100);
        let slice = first.create.remove(0);
        assert!(slice.endpoints.is_empty() && slice.ports.is_empty());
        assert_eq!(run(&service(), &[], &[stored(slice, "web-1")], 100), Plan::default());
    }

    #[test]
    fn the_empty_slice_is_reused() {
        let empty = stored(run(&service(), &[], &[], 100).create.remove(0), "web-1");
        let plan = run(&service(), &[pod("a", "10.0.0.1", true)], &[empty], 100);
        assert!(plan.create.is_empty() && plan.delete.is_empty());
        let slice = &plan.update[0];
        assert_eq!(slice.metadata.name, "web-1");
        assert_eq!(slice.endpoints[0].conditions.ready, Some(true));
        assert_eq!(slice.endpoints[0].zone.as_deref(), Some("z"));
        assert_eq!(slice.ports[0].port, Some(8080));
    }

    #[test]
    fn slices_fill_up_before_new_ones_come() {
        let pods = [pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", true)];
        let first = stored(run(&service(), &pods, &[], 3).create.remove(0), "web-1");
        let more = [pods.to_vec(), vec![pod("c", "10.0.0.3", false)]].concat();
        let plan = run(&service(), &more, std::slice::from_ref(&first), 3);
        assert_eq!((plan.create.len(), plan.update[0].endpoints.len()), (0, 3));
        let most = [more, vec![pod("d", "10.0.0.4", true)]].concat();
        let plan = run(&service(), &most, std::slice::from_ref(&first), 3);
        assert_eq!((plan.create.len(), plan.update.len()), (1, 0));
        assert_eq!(run(&service(), &pods, &[first], 3), Plan::default());
    }

    #[test]
    fn pods_on_unknown_nodes_wait() {
        let mut lost = Pod::clone(&pod("a", "10.0.0.1", true));
        lost.spec.node_name = "n9".into();
        let plan = run(&service(), &[Arc::new(lost)], &[], 100);
        assert_eq!(plan.errors, ["skipping Pod a for Service d/web: Node n9 Not Found"]);
    }

    #[test]
    fn traffic_distribution_makes_hints() {
        let pods = [pod("a", "10.0.0.1", true)];
        let plain = stored(run(&service(), &pods, &[], 100).create.remove(0), "web-1");
        let mut near = service();
        near.spec.traffic_distribution = Some("PreferSameNode".into());
        let plan = run(&near, &pods, &[plain], 100);
        let hints = plan.update[0].endpoints[0].hints.clone().unwrap();
        assert_eq!((hints.for_zones[0].name.as_str(), hints.for_nodes[0].name.as_str()), ("z", "n1"));
        let hinted = stored(plan.update[0].clone(), "web-1");
        assert_eq!(run(&near, &pods, std::slice::from_ref(&hinted), 100), Plan::default());
        assert!(run(&service(), &pods, &[hinted], 100).update[0].endpoints[0].hints.is_none());
    }
}
