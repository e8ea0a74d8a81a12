//! The chains that Services share.

use super::elements::SetId;
use super::skeleton::Settings;
use crate::nft::{Batch, Family, Rule, Verdict};

/// Which endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum List {
    /// Those for traffic that may go anywhere.
    Cluster,
    /// Those on this node.
    Local,
}

/// A chain that picks one of so many endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Balance {
    /// Of which list.
    pub list: List,
    /// For node ports? They are looked up under no address.
    pub node_port: bool,
    /// Of how many.
    pub count: u32,
    /// For how long a client keeps the one it got, in seconds.
    pub affinity: Option<u32>,
}

/// A chain that Services share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// Picks an endpoint.
    Balance(Balance),
    /// For traffic from outside that may go anywhere: masquerade, then pick.
    External(Balance),
    /// For traffic from outside that must stay on this node, except what comes from this node's own pods and
    /// processes: for them it is as if it came from inside. The second is the number of local endpoints.
    ExternalLocal(Balance, u32),
}

impl Balance {
    fn name(&self) -> String {
        let list = if self.list == List::Cluster { "cluster" } else { "local" };
        format!("{}{list}-{}{}", self.prefix(), self.count, self.suffix())
    }

    fn prefix(&self) -> &'static str {
        if self.node_port { "nodeport-" } else { "" }
    }

    fn suffix(&self) -> String {
        self.affinity.map_or(String::new(), |seconds| format!("-affinity-{seconds}"))
    }
}

impl Chain {
    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Chain::Balance(b) => b.name(),
            Chain::External(b) => format!("{}external-{}{}", b.prefix(), b.count, b.suffix()),
            Chain::ExternalLocal(b, local) => {
                format!("{}external-local-{}-{local}{}", b.prefix(), b.count, b.suffix())
            }
        }
    }

    /// The chains it leads to.
    pub fn next(&self) -> Vec<Chain> {
        let next = match *self {
            Chain::Balance(_) => vec![],
            Chain::External(b) => vec![b],
            Chain::ExternalLocal(b, local) => vec![b, Balance { list: List::Local, count: local, ..b }],
        };
        next.into_iter().filter(|b| b.count > 0).map(Chain::Balance).collect()
    }

    /// Writes its rules.
    pub(super) fn write(&self, batch: &mut Batch, family: Family, settings: &Settings) {
        let name = self.name();
        batch.add_chain(&name);
        let rule = || Rule::new(family);
        let goto = |b: &Balance| Verdict::Goto(b.name());
        match self {
            Chain::Balance(b) => b.write(batch, family, &name),
            Chain::External(b) => {
                batch.add_rule(&name, &rule().mark(settings.mark).verdict(&goto(b)));
            }
            Chain::ExternalLocal(b, local) => {
                if b.count > 0 {
                    if let Some(from_pods) = settings.local.matches(rule(), false) {
                        batch.add_rule(&name, &from_pods.verdict(&goto(b)));
                    }
                    let from_host = rule().source_is_local().mark(settings.mark);
                    batch.add_rule(&name, &from_host.verdict(&goto(b)));
                }
                if *local > 0 {
                    let stay = Balance { list: List::Local, count: *local, ..*b };
                    batch.add_rule(&name, &rule().verdict(&goto(&stay)));
                }
            }
        }
    }
}

impl Balance {
    /// Registers: source, destination, protocol, port; then the index, replaced by what the map holds for it.
    fn write(&self, batch: &mut Batch, family: Family, name: &str) {
        let address = Rule::address_regs(family);
        let (source, destination, protocol, found) = (0, address, 2 * address, 2 * address + 2);
        let (endpoints, live) = match self.list {
            List::Cluster => (SetId::Endpoints, SetId::AffinityEndpoints),
            List::Local => (SetId::LocalEndpoints, SetId::LocalAffinityEndpoints),
        };
        let load = |rule: Rule| match self.node_port {
            true => rule.constant(destination, &vec![0; family.address_len() as usize]),
            false => rule.destination(destination),
        };
        let load = |rule: Rule| load(rule).protocol_and_port(protocol);
        let pick = |rule: Rule| rule.random(found, self.count).map(endpoints.name(), destination, found);
        let Some(seconds) = self.affinity else {
            batch.add_rule(name, &pick(load(Rule::new(family))).dnat(found));
            return;
        };
        let memory = affinity_map(seconds);
        let known = load(Rule::new(family).source(source))
            .map(&memory, source, found)
            // What is remembered may be gone: destination, protocol, port and endpoint stand side by side.
            .in_set(live.name(), destination, false)
            .remember(&memory, source, found, seconds)
            .dnat(found);
        batch.add_rule(name, &known);
        let new = pick(load(Rule::new(family).source(source)))
            .forget(&memory, source, found)
            .remember(&memory, source, found, seconds)
            .dnat(found);
        batch.add_rule(name, &new);
    }
}

/// The map that remembers clients for so long.
pub(super) fn affinity_map(seconds: u32) -> String {
    format!("affinity-{seconds}")
}
