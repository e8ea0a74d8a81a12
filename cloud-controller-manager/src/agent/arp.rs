//! ARP packets for IPv4 over Ethernet, with their Ethernet headers.

use std::net::Ipv4Addr;

/// The length of a packet, the least that Ethernet carries not counted.
pub(super) const LENGTH: usize = 42;
const BROADCAST: [u8; 6] = [0xff; 6];
/// Ethernet's number for ARP.
pub(super) const ETHER_TYPE: u16 = 0x0806;

/// What a packet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Request = 1,
    Reply = 2,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arp {
    to: [u8; 6],
    operation: Operation,
    sender_mac: [u8; 6],
    pub(super) sender_ip: Ipv4Addr,
    target_mac: [u8; 6],
    pub(super) target_ip: Ipv4Addr,
}

impl Arp {
    /// Tells everyone where an address is.
    pub(super) fn gratuitous(operation: Operation, mac: [u8; 6], address: Ipv4Addr) -> Self {
        let target_mac = if operation == Operation::Request { [0; 6] } else { BROADCAST };
        Self { to: BROADCAST, operation, sender_mac: mac, sender_ip: address, target_mac, target_ip: address }
    }

    /// Whether it asks where an address is, which an announcement for oneself doesn't.
    pub(super) fn is_question(&self) -> bool {
        self.operation == Operation::Request && self.sender_ip != self.target_ip
    }

    /// Whether it says, in whatever way, that its sender's address is at another interface than this one.
    pub(super) fn is_claim_by_other(&self, mac: [u8; 6]) -> bool {
        self.sender_mac != mac
    }

    /// The answer that the address is here.
    pub(super) fn answer(&self, mac: [u8; 6]) -> Self {
        Self {
            to: self.sender_mac,
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Reads a frame; none if it isn't such a packet.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let frame = frame.get(..LENGTH)?;
        // Ethernet type ARP, hardware Ethernet, protocol IPv4, lengths 6 and 4.
        if frame.get(12..20)? != [0x08, 0x06, 0, 1, 0x08, 0, 6, 4] {
            return None;
        }
        let operation = match frame.get(20..22)? {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let mac = |at: usize| <[u8; 6]>::try_from(frame.get(at..at + 6)?).ok();
        let ip = |at: usize| <[u8; 4]>::try_from(frame.get(at..at + 4)?).ok().map(Ipv4Addr::from);
        Some(Self {
            to: mac(0)?,
            operation,
            sender_mac: mac(22)?,
            sender_ip: ip(28)?,
            target_mac: mac(32)?,
            target_ip: ip(38)?,
        })
    }

    /// The frame.
    pub(super) fn bytes(&self) -> [u8; LENGTH] {
        let mut frame = [0; LENGTH];
        frame[0..6].copy_from_slice(&self.to);
        frame[6..12].copy_from_slice(&self.sender_mac);
        frame[12..20].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4]);
        frame[21] = self.operation as u8;
        frame[22..28].copy_from_slice(&self.sender_mac);
        frame[28..32].copy_from_slice(&self.sender_ip.octets());
        frame[32..38].copy_from_slice(&self.target_mac);
        frame[38..42].copy_from_slice(&self.target_ip.octets());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const YOU: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_question_is_answered_to_whom_it_came_from() {
        let question = Arp {
            to: BROADCAST,
            operation: Operation::Request,
            sender_mac: YOU,
            sender_ip: Ipv4Addr::new(10, 0, 0, 2),
            target_mac: [0; 6],
            target_ip: Ipv4Addr::new(10, 0, 0, 200),
        };
        let read = Arp::parse(&question.bytes()).unwrap();
        assert_eq!(read, question);
        assert!(read.is_question());
        let answer = read.answer(ME);
        assert_eq!(
            answer.bytes(),
            [
                2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0,
                200, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2
            ]
        );
        assert!(!Arp::gratuitous(Operation::Request, ME, answer.sender_ip).is_question());
    }

    #[test]
    fn nothing_else_is_read() {
        let good = Arp::gratuitous(Operation::Reply, ME, Ipv4Addr::LOCALHOST).bytes();
        for length in 0..LENGTH {
            assert!(Arp::parse(&good[..length]).is_none());
        }
        for at in 12..22 {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert!(Arp::parse(&bad).is_none(), "byte {at}");
        }
    }
}
