//! Cluster IPs as IPAddress objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proto::content::{canonical_ip, network_of, parse_cidr_sloppy};
use proto::labels::Selector;
use proto::status::Status;
use proto::view::{View, at};
use rand::RngExt;
use serde_json::{Value, json};

use crate::registry::{Local, Settings};

const GROUP: &str = "networking.k8s.io";
pub(crate) const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
pub(crate) const MANAGER_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "ipallocator.k8s.io";

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    /// All addresses are taken.
    #[error("range is full")]
    Full,
    /// The wanted address is taken.
    #[error("provided IP is already allocated")]
    Allocated,
    /// No range has the wanted address.
    #[error("the provided network does not match the current range")]
    NoRange,
    /// The range has the wanted address, but doesn't give it out.
    #[error("the provided IP ({0}) is not in the valid range. The range of valid IPs is {1}")]
    NotInRange(String, String),
    /// The server itself failed.
    #[error("{0}")]
    Failed(#[from] Status),
}

/// A range of addresses, of which the first and last are numbers for arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    network: IpAddr,
    bits: u8,
    first: u128,
    last: u128,
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl Range {
    /// The addresses that the range gives out: not the network's own, and of IPv4 not the broadcast address.
    pub(crate) fn new(address: IpAddr, bits: u8) -> Self {
        let network = network_of(address, bits);
        let width = if network.is_ipv4() { 32 } else { 128 };
        let host_bits = u32::from(width - bits.min(width));
        let size = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
        let start = number(network);
        let broadcast = u128::from(network.is_ipv4());
        Range {
            network,
            bits,
            first: start.saturating_add(1),
            last: start.saturating_add(size - 1 - broadcast),
        }
    }

    fn is_v6(&self) -> bool {
        self.network.is_ipv6()
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.network {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && network_of(address, self.bits) == self.network
    }

    /// How many addresses at the start are left for those that are asked for by name.
    fn offset(&self) -> u128 {
        let size = self.last.saturating_sub(self.first).saturating_add(1);
        if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
    }

    /// All addresses in the order to try them: from a random place on, the part left for named ones last.
    fn candidates(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let range = *self;
        let middle = range.first.saturating_add(range.offset());
        let upper = rotated(middle, range.last);
        let lower = rotated(range.first, middle.saturating_sub(1));
        upper.chain(lower).map(move |number| range.address(number))
    }
}

/// The numbers of a range, from a random one on.
fn rotated(first: u128, last: u128) -> impl Iterator<Item = u128> {
    let size = (last + 1).saturating_sub(first);
    let start = if size == 0 { 0 } else { rand::rng().random_range(0..size) };
    (0..size).map(move |step| first + (start + step) % size)
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

/// The ranges that are ready; those of the configuration until there is an object for them.
pub(crate) async fn ranges(local: &dyn Local, settings: &Settings) -> Result<Vec<Range>, Status> {
    let objects = local.list(GROUP, "servicecidrs", "", &Selector::everything(), false).await?;
    let mut ranges = Vec::new();
    let mut default_exists = false;
    for object in objects {
        let view = View::root(&object);
        default_exists |= view.get("metadata").text("name") == super::DEFAULT_SERVICE_CIDR;
        let conditions = view.get("status").get("conditions").items();
        let ready = conditions
            .iter()
            .any(|condition| condition.text("type") == "Ready" && condition.text("status") == "True");
        if ready && !view.get("metadata").has("deletionTimestamp") {
            let cidrs = view.get("spec").texts("cidrs").into_iter().filter_map(parse_cidr_sloppy);
            ranges.extend(cidrs.map(|(address, bits)| Range::new(address, bits)));
        }
    }
    // The object's status may lag behind; the configured ranges are good at any rate.
    if !default_exists || ranges.is_empty() {
        for (address, bits) in &settings.service_ranges {
            let range = Range::new(*address, *bits);
            if !ranges.contains(&range) {
                ranges.push(range);
            }
        }
    }
    Ok(ranges)
}

/// The IPAddress object that takes an address for a service.
fn object(address: IpAddr, namespace: &str, name: &str) -> Value {
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": canonical_ip(address),
            "labels": {FAMILY_LABEL: family, MANAGER_LABEL: MANAGER},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}

/// Takes an address for the service `namespace/name`: this one, or the next of a family.
pub(crate) async fn take(
    local: &dyn Local,
    ranges: &[Range],
    wanted: Wanted,
    (namespace, name): (&str, &str),
    dry_run: bool,
) -> Result<IpAddr, AddressError> {
    match wanted {
        Wanted::This(address) => {
            let range = ranges.iter().find(|range| range.contains(address)).ok_or(AddressError::NoRange)?;
            if !(range.first..=range.last).contains(&number(address)) {
                return Err(AddressError::NotInRange(canonical_ip(address), range.to_string()));
            }
            if !dry_run {
                create(local, address, namespace, name).await?;
            }
            Ok(address)
        }
        Wanted::Next { v6 } => {
            for range in ranges.iter().filter(|range| range.is_v6() == v6) {
                // A dry run shows an address of the range; to find a free one would say no more.
                if dry_run {
                    return Ok(range.network);
                }
                for address in range.candidates() {
                    if local.cached(GROUP, "ipaddresses", "", &canonical_ip(address)).is_some() {
                        continue;
                    }
                    match create(local, address, namespace, name).await {
                        Err(AddressError::Allocated) => continue,
                        done => return done.map(|()| address),
                    }
                }
            }
            Err(AddressError::Full)
        }
    }
}

/// What address is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// This one.
    This(IpAddr),
    /// Any of the family.
    Next {
        /// Whether of IPv6.
        v6: bool,
    },
}

async fn create(local: &dyn Local, address: IpAddr, namespace: &str, name: &str) -> Result<(), AddressError> {
    match local.create(GROUP, "ipaddresses", object(address, namespace, name)).await {
        Ok(_) => Ok(()),
        Err(status) if status.is_already_exists() => Err(AddressError::Allocated),
        Err(status) => Err(AddressError::Failed(status)),
    }
}

/// Gives an address back. That it is gone already is no error.
pub(crate) async fn release(local: &dyn Local, address: &str) {
    if let Err(status) = local.delete(GROUP, "ipaddresses", "", address, Value::Null).await
        && !status.is_not_found()
    {
        tracing::warn!(address, %status, "error releasing a cluster IP");
    }
}

/// Takes an address again that a service has without an object for it.
pub(super) async fn restore(local: &dyn Local, address: IpAddr, namespace: &str, name: &str) {
    if let Err(error) = create(local, address, namespace, name).await
        && !matches!(error, AddressError::Allocated)
    {
        tracing::warn!(%address, %error, "error restoring a cluster IP");
    }
}

/// The IPAddress objects that this allocator made.
pub(super) async fn managed(local: &dyn Local) -> Result<Vec<std::sync::Arc<Value>>, Status> {
    let selector =
        Selector::parse(&format!("{MANAGER_LABEL}={MANAGER}")).unwrap_or_else(|_| Selector::nothing());
    local.list(GROUP, "ipaddresses", "", &selector, true).await
}

/// The service that an IPAddress object is for: `(namespace, name)`.
pub(super) fn owner(object: &Value) -> (String, String) {
    let text = |field| proto::view::text_at(at(object, &["spec", "parentRef"]), &[field]).to_owned();
    (text("namespace"), text("name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        let (address, bits) = parse_cidr_sloppy(text).expect("a range");
        Range::new(address, bits)
    }

    #[test]
    fn the_edges_are_not_given_out() {
        let small: Vec<IpAddr> = range("10.0.0.0/29").candidates().collect();
        assert_eq!(small.len(), 6);
        assert!(!small.contains(&IpAddr::from([10, 0, 0, 0])));
        assert!(!small.contains(&IpAddr::from([10, 0, 0, 7])));
        assert_eq!(range("2001:db8::/126").candidates().count(), 3);
    }

    #[test]
    fn the_start_is_left_for_named_addresses() {
        let all: Vec<IpAddr> = range("10.0.0.0/24").candidates().collect();
        assert_eq!(all.len(), 254);
        let named = |address: &IpAddr| number(*address) <= number(IpAddr::from([10, 0, 0, 16]));
        assert!(all[..238].iter().all(|address| !named(address)));
        assert!(all[238..].iter().all(named));
    }

    #[test]
    fn huge_ranges_are_no_trouble() {
        assert!(range("fd00::/64").candidates().next().is_some());
        assert!(range("10.96.0.0/12").contains(IpAddr::from([10, 111, 255, 1])));
    }
}
