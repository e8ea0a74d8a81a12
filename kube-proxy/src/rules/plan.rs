//! What one Service port comes to. Pure: from the Service, its endpoints and the node to a [`Plan`].

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use ipnet::IpNet;

use super::{Balance, Chain, List};
use crate::model::{Backend, Node, Port, Protocol, Service, Target, Targets, UDP, select};
use crate::nft::{Family, Verdict};

/// An address that a Service port answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// The address; a node port has none.
    pub address: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// What one Service port comes to in one family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Its cluster IP.
    pub cluster_ip: Option<IpAddr>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where its traffic goes.
    pub routes: Box<[(Frontend, Chain)]>,
    /// What happens to traffic that can go nowhere.
    pub closed: Box<[(Frontend, Verdict)]>,
    /// Frontends only some sources may use.
    pub guarded: Box<[(Frontend, Box<[IpNet]>)]>,
    /// The endpoints for traffic that may go anywhere.
    pub cluster: Targets,
    /// The endpoints for traffic that must stay here.
    pub local: Targets,
    /// How long clients stay with an endpoint.
    pub affinity: Option<u32>,
    /// For UDP: the endpoints whose connections are kept.
    pub serving: Box<[SocketAddr]>,
}

/// The chain that answers with "port unreachable".
pub const REJECT_CHAIN: &str = "reject-chain";

impl Plan {
    /// Can traffic that enters this chain reach endpoints of this list?
    pub fn reaches(&self, chain: &Chain, list: List) -> bool {
        match chain {
            Chain::Balance(b) | Chain::External(b) => b.list == list,
            Chain::ExternalLocal(..) => true,
        }
    }

    /// Every frontend of it.
    pub fn frontends(&self) -> impl Iterator<Item = Frontend> {
        let routes = self.routes.iter().map(|(f, _)| *f);
        routes.chain(self.closed.iter().map(|(f, _)| *f)).chain(self.guarded.iter().map(|(f, _)| *f))
    }

    /// Endpoints that may reach themselves through the Service; some come twice.
    pub fn hairpins(&self) -> impl Iterator<Item = Target> {
        self.cluster.iter().chain(self.local.iter()).filter(|target| target.here)
    }

    /// Leaves out the frontends that another Service has.
    pub fn without(mut self, taken: impl Fn(&Frontend) -> bool) -> Self {
        if !self.frontends().any(|f| taken(&f)) {
            return self;
        }
        self.routes = self.routes.into_iter().filter(|(f, _)| !taken(f)).collect();
        self.closed = self.closed.into_iter().filter(|(f, _)| !taken(f)).collect();
        self.guarded = self.guarded.into_iter().filter(|(f, _)| !taken(f)).collect();
        self
    }
}

/// Plans a port. `before` is what it came to last time: endpoints that stay keep their index, so that a change of
/// one endpoint changes few elements.
pub fn plan(
    service: &Service,
    port: &Port,
    family: Family,
    backends: &[Backend],
    node: &Node,
    before: Option<&Plan>,
) -> Option<Plan> {
    let cluster_ip = Service::of_family(&service.cluster_ips, family).next()?;
    let selected = select(service, port, family, backends, node);
    let keep = |old: fn(&Plan) -> &Targets, new: Vec<Target>| -> Targets {
        let old: Vec<Target> = before.map(old).into_iter().flat_map(Targets::iter).collect();
        in_place(&old, new).collect()
    };
    let (clusterwide, here) = (selected.cluster.len() as u32, selected.local.len() as u32);
    let mut plan = Plan {
        cluster_ip: Some(cluster_ip),
        protocol: port.protocol,
        cluster: keep(|p| &p.cluster, selected.cluster),
        local: keep(|p| &p.local, selected.local),
        affinity: service.affinity.map(NonZeroU32::get),
        serving: if port.protocol == UDP { selected.serving.into() } else { Box::default() },
        ..Plan::default()
    };
    let mut routes = Vec::new();
    let mut closed = Vec::new();
    let balance = |list: List, node_port| {
        let count = if list == List::Cluster { clusterwide } else { here };
        Balance { list, node_port, count, affinity: plan.affinity }
    };
    // Traffic that finds no endpoint anywhere is told so; what only finds none on this node is dropped, since
    // the sender's load balancer is about to learn of it.
    let reject = || match selected.any {
        false => Verdict::Goto(REJECT_CHAIN.to_owned()),
        true => Verdict::Drop,
    };
    let frontend = |address, port: u16, protocol| Frontend { address, protocol, port };

    let inside = if service.internal_local { List::Local } else { List::Cluster };
    let internal = frontend(Some(cluster_ip), port.port, port.protocol);
    match selected.any && balance(inside, false).count > 0 {
        true => routes.push((internal, Chain::Balance(balance(inside, false)))),
        false => closed.push((internal, reject())),
    }

    let of_family = |list| Service::of_family(list, family);
    let vips: Vec<_> =
        of_family(&service.load_balancer_ips).map(|a| frontend(Some(a), port.port, port.protocol)).collect();
    let mut external: Vec<_> = of_family(&service.external_ips)
        .map(|a| frontend(Some(a), port.port, port.protocol))
        .chain(vips.iter().copied())
        .collect();
    if port.node_port != 0 {
        external.push(frontend(None, port.node_port, port.protocol));
    }
    external.sort_unstable();
    external.dedup();
    for outside in external.into_iter().filter(|f| *f != internal) {
        let any_node = balance(List::Cluster, outside.address.is_none());
        let chain = match service.external_local {
            true => Chain::ExternalLocal(any_node, here),
            false => Chain::External(any_node),
        };
        if selected.any && any_node.count + here > 0 {
            routes.push((outside, chain));
        }
        if !selected.any || (service.external_local && here == 0) {
            closed.push((outside, reject()));
        }
    }

    let ranges: Vec<_> =
        service.source_ranges.iter().copied().filter(|r| Family::of(r.addr()) == family).collect();
    if !ranges.is_empty() {
        let node_allowed = node.address(family).is_some_and(|a| ranges.iter().any(|r| r.contains(&a)));
        let mut allowed = ranges;
        if node_allowed {
            // Traffic from this node to the address has the address itself as its source.
            allowed.extend(vips.iter().filter_map(|v| v.address).map(IpNet::from));
        }
        let allowed: Box<[IpNet]> = IpNet::aggregate(&allowed).into();
        plan.guarded = vips.into_iter().map(|vip| (vip, allowed.clone())).collect();
    }
    plan.routes = routes.into();
    plan.closed = closed.into();
    Some(plan)
}

/// The new endpoints in an order that keeps as many of the old in their place as possible.
fn in_place(old: &[Target], new: Vec<Target>) -> impl Iterator<Item = Target> + use<> {
    let mut places: Vec<Option<Target>> = vec![None; new.len()];
    let mut rest = Vec::new();
    for endpoint in new {
        match old.iter().position(|o| o.is_same(&endpoint)).filter(|i| *i < places.len()) {
            Some(place) => places[place] = Some(endpoint),
            None => rest.push(endpoint),
        }
    }
    let mut rest = rest.into_iter();
    places.into_iter().filter_map(move |place| place.or_else(|| rest.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_keep_their_place() {
        let e = |n: u8| Target { ip: [10, 0, 0, n].into(), port: 80, here: false };
        let order = |old: &[u8], new: &[u8]| {
            let old: Vec<_> = old.iter().map(|n| e(*n)).collect();
            in_place(&old, new.iter().map(|n| e(*n)).collect()).collect::<Vec<_>>()
        };
        assert_eq!(order(&[1, 2, 3], &[1, 3, 4]), [e(1), e(4), e(3)]);
        assert_eq!(order(&[1, 2, 3], &[2, 3]), [e(3), e(2)]);
        assert_eq!(order(&[], &[2, 1]), [e(2), e(1)]);
    }
}
