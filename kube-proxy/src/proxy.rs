//! What ties it together, without the watches: Services, their slices and the node in; transactions out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use proto::meta::Key;

use crate::model::{Node, Service, ServiceKey, Slice, UDP, backends};
use crate::nft::{Error, Family};
use crate::rules::table::{Commit, PortId, PortKey};
use crate::rules::{Settings, Table, plan};

/// The proxy of this node.
pub struct Proxy {
    tables: Vec<Table>,
    node: Node,
    services: HashMap<ServiceKey, Known>,
    dirty: BTreeSet<ServiceKey>,
}

/// What is known of a Service.
#[derive(Default)]
struct Known {
    service: Option<Arc<Service>>,
    slices: Vec<Arc<Slice>>,
}

/// What a synchronization did.
#[derive(Debug, Default)]
pub struct Done {
    /// Families whose UDP connections may be stale.
    pub stale_udp: Vec<Family>,
    /// Ports whose plan changed.
    pub changed: usize,
}

impl Proxy {
    /// A proxy for these families.
    pub fn new(node: Node, tables: Vec<(Family, Settings)>) -> Self {
        Proxy {
            tables: tables.into_iter().map(|(family, settings)| Table::new(family, settings)).collect(),
            node,
            services: HashMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// A Service appeared, changed or went away.
    pub fn service_changed(&mut self, old: Option<&Arc<Service>>, new: Option<&Arc<Service>>) {
        let Some(either) = new.or(old) else { return };
        let key = Key::new(either.identity.namespace(), either.identity.name());
        self.change(key, |known| known.service = new.cloned());
    }

    /// A slice appeared, changed or went away.
    pub fn slice_changed(&mut self, old: Option<&Arc<Slice>>, new: Option<&Arc<Slice>>) {
        let key = |slice: &Slice| Some(Key::new(slice.identity.namespace(), slice.service.clone()?));
        if let Some((old, key)) = old.and_then(|s| Some((s, key(s)?))) {
            self.change(key, |known| known.slices.retain(|s| s.identity.name() != old.identity.name()));
        }
        if let Some((new, key)) = new.and_then(|s| Some((s, key(s)?))) {
            self.change(key, |known| {
                // Most Services have one.
                known.slices.reserve_exact(1);
                known.slices.push(new.clone());
            });
        }
    }

    fn change(&mut self, key: Key, change: impl FnOnce(&mut Known)) {
        let key = match self.services.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => Arc::new(key),
        };
        let known = self.services.entry(key.clone()).or_default();
        change(known);
        if known.service.is_none() && known.slices.is_empty() {
            self.services.remove(&key);
        }
        self.dirty.insert(key);
    }

    /// The node changed: whatever depends on its zone or addresses is planned again.
    pub fn node_changed(&mut self, node: Node) {
        if (&self.node.zone, &self.node.addresses) != (&node.zone, &node.addresses) {
            self.dirty.extend(
                self.services.iter().filter(|(_, k)| k.service.is_some()).map(|(key, _)| key.clone()),
            );
        }
        self.node = node;
    }

    /// Other settings for a family.
    pub fn configure(&mut self, family: Family, settings: Settings) {
        for table in self.tables.iter_mut().filter(|t| t.family() == family) {
            table.configure(settings.clone());
        }
    }

    /// Is there anything to do?
    pub fn is_idle(&self) -> bool {
        self.dirty.is_empty() && self.tables.iter().all(|t| !t.is_whole())
    }

    /// The tables.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Brings the kernel up to date. What fails in one family is tried again, whole, next time.
    pub fn sync(&mut self, kernel: &dyn Commit) -> Result<Done, Error> {
        let mut done = Done::default();
        let mut failure = None;
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut first = true;
        while first || !dirty.is_empty() {
            let mut again = BTreeSet::new();
            for index in 0..self.tables.len() {
                self.stage(index, &dirty, &mut done);
                match self.tables[index].commit(kernel) {
                    Ok(freed) => {
                        again.extend(freed.iter().map(|k| k.service.clone()));
                    }
                    Err(error) => failure = Some(error),
                }
            }
            dirty = again;
            first = false;
        }
        failure.map_or(Ok(done), Err)
    }

    /// Plans the ports of these Services anew.
    fn stage(&mut self, index: usize, dirty: &BTreeSet<ServiceKey>, done: &mut Done) {
        let table = &mut self.tables[index];
        let family = table.family();
        let mut udp = false;
        let mut change = |table: &mut Table, key: PortKey, plan| {
            done.changed += 1;
            udp |= key.protocol == UDP;
            table.stage(key, plan);
        };
        for key in dirty {
            let known = self.services.get(key);
            let service = known.and_then(|k| k.service.as_deref());
            let slices = known.map_or(&[][..], |k| &k.slices);
            let mut known: BTreeSet<PortKey> = table.ports_of(key).into_iter().collect();
            for port in service.iter().flat_map(|s| &s.ports) {
                let (name, protocol) = (port.name.clone(), port.protocol);
                let port_key = Arc::new(PortId { service: key.clone(), port: name, protocol });
                // The key that is there already, so that there is one copy.
                let port_key = known.take(&port_key).unwrap_or(port_key);
                let before = table.plan(&port_key);
                let backends = backends(slices.iter().map(|s| &**s), port, family, &self.node.name);
                let plan = service.and_then(|s| plan::plan(s, port, family, &backends, &self.node, before));
                if plan.as_ref() != before {
                    change(table, port_key, plan);
                }
            }
            for gone in known {
                change(table, gone, None);
            }
        }
        if udp && !done.stale_udp.contains(&family) {
            done.stale_udp.push(family);
        }
    }

    /// How many ready endpoints this node has of each Service that load balancers ask about: port, Service,
    /// count.
    pub fn health_ports(&self) -> Vec<(u16, ServiceKey, usize)> {
        let mut all = Vec::new();
        for (key, Known { service, slices }) in &self.services {
            let Some(service) = service else { continue };
            let Some(health_port) = service.health_port else { continue };
            let mut here = BTreeSet::new();
            for port in &service.ports {
                for family in [Family::V4, Family::V6] {
                    let all = backends(slices.iter().map(|s| &**s), port, family, &self.node.name);
                    here.extend(all.iter().filter(|b| b.local && b.is_ready()).map(|b| b.address.ip()));
                }
            }
            all.push((health_port.get(), key.clone(), here.len()));
        }
        all
    }
}
