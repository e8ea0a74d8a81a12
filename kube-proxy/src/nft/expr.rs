//! Rules: sequences of expressions on registers.
//!
//! The 16 registers of 32 bits are numbered by [`Reg`]; a longer value takes consecutive ones. Fields of a
//! concatenation start on register boundaries, the rest of a register is zero.

use super::{Attrs, Family, Verdict};

/// A register.
pub type Reg = u32;

/// NFT_REG32_00.
const REG_BASE: u32 = 8;
/// NFT_REG_VERDICT.
const REG_VERDICT: u32 = 0;

const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// The bit of `ct state new`.
const CT_NEW: u32 = 8;
/// IPS_DST_NAT.
const CT_DNAT: u32 = 32;
const FIB_ADDRTYPE: u32 = 3;
const FIB_SADDR: u32 = 1;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
/// NF_NAT_RANGE_PROTO_RANDOM_FULLY.
const FULLY_RANDOM: u32 = 16;

const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;

const SET_UPDATE: u32 = 1;
const SET_DELETE: u32 = 2;

/// A rule in the making.
#[derive(Clone, Debug)]
pub struct Rule {
    family: Family,
    pub(super) expressions: Vec<u8>,
}

impl Rule {
    /// An empty rule.
    pub fn new(family: Family) -> Self {
        Rule { family, expressions: Vec::new() }
    }

    fn add(mut self, name: &str, fill: impl FnOnce(&mut Attrs)) -> Self {
        Attrs(&mut self.expressions).nest(1, |element| {
            element.text(1, name);
            element.nest(2, fill);
        });
        self
    }

    fn meta(self, key: u32, to: Reg) -> Self {
        self.add("meta", |a| {
            a.u32(2, key);
            a.u32(1, REG_BASE + to);
        })
    }

    fn payload(self, base: u32, offset: u32, len: u32, to: Reg) -> Self {
        self.add("payload", |a| {
            a.u32(1, REG_BASE + to);
            a.u32(2, base);
            a.u32(3, offset);
            a.u32(4, len);
        })
    }

    fn compare(self, reg: Reg, op: u32, value: &[u8]) -> Self {
        self.add("cmp", |a| {
            a.u32(1, REG_BASE + reg);
            a.u32(2, op);
            a.nest(3, |d| d.bytes(1, value));
        })
    }

    /// `reg = (reg & mask) ^ xor`.
    fn bitwise(self, reg: Reg, mask: &[u8], xor: &[u8]) -> Self {
        self.add("bitwise", |a| {
            a.u32(1, REG_BASE + reg);
            a.u32(2, REG_BASE + reg);
            a.u32(3, mask.len() as u32);
            a.nest(4, |d| d.bytes(1, mask));
            a.nest(5, |d| d.bytes(1, xor));
        })
    }

    /// Registers an address takes.
    pub fn address_regs(family: Family) -> Reg {
        family.address_len() / 4
    }

    /// Loads the source address.
    pub fn source(self, to: Reg) -> Self {
        let (offset, len) = if self.family == Family::V4 { (12, 4) } else { (8, 16) };
        self.payload(1, offset, len, to)
    }

    /// Loads the destination address.
    pub fn destination(self, to: Reg) -> Self {
        let (offset, len) = if self.family == Family::V4 { (16, 4) } else { (24, 16) };
        self.payload(1, offset, len, to)
    }

    /// Loads the transport protocol and the destination port, one register each.
    pub fn protocol_and_port(self, to: Reg) -> Self {
        self.meta(META_L4PROTO, to).payload(2, 2, 2, to + 1)
    }

    /// Loads a constant.
    pub fn constant(self, to: Reg, value: &[u8]) -> Self {
        self.add("immediate", |a| {
            a.u32(1, REG_BASE + to);
            a.nest(2, |d| d.bytes(1, value));
        })
    }

    /// Loads a random number below `modulus`.
    pub fn random(self, to: Reg, modulus: u32) -> Self {
        self.add("numgen", |a| {
            a.u32(1, REG_BASE + to);
            a.u32(2, modulus);
            a.u32(3, 1);
            a.u32(4, 0);
        })
    }

    /// Goes on only if the key is (or, `inverted`, isn't) in the set.
    pub fn in_set(self, set: &str, key: Reg, inverted: bool) -> Self {
        self.add("lookup", |a| {
            a.text(1, set);
            a.u32(2, REG_BASE + key);
            if inverted {
                a.u32(5, 1);
            }
        })
    }

    /// Loads what the map holds for the key; ends the rule if there is nothing.
    pub fn map(self, map: &str, key: Reg, to: Reg) -> Self {
        self.add("lookup", |a| {
            a.text(1, map);
            a.u32(2, REG_BASE + key);
            a.u32(3, REG_BASE + to);
        })
    }

    /// Does what the verdict map says for the key, if it says anything.
    pub fn verdict_map(self, map: &str, key: Reg) -> Self {
        self.add("lookup", |a| {
            a.text(1, map);
            a.u32(2, REG_BASE + key);
            a.u32(3, REG_VERDICT);
        })
    }

    /// Writes key and data to a map for `seconds`; a key that is there keeps its data and lives on.
    pub fn remember(self, map: &str, key: Reg, data: Reg, seconds: u32) -> Self {
        self.add("dynset", |a| {
            a.text(1, map);
            a.u32(3, SET_UPDATE);
            a.u32(4, REG_BASE + key);
            a.u32(5, REG_BASE + data);
            a.u64(6, u64::from(seconds) * 1000);
        })
    }

    /// Takes a key out of a map. (What `data` holds doesn't matter, but the kernel wants one for a map.)
    pub fn forget(self, map: &str, key: Reg, data: Reg) -> Self {
        self.add("dynset", |a| {
            a.text(1, map);
            a.u32(3, SET_DELETE);
            a.u32(4, REG_BASE + key);
            a.u32(5, REG_BASE + data);
        })
    }

    /// Rewrites the destination to the address and, in the register after it, port.
    pub fn dnat(self, address: Reg) -> Self {
        let family = self.family;
        self.add("nat", |a| {
            a.u32(1, 1);
            a.u32(2, family.number().into());
            a.u32(3, REG_BASE + address);
            a.u32(5, REG_BASE + address + Self::address_regs(family));
        })
    }

    /// Rewrites the source to that of the interface it leaves by.
    pub fn masquerade(self) -> Self {
        self.add("masq", |a| a.u32(1, FULLY_RANDOM))
    }

    /// Answers that the port can't be reached.
    pub fn reject(self) -> Self {
        let code = if self.family == Family::V4 { 3 } else { 4 };
        self.add("reject", |a| {
            a.u32(1, 0);
            a.bytes(2, &[code]);
        })
    }

    /// A verdict.
    pub fn verdict(self, verdict: &Verdict) -> Self {
        self.add("immediate", |a| {
            a.u32(1, REG_VERDICT);
            a.nest(2, |d| write_verdict(d, verdict));
        })
    }

    /// Goes on only for packets that open a connection.
    pub fn new_connection(self) -> Self {
        self.ct_bits(CT_STATE, CT_NEW)
    }

    /// Goes on only for connections whose destination was rewritten.
    pub fn rewritten(self) -> Self {
        self.ct_bits(CT_STATUS, CT_DNAT)
    }

    fn ct_bits(self, key: u32, bits: u32) -> Self {
        self.add("ct", |a| {
            a.u32(2, key);
            a.u32(1, REG_BASE);
        })
        .bitwise(0, &bits.to_ne_bytes(), &[0; 4])
        .compare(0, CMP_NEQ, &[0; 4])
    }

    /// Goes on only if the source is an address of this host.
    pub fn source_is_local(self) -> Self {
        self.fib_is_local(FIB_SADDR)
    }

    /// Goes on only if the destination is an address of this host.
    pub fn destination_is_local(self) -> Self {
        self.fib_is_local(FIB_DADDR)
    }

    fn fib_is_local(self, of: u32) -> Self {
        self.add("fib", |a| {
            a.u32(3, of);
            a.u32(2, FIB_ADDRTYPE);
            a.u32(1, REG_BASE);
        })
        .compare(0, CMP_EQ, &RTN_LOCAL.to_ne_bytes())
    }

    /// Goes on only if the destination isn't a loopback address.
    pub fn destination_is_no_loopback(self) -> Self {
        match self.family {
            Family::V4 => {
                self.destination(0).bitwise(0, &[255, 0, 0, 0], &[0; 4]).compare(0, CMP_NEQ, &[127, 0, 0, 0])
            }
            Family::V6 => {
                let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
                self.destination(0).compare(0, CMP_NEQ, &loopback)
            }
        }
    }

    /// Goes on only if the source is in (or, `inverted`, outside) a network.
    pub fn source_in(self, network: &ipnet::IpNet, inverted: bool) -> Self {
        let op = if inverted { CMP_NEQ } else { CMP_EQ };
        let zero = vec![0; self.family.address_len() as usize];
        self.source(0).bitwise(0, &octets(network.netmask()), &zero).compare(
            0,
            op,
            &octets(network.network()),
        )
    }

    /// Goes on only if the packet came (or, `inverted`, didn't come) by an interface of this name, or whose
    /// name begins so.
    pub fn interface(self, name: &str, prefix: bool, inverted: bool) -> Self {
        let op = if inverted { CMP_NEQ } else { CMP_EQ };
        let mut value = name.as_bytes().to_vec();
        if !prefix {
            value.resize(16, 0);
        }
        self.meta(META_IIFNAME, 0).compare(0, op, &value)
    }

    /// Goes on only if the mark has the bit.
    pub fn marked(self, bit: u32) -> Self {
        self.meta(META_MARK, 0).bitwise(0, &bit.to_ne_bytes(), &[0; 4]).compare(0, CMP_NEQ, &[0; 4])
    }

    /// Sets the bit in the mark.
    pub fn mark(self, bit: u32) -> Self {
        self.change_mark(!bit, bit)
    }

    /// Flips the bit in the mark.
    pub fn flip_mark(self, bit: u32) -> Self {
        self.change_mark(u32::MAX, bit)
    }

    fn change_mark(self, mask: u32, xor: u32) -> Self {
        self.meta(META_MARK, 0).bitwise(0, &mask.to_ne_bytes(), &xor.to_ne_bytes()).add("meta", |a| {
            a.u32(2, META_MARK);
            a.u32(3, REG_BASE);
        })
    }
}

/// The bytes of an address.
pub(crate) fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(a) => a.octets().to_vec(),
        std::net::IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Writes a verdict as data.
pub(super) fn write_verdict(data: &mut Attrs, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Jump(chain) => (-3i32, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    data.nest(2, |a| {
        a.u32(1, code as u32);
        if let Some(chain) = chain {
            a.text(2, chain);
        }
    });
}
