//! The table of one family: what is in the kernel, and how it becomes what it should be.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::elements::{SetId, Shared, create_affinity_map, elements_of};
use super::plan::{Frontend, Plan};
use super::{Chain, Settings, TABLE, skeleton};
use crate::model::{Protocol, ServiceKey};
use crate::nft::{Batch, Element, Error, Family};

/// A Service port.
pub type PortKey = Arc<PortId>;

/// Which Service port.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId {
    /// The Service.
    pub service: ServiceKey,
    /// The port's name.
    pub port: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
}

/// What commits transactions; a recorder in tests.
pub trait Commit {
    /// Makes a transaction take effect, whole or not at all.
    fn commit(&self, batch: Batch) -> Result<(), Error>;
}

impl Commit for crate::nft::Socket {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.commit(batch)
    }
}

/// The table of one family.
#[derive(Debug)]
pub struct Table {
    family: Family,
    settings: Settings,
    /// In order, so that the ports of one Service are side by side.
    plans: BTreeMap<PortKey, Box<Plan>>,
    owners: HashMap<Frontend, PortKey>,
    uses: Uses,
    chains: HashSet<Chain>,
    affinities: BTreeSet<u32>,
    /// Ports that wait for a frontend another Service has.
    contenders: BTreeMap<Frontend, BTreeSet<PortKey>>,
    staged: Staged,
    whole: bool,
}

/// What the next transaction will do, unless it builds the table anew.
#[derive(Debug, Default)]
struct Staged {
    gone: BTreeMap<SetId, Vec<Element>>,
    new: BTreeMap<SetId, Vec<Element>>,
    chains: BTreeSet<Chain>,
    affinities: BTreeSet<u32>,
    /// Ports that may have a frontend once it took effect.
    freed: Vec<PortKey>,
}

/// How many plans have each element that several may have.
#[derive(Debug, Default)]
struct Uses {
    cluster_ips: Counted<IpAddr>,
    hairpins: Counted<Frontend>,
}

/// A multiset. Few items are in it more than once, so that only those have a number.
#[derive(Debug)]
struct Counted<T> {
    all: HashSet<T>,
    /// How often an item is in it, if more than once.
    repeated: HashMap<T, u32>,
}

impl Table {
    /// A table that isn't there yet.
    pub fn new(family: Family, settings: Settings) -> Self {
        Table {
            family,
            settings,
            plans: BTreeMap::new(),
            owners: HashMap::new(),
            uses: Uses::default(),
            chains: HashSet::new(),
            affinities: BTreeSet::new(),
            contenders: BTreeMap::new(),
            staged: Staged::default(),
            whole: true,
        }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// What a port came to last.
    pub fn plan(&self, key: &PortKey) -> Option<&Plan> {
        self.plans.get(key).map(|plan| &**plan)
    }

    /// All ports' plans.
    pub fn plans(&self) -> impl Iterator<Item = (&PortKey, &Plan)> {
        self.plans.iter().map(|(key, plan)| (key, &**plan))
    }

    /// The ports of a Service that have a plan.
    pub fn ports_of(&self, service: &ServiceKey) -> Vec<PortKey> {
        let first = Arc::new(PortId { service: service.clone(), port: Box::default(), protocol: 0 });
        let ports = self.plans.range(first..).map(|(key, _)| key);
        ports.take_while(|key| key.service == *service).cloned().collect()
    }

    /// Takes over new settings; the table is built anew if they differ.
    pub fn configure(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.whole = true;
        }
    }

    /// Is the next transaction going to build the table anew?
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Takes over what a port comes to now; [`commit`](Self::commit) tells the kernel.
    pub fn stage(&mut self, key: PortKey, plan: Option<Plan>) {
        let plan = plan.map(|plan| self.claim(&key, plan));
        let old = self.plans.remove(&key);
        self.release(&key, old.as_deref(), plan.as_ref());
        self.count(old.as_deref(), plan.as_ref());
        if let Some(plan) = plan {
            if !self.whole {
                self.staged.chains.extend(plan.routes.iter().map(|(_, chain)| *chain));
                self.staged.affinities.extend(plan.affinity);
            }
            self.plans.insert(key, Box::new(plan));
        }
    }

    /// Makes the kernel hold what was staged. The ports returned are to be planned again: a frontend they wanted
    /// is free now.
    pub fn commit(&mut self, kernel: &dyn Commit) -> Result<Vec<PortKey>, Error> {
        let staged = std::mem::take(&mut self.staged);
        let mut batch = Batch::new(self.family, TABLE);
        if self.whole {
            self.write_all(&mut batch);
        } else {
            for (set, elements) in &staged.gone {
                batch.delete_elements(set.name(), elements);
            }
            self.write_chains(&mut batch, staged.chains, staged.affinities);
            for (set, elements) in &staged.new {
                batch.add_elements(set.name(), elements);
            }
        }
        let result = kernel.commit(batch);
        self.whole = result.is_err();
        result.map(|()| staged.freed)
    }

    /// Leaves out frontends that another port has, and notes that this one wants them.
    fn claim(&mut self, key: &PortKey, plan: Plan) -> Plan {
        let mut lost = Vec::new();
        for frontend in plan.frontends() {
            match self.owners.get(&frontend) {
                Some(owner) if owner != key => lost.push(frontend),
                Some(_) => {}
                None => {
                    self.owners.insert(frontend, key.clone());
                }
            }
        }
        for frontend in &lost {
            tracing::warn!(?frontend, service = ?key, "Another Service has this address and port already");
            self.contenders.entry(*frontend).or_default().insert(key.clone());
        }
        plan.without(|f| lost.contains(f))
    }

    /// Gives up the frontends a port no longer has.
    fn release(&mut self, key: &PortKey, old: Option<&Plan>, new: Option<&Plan>) {
        let kept: HashSet<_> = new.into_iter().flat_map(Plan::frontends).collect();
        for frontend in old.into_iter().flat_map(Plan::frontends).filter(|f| !kept.contains(f)) {
            if self.owners.get(&frontend) == Some(key) {
                self.owners.remove(&frontend);
                self.staged.freed.extend(self.contenders.remove(&frontend).into_iter().flatten());
            }
        }
    }

    /// Stages what changes from one plan to the other. Without a difference to make, only uses are counted:
    /// everything is going to be written.
    fn count(&mut self, old: Option<&Plan>, new: Option<&Plan>) {
        let shared = |plan: Option<&Plan>| plan.map(Shared::of).unwrap_or_default();
        let (before, after) = (shared(old), shared(new));
        for element in after.difference(&before).filter(|e| self.uses.add(**e)) {
            if !self.whole {
                let (set, element) = element.element();
                self.staged.add(set, element);
            }
        }
        for element in before.difference(&after).filter(|e| self.uses.remove(**e)) {
            if !self.whole {
                let (set, element) = element.element();
                self.staged.remove(set, element);
            }
        }
        if self.whole {
            return;
        }
        let elements = |plan: Option<&Plan>| -> BTreeSet<_> {
            plan.map(|p| elements_of(p, self.family)).unwrap_or_default().into_iter().collect()
        };
        let (old, new) = (elements(old), elements(new));
        for (set, element) in new.difference(&old).cloned() {
            self.staged.add(set, element);
        }
        for (set, element) in old.difference(&new).cloned() {
            self.staged.remove(set, element);
        }
    }

    /// Chains and affinity maps are made when first needed and stay: they are few, and empty of state.
    fn write_chains(&mut self, batch: &mut Batch, chains: BTreeSet<Chain>, affinities: BTreeSet<u32>) {
        for seconds in affinities {
            if self.affinities.insert(seconds) {
                create_affinity_map(batch, self.family, seconds);
            }
        }
        for chain in chains {
            // What a chain leads to must be there before it.
            for chain in chain.next().into_iter().chain([chain]) {
                if self.chains.insert(chain) {
                    chain.write(batch, self.family, &self.settings);
                }
            }
        }
    }

    fn write_all(&mut self, batch: &mut Batch) {
        skeleton::write(batch, self.family, &self.settings);
        self.chains.clear();
        self.affinities.clear();
        let chains = self.plans.values().flat_map(|p| p.routes.iter().map(|(_, c)| *c)).collect();
        let affinities = self.plans.values().filter_map(|p| p.affinity).collect();
        self.write_chains(batch, chains, affinities);
        // Elements are told in parts: all of them at once would take far more than the plans.
        let mut parts: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
        let shared = self.uses.elements().map(Shared::element);
        let own = self.plans.values().flat_map(|p| elements_of(p, self.family));
        for (set, element) in shared.chain(own) {
            let part = parts.entry(set).or_default();
            part.push(element);
            if part.len() == PART {
                batch.add_elements(set.name(), &*part);
                part.clear();
            }
        }
        for (set, part) in &parts {
            batch.add_elements(set.name(), part);
        }
    }
}

/// How many elements of a set are put into the transaction at once: about as many as fit into one message.
const PART: usize = 1024;

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Counted { all: HashSet::new(), repeated: HashMap::new() }
    }
}

impl<T: Copy + Eq + Hash> Counted<T> {
    /// Puts an item in; wasn't it there?
    fn add(&mut self, item: T) -> bool {
        let first = self.all.insert(item);
        if !first {
            *self.repeated.entry(item).or_insert(1) += 1;
        }
        first
    }

    /// Takes an item out once; is it gone?
    fn remove(&mut self, item: T) -> bool {
        match self.repeated.get_mut(&item) {
            Some(times) if *times > 2 => {
                *times -= 1;
                false
            }
            Some(_) => {
                self.repeated.remove(&item);
                false
            }
            None => self.all.remove(&item),
        }
    }
}

impl Uses {
    /// Counts a use; is it the first?
    fn add(&mut self, element: Shared) -> bool {
        match element {
            Shared::ClusterIp(address) => self.cluster_ips.add(address),
            Shared::Hairpin(endpoint) => self.hairpins.add(endpoint),
        }
    }

    /// Counts a use less; was it the last?
    fn remove(&mut self, element: Shared) -> bool {
        match element {
            Shared::ClusterIp(address) => self.cluster_ips.remove(address),
            Shared::Hairpin(endpoint) => self.hairpins.remove(endpoint),
        }
    }

    fn elements(&self) -> impl Iterator<Item = Shared> {
        let cluster_ips = self.cluster_ips.all.iter().copied().map(Shared::ClusterIp);
        cluster_ips.chain(self.hairpins.all.iter().copied().map(Shared::Hairpin))
    }
}

impl Staged {
    /// An element that one change takes away and a later one brings back stays.
    fn add(&mut self, set: SetId, element: Element) {
        let gone = self.gone.entry(set).or_default();
        match gone.iter().position(|e| *e == element) {
            Some(at) => {
                gone.swap_remove(at);
            }
            None => self.new.entry(set).or_default().push(element),
        }
    }

    fn remove(&mut self, set: SetId, element: Element) {
        let new = self.new.entry(set).or_default();
        match new.iter().position(|e| *e == element) {
            Some(at) => {
                new.swap_remove(at);
            }
            None => self.gone.entry(set).or_default().push(element),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_gone_when_it_was_taken_out_as_often_as_put_in() {
        let mut counted = Counted::default();
        assert_eq!([1, 2, 1, 1].map(|n| counted.add(n)), [true, true, false, false]);
        assert_eq!([1, 1, 2, 1].map(|n| counted.remove(n)), [false, false, true, true]);
        assert!(!counted.remove(1) && counted.add(1));
    }
}
