//! Services.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use ipnet::IpNet;
use serde::Deserialize;

use super::{Identity, Protocol, exactly, protocol};
use crate::nft::Family;

/// A Service that is proxied, or (without ports) one that isn't.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Who it is.
    pub identity: Identity,
    /// Its cluster IPs, one per family.
    pub cluster_ips: Box<[IpAddr]>,
    /// Addresses from outside that it answers to.
    pub external_ips: Box<[IpAddr]>,
    /// Load balancer addresses that arrive here unchanged.
    pub load_balancer_ips: Box<[IpAddr]>,
    /// Who may use the load balancer addresses; all, if empty.
    pub source_ranges: Box<[IpNet]>,
    /// How long a client sticks to an endpoint, in seconds.
    pub affinity: Option<NonZeroU32>,
    /// Does traffic from outside stay on the node it reaches?
    pub external_local: bool,
    /// Does traffic from inside stay on its node?
    pub internal_local: bool,
    /// The port that tells load balancers whether this node has endpoints.
    pub health_port: Option<NonZeroU16>,
    /// Its ports.
    pub ports: Box<[Port]>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
    /// The port on every node; 0 is none.
    pub node_port: u16,
}

macro_rules! wire {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct $name { $($(#[$meta])* $field: $type,)* }
    )*};
}

wire! {
    Object { metadata: Metadata, spec: Spec, status: Status }
    Metadata { name: String, namespace: String, resource_version: String, labels: Labels }
    Spec {
        r#type: String, #[serde(rename = "clusterIPs")] cluster_ips: Vec<String>,
        #[serde(rename = "externalIPs")] external_ips: Vec<String>,
        session_affinity: String, session_affinity_config: AffinityConfig, external_traffic_policy: String,
        internal_traffic_policy: String, health_check_node_port: u16, load_balancer_source_ranges: Vec<String>,
        ports: Vec<WirePort>,
    }
    AffinityConfig { #[serde(rename = "clientIP")] client_ip: ClientIp }
    ClientIp { timeout_seconds: Option<u32> }
    WirePort { name: Box<str>, protocol: String, port: u16, node_port: u16 }
    Status { load_balancer: LoadBalancer }
    LoadBalancer { ingress: Vec<Ingress> }
    Ingress { ip: String, #[serde(rename = "ipMode")] ip_mode: Option<String> }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "service.kubernetes.io/service-proxy-name")]
    proxy_name: Option<String>,
    #[serde(rename = "service.kubernetes.io/headless")]
    headless: Option<String>,
}

impl Service {
    /// Reads a Service from its JSON.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let Object { metadata, spec, status } = serde_json::from_slice(json)?;
        let addresses =
            |list: &[String]| exactly::<IpAddr>(list.len(), list.iter().filter_map(|a| a.parse().ok()));
        let cluster_ips = addresses(&spec.cluster_ips);
        let foreign = metadata.labels.proxy_name.is_some() || metadata.labels.headless.is_some();
        let proxied = !foreign && !cluster_ips.is_empty() && spec.r#type != "ExternalName";
        let load_balanced = spec.r#type == "LoadBalancer";
        let external_local = spec.external_traffic_policy == "Local"
            && (load_balanced || spec.r#type == "NodePort" || !spec.external_ips.is_empty());
        let mut source_ranges: Vec<IpNet> = (spec.load_balancer_source_ranges.iter())
            .filter_map(|r| r.trim().parse::<IpNet>().ok().map(|n| n.trunc()))
            .collect();
        for family in [Family::V4, Family::V6] {
            let of_family = |n: &IpNet| Family::of(n.addr()) == family;
            if source_ranges.iter().any(|n| of_family(n) && n.prefix_len() == 0) {
                source_ranges.retain(|n| !of_family(n));
            }
        }
        let ingress = &status.load_balancer.ingress;
        let vips = ingress
            .iter()
            .filter(|i| i.ip_mode.as_deref().is_none_or(|m| m == "VIP"))
            .filter_map(|i| i.ip.parse().ok());
        let count = spec.ports.len();
        let ports = spec.ports.into_iter().filter(|_| proxied).filter_map(|p| {
            let protocol = protocol(&p.protocol)?;
            Some(Port { name: p.name, protocol, port: p.port, node_port: p.node_port })
        });
        Ok(Service {
            identity: Identity::new(&metadata.namespace, &metadata.name, &metadata.resource_version),
            cluster_ips,
            external_ips: addresses(&spec.external_ips),
            load_balancer_ips: exactly(ingress.len(), vips),
            source_ranges: source_ranges.into(),
            affinity: (spec.session_affinity == "ClientIP")
                .then(|| spec.session_affinity_config.client_ip.timeout_seconds.unwrap_or(10800))
                .and_then(NonZeroU32::new),
            external_local,
            internal_local: spec.internal_traffic_policy == "Local",
            health_port: NonZeroU16::new(spec.health_check_node_port)
                .filter(|_| load_balanced && external_local),
            ports: exactly(count, ports),
        })
    }

    /// The addresses of one family among some.
    pub fn of_family(addresses: &[IpAddr], family: Family) -> impl Iterator<Item = IpAddr> {
        addresses.iter().copied().filter(move |a| Family::of(*a) == family)
    }

    /// Can it be reached from outside by this port?
    pub fn is_external(&self, port: &Port, family: Family) -> bool {
        let any = |list: &[IpAddr]| Self::of_family(list, family).next().is_some();
        port.node_port != 0 || any(&self.load_balancer_ips) || any(&self.external_ips)
    }

    /// Is there traffic that may go to any node's endpoints?
    pub fn uses_cluster(&self, port: &Port, family: Family) -> bool {
        !self.internal_local || self.is_external(port, family)
    }

    /// Is there traffic that may only go to this node's endpoints?
    pub fn uses_local(&self, port: &Port, family: Family) -> bool {
        self.internal_local || (self.external_local && self.is_external(port, family))
    }
}

super::identity::object!(Service);
