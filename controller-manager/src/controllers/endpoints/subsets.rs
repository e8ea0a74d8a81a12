//! The plan for the Endpoints object of one Service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::meta::ObjectMeta;
use proto::time::Time;

use super::service::{
    endpoint_port, find_port, has_cluster_ip, hostname, is_endpoint, parse_ip, pod_reference,
};
use crate::api::core::{Pod, Service};
use crate::api::discovery::{Address, EndpointPort, Endpoints, HEADLESS, Subset, TRIGGER_TIME};
use crate::common::pods;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MAX_ADDRESSES: usize = 1000;

/// The Endpoints object as it shall be, or nothing if `current` will do.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    current: Option<&Endpoints>,
    trigger: Option<Time>,
) -> Option<Endpoints> {
    let mut subsets = repack(desired(service, pods));
    if let Some(current) = current {
        let same = current.subsets == subsets || repack(current.subsets.clone()) == subsets;
        if same && labels_current(&current.metadata, service) && capacity_noted(current) {
            return None;
        }
    }
    let mut metadata = current.map(|c| c.metadata.clone()).unwrap_or_default();
    metadata.name = service.metadata.name.clone();
    metadata.namespace = service.metadata.namespace.clone();
    metadata.labels = service.metadata.labels.clone();
    if has_cluster_ip(service) {
        metadata.labels.remove(HEADLESS);
    } else {
        metadata.labels.insert(HEADLESS.into(), String::new());
    }
    metadata.labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    set(&mut metadata, TRIGGER_TIME, trigger.map(|t| t.to_string()));
    let over = truncate(&mut subsets).then(|| "truncated".to_string());
    set(&mut metadata, OVER_CAPACITY, over);
    Some(Endpoints { metadata, subsets })
}

fn set(metadata: &mut ObjectMeta, annotation: &str, value: Option<String>) {
    match value {
        Some(value) => metadata.annotations.insert(annotation.into(), value),
        None => metadata.annotations.remove(annotation),
    };
}

fn desired(service: &Service, pods: &[Arc<Pod>]) -> Vec<Subset> {
    let unready_too = service.spec.publish_not_ready_addresses;
    let mut subsets = Vec::new();
    for pod in pods.iter().filter(|p| is_endpoint(p, unready_too)) {
        let Some(address) = address(service, pod) else { continue };
        let ready = unready_too || pods::is_ready(pod);
        let mut add = |ports: Vec<EndpointPort>| {
            let mut subset = Subset { ports, ..Default::default() };
            let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
            list.push(address.clone());
            subsets.push(subset);
        };
        if service.spec.ports.is_empty() && service.spec.cluster_ip == "None" {
            add(Vec::new());
        }
        for port in &service.spec.ports {
            if let Some(number) = find_port(pod, port) {
                let mut port = endpoint_port(port, number);
                port.name = port.name.filter(|n| !n.is_empty());
                add(vec![port]);
            }
        }
    }
    subsets
}

/// The pod's address in the Service's first family.
fn address(service: &Service, pod: &Pod) -> Option<Address> {
    let is_v6 = |text: &str| parse_ip(text).is_some_and(|ip| ip.is_ipv6());
    let cluster_ip = service.spec.cluster_ip.as_str();
    let wants_v6 = match service.spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None if !matches!(cluster_ip, "" | "None") => is_v6(cluster_ip),
        None => is_v6(&pod.status.pod_ip),
    };
    let ips = pod.status.pod_ips.iter().filter_map(|p| parse_ip(&p.ip));
    let ip = ips.into_iter().find(|ip| ip.is_ipv6() == wants_v6)?;
    Some(Address {
        ip: ip.to_string(),
        hostname: hostname(pod, service).unwrap_or_default(),
        node_name: Some(pod.spec.node_name.clone()).filter(|n| !n.is_empty()),
        target_ref: Some(pod_reference(pod)),
    })
}

/// Brings subsets to their one canonical form: each combination of ports once, in order, with all
/// addresses that have just these ports, in order.
pub(super) fn repack(subsets: Vec<Subset>) -> Vec<Subset> {
    type Id = (String, String);
    let id = |a: &Address| -> Id {
        (a.ip.clone(), a.target_ref.as_ref().map(|t| t.uid.clone()).unwrap_or_default())
    };
    // A port of an address that is ready anywhere is ready. No port at all counts as one port.
    let mut by_port: BTreeMap<Option<EndpointPort>, BTreeMap<Id, (Address, bool)>> = BTreeMap::new();
    for subset in subsets {
        let mut ports: Vec<_> = subset.ports.into_iter().map(Some).collect();
        if ports.is_empty() {
            ports.push(None);
        }
        let ready = subset.addresses.iter().map(|a| (a, true));
        let not_ready = subset.not_ready_addresses.iter().map(|a| (a, false));
        for (address, ready) in ready.chain(not_ready) {
            for port in &ports {
                let entry = by_port.entry(port.clone()).or_default().entry(id(address));
                entry.or_insert_with(|| (address.clone(), ready)).1 |= ready;
            }
        }
    }
    let mut by_address: BTreeMap<(Address, bool), BTreeSet<EndpointPort>> = BTreeMap::new();
    for (port, addresses) in by_port {
        for key in addresses.into_values() {
            by_address.entry(key).or_default().extend(port.clone());
        }
    }
    let mut by_ports: BTreeMap<BTreeSet<EndpointPort>, Subset> = BTreeMap::new();
    for ((address, ready), ports) in by_address {
        let subset = by_ports.entry(ports).or_default();
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.push(address);
    }
    by_ports
        .into_iter()
        .map(|(ports, subset)| Subset { ports: ports.into_iter().collect(), ..subset })
        .collect()
}

fn labels_current(metadata: &ObjectMeta, service: &Service) -> bool {
    let own = |k: &str| k == HEADLESS || k == MANAGED_BY;
    metadata.labels.get(MANAGED_BY).is_some_and(|v| v == CONTROLLER)
        && metadata.labels.iter().filter(|(k, _)| !own(k)).eq(service.metadata.labels.iter())
}

fn count(subsets: &[Subset]) -> (usize, usize) {
    let ready = subsets.iter().map(|s| s.addresses.len()).sum();
    (ready, subsets.iter().map(|s| s.not_ready_addresses.len()).sum())
}

fn capacity_noted(endpoints: &Endpoints) -> bool {
    let (ready, not_ready) = count(&endpoints.subsets);
    ready + not_ready <= MAX_ADDRESSES && !endpoints.metadata.annotations.contains_key(OVER_CAPACITY)
}

/// Drops addresses beyond the limit, those that aren't ready first, in proportion from each subset.
fn truncate(subsets: &mut [Subset]) -> bool {
    let (ready, not_ready) = count(subsets);
    if ready + not_ready <= MAX_ADDRESSES {
        return false;
    }
    let cut_ready = ready > MAX_ADDRESSES;
    let (max, total) = if cut_ready { (MAX_ADDRESSES, ready) } else { (MAX_ADDRESSES - ready, not_ready) };
    let mut left = max;
    for subset in subsets {
        if cut_ready {
            subset.not_ready_addresses.clear();
        }
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (list.len() * max).div_ceil(total).min(left);
        list.truncate(share);
        left -= list.len();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subsets(value: serde_json::Value) -> Vec<Subset> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn repacking_joins_what_has_the_same_ports() {
        let port = |n: u16| json!({"port": n, "protocol": "TCP"});
        let packed = repack(subsets(json!([
            {"addresses": [{"ip": "10.0.0.2"}], "ports": [port(80)]},
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [port(80)]},
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [port(81)]},
            {"notReadyAddresses": [{"ip": "10.0.0.3"}], "ports": [port(80)]},
        ])));
        let wanted = subsets(json!([
            {"addresses": [{"ip": "10.0.0.2"}], "notReadyAddresses": [{"ip": "10.0.0.3"}], "ports": [port(80)]},
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [port(80), port(81)]},
        ]));
        assert_eq!(packed, wanted);
        assert_eq!(repack(packed.clone()), packed);
    }

    #[test]
    fn too_many_addresses_are_cut() {
        let address =
            |n: usize| Address { ip: format!("10.0.{}.{}", n / 250, n % 250), ..Default::default() };
        let mut subsets = [Subset {
            addresses: (0..900).map(address).collect(),
            not_ready_addresses: (900..1200).map(address).collect(),
            ..Default::default()
        }];
        assert!(truncate(&mut subsets));
        assert_eq!(count(&subsets), (900, 100));
    }
}
