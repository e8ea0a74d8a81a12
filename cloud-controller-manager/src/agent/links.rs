//! The kernel's links, addresses and routes, over netlink.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use component_base::tasks::Tasks;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};

/// Marks our routes in the kernel; unassigned in its list of routing protocols.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(0x4b);

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: [u8; 6],
}

/// The way to the kernel.
pub(super) struct Links {
    handle: Handle,
}

/// News of links.
pub(super) struct Changes(Box<dyn FnOnce(&Tasks, Box<dyn Fn() + Send>) + Send>);

impl Changes {
    /// Calls back when a link or an address of one changes.
    pub(super) fn on_change(self, tasks: &Tasks, tell: impl Fn() + Send + 'static) {
        (self.0)(tasks, Box::new(tell));
    }
}

impl Links {
    /// Opens a connection to the kernel, run as a task.
    pub(super) fn open(tasks: &Tasks) -> anyhow::Result<(Self, Changes)> {
        let (connection, handle, messages) =
            new_multicast_connection(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr])?;
        tasks.spawn("netlink", async move {
            connection.await;
            anyhow::bail!("the netlink connection ended")
        });
        Ok((Self { handle }, Changes(Box::new(|tasks, tell| follow(tasks, messages, tell)))))
    }

    /// An interface by name.
    pub(super) async fn by_name(&self, name: &str) -> anyhow::Result<Link> {
        let found = self.handle.link().get().match_name(name.to_owned()).execute().try_next().await;
        link(found.map_err(|e| anyhow::anyhow!("interface {name}: {e}"))?, name)
    }

    /// The interface that has an address.
    pub(super) async fn by_address(&self, address: IpAddr) -> anyhow::Result<Link> {
        let mut all = self.handle.address().get().execute();
        while let Some(found) = all.try_next().await? {
            let has = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Address(ip) | AddressAttribute::Local(ip) if *ip == address);
            if found.attributes.iter().any(has) {
                let message =
                    self.handle.link().get().match_index(found.header.index).execute().try_next().await?;
                return link(message, &address.to_string());
            }
        }
        anyhow::bail!("no interface has the node's address {address}")
    }

    /// The first IPv4 address of the interface of the default route.
    pub(super) async fn default_address(&self) -> anyhow::Result<Option<Ipv4Addr>> {
        let mut interface = None;
        for route in self.routes(AddressFamily::Inet).await? {
            let is_default = route.header.destination_prefix_length == 0 && route.header.table == MAIN;
            let mut outputs = route.attributes.iter().filter_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            if is_default && interface.is_none() {
                interface = outputs.next();
            }
        }
        let Some(interface) = interface else { return Ok(None) };
        let mut all = self.handle.address().get().set_link_index_filter(interface).execute();
        while let Some(found) = all.try_next().await? {
            for attribute in &found.attributes {
                if let AddressAttribute::Address(IpAddr::V4(ip)) = attribute {
                    return Ok(Some(*ip));
                }
            }
        }
        Ok(None)
    }

    async fn routes(&self, family: AddressFamily) -> anyhow::Result<Vec<RouteMessage>> {
        let filter = match family {
            AddressFamily::Inet6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
            _ => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        };
        Ok(self.handle.route().get(filter).execute().try_collect().await?)
    }

    /// Makes our routes these: adds and changes what differs, deletes what is no longer wanted, leaves others' alone.
    pub(super) async fn apply_routes(&self, wanted: &BTreeMap<IpNet, IpAddr>) -> anyhow::Result<()> {
        let mut there = self.routes(AddressFamily::Inet).await?;
        there.extend(self.routes(AddressFamily::Inet6).await?);
        there.retain(|route| route.header.protocol == PROTOCOL && route.header.table == MAIN);
        let mut right: BTreeMap<IpNet, IpAddr> = BTreeMap::new();
        for route in there {
            let Some((destination, via)) = read(&route) else { continue };
            if wanted.contains_key(&destination) {
                right.insert(destination, via);
            } else {
                self.handle.route().del(route).execute().await?;
                tracing::info!(%destination, "Deleted a route");
            }
        }
        let mut failures = Vec::new();
        for (destination, via) in
            wanted.iter().filter(|(destination, via)| right.get(*destination) != Some(*via))
        {
            // One node that can't be reached mustn't cost the others their routes.
            match self.set_route(*destination, *via).await {
                Ok(()) => tracing::info!(%destination, %via, "Set a route"),
                Err(error) => failures.push(format!("{destination} via {via}: {error}")),
            }
        }
        if failures.is_empty() { Ok(()) } else { anyhow::bail!("setting routes: {}", failures.join("; ")) }
    }

    async fn set_route(&self, destination: IpNet, via: IpAddr) -> anyhow::Result<()> {
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())?
            .gateway(via)?
            .protocol(PROTOCOL)
            .build();
        Ok(self.handle.route().add(message).replace().execute().await?)
    }
}

/// The main routing table.
const MAIN: u8 = 254;

fn read(route: &RouteMessage) -> Option<(IpNet, IpAddr)> {
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    let (mut destination, mut via) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => via = ip(address),
            _ => {}
        }
    }
    let net = IpNet::new(destination?, route.header.destination_prefix_length).ok()?;
    // A route of ours without a gateway is broken: it is never right.
    Some((net, via.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
}

fn link(message: Option<LinkMessage>, what: &str) -> anyhow::Result<Link> {
    let Some(message) = message else { anyhow::bail!("no interface {what}") };
    let (mut name, mut mac) = (String::new(), None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name.clone_from(text),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    let Some(mac) = mac else { anyhow::bail!("interface {what} has no Ethernet address to announce") };
    Ok(Link { index: message.header.index, name, mac })
}

fn follow<M: Send + 'static>(tasks: &Tasks, mut messages: UnboundedReceiver<M>, tell: Box<dyn Fn() + Send>) {
    tasks.spawn("netlink changes", async move {
        while messages.next().await.is_some() {
            tell();
        }
        Ok(())
    });
}

/// Lets the kernel pass packets on, which routes between pods need. One that can't be told is complained about.
pub(super) fn enable_forwarding() {
    for path in ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] {
        let on = std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
        if !on && let Err(error) = std::fs::write(path, "1") {
            tracing::warn!(path, err = %error, "Can't enable forwarding");
        }
    }
}
