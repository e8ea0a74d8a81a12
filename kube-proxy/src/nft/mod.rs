//! Talks to nf_tables over netlink: encodes what kube-proxy's tables need, and commits it as one transaction.
//!
//! Only what is used here is encoded. Numbers are those of `linux/netfilter/nf_tables.h`.

mod batch;
mod expr;
mod socket;
mod wire;

pub use batch::{Batch, Data, Element, Hook, Set, flags};
pub(crate) use expr::octets;
pub use expr::{Reg, Rule};
pub use socket::{Error, Socket};
pub(crate) use wire::{Attrs, attributes};

/// An address family with a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// NFPROTO_IPV4 or NFPROTO_IPV6 (the same numbers as AF_INET and AF_INET6).
    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Bytes in an address.
    pub fn address_len(self) -> u32 {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It is dropped.
    Drop,
    /// It goes on in another chain, and comes back.
    Jump(String),
    /// It goes on in another chain for good.
    Goto(String),
}
