//! Sets, maps and their elements.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::plan::{Frontend, Plan};
use super::{List, chains::affinity_map};
use crate::model::{Target, Targets};
use crate::nft::{Batch, Data, Element, Family, Set, Verdict, flags, octets};

/// nft's numbers of types, which make listings readable.
/// `mark`: the one type of four bytes in the host's order.
const INDEX: u32 = 19;
const IPV4: u32 = 7;
const IPV6: u32 = 8;
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;

/// A set or map with a fixed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum SetId {
    ClusterIps,
    ServiceIps,
    NodePorts,
    NoEndpointServices,
    NoEndpointNodePorts,
    Endpoints,
    LocalEndpoints,
    AffinityEndpoints,
    LocalAffinityEndpoints,
    Hairpins,
    FirewallIps,
    FirewallAllowed,
    NodePortIps,
    ServiceCidrs,
}

impl SetId {
    pub(super) const ALL: [SetId; 14] = [
        SetId::ClusterIps,
        SetId::ServiceIps,
        SetId::NodePorts,
        SetId::NoEndpointServices,
        SetId::NoEndpointNodePorts,
        SetId::Endpoints,
        SetId::LocalEndpoints,
        SetId::AffinityEndpoints,
        SetId::LocalAffinityEndpoints,
        SetId::Hairpins,
        SetId::FirewallIps,
        SetId::FirewallAllowed,
        SetId::NodePortIps,
        SetId::ServiceCidrs,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            SetId::ClusterIps => "cluster-ips",
            SetId::ServiceIps => "service-ips",
            SetId::NodePorts => "service-nodeports",
            SetId::NoEndpointServices => "no-endpoint-services",
            SetId::NoEndpointNodePorts => "no-endpoint-nodeports",
            SetId::Endpoints => "endpoints",
            SetId::LocalEndpoints => "local-endpoints",
            SetId::AffinityEndpoints => "affinity-endpoints",
            SetId::LocalAffinityEndpoints => "local-affinity-endpoints",
            SetId::Hairpins => "hairpin-connections",
            SetId::FirewallIps => "firewall-ips",
            SetId::FirewallAllowed => "firewall-allowed",
            SetId::NodePortIps => "nodeport-ips",
            SetId::ServiceCidrs => "service-cidrs",
        }
    }

    pub(super) fn create(self, batch: &mut Batch, family: Family) {
        let address = address_field(family);
        let (protocol, port, index) = ((PROTOCOL, 1), (PORT, 2), (INDEX, 4));
        let endpoint = Data::Bytes(family.address_len() + 4);
        let (key, data, flags): (&[_], _, _) = match self {
            SetId::ClusterIps | SetId::NodePortIps => (&[address], Data::None, 0),
            SetId::ServiceCidrs => (&[address], Data::None, flags::INTERVAL),
            SetId::ServiceIps | SetId::NoEndpointServices => (&[address, protocol, port], Data::Verdicts, 0),
            SetId::NodePorts | SetId::NoEndpointNodePorts => (&[protocol, port], Data::Verdicts, 0),
            SetId::Endpoints | SetId::LocalEndpoints => (&[address, protocol, port, index], endpoint, 0),
            SetId::AffinityEndpoints | SetId::LocalAffinityEndpoints => {
                (&[address, protocol, port, address, port], Data::None, 0)
            }
            SetId::Hairpins => (&[address, address, protocol, port], Data::None, 0),
            SetId::FirewallIps => (&[address, protocol, port], Data::None, 0),
            SetId::FirewallAllowed => {
                (&[address, protocol, port, address], Data::None, flags::INTERVAL | flags::CONCAT)
            }
        };
        batch.add_set(&Set { name: self.name(), key, data, flags, size: 0, comment: self.comment() });
    }

    fn comment(self) -> &'static str {
        match self {
            SetId::ClusterIps => "Active ClusterIPs",
            SetId::ServiceIps => "ClusterIP, ExternalIP and LoadBalancer IP traffic",
            SetId::NodePorts => "NodePort traffic",
            SetId::NoEndpointServices => "vmap to drop or reject packets to services with no endpoints",
            SetId::NoEndpointNodePorts => {
                "vmap to drop or reject packets to service nodeports with no endpoints"
            }
            SetId::Endpoints => "endpoints by service address and index",
            SetId::LocalEndpoints => "endpoints on this node by service address and index",
            SetId::AffinityEndpoints => "endpoints that clients may stay with",
            SetId::LocalAffinityEndpoints => "endpoints on this node that clients may stay with",
            SetId::Hairpins => "service hairpin connections",
            SetId::FirewallIps => "destinations that are subject to LoadBalancerSourceRanges",
            SetId::FirewallAllowed => "sources that LoadBalancerSourceRanges let through",
            SetId::NodePortIps => "IPs that accept NodePort traffic",
            SetId::ServiceCidrs => "networks of ClusterIPs",
        }
    }
}

fn address_field(family: Family) -> (u32, u32) {
    (if family == Family::V4 { IPV4 } else { IPV6 }, family.address_len())
}

/// How many clients a map remembers at most.
const MAX_CLIENTS: u32 = 1 << 20;

/// Creates the map that remembers clients for so long.
pub(super) fn create_affinity_map(batch: &mut Batch, family: Family, seconds: u32) {
    let address = address_field(family);
    batch.add_set(&Set {
        name: &affinity_map(seconds),
        key: &[address, address, (PROTOCOL, 1), (PORT, 2)],
        data: Data::Bytes(family.address_len() + 4),
        flags: flags::DYNAMIC | flags::TIMEOUT,
        size: MAX_CLIENTS,
        comment: "the endpoints that clients stay with",
    });
}

fn element(key: Vec<u8>) -> Element {
    Element { key, key_end: Vec::new(), interval_end: false, value: Vec::new(), verdict: None }
}

fn key(address: Option<IpAddr>, protocol: u8, port: u16) -> Vec<u8> {
    let mut key = address.map(octets).unwrap_or_default();
    key.extend_from_slice(&[protocol, 0, 0, 0]);
    push_port(&mut key, port);
    key
}

fn push_port(key: &mut Vec<u8>, port: u16) {
    key.extend_from_slice(&port.to_be_bytes());
    key.extend_from_slice(&[0, 0]);
}

fn push_endpoint(key: &mut Vec<u8>, endpoint: &Target) {
    key.extend(octets(endpoint.ip));
    push_port(key, endpoint.port);
}

impl Frontend {
    /// Its key in maps of all addresses, where node ports have none.
    fn any_key(&self, family: Family) -> Vec<u8> {
        let mut bytes = match self.address {
            Some(address) => octets(address),
            None => vec![0; family.address_len() as usize],
        };
        bytes.extend(key(None, self.protocol, self.port));
        bytes
    }
}

/// An element that the plans of several Services may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shared {
    /// The address is a cluster IP.
    ClusterIp(IpAddr),
    /// What is at this address may reach itself.
    Hairpin(Frontend),
}

impl Shared {
    /// Those of a port's plan.
    pub(super) fn of(plan: &Plan) -> BTreeSet<Shared> {
        let hairpin = |t: Target| Frontend { address: Some(t.ip), protocol: plan.protocol, port: t.port };
        let hairpins = plan.hairpins().map(|t| Shared::Hairpin(hairpin(t)));
        plan.cluster_ip.map(Shared::ClusterIp).into_iter().chain(hairpins).collect()
    }

    /// As an element of its set.
    pub(super) fn element(self) -> (SetId, Element) {
        match self {
            Shared::ClusterIp(address) => (SetId::ClusterIps, element(octets(address))),
            Shared::Hairpin(Frontend { address, protocol, port }) => {
                let mut bytes = address.map(octets).unwrap_or_default();
                bytes.extend(key(address, protocol, port));
                (SetId::Hairpins, element(bytes))
            }
        }
    }
}

/// The elements that a port's plan has to itself.
pub(super) fn elements_of(plan: &Plan, family: Family) -> Vec<(SetId, Element)> {
    let mut all = Vec::new();
    for (frontend, chain) in &plan.routes {
        let set = if frontend.address.is_some() { SetId::ServiceIps } else { SetId::NodePorts };
        let verdict = Some(Verdict::Goto(chain.name()));
        all.push((
            set,
            Element { verdict, ..element(key(frontend.address, frontend.protocol, frontend.port)) },
        ));
        for (list, endpoints) in [(List::Cluster, &plan.cluster), (List::Local, &plan.local)] {
            if plan.reaches(chain, list) {
                add_endpoints(&mut all, frontend, list, endpoints, plan.affinity, family);
            }
        }
    }
    for (frontend, verdict) in &plan.closed {
        let set = match frontend.address {
            Some(_) => SetId::NoEndpointServices,
            None => SetId::NoEndpointNodePorts,
        };
        let key = key(frontend.address, frontend.protocol, frontend.port);
        all.push((set, Element { verdict: Some(verdict.clone()), ..element(key) }));
    }
    for (frontend, ranges) in &plan.guarded {
        let base = key(frontend.address, frontend.protocol, frontend.port);
        all.push((SetId::FirewallIps, element(base.clone())));
        for range in ranges {
            let join = |address: IpAddr| [base.clone(), octets(address)].concat();
            let key_end = join(range.broadcast());
            all.push((SetId::FirewallAllowed, Element { key_end, ..element(join(range.network())) }));
        }
    }
    all
}

fn add_endpoints(
    all: &mut Vec<(SetId, Element)>,
    frontend: &Frontend,
    list: List,
    endpoints: &Targets,
    affinity: Option<u32>,
    family: Family,
) {
    let (by_index, live) = match list {
        List::Cluster => (SetId::Endpoints, SetId::AffinityEndpoints),
        List::Local => (SetId::LocalEndpoints, SetId::LocalAffinityEndpoints),
    };
    for (index, endpoint) in endpoints.iter().enumerate() {
        let mut value = Vec::new();
        push_endpoint(&mut value, &endpoint);
        let mut key = frontend.any_key(family);
        if affinity.is_some() {
            all.push((live, element([key.as_slice(), &value].concat())));
        }
        // The random number is in the host's byte order.
        key.extend_from_slice(&(index as u32).to_ne_bytes());
        all.push((by_index, Element { value, ..element(key) }));
    }
}

/// The elements of a set of addresses.
pub(super) fn addresses(list: impl IntoIterator<Item = IpAddr>) -> Vec<Element> {
    list.into_iter().map(|a| element(octets(a))).collect()
}

/// The elements of a set of networks: where each begins, and where it has ended.
pub(super) fn networks(list: &[IpNet]) -> Vec<Element> {
    let mut all = Vec::new();
    for network in IpNet::aggregate(&list.to_vec()) {
        all.push(element(octets(network.network())));
        let mut end = octets(network.broadcast());
        // One past the last address; a network that reaches the end of all addresses has no such element.
        let overflow = end.iter_mut().rev().all(|byte| {
            *byte = byte.wrapping_add(1);
            *byte == 0
        });
        if !overflow {
            all.push(Element { interval_end: true, ..element(end) });
        }
    }
    all
}
