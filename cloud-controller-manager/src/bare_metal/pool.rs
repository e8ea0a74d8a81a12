//! Pools of addresses, and the choice of one.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use proto::meta::Key;

/// Addresses from first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    last: u32,
}

impl Range {
    fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&u32::from(address))
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        (self.first..=self.last).map(Ipv4Addr::from)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", Ipv4Addr::from(self.first), Ipv4Addr::from(self.last))
    }
}

impl FromStr for Range {
    type Err = String;

    /// Reads `first-last`, a CIDR or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| {
            text.trim()
                .parse::<Ipv4Addr>()
                .map(u32::from)
                .map_err(|_| format!("{text:?} is not an IPv4 address, range or CIDR"))
        };
        let range = if let Ok(net) = text.trim().parse::<Ipv4Net>() {
            Self { first: net.network().into(), last: net.broadcast().into() }
        } else if let Some((first, last)) = text.split_once('-') {
            Self { first: address(first)?, last: address(last)? }
        } else {
            let one = address(text)?;
            Self { first: one, last: one }
        };
        if range.last < range.first {
            return Err(format!("{text:?}: the last address is below the first"));
        }
        Ok(range)
    }
}

/// Why no address can be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Not an address.
    #[error("spec.loadBalancerIP {0:?} is not an IPv4 address")]
    NotAddress(String),
    /// Not in any pool, or not in the one named.
    #[error("{address} is not in {pool}")]
    Elsewhere {
        /// The address asked for.
        address: Ipv4Addr,
        /// Where it isn't.
        pool: String,
    },
    /// Another service's.
    #[error("{address} is in use by service {user}")]
    Used {
        /// The address asked for.
        address: Ipv4Addr,
        /// Whose it is.
        user: Key,
    },
    /// No such pool.
    #[error("there is no address pool {0:?}")]
    NoPool(String),
    /// All taken.
    #[error("no address left in {0}")]
    Exhausted(String),
}

/// What a service asks for.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// One address, as text.
    pub asked: Option<&'a str>,
    /// One pool.
    pub pool: Option<&'a str>,
    /// The address it has, which it keeps if that may be.
    pub has: Option<Ipv4Addr>,
}

#[derive(Debug, Clone)]
struct Pool {
    name: String,
    ranges: Vec<Range>,
    auto_assign: bool,
}

/// All pools, in the order configured.
#[derive(Debug, Clone, Default)]
pub struct Pools(Vec<Pool>);

impl Pools {
    /// Adds a pool; pools share no address.
    pub fn add(&mut self, name: &str, ranges: Vec<Range>, auto_assign: bool) -> Result<(), String> {
        for other in &self.0 {
            if other.name == name {
                return Err("the name is taken".into());
            }
            for range in &ranges {
                if other.ranges.iter().any(|r| r.first <= range.last && range.first <= r.last) {
                    return Err(format!("{range} overlaps pool {:?}", other.name));
                }
            }
        }
        self.0.push(Pool { name: name.into(), ranges, auto_assign });
        Ok(())
    }

    /// Chooses an address. `user` says which other service has one.
    pub fn choose<'k>(
        &self,
        request: &Request<'_>,
        user: impl Fn(Ipv4Addr) -> Option<&'k Key>,
    ) -> Result<Ipv4Addr, PoolError> {
        let named = match request.pool {
            Some(name) => Some(
                self.0
                    .iter()
                    .find(|pool| pool.name == name)
                    .ok_or_else(|| PoolError::NoPool(name.to_owned()))?,
            ),
            None => None,
        };
        let place =
            || named.map_or("any address pool".to_owned(), |pool| format!("address pool {:?}", pool.name));
        let admitted = |pool: &&Pool| named.is_none_or(|named| named.name == pool.name);
        let within = |address: Ipv4Addr, pools: &[&Pool]| {
            pools.iter().any(|pool| pool.ranges.iter().any(|r| r.contains(address)))
        };
        let pools: Vec<&Pool> = self.0.iter().filter(admitted).collect();
        if let Some(text) = request.asked {
            let address = text.parse().map_err(|_| PoolError::NotAddress(text.to_owned()))?;
            if !within(address, &pools) {
                return Err(PoolError::Elsewhere { address, pool: place() });
            }
            return match user(address) {
                Some(user) => Err(PoolError::Used { address, user: user.clone() }),
                None => Ok(address),
            };
        }
        let pools: Vec<&Pool> =
            pools.into_iter().filter(|pool| pool.auto_assign || named.is_some()).collect();
        if let Some(address) =
            request.has.filter(|address| within(*address, &pools) && user(*address).is_none())
        {
            return Ok(address);
        }
        let mut all = pools.iter().flat_map(|pool| &pool.ranges).flat_map(Range::addresses);
        all.find(|address| user(*address).is_none()).ok_or_else(|| PoolError::Exhausted(place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> Pools {
        let mut pools = Pools::default();
        pools.add("main", vec!["10.0.0.1-10.0.0.3".parse().unwrap()], true).unwrap();
        pools.add("kept", vec!["10.9.0.0/31".parse().unwrap()], false).unwrap();
        pools
    }

    #[test]
    fn the_choice_follows_the_request() {
        let (pools, other) = (pools(), Key::new("d", "other"));
        let taken = |address: Ipv4Addr| (address == Ipv4Addr::new(10, 0, 0, 1)).then_some(&other);
        let choose = |asked, pool, has: Option<[u8; 4]>| {
            let request = Request { asked, pool, has: has.map(Ipv4Addr::from) };
            pools.choose(&request, taken).map(|address| address.to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(choose(None, None, None).unwrap(), "10.0.0.2");
        assert_eq!(choose(None, None, Some([10, 0, 0, 3])).unwrap(), "10.0.0.3");
        assert_eq!(choose(None, None, Some([10, 0, 0, 1])).unwrap(), "10.0.0.2");
        assert_eq!(choose(None, None, Some([10, 9, 0, 1])).unwrap(), "10.0.0.2");
        assert_eq!(choose(None, Some("kept"), None).unwrap(), "10.9.0.0");
        assert_eq!(choose(Some("10.9.0.1"), None, None).unwrap(), "10.9.0.1");
        assert_eq!(
            choose(Some("10.0.0.1"), None, None).unwrap_err(),
            "10.0.0.1 is in use by service d/other"
        );
        assert_eq!(choose(Some("10.7.0.1"), None, None).unwrap_err(), "10.7.0.1 is not in any address pool");
        assert_eq!(
            choose(Some("10.0.0.2"), Some("kept"), None).unwrap_err(),
            "10.0.0.2 is not in address pool \"kept\""
        );
        assert_eq!(
            choose(Some("fe80::1"), None, None).unwrap_err(),
            "spec.loadBalancerIP \"fe80::1\" is not an IPv4 address"
        );
        assert_eq!(choose(None, Some("x"), None).unwrap_err(), "there is no address pool \"x\"");
        let full = pools.choose(&Request::default(), |_| Some(&other)).unwrap_err();
        assert_eq!(full.to_string(), "no address left in any address pool");
    }
}
