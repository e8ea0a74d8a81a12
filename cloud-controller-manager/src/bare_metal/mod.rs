//! The provider for plain Linux hosts: what a cloud would keep in its database, it keeps in API objects.

mod announcer;
mod config;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use component_base::client::known::{NODES, SERVICES};
use component_base::client::{Client, Patch};
use component_base::watch::Store;
use parking_lot::Mutex;
use proto::meta::Key;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::cloud::{
    Answer, CloudProvider, Ensured, InstanceMetadata, Instances, LoadBalancers, Route, Routes,
};
use crate::objects::{EndpointSlice, Ingress, Node, NodeAddress, Service};

pub use config::{Config, ConfigError};
pub use pool::{Pools, Request};

/// On a Service: the node that answers for its addresses.
pub const ANNOUNCED_BY: &str = "bare-metal.keelson.io/announced-by";
/// On a Service, by its owner: the pool to take an address from.
pub const ADDRESS_POOL: &str = "bare-metal.keelson.io/address-pool";
/// On a Node: how its pods are reached, as `CIDR via ADDRESS` pairs split by commas.
pub const ROUTES: &str = "bare-metal.keelson.io/routes";
/// On a Node, by its agent: the addresses found on it, split by commas.
pub const FOUND_ADDRESSES: &str = "bare-metal.keelson.io/addresses";
/// On a Node, by an administrator: `true` says that the machine is gone for good.
pub const REMOVED: &str = "bare-metal.keelson.io/removed";
/// On a Node, by its kubelet: the address it was told to use.
const PROVIDED_ADDRESS: &str = "alpha.kubernetes.io/provided-node-ip";
/// The index of services' endpoints.
const BY_SERVICE: &str = "service";

/// The provider.
pub struct BareMetal {
    client: Client,
    config: Config,
    pools: Pools,
    nodes: Store<Node>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    /// Addresses given out, which the store may not show yet.
    given: Mutex<BTreeMap<Ipv4Addr, Key>>,
}

impl BareMetal {
    /// The provider over these stores.
    pub fn new(
        client: Client,
        config: Config,
        nodes: Store<Node>,
        services: Store<Service>,
        slices: Store<EndpointSlice>,
    ) -> Result<Self, ConfigError> {
        let pools = config.pools()?;
        slices
            .add_index(BY_SERVICE, |slice| vec![format!("{}/{}", slice.metadata.namespace, slice.service())]);
        Ok(Self { client, config, pools, nodes, services, slices, given: Mutex::default() })
    }

    /// Nodes with a ready endpoint of the service.
    fn nodes_with_endpoints(&self, service: &Service) -> BTreeSet<String> {
        let slices = self.slices.by_index(BY_SERVICE, &service.metadata.key().to_string());
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        endpoints.filter(|e| e.conditions.ready != Some(false)).map(|e| e.node_name.clone()).collect()
    }

    /// Chooses the service's address and remembers it as given, so that no other service gets it meanwhile.
    fn take_address(&self, service: &Service) -> anyhow::Result<Ipv4Addr> {
        let key = service.metadata.key();
        let mut given = self.given.lock();
        let mut used: BTreeMap<Ipv4Addr, Key> = given.iter().map(|(a, k)| (*a, k.clone())).collect();
        self.services.for_each(|other| {
            if other.wants_load_balancer() && !other.metadata.is_being_deleted() {
                for address in addresses_of(other) {
                    // Should two claim one address, the one that was given it keeps it, else the older.
                    let rival = used.get(&address).filter(|rival| **rival != other.metadata.key());
                    let older = |rival: &Key| {
                        let rival = self.services.get_key(rival);
                        rival.is_some_and(|r| {
                            r.metadata.creation_timestamp <= other.metadata.creation_timestamp
                        })
                    };
                    if !rival.is_some_and(|rival| given.contains_key(&address) || older(rival)) {
                        used.insert(address, other.metadata.key());
                    }
                }
            }
        });
        let request = Request {
            asked: Some(service.spec.load_balancer_ip.as_str()).filter(|ip| !ip.is_empty()),
            pool: service.metadata.annotations.get(ADDRESS_POOL).map(String::as_str),
            has: addresses_of(service).next(),
        };
        let address =
            self.pools.choose(&request, |address| used.get(&address).filter(|user| **user != key))?;
        given.retain(|_, user| *user != key);
        given.insert(address, key);
        Ok(address)
    }

    async fn ensure_balancer(&self, service: &Service, nodes: &[Arc<Node>]) -> anyhow::Result<Ensured> {
        if service.spec.ip_families.first().is_some_and(|family| family == "IPv6") {
            anyhow::bail!(
                "the bare-metal provider announces IPv4 addresses only, and the service's primary family is IPv6"
            );
        }
        let address = self.take_address(service)?;
        let eligible: Vec<&str> = nodes.iter().map(|node| &*node.metadata.name).collect();
        let local =
            (service.spec.external_traffic_policy == "Local").then(|| self.nodes_with_endpoints(service));
        let now = service.metadata.annotations.get(ANNOUNCED_BY).map(String::as_str);
        let chosen = announcer::choose(&service.metadata.uid, now, &eligible, local.as_ref());
        let changed = chosen != now;
        if changed {
            tracing::info!(service = %service.metadata.key(), from = now, to = chosen, "Moving a load balancer's address");
            self.annotate_service(service, chosen).await?;
        }
        let ingress = Ingress { ip: address.to_string(), ip_mode: "VIP".into() };
        let changed = changed || service.status.load_balancer.ingress != [ingress.clone()];
        Ok(Ensured { ingress: vec![ingress], changed })
    }

    async fn annotate_service(&self, service: &Service, announcer: Option<&str>) -> anyhow::Result<()> {
        let meta = &service.metadata;
        let patch = json!({ "metadata": { "uid": meta.uid, "annotations": { ANNOUNCED_BY: announcer } } });
        self.client.patch::<IgnoredAny>(&SERVICES, &meta.namespace, &meta.name, Patch::Merge, &patch).await?;
        Ok(())
    }

    fn addresses(&self, node: &Node) -> Vec<NodeAddress> {
        let configured = self.config.node(&node.metadata.name);
        let mut found: Vec<NodeAddress> = Vec::new();
        let mut add = |kind: &str, address: &str| {
            let address = NodeAddress { kind: kind.into(), address: address.trim().into() };
            if !address.address.is_empty() && !found.contains(&address) {
                found.push(address);
            }
        };
        match configured.filter(|entry| !entry.internal_ips.is_empty()) {
            Some(entry) => entry.internal_ips.iter().for_each(|ip| add("InternalIP", ip)),
            None => {
                let text = node.annotation(PROVIDED_ADDRESS).or_else(|| node.annotation(FOUND_ADDRESSES));
                text.unwrap_or_default().split(',').for_each(|ip| add("InternalIP", ip));
            }
        }
        if let Some(entry) = configured {
            entry.external_ips.iter().for_each(|ip| add("ExternalIP", ip));
        }
        if !found.is_empty() {
            found.push(NodeAddress { kind: "Hostname".into(), address: node.metadata.name.clone() });
        }
        found
    }
}

/// The IPv4 addresses in a service's status.
fn addresses_of(service: &Service) -> impl Iterator<Item = Ipv4Addr> + '_ {
    service.status.load_balancer.ingress.iter().filter_map(|ingress| ingress.ip.parse().ok())
}

impl CloudProvider for BareMetal {
    fn name(&self) -> &'static str {
        "bare-metal"
    }
    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }
    fn load_balancers(&self) -> Option<&dyn LoadBalancers> {
        Some(self)
    }
    fn routes(&self) -> Option<&dyn Routes> {
        Some(self)
    }
}

impl Instances for BareMetal {
    /// A silent machine still exists; only an administrator's word removes it.
    fn exists<'a>(&'a self, node: &'a Node) -> Answer<'a, bool> {
        Box::pin(async move { Ok(node.annotation(REMOVED) != Some("true")) })
    }

    /// Nothing here can tell a machine that is off from one that is cut off.
    fn is_shut_down<'a>(&'a self, _: &'a Node) -> Answer<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    fn metadata<'a>(&'a self, node: &'a Node) -> Answer<'a, Option<InstanceMetadata>> {
        Box::pin(async move {
            let addresses = self.addresses(node);
            if addresses.is_empty() {
                // The agent will report them.
                return Ok(None);
            }
            let provider_id = match node.spec.provider_id.as_str() {
                "" => format!("bare-metal://{}", node.metadata.name),
                set => set.to_owned(),
            };
            let mut twin = None;
            self.nodes.for_each(|other| {
                if other.spec.provider_id == provider_id && other.metadata.name != node.metadata.name {
                    twin = Some(other.metadata.name.clone());
                }
            });
            if let Some(twin) = twin {
                anyhow::bail!("provider ID {provider_id} is already that of node {twin}");
            }
            let entry = self.config.node(&node.metadata.name).cloned().unwrap_or_default();
            Ok(Some(InstanceMetadata {
                provider_id,
                addresses,
                instance_type: entry.instance_type,
                zone: entry.zone,
                region: entry.region,
            }))
        })
    }
}

impl LoadBalancers for BareMetal {
    fn ensure<'a>(&'a self, service: &'a Service, nodes: &'a [Arc<Node>]) -> Answer<'a, Ensured> {
        Box::pin(self.ensure_balancer(service, nodes))
    }

    fn delete<'a>(&'a self, service: &'a Service) -> Answer<'a, ()> {
        Box::pin(async move {
            if service.metadata.annotations.contains_key(ANNOUNCED_BY) {
                match self.annotate_service(service, None).await {
                    Err(error) if !is_gone(&error) => return Err(error),
                    _ => {}
                }
            }
            let key = service.metadata.key();
            self.given.lock().retain(|_, user| *user != key);
            Ok(())
        })
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<component_base::client::Error>()
        .is_some_and(component_base::client::Error::is_not_found)
}

impl Routes for BareMetal {
    fn list(&self) -> Answer<'_, Vec<Route>> {
        Box::pin(async move { Ok(self.nodes.list().iter().flat_map(|node| routes_of(node)).collect()) })
    }

    fn set<'a>(&'a self, node: &'a str, routes: &'a [Route]) -> Answer<'a, ()> {
        Box::pin(async move {
            let text = match routes {
                [] => Value::Null,
                routes => {
                    let pairs: Vec<String> =
                        routes.iter().map(|r| format!("{} via {}", r.destination, r.via)).collect();
                    pairs.join(",").into()
                }
            };
            let patch = json!({ "metadata": { "annotations": { ROUTES: text } } });
            self.client.patch::<IgnoredAny>(&NODES, "", node, Patch::Merge, &patch).await?;
            Ok(())
        })
    }
}

/// The routes written on a node; what can't be read is left out.
pub fn routes_of(node: &Node) -> Vec<Route> {
    let pairs = node
        .annotation(ROUTES)
        .unwrap_or_default()
        .split(',')
        .filter_map(|pair| pair.trim().split_once(" via "));
    let valid = pairs
        .filter(|(cidr, via)| cidr.parse::<ipnet::IpNet>().is_ok() && via.trim().parse::<IpAddr>().is_ok());
    valid
        .map(|(destination, via)| Route {
            node: node.metadata.name.clone(),
            destination: destination.to_owned(),
            via: via.trim().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(config: &str) -> BareMetal {
        let client = Client::new(component_base::client::Config {
            server: "http://127.0.0.1:1".into(),
            ..Default::default()
        });
        let config = Config::parse(config).unwrap();
        BareMetal::new(client.unwrap(), config, Store::new(), Store::new(), Store::new()).unwrap()
    }

    fn service(name: &str, created: &str, ip: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "d", "uid": name, "creationTimestamp": created },
            "spec": { "type": "LoadBalancer" },
            "status": { "loadBalancer": { "ingress": if ip.is_empty() { json!([]) } else { json!([{ "ip": ip }]) } } },
        }))
        .unwrap()
    }

    const POOL: &str = "addressPools: [{name: a, addresses: [10.0.0.1-10.0.0.2]}]";

    #[test]
    fn no_address_is_given_twice() {
        let cloud = provider(POOL);
        let (a, b, c) = (
            service("a", "2024-01-01T00:00:00Z", ""),
            service("b", "2024-01-01T00:00:00Z", ""),
            service("c", "2024-01-01T00:00:00Z", ""),
        );
        assert_eq!(cloud.take_address(&a).unwrap().to_string(), "10.0.0.1");
        assert_eq!(cloud.take_address(&b).unwrap().to_string(), "10.0.0.2");
        assert_eq!(cloud.take_address(&a).unwrap().to_string(), "10.0.0.1");
        assert!(cloud.take_address(&c).unwrap_err().to_string().contains("no address left"));
        cloud.given.lock().retain(|_, user| *user.name != *"a");
        assert_eq!(cloud.take_address(&c).unwrap().to_string(), "10.0.0.1");
    }

    #[test]
    fn a_new_leader_keeps_what_was_given_and_settles_quarrels_by_age() {
        let cloud = provider(POOL);
        let (old, new) = (
            service("z", "2024-01-01T00:00:00Z", "10.0.0.1"),
            service("a", "2024-06-01T00:00:00Z", "10.0.0.1"),
        );
        cloud.services.apply(new.clone());
        cloud.services.apply(old.clone());
        assert_eq!(cloud.take_address(&new).unwrap().to_string(), "10.0.0.2");
        assert_eq!(cloud.take_address(&old).unwrap().to_string(), "10.0.0.1");
    }

    #[tokio::test]
    async fn silence_is_not_removal_and_identities_are_unique() {
        let cloud = provider("nodes: [{name: n1, internalIPs: [10.0.0.11], zone: z}]");
        let node = |name: &str, id: &str, annotations: Value| -> Node {
            serde_json::from_value(json!({ "metadata": { "name": name, "annotations": annotations }, "spec": { "providerID": id } })).unwrap()
        };
        let silent = node("n1", "", json!({}));
        assert!(cloud.exists(&silent).await.unwrap());
        assert!(!cloud.exists(&node("n1", "", json!({ REMOVED: "true" }))).await.unwrap());
        let meta = cloud.metadata(&silent).await.unwrap().unwrap();
        assert_eq!((meta.provider_id.as_str(), meta.zone.as_str()), ("bare-metal://n1", "z"));
        assert_eq!(meta.addresses[0], NodeAddress { kind: "InternalIP".into(), address: "10.0.0.11".into() });
        assert!(cloud.metadata(&node("n2", "", json!({}))).await.unwrap().is_none());
        cloud.nodes.apply(node("n1", "bare-metal://n1", json!({})));
        let thief = node("n2", "bare-metal://n1", json!({ PROVIDED_ADDRESS: "10.0.0.12" }));
        assert_eq!(
            cloud.metadata(&thief).await.unwrap_err().to_string(),
            "provider ID bare-metal://n1 is already that of node n1"
        );
    }

    #[test]
    fn routes_are_read_back_as_written() {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "n", "annotations": { ROUTES: "10.1.0.0/24 via 10.0.0.1, fd00::/64 via fe80::1,rubbish, 1.2.3.4 via x" } },
        }))
        .unwrap();
        let pairs: Vec<String> =
            routes_of(&node).into_iter().map(|r| format!("{}>{}", r.destination, r.via)).collect();
        assert_eq!(pairs, ["10.1.0.0/24>10.0.0.1", "fd00::/64>fe80::1"]);
    }
}
