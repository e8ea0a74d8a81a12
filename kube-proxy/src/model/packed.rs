//! Lists of endpoints, packed: they are most of what is kept.

use std::net::IpAddr;

/// One endpoint in a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Item {
    /// Up to seven of them.
    pub(super) flags: u8,
    pub(super) address: IpAddr,
    pub(super) number: u16,
}

/// Of each item a byte of flags, the four or sixteen bytes of the address, and the number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Packed(Box<[u8]>);

/// The flag of items whose address is IPv6.
const LONG: u8 = 0x80;

impl Packed {
    pub(super) fn iter(&self) -> impl Iterator<Item = Item> + use<'_> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (flags, tail) = rest.split_first()?;
            let (address, tail): (IpAddr, _) = if flags & LONG == 0 {
                let (octets, tail) = tail.split_first_chunk::<4>()?;
                ((*octets).into(), tail)
            } else {
                let (octets, tail) = tail.split_first_chunk::<16>()?;
                ((*octets).into(), tail)
            };
            let (number, tail) = tail.split_first_chunk()?;
            rest = tail;
            Some(Item { flags: flags & !LONG, address, number: u16::from_ne_bytes(*number) })
        })
    }
}

impl FromIterator<Item> for Packed {
    fn from_iter<I: IntoIterator<Item = Item>>(items: I) -> Self {
        let mut bytes = Vec::new();
        for Item { flags, address, number } in items {
            match address {
                IpAddr::V4(address) => {
                    bytes.push(flags & !LONG);
                    bytes.extend_from_slice(&address.octets());
                }
                IpAddr::V6(address) => {
                    bytes.push(flags | LONG);
                    bytes.extend_from_slice(&address.octets());
                }
            }
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        // A copy, since one in place may keep its room to grow.
        Packed(bytes.as_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_can_be_read() {
        let item = |flags, address: &str, number| Item { flags, address: address.parse().unwrap(), number };
        let items = [item(1, "10.0.0.1", 80), item(0x7f, "fd00::1", u16::MAX), item(0, "10.0.0.2", 0)];
        let packed: Packed = items.into_iter().collect();
        assert_eq!(packed.iter().collect::<Vec<_>>(), items);
        assert_eq!(Packed::default().iter().count(), 0);
    }
}
