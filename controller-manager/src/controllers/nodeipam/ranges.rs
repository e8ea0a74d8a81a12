//! Equal parts of a range of addresses, taken and given back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// A range cut into subnets of one size.
#[derive(Debug)]
pub(super) struct Ranges {
    whole: IpNet,
    prefix: u8,
    count: u128,
    taken: BTreeSet<u128>,
    /// Where to look next: parts given back rest for a while.
    next: u128,
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// Subnets are numbered with at most this many bits.
const MAX_BITS: u8 = 16;

impl Ranges {
    /// Cuts `whole` into subnets with this prefix length.
    pub(super) fn new(whole: IpNet, prefix: u8) -> Result<Self, String> {
        let whole = whole.trunc();
        let invalid = prefix < whole.prefix_len() || prefix > whole.max_prefix_len();
        if invalid || (whole.addr().is_ipv6() && prefix - whole.prefix_len() > MAX_BITS) {
            return Err(format!(
                "New CIDR set failed; the node CIDR size is too big (mask {prefix} of {whole})"
            ));
        }
        let count = 1_u128 << (prefix - whole.prefix_len());
        Ok(Ranges { whole, prefix, count, taken: BTreeSet::new(), next: 0 })
    }

    fn part_bits(&self) -> u32 {
        u32::from(self.whole.max_prefix_len() - self.prefix)
    }

    fn part(&self, index: u128) -> Option<IpNet> {
        let start = number(self.whole.network()) + index.checked_shl(self.part_bits())?;
        let ip = match self.whole.addr() {
            IpAddr::V4(_) => IpAddr::from(u32::try_from(start).ok()?.to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(start.to_be_bytes()),
        };
        IpNet::new(ip, self.prefix).ok()
    }

    /// The numbers of the parts that overlap with `cidr`.
    fn overlap(&self, cidr: &IpNet) -> Option<(u128, u128)> {
        let same_family = self.whole.addr().is_ipv4() == cidr.addr().is_ipv4();
        if !same_family || !(self.whole.contains(cidr) || cidr.contains(&self.whole)) {
            return None;
        }
        let index = |ip: IpAddr| {
            let offset = number(ip).saturating_sub(number(self.whole.network()));
            (offset.checked_shr(self.part_bits()).unwrap_or(0)).min(self.count - 1)
        };
        Some((index(cidr.network()), index(cidr.broadcast())))
    }

    /// Marks the parts that overlap with `cidr` as taken.
    pub(super) fn occupy(&mut self, cidr: &IpNet) {
        if let Some((first, last)) = self.overlap(cidr) {
            self.taken.extend(first..=last);
        }
    }

    /// Marks them as free.
    pub(super) fn release(&mut self, cidr: &IpNet) {
        if let Some((first, last)) = self.overlap(cidr) {
            self.taken.retain(|index| !(first..=last).contains(index));
        }
    }

    /// Takes a free part.
    pub(super) fn take(&mut self) -> Option<IpNet> {
        if self.taken.len() as u128 >= self.count {
            return None;
        }
        let free = (self.next..self.count).chain(0..self.next).find(|i| !self.taken.contains(i))?;
        self.taken.insert(free);
        self.next = (free + 1) % self.count;
        self.part(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn parts_are_taken_in_turn_and_given_back() {
        let mut ranges = Ranges::new(net("10.0.0.0/22"), 24).unwrap();
        ranges.occupy(&net("10.0.1.0/24"));
        assert_eq!(ranges.take(), Some(net("10.0.0.0/24")));
        assert_eq!(ranges.take(), Some(net("10.0.2.0/24")));
        ranges.release(&net("10.0.0.0/24"));
        assert_eq!(ranges.take(), Some(net("10.0.3.0/24")));
        assert_eq!(ranges.take(), Some(net("10.0.0.0/24")));
        assert_eq!(ranges.take(), None);
    }

    #[test]
    fn other_ranges_and_families_do_not_matter() {
        let mut ranges = Ranges::new(net("fd00::/48"), 64).unwrap();
        ranges.occupy(&net("10.0.0.0/8"));
        ranges.occupy(&net("fd01::/48"));
        assert_eq!(ranges.take(), Some(net("fd00::/64")));
        let mut ranges = Ranges::new(net("10.0.0.0/24"), 26).unwrap();
        ranges.occupy(&net("10.0.0.0/8"));
        assert_eq!(ranges.take(), None);
        assert!(Ranges::new(net("10.0.0.0/24"), 20).is_err());
    }
}
