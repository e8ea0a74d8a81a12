//! What the cluster's zone holds: Services and their endpoints, indexed by the names that clients ask for.
//!
//! The index has one writer (the watches) and is read under a lock for the length of one look-up. It follows version
//! 1.1 of the Kubernetes DNS specification.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// A namespace and a name.
pub type Key = (String, String);

/// The metadata that the zone reads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub labels: BTreeMap<String, String>,
}

/// A port of a Service or of an EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Port {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub port: Option<u16>,
}

impl Port {
    fn protocol(&self) -> String {
        self.protocol.as_deref().unwrap_or("TCP").to_lowercase()
    }
}

/// The fields of a Service that the zone reads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Service {
    pub metadata: Metadata,
    pub spec: ServiceSpec,
}

/// See [`Service`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    pub external_name: String,
    pub publish_not_ready_addresses: bool,
    pub ports: Vec<Port>,
}

component_base::object!(Service);
component_base::object!(EndpointSlice);

impl Service {
    fn headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.spec.cluster_ips.iter().filter_map(|address| address.parse().ok()).collect()
    }
}

/// The fields of an EndpointSlice that the zone reads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Metadata,
    pub endpoints: Vec<Endpoint>,
    pub ports: Option<Vec<Port>>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub hostname: Option<String>,
    pub conditions: Conditions,
}

/// An endpoint's conditions; an unknown readiness counts as ready.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
}

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    pub addresses: Vec<IpAddr>,
    /// Another name, of an ExternalName Service.
    pub alias: Option<String>,
    pub services: Vec<Target>,
}

/// A service record: where a named port is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub port: u16,
    /// The target's name, relative to the zone.
    pub host: String,
    pub addresses: Vec<IpAddr>,
}

/// The index.
#[derive(Default)]
pub struct Zone {
    services: HashMap<Key, Arc<Service>>,
    slices: HashMap<Key, Arc<EndpointSlice>>,
    slices_of: HashMap<Key, BTreeSet<String>>,
    namespaces: HashMap<String, usize>,
    /// Names, relative to the zone, of each address.
    names: HashMap<IpAddr, BTreeSet<String>>,
}

impl Zone {
    /// Replaces, adds (`old` absent) or removes (`new` absent) a Service.
    pub fn set_service(&mut self, old: Option<&Arc<Service>>, new: Option<&Arc<Service>>) {
        let Some(metadata) = new.or(old).map(|service| &service.metadata) else { return };
        let key = (metadata.namespace.clone(), metadata.name.clone());
        self.forget_names(&key);
        match new {
            Some(new) => {
                let known = self.services.insert(key.clone(), new.clone()).is_some();
                *self.namespaces.entry(key.0.clone()).or_default() += usize::from(!known);
            }
            None if self.services.remove(&key).is_some() => {
                if let Some(count) = self.namespaces.get_mut(&key.0) {
                    *count -= 1;
                    if *count == 0 {
                        self.namespaces.remove(&key.0);
                    }
                }
            }
            None => {}
        }
        self.learn_names(&key);
    }

    /// Replaces, adds or removes an EndpointSlice.
    pub fn set_slice(&mut self, old: Option<&Arc<EndpointSlice>>, new: Option<&Arc<EndpointSlice>>) {
        for (slice, present) in [(old, false), (new, true)] {
            let Some(slice) = slice else { continue };
            let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") else { continue };
            let key = (slice.metadata.namespace.clone(), service.clone());
            let own = (slice.metadata.namespace.clone(), slice.metadata.name.clone());
            self.forget_names(&key);
            if present {
                self.slices_of.entry(key.clone()).or_default().insert(own.1.clone());
                self.slices.insert(own, slice.clone());
            } else {
                if let Some(names) = self.slices_of.get_mut(&key) {
                    names.remove(&own.1);
                    if names.is_empty() {
                        self.slices_of.remove(&key);
                    }
                }
                self.slices.remove(&own);
            }
            self.learn_names(&key);
        }
    }

    /// What `labels` (a name relative to the zone, its first label first) stands for; `None` if there is no such name.
    pub fn look_up(&self, labels: &[&str]) -> Option<Records> {
        match labels {
            [] | ["svc"] | ["pod"] => Some(Records::default()),
            [namespace, "svc" | "pod"] => self.namespaces.contains_key(*namespace).then(Records::default),
            [address, namespace, "pod"] => self.pod(address, namespace),
            [service, namespace, "svc"] => self.service(service, namespace),
            [protocol, service, namespace, "svc"] if protocol.starts_with('_') => {
                let service = self.services.get(&key(namespace, service))?;
                let known =
                    self.ports(service).iter().any(|port| format!("_{}", port.protocol()) == *protocol);
                known.then(Records::default)
            }
            [port, protocol, service, namespace, "svc"]
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                self.port(port, protocol, service, namespace)
            }
            [host, service, namespace, "svc"] => self.host(host, service, namespace),
            _ => None,
        }
    }

    /// The names, relative to the zone, that `address` answers to.
    pub fn names(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        self.names.get(&address).into_iter().flatten().map(String::as_str)
    }

    fn service(&self, service: &str, namespace: &str) -> Option<Records> {
        let service = self.services.get(&key(namespace, service))?;
        let mut records = Records::default();
        if service.spec.kind == "ExternalName" {
            records.alias = Some(service.spec.external_name.trim_end_matches('.').to_lowercase());
        } else if service.headless() {
            records.addresses = self.endpoints(service).into_iter().map(|(address, ..)| address).collect();
            records.addresses.dedup();
            // A headless Service without endpoints has the name but no addresses.
        } else {
            records.addresses = service.addresses();
        }
        records.services = self.targets(service, |_| true);
        Some(records)
    }

    fn port(&self, port: &str, protocol: &str, service: &str, namespace: &str) -> Option<Records> {
        let service = self.services.get(&key(namespace, service))?;
        let services = self.targets(service, |candidate| {
            format!("_{}", candidate.protocol()) == protocol
                && candidate.name.as_deref().is_some_and(|name| format!("_{}", name.to_lowercase()) == port)
        });
        (!services.is_empty()).then_some(Records { services, ..Records::default() })
    }

    fn host(&self, host: &str, service: &str, namespace: &str) -> Option<Records> {
        let service = self.services.get(&key(namespace, service))?;
        if !service.headless() {
            return None;
        }
        let addresses: Vec<IpAddr> = self
            .endpoints(service)
            .into_iter()
            .filter(|(address, name, _)| {
                name.as_deref().map_or_else(|| dashed(*address) == host, |name| name == host)
            })
            .map(|(address, ..)| address)
            .collect();
        (!addresses.is_empty()).then_some(Records { addresses, ..Records::default() })
    }

    /// `10-244-1-7.default.pod`: the address that the name spells, where the namespace exists.
    fn pod(&self, spelled: &str, namespace: &str) -> Option<Records> {
        if !self.namespaces.contains_key(namespace) {
            return None;
        }
        let four = spelled.replace('-', ".").parse::<IpAddr>();
        let address = four.or_else(|_| spelled.replace('-', ":").parse::<IpAddr>()).ok()?;
        Some(Records { addresses: vec![address], ..Records::default() })
    }

    /// The ports of a Service; those of a headless one are its endpoints'.
    fn ports(&self, service: &Service) -> Vec<Port> {
        if !service.headless() {
            return service.spec.ports.clone();
        }
        self.slices(service).flat_map(|slice| slice.ports.iter().flatten().cloned()).collect()
    }

    fn targets(&self, service: &Service, wanted: impl Fn(&Port) -> bool) -> Vec<Target> {
        let Metadata { name, namespace, .. } = &service.metadata;
        let mut targets = Vec::new();
        if service.spec.kind == "ExternalName" {
            return targets;
        }
        if service.headless() {
            for (address, host, ports) in self.endpoints(service) {
                let host = format!("{}.{name}.{namespace}.svc", host.unwrap_or_else(|| dashed(address)));
                targets.extend(ports.iter().filter(|port| wanted(port)).filter_map(|port| {
                    Some(Target { port: port.port?, host: host.clone(), addresses: vec![address] })
                }));
            }
        } else {
            targets.extend(service.spec.ports.iter().filter(|port| wanted(port)).filter_map(|port| {
                Some(Target {
                    port: port.port?,
                    host: format!("{name}.{namespace}.svc"),
                    addresses: service.addresses(),
                })
            }));
        }
        targets.sort();
        targets.dedup();
        targets
    }

    fn slices(&self, service: &Service) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        let namespace = service.metadata.namespace.clone();
        let names = self.slices_of.get(&(namespace.clone(), service.metadata.name.clone()));
        names
            .into_iter()
            .flatten()
            .filter_map(move |name| self.slices.get(&(namespace.clone(), name.clone())))
    }

    /// The addresses that clients may be sent to, with host name and ports.
    fn endpoints<'a>(&'a self, service: &'a Service) -> Vec<(IpAddr, Option<String>, &'a [Port])> {
        let not_ready_too = service.spec.publish_not_ready_addresses;
        let mut found: Vec<(IpAddr, Option<String>, &[Port])> = Vec::new();
        for slice in self.slices(service) {
            for endpoint in &slice.endpoints {
                if !not_ready_too && endpoint.conditions.ready == Some(false) {
                    continue;
                }
                let ports = slice.ports.as_deref().unwrap_or_default();
                let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
                found.extend(addresses.map(|address| (address, endpoint.hostname.clone(), ports)));
            }
        }
        found.sort_by_key(|one| one.0);
        found
    }

    /// The names that a Service gives to addresses: its own, or those of its endpoints.
    fn reverse(&self, key: &Key) -> Vec<(IpAddr, String)> {
        let Some(service) = self.services.get(key) else { return Vec::new() };
        let suffix = format!("{}.{}.svc", key.1, key.0);
        if !service.headless() {
            return service.addresses().into_iter().map(|address| (address, suffix.clone())).collect();
        }
        self.endpoints(service)
            .into_iter()
            .map(|(address, host, _)| {
                (address, format!("{}.{suffix}", host.unwrap_or_else(|| dashed(address))))
            })
            .collect()
    }

    fn forget_names(&mut self, key: &Key) {
        for (address, name) in self.reverse(key) {
            if let Some(names) = self.names.get_mut(&address) {
                names.remove(&name);
                if names.is_empty() {
                    self.names.remove(&address);
                }
            }
        }
    }

    fn learn_names(&mut self, key: &Key) {
        for (address, name) in self.reverse(key) {
            self.names.entry(address).or_default().insert(name);
        }
    }
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_string(), name.to_string())
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A zone with one Service of each sort, and endpoints for the headless one.
    pub(crate) fn example() -> Zone {
        let mut zone = Zone::default();
        for value in [
            json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {
                "type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"],
                "ports": [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "dns", "protocol": "UDP", "port": 53}]}}),
            json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": {
                "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "sql", "port": 5432}]}}),
            json!({"metadata": {"name": "mail", "namespace": "shop"}, "spec": {
                "type": "ExternalName", "externalName": "Mail.Example.org."}}),
        ] {
            zone.set_service(None, Some(&Arc::new(serde_json::from_value(value).unwrap())));
        }
        let slice = json!({
        "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
        "ports": [{"name": "sql", "protocol": "TCP", "port": 15432}],
        "endpoints": [
            {"addresses": ["10.244.0.7"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.0.8"]},
            {"addresses": ["10.244.0.9"], "hostname": "db-2", "conditions": {"ready": false}},
        ]});
        zone.set_slice(None, Some(&Arc::new(serde_json::from_value(slice).unwrap())));
        zone
    }

    fn addresses(zone: &Zone, name: &str) -> Option<Vec<String>> {
        let labels: Vec<&str> = name.split('.').collect();
        Some(zone.look_up(&labels)?.addresses.iter().map(IpAddr::to_string).collect())
    }

    #[test]
    fn names_have_the_specification_s_addresses() {
        let zone = example();
        for (name, want) in [
            ("web.shop.svc", Some(vec!["10.96.0.5"])),
            ("db.shop.svc", Some(vec!["10.244.0.7", "10.244.0.8"])),
            ("db-0.db.shop.svc", Some(vec!["10.244.0.7"])),
            ("10-244-0-8.db.shop.svc", Some(vec!["10.244.0.8"])),
            ("db-2.db.shop.svc", None),
            ("db-0.web.shop.svc", None),
            ("web.other.svc", None),
            ("shop.svc", Some(vec![])),
            ("other.svc", None),
            ("1-2-3-4.shop.pod", Some(vec!["1.2.3.4"])),
            ("1-2-3.shop.pod", None),
            ("1-2-3-4.other.pod", None),
            ("_tcp.web.shop.svc", Some(vec![])),
            ("_sctp.web.shop.svc", None),
        ] {
            let want = want.map(|list| list.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(addresses(&zone, name), want, "{name}");
        }
        assert_eq!(
            zone.look_up(&["mail", "shop", "svc"]).unwrap().alias.as_deref(),
            Some("mail.example.org")
        );
    }

    #[test]
    fn named_ports_have_service_records() {
        let zone = example();
        let web = zone.look_up(&["_http", "_tcp", "web", "shop", "svc"]).unwrap().services;
        assert_eq!((web[0].port, web[0].host.as_str()), (80, "web.shop.svc"));
        let db = zone.look_up(&["_sql", "_tcp", "db", "shop", "svc"]).unwrap().services;
        let db: Vec<(u16, &str)> = db.iter().map(|target| (target.port, target.host.as_str())).collect();
        assert_eq!(db, [(15432, "10-244-0-8.db.shop.svc"), (15432, "db-0.db.shop.svc")]);
        assert!(zone.look_up(&["_sql", "_udp", "db", "shop", "svc"]).is_none());
    }

    #[test]
    fn addresses_have_names_until_their_objects_go() {
        let mut zone = example();
        let names = |zone: &Zone, address: &str| {
            zone.names(address.parse().unwrap()).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(names(&zone, "10.96.0.5"), ["web.shop.svc"]);
        assert_eq!(names(&zone, "10.244.0.7"), ["db-0.db.shop.svc"]);
        let slice = zone.slices.values().next().unwrap().clone();
        zone.set_slice(Some(&slice), None);
        assert!(names(&zone, "10.244.0.7").is_empty());
        for service in zone.services.values().cloned().collect::<Vec<_>>() {
            zone.set_service(Some(&service), None);
        }
        assert!(zone.names.is_empty() && zone.namespaces.is_empty() && zone.slices_of.is_empty());
    }
}
