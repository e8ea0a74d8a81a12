//! Endpoint slices, and which endpoints a Service's traffic may go to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

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
    endpoints: Box<[Endpoint]>,
    /// The nodes that the endpoints are on.
    nodes: Box<[Box<str>]>,
}

#[derive(Debug)]
struct Endpoint {
    address: IpAddr,
    /// Its place among the slice's nodes.
    node: Option<u16>,
    ready: bool,
    serving: bool,
    terminating: bool,
    hints: Option<Box<Hints>>,
}

impl Endpoint {
    fn zones(&self) -> &[Named] {
        self.hints.as_ref().map_or(&[], |hints| &hints.for_zones)
    }

    fn nodes(&self) -> &[Named] {
        self.hints.as_ref().map_or(&[], |hints| &hints.for_nodes)
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
    Metadata { name: String, namespace: String, uid: String, resource_version: String, labels: Labels }
    WireEndpoint {
        addresses: Vec<String>, conditions: Conditions, node_name: Option<Box<str>>, hints: Option<Box<Hints>>,
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
        let Metadata { name, namespace, uid, resource_version, labels } = object.metadata;
        let foreign =
            labels.proxy_name.is_some() || labels.headless.is_some() || object.address_type == "FQDN";
        let mut nodes: Vec<Box<str>> = Vec::new();
        let mut place = |node: Box<str>| {
            let known = nodes.iter().position(|n| *n == node);
            // Servers take a thousand endpoints in a slice.
            u16::try_from(known.unwrap_or_else(|| {
                nodes.push(node);
                nodes.len() - 1
            }))
            .ok()
        };
        let endpoint = |e: WireEndpoint| {
            Some(Endpoint {
                address: e.addresses.first()?.parse().ok()?,
                node: e.node_name.and_then(&mut place),
                ready: e.conditions.ready.unwrap_or(true),
                serving: e.conditions.serving.unwrap_or(true),
                terminating: e.conditions.terminating.unwrap_or(false),
                hints: e.hints,
            })
        };
        let port = |p: WirePort| {
            let number = p.port.filter(|n| *n != 0)?;
            Some((p.name?, protocol(p.protocol.as_deref().unwrap_or_default())?, number))
        };
        let ports = object.ports.unwrap_or_default();
        let endpoints = object.endpoints.unwrap_or_default();
        Ok(Slice {
            identity: Identity::new(&namespace, &name, &uid, &resource_version),
            service: labels.service.filter(|_| !foreign),
            ports: exactly(ports.len(), ports.into_iter().filter_map(port)),
            endpoints: exactly(endpoints.len(), endpoints.into_iter().filter_map(endpoint)),
            nodes: exactly(nodes.len(), nodes.into_iter()),
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
    endpoint: &'a Endpoint,
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
        let here = slice.nodes.iter().position(|n| **n == *node).and_then(|at| u16::try_from(at).ok());
        let ports = slice.ports.iter().filter(|(name, p, _)| *name == port.name && *p == port.protocol);
        for (_, _, number) in ports {
            for endpoint in slice.endpoints.iter().filter(|e| Family::of(e.address) == family) {
                let address = SocketAddr::new(endpoint.address, *number);
                let local = endpoint.node.is_some() && endpoint.node == here;
                if !endpoint.terminating || !found.contains_key(&address) {
                    found.insert(address, Backend { address, local, endpoint });
                }
            }
        }
    }
    found.into_values().collect()
}

/// An endpoint that traffic may go to. There are many, and a `SocketAddr` takes half as much again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Is it on this node? Then it may reach itself through the Service.
    pub here: bool,
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
    let ready = || all.iter().filter(|b| b.is_ready()).map(|b| b.endpoint);
    let hinted = |hints: fn(&Endpoint) -> &[Named], here: &str| {
        ready().all(|e| !hints(e).is_empty()) && ready().any(|e| hints(e).iter().any(|h| *h.name == *here))
    };
    if hinted(Endpoint::nodes, &node.name) {
        Topology::SameNode
    } else if hinted(Endpoint::zones, &node.zone) {
        Topology::SameZone
    } else {
        Topology::Anywhere
    }
}
