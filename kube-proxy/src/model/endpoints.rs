//! Endpoint slices, and which endpoints a Service's traffic may go to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::packed::{Item, Packed};
use super::{Identity, Node, Port, Protocol, Service, exactly, protocol};
use crate::nft::Family;

/// An EndpointSlice.
#[derive(Debug, Default)]
pub struct Slice {
    /// Who it is.
    pub identity: Identity,
    /// The Service it belongs to; none, if it isn't to be proxied here.
    pub service: Option<Box<str>>,
    ports: Box<[(Box<str>, Protocol, u16)]>,
    /// Their numbers are places among the nodes.
    endpoints: Packed,
    /// The names of the nodes that the endpoints are on, one a line.
    nodes: Box<str>,
    /// Those of each endpoint; none, if no endpoint has any.
    hints: Box<[Hints]>,
}

const READY: u8 = 1;
const SERVING: u8 = 2;
const TERMINATING: u8 = 4;

/// The number of an endpoint that is on no node.
const NOWHERE: u16 = u16::MAX;

#[derive(Clone, Debug)]
struct Endpoint<'a> {
    address: IpAddr,
    node: u16,
    ready: bool,
    serving: bool,
    terminating: bool,
    hints: Option<&'a Hints>,
}

impl<'a> Endpoint<'a> {
    fn zones(&self) -> &'a [Named] {
        self.hints.map_or(&[], |hints| &hints.for_zones)
    }

    fn nodes(&self) -> &'a [Named] {
        self.hints.map_or(&[], |hints| &hints.for_nodes)
    }
}

macro_rules! wire {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct $name { $($(#[$meta])* $field: $type,)* }
    )*};
}

wire! {
    Object { metadata: Metadata, endpoints: Option<Vec<WireEndpoint>>, ports: Option<Vec<WirePort>>, address_type: String }
    Metadata { name: String, namespace: String, resource_version: String, labels: Labels }
    WireEndpoint {
        addresses: Vec<String>, conditions: Conditions, node_name: Option<Box<str>>, hints: Option<Hints>,
    }
    Conditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool> }
    Hints { for_zones: Box<[Named]>, for_nodes: Box<[Named]> }
    Named { name: Box<str> }
    WirePort { name: Option<Box<str>>, protocol: Option<String>, port: Option<u16> }
    Labels {
        #[serde(rename = "kubernetes.io/service-name")] service: Option<Box<str>>,
        #[serde(rename = "service.kubernetes.io/service-proxy-name")] proxy_name: Option<String>,
        #[serde(rename = "service.kubernetes.io/headless")] headless: Option<String>,
    }
}

impl Slice {
    /// Reads a slice from its JSON.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let object: Object = serde_json::from_slice(json)?;
        let Metadata { name, namespace, resource_version, labels } = object.metadata;
        let foreign =
            labels.proxy_name.is_some() || labels.headless.is_some() || object.address_type == "FQDN";
        let mut nodes: Vec<Box<str>> = Vec::new();
        let mut place = |node: Box<str>| {
            let known = nodes.iter().position(|n| *n == node);
            // Servers take a thousand endpoints in a slice.
            let place = known.unwrap_or_else(|| {
                nodes.push(node);
                nodes.len() - 1
            });
            u16::try_from(place).unwrap_or(NOWHERE)
        };
        let mut hints = Vec::new();
        let endpoint = |e: WireEndpoint| {
            let flag = |condition: Option<bool>, otherwise, flag| {
                if condition.unwrap_or(otherwise) { flag } else { 0 }
            };
            let item = Item {
                address: e.addresses.first()?.parse().ok()?,
                number: e.node_name.map_or(NOWHERE, &mut place),
                flags: flag(e.conditions.ready, true, READY)
                    | flag(e.conditions.serving, true, SERVING)
                    | flag(e.conditions.terminating, false, TERMINATING),
            };
            hints.push(e.hints.unwrap_or_default());
            Some(item)
        };
        let port = |p: WirePort| {
            let number = p.port.filter(|n| *n != 0)?;
            Some((p.name?, protocol(p.protocol.as_deref().unwrap_or_default())?, number))
        };
        let ports = object.ports.unwrap_or_default();
        let endpoints = object.endpoints.unwrap_or_default().into_iter().filter_map(endpoint).collect();
        if hints.iter().all(|h| h.for_zones.is_empty() && h.for_nodes.is_empty()) {
            hints.clear();
        }
        Ok(Slice {
            identity: Identity::new(&namespace, &name, &resource_version),
            service: labels.service.filter(|_| !foreign),
            ports: exactly(ports.len(), ports.into_iter().filter_map(port)),
            endpoints,
            nodes: nodes.join("\n").into(),
            hints: exactly(hints.len(), hints.into_iter()),
        })
    }

    fn endpoints(&self) -> impl Iterator<Item = Endpoint<'_>> {
        self.endpoints.iter().enumerate().map(|(at, Item { flags, address, number })| Endpoint {
            address,
            node: number,
            ready: flags & READY != 0,
            serving: flags & SERVING != 0,
            terminating: flags & TERMINATING != 0,
            hints: self.hints.get(at),
        })
    }
}

super::identity::object!(Slice);

/// An endpoint of one port.
#[derive(Clone, Debug)]
pub struct Backend<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// Is it on this node?
    pub local: bool,
    endpoint: Endpoint<'a>,
}

impl Backend<'_> {
    /// Does it take new connections?
    pub fn is_ready(&self) -> bool {
        self.endpoint.ready
    }

    /// Does it serve, if perhaps on its way out?
    pub fn is_serving(&self) -> bool {
        self.endpoint.serving
    }

    fn target(&self) -> Target {
        Target { ip: self.address.ip(), port: self.address.port(), here: self.local }
    }

    fn is_last_resort(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }
}

/// The endpoints of a port, by address. Of two with one address the one that isn't terminating counts.
pub fn backends<'a>(
    slices: impl IntoIterator<Item = &'a Slice>,
    port: &Port,
    family: Family,
    node: &str,
) -> Vec<Backend<'a>> {
    let mut found: BTreeMap<SocketAddr, Backend> = BTreeMap::new();
    for slice in slices {
        let here = slice
            .nodes
            .split('\n')
            .position(|n| n == node)
            .and_then(|at| u16::try_from(at).ok())
            .filter(|at| *at != NOWHERE);
        let ports = slice.ports.iter().filter(|(name, p, _)| *name == port.name && *p == port.protocol);
        for (_, _, number) in ports {
            for endpoint in slice.endpoints().filter(|e| Family::of(e.address) == family) {
                let address = SocketAddr::new(endpoint.address, *number);
                let local = Some(endpoint.node) == here;
                if !endpoint.terminating || !found.contains_key(&address) {
                    found.insert(address, Backend { address, local, endpoint });
                }
            }
        }
    }
    found.into_values().collect()
}

/// An endpoint that traffic may go to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Is it on this node? Then it may reach itself through the Service.
    pub here: bool,
}

/// A list of endpoints that traffic may go to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets(Packed);

impl Targets {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Target> + use<'_> {
        self.0.iter().map(|i| Target { ip: i.address, port: i.number, here: i.flags != 0 })
    }
}

impl FromIterator<Target> for Targets {
    fn from_iter<I: IntoIterator<Item = Target>>(targets: I) -> Self {
        let item = |t: Target| Item { flags: t.here.into(), address: t.ip, number: t.port };
        Targets(targets.into_iter().map(item).collect())
    }
}

impl Target {
    /// Are these two one endpoint, if perhaps on different nodes?
    pub fn is_same(&self, other: &Target) -> bool {
        (self.ip, self.port) == (other.ip, other.port)
    }
}

/// The endpoints that a port's traffic may go to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// For traffic that may go anywhere.
    pub cluster: Vec<Target>,
    /// For traffic that must stay on this node.
    pub local: Vec<Target>,
    /// Is there any endpoint at all, if perhaps on another node?
    pub any: bool,
    /// Every endpoint that still serves: connections to them are kept.
    pub serving: Vec<SocketAddr>,
}

/// Which hints narrow the choice.
enum Topology {
    Anywhere,
    SameNode,
    SameZone,
}

/// Chooses the endpoints for a port.
pub fn select(service: &Service, port: &Port, family: Family, all: &[Backend], node: &Node) -> Selected {
    let mut selected = Selected::default();
    let targets = |keep: &dyn Fn(&Backend) -> bool| -> Vec<Target> {
        all.iter().filter(|b| keep(b)).map(Backend::target).collect()
    };
    if service.uses_cluster(port, family) {
        let near: Box<dyn Fn(&Backend) -> bool> = match topology(all, node) {
            Topology::Anywhere => Box::new(|_| true),
            Topology::SameNode => Box::new(|b| b.endpoint.nodes().iter().any(|n| *n.name == *node.name)),
            Topology::SameZone => Box::new(|b| b.endpoint.zones().iter().any(|z| *z.name == *node.zone)),
        };
        selected.cluster = targets(&|b| b.is_ready() && near(b));
        if selected.cluster.is_empty() {
            selected.cluster = targets(&|b| b.is_last_resort());
        }
        selected.any = !selected.cluster.is_empty();
    }
    if service.uses_local(port, family) {
        selected.any |= all.iter().any(|b| b.is_ready() || b.is_last_resort());
        selected.local = targets(&|b| b.local && b.is_ready());
        if selected.local.is_empty() {
            selected.local = targets(&|b| b.local && b.is_last_resort());
        }
    }
    selected.serving = all.iter().filter(|b| b.is_serving()).map(|b| b.address).collect();
    selected
}

/// Hints count only if every ready endpoint has one, and one of them is for this node (or zone).
fn topology(all: &[Backend], node: &Node) -> Topology {
    let ready = || all.iter().filter(|b| b.is_ready()).map(|b| &b.endpoint);
    let hinted = |hints: for<'e> fn(&Endpoint<'e>) -> &'e [Named], here: &str| {
        ready().all(|e| !hints(e).is_empty()) && ready().any(|e| hints(e).iter().any(|h| *h.name == *here))
    };
    if hinted(|e| e.nodes(), &node.name) {
        Topology::SameNode
    } else if hinted(|e| e.zones(), &node.zone) {
        Topology::SameZone
    } else {
        Topology::Anywhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_and_nodes_survive_packing() {
        let endpoint = |address: &str, node: &str, zone: &str, ready: bool| {
            serde_json::json!({"addresses": [address], "nodeName": node, "conditions": {"ready": ready},
                "hints": {"forZones": [{"name": zone}]}})
        };
        let json = serde_json::json!({
            "metadata": {"name": "s-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "", "port": 80}],
            "endpoints": [endpoint("10.0.0.1", "there", "a", true), {"addresses": ["no address"]},
                endpoint("10.0.0.2", "here", "b", true), endpoint("10.0.0.3", "here", "b", false)],
        });
        let slice = Slice::decode(json.to_string().as_bytes()).unwrap();
        assert_eq!(slice.service.as_deref(), Some("s"));
        let service =
            Service::decode(br#"{"spec":{"clusterIPs":["10.9.0.1"],"ports":[{"port":80}]}}"#).unwrap();
        let chosen = |zone: &str| {
            let node = Node { name: "here".into(), zone: zone.into(), ..Node::default() };
            let all = backends([&slice], &service.ports[0], Family::V4, &node.name);
            select(&service, &service.ports[0], Family::V4, &all, &node).cluster
        };
        let target = |n: u8, here| Target { ip: [10, 0, 0, n].into(), port: 80, here };
        assert_eq!(chosen("a"), [target(1, false)]);
        assert_eq!(chosen("b"), [target(2, true)]);
        assert_eq!(chosen("c"), [target(1, false), target(2, true)]);
    }
}
