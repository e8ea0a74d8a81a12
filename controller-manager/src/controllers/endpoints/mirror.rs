//! The plan for the EndpointSlices that mirror an Endpoints object made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::service::parse_ip;
use super::subsets::repack;
use crate::api::discovery::{
    Address, Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Endpoints, MANAGED_BY, SERVICE_NAME,
    TRIGGER_TIME,
};
use crate::common::events::Event;
use crate::common::refs::controller_ref;
use crate::common::template::pod_name_prefix;

/// The value of the managed-by label on mirrored slices.
pub(super) const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether an Endpoints object is to be mirrored at all.
pub(super) fn wants_mirror(endpoints: &Endpoints) -> bool {
    let skip = endpoints.metadata.labels.get(SKIP_MIRROR).is_some_and(|v| v == "true");
    !skip && !is_lock(endpoints)
}

/// Whether it is an old leader election lock rather than somebody's endpoints.
pub(super) fn is_lock(endpoints: &Endpoints) -> bool {
    endpoints.metadata.annotations.contains_key(LEADER)
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<String>,
    pub(super) events: Vec<Event>,
}

/// Address type and ports: the slices with the same are one group.
type Group = (&'static str, Vec<EndpointPort>);

/// Decides about the slices of one Endpoints object.
pub(super) fn plan(endpoints: &Endpoints, slices: &[Arc<EndpointSlice>], max_per_subset: usize) -> Plan {
    let mut plan = Plan::default();
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    let (mut invalid, mut skipped) = (0, 0);
    for subset in repack(endpoints.subsets.clone()) {
        let ports: Vec<EndpointPort> = subset.ports.iter().map(slice_port).collect();
        let ready = subset.addresses.iter().map(|a| (a, true));
        let all = ready.chain(subset.not_ready_addresses.iter().map(|a| (a, false)));
        let (mut total, mut added) = (0, 0);
        for (address, ready) in all {
            total += 1;
            if added >= max_per_subset {
                continue;
            }
            match endpoint(address, ready) {
                Some((family, endpoint)) => {
                    groups.entry((family, ports.clone())).or_default().push(endpoint);
                    added += 1;
                }
                None => invalid += 1,
            }
        }
        skipped += total - added;
    }
    if invalid > 0 {
        plan.events.push(Event::warning(
            "InvalidIPAddress",
            format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"),
        ));
    }
    if skipped > invalid {
        plan.events.push(Event::warning(
            "TooManyAddressesToMirror",
            format!(
                "A max of {max_per_subset} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"
            ),
        ));
    }
    let mut delete: Vec<&EndpointSlice> = slices.iter().map(Arc::as_ref).collect();
    for ((family, ports), wanted) in groups {
        let same_group = |s: &&EndpointSlice| {
            let mut own = s.ports.clone();
            own.sort();
            s.address_type == family && own == ports
        };
        let slice = new_slice(endpoints, family, ports.clone(), wanted);
        match delete.iter().position(same_group) {
            None => plan.create.push(slice),
            Some(index) => {
                let current = delete.remove(index);
                if !is_current(current, &slice) {
                    plan.update.push(replacing(current, slice));
                }
            }
        }
    }
    // A slice to delete becomes one to create: one write instead of two.
    let create = std::mem::take(&mut plan.create);
    for slice in create {
        match delete.iter().position(|s| s.address_type == slice.address_type) {
            Some(index) => plan.update.push(replacing(delete.remove(index), slice)),
            None => plan.create.push(slice),
        }
    }
    plan.delete = delete.iter().map(|s| s.metadata.name.clone()).collect();
    if endpoints.metadata.is_being_deleted() {
        plan.create.clear();
    }
    plan
}

fn slice_port(port: &EndpointPort) -> EndpointPort {
    EndpointPort { name: Some(port.name.clone().unwrap_or_default()), ..port.clone() }
}

fn endpoint(address: &Address, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip = parse_ip(&address.ip)?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: EndpointConditions { ready: Some(ready), ..Default::default() },
        hostname: Some(address.hostname.clone()).filter(|h| !h.is_empty()),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        ..Default::default()
    };
    Some((if ip.is_ipv6() { "IPv6" } else { "IPv4" }, endpoint))
}

fn new_slice(
    endpoints: &Endpoints,
    family: &str,
    ports: Vec<EndpointPort>,
    list: Vec<Endpoint>,
) -> EndpointSlice {
    let mut slice =
        EndpointSlice { address_type: family.into(), endpoints: list, ports, ..Default::default() };
    let (metadata, source) = (&mut slice.metadata, &endpoints.metadata);
    metadata.generate_name = pod_name_prefix(&source.name);
    metadata.namespace = source.namespace.clone();
    metadata.owner_references = vec![controller_ref(source, "v1", "Endpoints")];
    metadata.labels = source.labels.clone();
    metadata.labels.insert(SERVICE_NAME.into(), source.name.clone());
    metadata.labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    metadata.annotations = source.annotations.clone();
    metadata.annotations.remove(TRIGGER_TIME);
    metadata.annotations.remove(LAST_APPLIED);
    slice
}

fn replacing(current: &EndpointSlice, mut slice: EndpointSlice) -> EndpointSlice {
    slice.metadata.generate_name.clear();
    slice.metadata.name = current.metadata.name.clone();
    slice.metadata.uid = current.metadata.uid.clone();
    slice.metadata.resource_version = current.metadata.resource_version.clone();
    slice
}

fn is_current(current: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let contains = |e: &Endpoint| current.endpoints.contains(e);
    current.endpoints.len() == wanted.endpoints.len()
        && wanted.endpoints.iter().all(contains)
        && current.metadata.labels == wanted.metadata.labels
        && current.metadata.annotations == wanted.metadata.annotations
        && current.metadata.owner_references == wanted.metadata.owner_references
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mirrors_by_family_and_settles() {
        let endpoints: Endpoints = serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "d", "uid": "e1", "labels": {"a": "b"}},
            "subsets": [{
                "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "nonsense"}],
                "ports": [{"port": 5432, "protocol": "TCP"}],
            }],
        }))
        .unwrap();
        let first = plan(&endpoints, &[], 1000);
        assert_eq!((first.create.len(), first.events.len()), (2, 1));
        let name = |(i, mut s): (usize, EndpointSlice)| {
            s.metadata.name = format!("db-{i}");
            Arc::new(s)
        };
        let stored: Vec<_> = first.create.into_iter().enumerate().map(name).collect();
        let again = plan(&endpoints, &stored, 1000);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        let gone = plan(&Endpoints { subsets: Vec::new(), ..endpoints }, &stored, 1000);
        assert_eq!(gone.delete.len(), 2);
    }
}
