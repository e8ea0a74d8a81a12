//! Forgets UDP connections to endpoints that are gone. They would otherwise live as long as the client sends.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::model::UDP;
use crate::nft::{Attrs, Family, Socket, attributes};
use crate::rules::{Plan, Table};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;

/// One direction of a connection.
#[derive(Debug, PartialEq)]
struct Tuple {
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
}

/// Forgets what is stale in a family; says how much that was.
pub fn clean(socket: &Socket, table: &Table) -> io::Result<usize> {
    let live = Live::of(table.plans().map(|(_, plan)| plan));
    if live.services.is_empty() && live.node_ports.is_empty() {
        return Ok(0);
    }
    let family = table.family();
    let mut stale: Vec<Vec<u8>> = Vec::new();
    socket.ask(&request(GET, REQUEST | DUMP, family, &[]), |body| {
        let attrs = || attributes(body.get(4..).unwrap_or(&[]));
        let find = |kind| attrs().find(|(k, _)| *k == kind).map(|(_, bytes)| bytes);
        let (Some(original), Some(reply)) = (find(ORIGINAL), find(REPLY)) else { return };
        if let (Some(there), Some(back)) = (tuple(original), tuple(reply))
            && there.protocol == UDP
            && live.is_stale(there.destination, back.source)
        {
            stale.push(original.to_vec());
        }
    })?;
    for original in &stale {
        match socket.ask(&request(DELETE, REQUEST | ACK, family, original), |_| {}) {
            // It ended by itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(stale.len())
}

/// The endpoints that may answer for each address.
struct Live<'a> {
    services: HashMap<SocketAddr, HashSet<&'a SocketAddr>>,
    node_ports: HashMap<u16, HashSet<&'a SocketAddr>>,
}

impl<'a> Live<'a> {
    fn of(plans: impl Iterator<Item = &'a Plan>) -> Self {
        let mut live = Live { services: HashMap::new(), node_ports: HashMap::new() };
        // A Service without endpoints keeps its connections: there is nowhere better to go.
        for plan in plans.filter(|p| p.protocol == UDP && !p.serving.is_empty()) {
            let endpoints: HashSet<_> = plan.serving.iter().collect();
            for frontend in plan.frontends() {
                match frontend.address {
                    Some(ip) => live.services.insert(SocketAddr::new(ip, frontend.port), endpoints.clone()),
                    None => live.node_ports.insert(frontend.port, endpoints.clone()),
                };
            }
        }
        live
    }

    fn is_stale(&self, to: SocketAddr, from: SocketAddr) -> bool {
        let known = self.services.get(&to).or_else(|| self.node_ports.get(&to.port()));
        known.is_some_and(|endpoints| !endpoints.contains(&from))
    }
}

fn request(kind: u16, flags: u16, family: Family, original: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&(SUBSYSTEM << 8 | kind).to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[family.number(), 0, 0, 0]);
    if !original.is_empty() {
        Attrs(&mut bytes).bytes(ORIGINAL | 0x8000, original);
    }
    let len = (bytes.len() as u32).to_ne_bytes();
    bytes[..4].copy_from_slice(&len);
    bytes
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let mut addresses: [Option<IpAddr>; 2] = [None; 2];
    let mut ports = [0u16; 2];
    let mut protocol = None;
    for (kind, content) in attributes(bytes) {
        for (field, value) in attributes(content) {
            match (kind, field) {
                (1, 1 | 2) => addresses[field as usize - 1] = Some(<[u8; 4]>::try_from(value).ok()?.into()),
                (1, 3 | 4) => addresses[field as usize - 3] = Some(<[u8; 16]>::try_from(value).ok()?.into()),
                (2, 1) => protocol = value.first().copied(),
                (2, 2 | 3) => ports[field as usize - 2] = u16::from_be_bytes(value.try_into().ok()?),
                _ => {}
            }
        }
    }
    let [source, destination] = addresses;
    Some(Tuple {
        protocol: protocol?,
        source: SocketAddr::new(source?, ports[0]),
        destination: SocketAddr::new(destination?, ports[1]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_read_and_rubbish_is_not() {
        let mut bytes = Vec::new();
        let mut attrs = Attrs(&mut bytes);
        attrs.nest(1, |a| {
            a.bytes(1, &[10, 0, 0, 1]);
            a.bytes(2, &[10, 96, 0, 10]);
        });
        attrs.nest(2, |a| {
            a.bytes(1, &[17]);
            a.bytes(2, &4000u16.to_be_bytes());
            a.bytes(3, &53u16.to_be_bytes());
        });
        let read = tuple(&bytes).unwrap();
        assert_eq!((read.protocol, read.destination), (17, "10.96.0.10:53".parse().unwrap()));
        for end in 0..bytes.len() {
            let _ = tuple(&bytes[..end]);
        }
    }
}
