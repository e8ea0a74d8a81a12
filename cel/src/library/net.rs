//! Addresses and networks: Kubernetes' `ip` and `cidr` libraries, with the messages of Go's `netip`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proto::content::network_of;
use proto::field::quote;

use super::{Result, opaque, text};
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::{Opaque, Value, downcast};

#[derive(Debug, PartialEq)]
struct Ip(IpAddr);

#[derive(Debug, PartialEq)]
struct Cidr(IpAddr, u8);

impl Opaque for Ip {
    fn ty(&self) -> Type {
        Type::opaque("net.IP")
    }

    fn equals(&self, other: &dyn Opaque) -> Option<bool> {
        downcast::<Ip>(other).map(|other| self == other)
    }

    fn size(&self) -> Option<u64> {
        Some(if self.0.is_ipv4() { 4 } else { 16 })
    }
}

impl Opaque for Cidr {
    fn ty(&self) -> Type {
        Type::opaque("net.CIDR")
    }

    fn equals(&self, other: &dyn Opaque) -> Option<bool> {
        downcast::<Cidr>(other).map(|other| self == other)
    }

    fn size(&self) -> Option<u64> {
        Some(u64::from(self.1).div_ceil(8))
    }
}

pub(super) fn install(library: &mut Library) {
    let ip = || Type::opaque("net.IP");
    let cidr = || Type::opaque("net.CIDR");
    library.named_type("net.IP", ip());
    library.named_type("net.CIDR", cidr());
    library.global("ip", "string_to_ip", &[Type::String], ip(), |args| {
        Ok(Value::opaque(Ip(address(text(args, 0)?)?)))
    });
    library.member("family", "ip_family", &[ip()], Type::Int, |args| {
        Ok(Value::Int(if opaque::<Ip>(args, 0)?.0.is_ipv4() { 4 } else { 6 }))
    });
    library.global("ip.isCanonical", "ip_is_canonical", &[Type::String], Type::Bool, |args| {
        let text = text(args, 0)?;
        Ok(Value::Bool(address(text)?.to_string() == text))
    });
    library.member("isUnspecified", "ip_is_unspecified", &[ip()], Type::Bool, |args| {
        Ok(Value::Bool(opaque::<Ip>(args, 0)?.0.is_unspecified()))
    });
    library.member("isLoopback", "ip_is_loopback", &[ip()], Type::Bool, |args| {
        Ok(Value::Bool(opaque::<Ip>(args, 0)?.0.is_loopback()))
    });
    library.member("isLinkLocalMulticast", "ip_is_link_local_multicast", &[ip()], Type::Bool, |args| {
        Ok(Value::Bool(match opaque::<Ip>(args, 0)?.0 {
            IpAddr::V4(ip) => ip.octets().starts_with(&[224, 0, 0]),
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }))
    });
    library.member("isLinkLocalUnicast", "ip_is_link_local_unicast", &[ip()], Type::Bool, |args| {
        Ok(Value::Bool(is_link_local(opaque::<Ip>(args, 0)?.0)))
    });
    library.member("isGlobalUnicast", "ip_is_global_unicast", &[ip()], Type::Bool, |args| {
        let ip = opaque::<Ip>(args, 0)?.0;
        let special = ip.is_unspecified()
            || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
            || ip.is_loopback()
            || ip.is_multicast()
            || is_link_local(ip);
        Ok(Value::Bool(!special))
    });
    library.global("isIP", "is_ip", &[Type::String], Type::Bool, |args| {
        Ok(Value::Bool(address(text(args, 0)?).is_ok()))
    });
    library.global("string", "ip_to_string", &[ip()], Type::String, |args| {
        Ok(Value::string(opaque::<Ip>(args, 0)?.0.to_string()))
    });
    library.global("cidr", "string_to_cidr", &[Type::String], cidr(), |args| {
        Ok(Value::opaque(network_for(text(args, 0)?)?))
    });
    library.member("containsIP", "cidr_contains_ip_string", &[cidr(), Type::String], Type::Bool, contains_ip);
    library.member("containsIP", "cidr_contains_ip_ip", &[cidr(), ip()], Type::Bool, contains_ip);
    library.member(
        "containsCIDR",
        "cidr_contains_cidr_string",
        &[cidr(), Type::String],
        Type::Bool,
        contains_cidr,
    );
    library.member("containsCIDR", "cidr_contains_cidr", &[cidr(), cidr()], Type::Bool, contains_cidr);
    library
        .member("ip", "cidr_ip", &[cidr()], ip(), |args| Ok(Value::opaque(Ip(opaque::<Cidr>(args, 0)?.0))));
    library.member("prefixLength", "cidr_prefix_length", &[cidr()], Type::Int, |args| {
        Ok(Value::Int(opaque::<Cidr>(args, 0)?.1.into()))
    });
    library.member("masked", "cidr_masked", &[cidr()], cidr(), |args| {
        let Cidr(address, bits) = opaque::<Cidr>(args, 0)?;
        Ok(Value::opaque(Cidr(network_of(*address, *bits), *bits)))
    });
    library.global("isCIDR", "is_cidr", &[Type::String], Type::Bool, |args| {
        Ok(Value::Bool(network(text(args, 0)?).is_ok()))
    });
    library.global("string", "cidr_to_string", &[cidr()], Type::String, |args| {
        let Cidr(address, bits) = opaque::<Cidr>(args, 0)?;
        Ok(Value::string(format!("{address}/{bits}")))
    });
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

fn contains_ip<'a>(args: &[Value<'a>]) -> Result<'a> {
    let Cidr(base, bits) = opaque::<Cidr>(args, 0)?;
    let ip = match text(args, 1) {
        Ok(text) => address(text)?,
        Err(_) => opaque::<Ip>(args, 1)?.0,
    };
    Ok(Value::Bool(same_family(*base, ip) && network_of(ip, *bits) == network_of(*base, *bits)))
}

fn contains_cidr<'a>(args: &[Value<'a>]) -> Result<'a> {
    let Cidr(base, bits) = opaque::<Cidr>(args, 0)?;
    let parsed;
    let Cidr(other, other_bits) = match text(args, 1) {
        Ok(text) => {
            parsed = network_for(text)?;
            &parsed
        }
        Err(_) => opaque::<Cidr>(args, 1)?,
    };
    let within = same_family(*base, *other)
        && bits <= other_bits
        && network_of(*other, *bits) == network_of(*base, *bits);
    Ok(Value::Bool(within))
}

/// Reads an address. Zones and IPv4 addresses within IPv6 are refused.
fn address(raw: &str) -> std::result::Result<IpAddr, Error> {
    let shown = quote(raw);
    if raw.contains(':')
        && let Some((address, zone)) = raw.split_once('%')
        && !zone.is_empty()
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(Error::new(format!("IP address {shown} with zone value is not allowed")));
    }
    let address = parse(raw).map_err(|error| {
        Error::new(format!("IP Address {shown} parse error during conversion from string: {error}"))
    })?;
    match address {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            Err(Error::new(format!("IPv4-mapped IPv6 address {shown} is not allowed")))
        }
        address => Ok(address),
    }
}

fn network_for(raw: &str) -> std::result::Result<Cidr, Error> {
    network(raw).map_err(|error| {
        Error::new(format!("network address parse error during conversion from string: {error}"))
    })
}

fn network(raw: &str) -> std::result::Result<Cidr, String> {
    let failed = |reason: String| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({}): {reason}",
            quote(raw)
        )
    };
    let (address, bits) = raw.rsplit_once('/').ok_or_else(|| failed("no '/'".into()))?;
    let address = parse(address).map_err(failed)?;
    let number = bits.bytes().all(|c| c.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let number = bits.parse::<u32>().ok().filter(|_| number);
    let number = number.ok_or_else(|| failed(format!("bad bits after slash: {}", quote(bits))))?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    if number > max {
        return Err(failed("prefix length out of range".into()));
    }
    match address {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {} is not allowed", quote(raw)))
        }
        address => Ok(Cidr(address, number as u8)),
    }
}

/// Reads an address; the error is Go's.
fn parse(raw: &str) -> std::result::Result<IpAddr, String> {
    let failed = |reason: &str, at: &str| match at {
        "" => format!("ParseAddr({}): {reason}", quote(raw)),
        at => format!("ParseAddr({}): {reason} (at {})", quote(raw), quote(at)),
    };
    match raw.chars().find(|c| matches!(c, '.' | ':' | '%')) {
        Some('.') => v4(raw).map_err(|(reason, at)| failed(reason, at)),
        Some(':') => {
            let parsed = raw.parse::<Ipv6Addr>();
            parsed.map(IpAddr::V6).map_err(|_| {
                let (reason, at) = v6_reason(raw);
                failed(reason, at)
            })
        }
        Some(_) => Err(failed("missing IPv6 address", "")),
        None => Err(failed("unable to parse IP", "")),
    }
}

fn v4(raw: &str) -> std::result::Result<IpAddr, (&'static str, &str)> {
    let mut fields = [0u8; 4];
    let (mut position, mut value, mut digits) = (0, 0u32, 0);
    for (at, c) in raw.char_indices() {
        match c {
            '0'..='9' => {
                if digits == 1 && value == 0 {
                    return Err(("IPv4 field has octet with leading zero", ""));
                }
                value = value * 10 + c as u32 - '0' as u32;
                digits += 1;
                if value > 255 {
                    return Err(("IPv4 field has value >255", ""));
                }
            }
            '.' => {
                if digits == 0 || at + 1 == raw.len() {
                    return Err(("IPv4 field must have at least one digit", &raw[at..]));
                }
                if position == 3 {
                    return Err(("IPv4 address too long", ""));
                }
                fields[position] = value as u8;
                (position, value, digits) = (position + 1, 0, 0);
            }
            _ => return Err(("unexpected character", &raw[at..])),
        }
    }
    if position < 3 {
        return Err(("IPv4 address too short", ""));
    }
    fields[3] = value as u8;
    Ok(IpAddr::V4(fields.into()))
}

/// Why a text is no IPv6 address, and where.
fn v6_reason(raw: &str) -> (&'static str, &str) {
    let (raw, zone) = raw.split_once('%').map_or((raw, None), |(address, zone)| (address, Some(zone)));
    if zone == Some("") {
        return ("zone must be a non-empty string", "");
    }
    let (mut rest, mut groups, mut ellipsis) = (raw, 0, false);
    if let Some(after) = rest.strip_prefix("::") {
        (rest, ellipsis) = (after, true);
    }
    while !rest.is_empty() && groups < 8 {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        if end > 4 {
            return ("each group must have 4 or less digits", rest);
        }
        if end == 0 {
            return ("each colon-separated field must have at least one digit", rest);
        }
        if rest[end..].starts_with('.') {
            return ("embedded IPv4 address must replace the final 2 fields of the address", rest);
        }
        groups += 1;
        let after = &rest[end..];
        if after.is_empty() {
            rest = after;
            break;
        }
        let Some(next) = after.strip_prefix(':') else { return ("unexpected character, want colon", after) };
        if next.is_empty() {
            return ("colon must be followed by more characters", after);
        }
        rest = next;
        if let Some(next) = rest.strip_prefix(':') {
            if ellipsis {
                return ("multiple :: in address", rest);
            }
            (rest, ellipsis) = (next, true);
        }
    }
    match () {
        () if !rest.is_empty() => ("trailing garbage after address", rest),
        () if groups < 8 && !ellipsis => ("address string too short", ""),
        () => ("the :: must expand to at least one field of zeros", ""),
    }
}
