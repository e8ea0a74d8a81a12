//! What of the table doesn't depend on Services: sets, base chains and the rules that lead to the maps.

use std::net::IpAddr;

use ipnet::IpNet;

use super::elements::{SetId, addresses, networks};
use super::plan::REJECT_CHAIN;
use crate::nft::{Batch, Family, Hook, Rule, Verdict};

/// How traffic from this node's pods is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Local {
    /// It isn't.
    Unknown,
    /// By its source.
    Network(IpNet),
    /// By the bridge it comes by.
    Bridge(String),
    /// By the name of the interface it comes by.
    InterfacePrefix(String),
}

impl Local {
    /// Adds the question to a rule, or (`inverted`) its opposite.
    pub(super) fn matches(&self, rule: Rule, inverted: bool) -> Option<Rule> {
        match self {
            Local::Unknown => None,
            Local::Network(network) => Some(rule.source_in(network, inverted)),
            Local::Bridge(name) => Some(rule.interface(name, false, inverted)),
            Local::InterfacePrefix(prefix) => Some(rule.interface(prefix, true, inverted)),
        }
    }
}

/// Which addresses accept node ports.
#[derive(Clone, Debug, PartialEq)]
pub enum NodePorts {
    /// All of this host's, except loopback ones.
    All,
    /// These.
    On(Vec<IpAddr>),
}

/// What the table depends on besides Services.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The bit that marks packets to be masqueraded.
    pub mark: u32,
    /// Masquerade all traffic to cluster IPs?
    pub masquerade_all: bool,
    /// How this node's pods are told.
    pub local: Local,
    /// Which addresses accept node ports.
    pub node_ports: NodePorts,
    /// The networks of cluster IPs.
    pub service_cidrs: Vec<IpNet>,
}

const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
const DNAT: i32 = -100;
const FILTER: i32 = 0;
const SNAT: i32 = 100;

const BASE_CHAINS: [(&str, Hook); 8] = [
    ("filter-prerouting-pre-dnat", Hook { kind: "filter", number: PREROUTING, priority: DNAT - 10 }),
    ("filter-output-pre-dnat", Hook { kind: "filter", number: OUTPUT, priority: DNAT - 10 }),
    ("filter-input", Hook { kind: "filter", number: INPUT, priority: FILTER }),
    ("filter-forward", Hook { kind: "filter", number: FORWARD, priority: FILTER }),
    ("filter-output", Hook { kind: "filter", number: OUTPUT, priority: FILTER }),
    ("nat-prerouting", Hook { kind: "nat", number: PREROUTING, priority: DNAT }),
    ("nat-output", Hook { kind: "nat", number: OUTPUT, priority: DNAT }),
    ("nat-postrouting", Hook { kind: "nat", number: POSTROUTING, priority: SNAT }),
];

const SERVICES: &str = "services";
const MASQUERADING: &str = "masquerading";
const CLUSTER_IPS_CHECK: &str = "cluster-ips-check";
const SERVICE_ENDPOINTS_CHECK: &str = "service-endpoints-check";
const NODE_PORT_ENDPOINTS_CHECK: &str = "nodeport-endpoints-check";
const FIREWALL_CHECK: &str = "firewall-check";

/// From which base chain to which chain, and whether only for new connections.
const JUMPS: [(&str, &str, bool); 11] = [
    ("filter-input", NODE_PORT_ENDPOINTS_CHECK, true),
    ("filter-input", SERVICE_ENDPOINTS_CHECK, true),
    ("filter-forward", SERVICE_ENDPOINTS_CHECK, true),
    ("filter-output", SERVICE_ENDPOINTS_CHECK, true),
    ("filter-prerouting-pre-dnat", FIREWALL_CHECK, true),
    ("filter-output-pre-dnat", FIREWALL_CHECK, true),
    ("nat-output", SERVICES, false),
    ("nat-prerouting", SERVICES, false),
    ("nat-postrouting", MASQUERADING, false),
    ("filter-forward", CLUSTER_IPS_CHECK, true),
    ("filter-output", CLUSTER_IPS_CHECK, true),
];

/// Writes the table anew, without anything of a Service. What was there, ours or upstream's, goes in the same
/// transaction.
pub(super) fn write(batch: &mut Batch, family: Family, settings: &Settings) {
    batch.add_table("");
    batch.delete_table();
    batch.add_table("rules for kube-proxy");
    SetId::ALL.iter().for_each(|set| set.create(batch, family));
    for (name, hook) in BASE_CHAINS {
        batch.add_base_chain(name, hook);
    }
    let chains = [
        SERVICES,
        MASQUERADING,
        CLUSTER_IPS_CHECK,
        SERVICE_ENDPOINTS_CHECK,
        NODE_PORT_ENDPOINTS_CHECK,
        FIREWALL_CHECK,
        REJECT_CHAIN,
    ];
    chains.iter().for_each(|chain| batch.add_chain(chain));
    let rule = || Rule::new(family);
    for (from, to, new_only) in JUMPS {
        let start = if new_only { rule().new_connection() } else { rule() };
        batch.add_rule(from, &start.verdict(&Verdict::Jump(to.to_owned())));
    }
    // The key of a Service: destination, protocol, port.
    let address = Rule::address_regs(family);
    let service = |rule: Rule| rule.destination(0).protocol_and_port(address);
    let node_port = |rule: Rule| match settings.node_ports {
        NodePorts::All => rule.destination_is_no_loopback().protocol_and_port(0),
        NodePorts::On(_) => {
            rule.destination(0).in_set(SetId::NodePortIps.name(), 0, false).protocol_and_port(0)
        }
    };

    batch.add_rule(REJECT_CHAIN, &rule().reject());
    let closed = SetId::NoEndpointServices.name();
    batch.add_rule(SERVICE_ENDPOINTS_CHECK, &service(rule()).verdict_map(closed, 0));
    let closed = SetId::NoEndpointNodePorts.name();
    batch.add_rule(NODE_PORT_ENDPOINTS_CHECK, &node_port(rule()).verdict_map(closed, 0));

    let to_cluster_ip = || rule().destination(0).in_set(SetId::ClusterIps.name(), 0, false);
    batch.add_rule(CLUSTER_IPS_CHECK, &to_cluster_ip().reject());
    let unallocated = rule().destination(0).in_set(SetId::ServiceCidrs.name(), 0, false);
    batch.add_rule(CLUSTER_IPS_CHECK, &unallocated.verdict(&Verdict::Drop));

    let guarded = service(rule()).in_set(SetId::FirewallIps.name(), 0, false).source(address + 2).in_set(
        SetId::FirewallAllowed.name(),
        0,
        true,
    );
    batch.add_rule(FIREWALL_CHECK, &guarded.verdict(&Verdict::Drop));

    if settings.masquerade_all {
        batch.add_rule(SERVICES, &to_cluster_ip().mark(settings.mark));
    } else if let Some(from_outside) = settings.local.matches(to_cluster_ip(), true) {
        // A static route for the cluster IPs to any node must work, so the answer has to come back by here.
        batch.add_rule(SERVICES, &from_outside.mark(settings.mark));
    }
    batch.add_rule(SERVICES, &service(rule()).verdict_map(SetId::ServiceIps.name(), 0));
    let start = match settings.node_ports {
        NodePorts::All => rule().destination_is_local(),
        NodePorts::On(_) => rule(),
    };
    batch.add_rule(SERVICES, &node_port(start).verdict_map(SetId::NodePorts.name(), 0));

    let marked = rule().marked(settings.mark).flip_mark(settings.mark).masquerade();
    batch.add_rule(MASQUERADING, &marked);
    let hairpin = rule().rewritten().source(0).destination(address).protocol_and_port(2 * address).in_set(
        SetId::Hairpins.name(),
        0,
        false,
    );
    batch.add_rule(MASQUERADING, &hairpin.masquerade());

    let of_family: Vec<_> =
        settings.service_cidrs.iter().copied().filter(|n| Family::of(n.addr()) == family).collect();
    batch.add_elements(SetId::ServiceCidrs.name(), &networks(&of_family));
    if let NodePorts::On(list) = &settings.node_ports {
        let usable = list.iter().copied().filter(|a| Family::of(*a) == family && !a.is_loopback());
        batch.add_elements(SetId::NodePortIps.name(), &addresses(usable));
    }
}
