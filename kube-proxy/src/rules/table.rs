//! The table of one family: what is in the kernel, and how it becomes what it should be.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::elements::{SetId, create_affinity_map, elements_of};
use super::plan::{Frontend, Plan};
use super::{Chain, Settings, TABLE, skeleton};
use crate::nft::{Batch, Element, Error, Family};

/// A Service port: namespace, name, port name and protocol.
pub type PortKey = Arc<(String, String, String, u8)>;

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
    plans: BTreeMap<PortKey, Plan>,
    owners: HashMap<Frontend, PortKey>,
    shared: HashMap<(SetId, Element), u32>,
    chains: HashSet<Chain>,
    affinities: BTreeSet<u32>,
    /// Ports that wait for a frontend another Service has.
    contenders: BTreeMap<Frontend, BTreeSet<PortKey>>,
    whole: bool,
}

/// What a transaction will do, by set.
#[derive(Debug, Default)]
struct Difference {
    gone: BTreeMap<SetId, Vec<Element>>,
    new: BTreeMap<SetId, Vec<Element>>,
}

impl Table {
    /// A table that isn't there yet.
    pub fn new(family: Family, settings: Settings) -> Self {
        Table {
            family,
            settings,
            plans: BTreeMap::new(),
            owners: HashMap::new(),
            shared: HashMap::new(),
            chains: HashSet::new(),
            affinities: BTreeSet::new(),
            contenders: BTreeMap::new(),
            whole: true,
        }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// What a port came to last.
    pub fn plan(&self, key: &PortKey) -> Option<&Plan> {
        self.plans.get(key)
    }

    /// All ports' plans.
    pub fn plans(&self) -> impl Iterator<Item = (&PortKey, &Plan)> {
        self.plans.iter()
    }

    /// The ports of a Service that have a plan.
    pub fn ports_of(&self, namespace: &str, name: &str) -> Vec<PortKey> {
        let first = Arc::new((namespace.to_owned(), name.to_owned(), String::new(), 0));
        let ports = self.plans.range(first..).map(|(key, _)| key);
        ports.take_while(|k| k.0 == namespace && k.1 == name).cloned().collect()
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

    /// Makes the kernel hold these plans for these ports. The ports returned are to be planned again: a frontend
    /// they wanted is free now.
    pub fn apply(
        &mut self,
        changes: Vec<(PortKey, Option<Plan>)>,
        kernel: &dyn Commit,
    ) -> Result<Vec<PortKey>, Error> {
        let mut difference = Difference::default();
        let mut chains = BTreeSet::new();
        let mut affinities = BTreeSet::new();
        let mut freed = Vec::new();
        for (key, plan) in changes {
            let plan = plan.map(|plan| self.claim(&key, plan));
            let old = match &plan {
                Some(plan) => {
                    chains.extend(plan.routes.iter().map(|(_, chain)| *chain));
                    affinities.extend(plan.affinity);
                    self.plans.insert(key.clone(), plan.clone())
                }
                None => self.plans.remove(&key),
            };
            self.release(&key, old.as_ref(), plan.as_ref(), &mut freed);
            self.count(&mut difference, old.as_ref(), plan.as_ref());
        }
        let mut batch = Batch::new(self.family, TABLE);
        if self.whole {
            self.write_all(&mut batch);
        } else {
            for (set, elements) in &difference.gone {
                batch.delete_elements(set.name(), elements);
            }
            self.write_chains(&mut batch, chains, affinities);
            for (set, elements) in &difference.new {
                batch.add_elements(set.name(), elements);
            }
        }
        let result = kernel.commit(batch);
        self.whole = result.is_err();
        result.map(|()| freed)
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
    fn release(&mut self, key: &PortKey, old: Option<&Plan>, new: Option<&Plan>, freed: &mut Vec<PortKey>) {
        let kept: HashSet<_> = new.into_iter().flat_map(Plan::frontends).collect();
        for frontend in old.into_iter().flat_map(Plan::frontends).filter(|f| !kept.contains(f)) {
            if self.owners.get(&frontend) == Some(key) {
                self.owners.remove(&frontend);
                freed.extend(self.contenders.remove(&frontend).into_iter().flatten());
            }
        }
    }

    /// Adds to the difference what changes from one plan to the other.
    fn count(&mut self, difference: &mut Difference, old: Option<&Plan>, new: Option<&Plan>) {
        let elements = |plan: Option<&Plan>| -> BTreeSet<_> {
            plan.map(|p| elements_of(p, self.family)).unwrap_or_default().into_iter().collect()
        };
        let (old, new) = (elements(old), elements(new));
        for (set, element) in new.difference(&old).cloned() {
            if set.is_shared() {
                let uses = self.shared.entry((set, element.clone())).or_default();
                *uses += 1;
                if *uses > 1 {
                    continue;
                }
            }
            if self.whole {
                // Everything is going to be written.
                continue;
            }
            difference.add(set, element);
        }
        for (set, element) in old.difference(&new).cloned() {
            if set.is_shared() {
                let uses = self.shared.entry((set, element.clone())).or_default();
                *uses = uses.saturating_sub(1);
                if *uses > 0 {
                    continue;
                }
                self.shared.remove(&(set, element.clone()));
            }
            difference.remove(set, element);
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
        let mut all: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
        for (set, element) in self.shared.keys() {
            all.entry(*set).or_default().push(element.clone());
        }
        for (set, element) in self.plans.values().flat_map(|p| elements_of(p, self.family)) {
            if !set.is_shared() {
                all.entry(set).or_default().push(element);
            }
        }
        for (set, elements) in &all {
            batch.add_elements(set.name(), elements);
        }
    }
}

impl Difference {
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
