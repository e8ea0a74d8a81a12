//! The DNS server itself: UDP and TCP, forwarding, and the probes' endpoints.

use crate::answer::{Answer, Authority, answer, reply};
use crate::forward::Forwarder;
use crate::zone::Zone;
use anyhow::{Context, Result};
use hickory_proto::op::{Message, Query, ResponseCode};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// What a client without EDNS can take over UDP, in bytes (RFC 1035).
const UDP_PLAIN: u16 = 512;
/// The most that is sent over UDP to anyone, in bytes: what passes a common network unfragmented.
const UDP_MOST: u16 = 1232;
/// An idle TCP connection is closed after this.
const TCP_IDLE: Duration = Duration::from_secs(8);
/// Queries and connections worked on at once; more wait.
const AT_ONCE: usize = 1000;

/// Everything that answering needs.
pub struct Server {
    pub zone: Arc<RwLock<Zone>>,
    pub authority: Authority,
    pub forwarder: Forwarder,
    pub counts: Counts,
}

/// Responses by kind, for /metrics.
#[derive(Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub forwarded: AtomicU64,
    pub failures: AtomicU64,
}

impl Server {
    /// Answers one packet; `None` for what isn't a DNS query at all (an answer to it could make two servers talk for ever).
    pub async fn respond(&self, packet: &[u8], udp: bool) -> Option<Vec<u8>> {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let request = match Message::from_vec(packet) {
            Ok(request) if request.metadata.message_type == hickory_proto::op::MessageType::Query => request,
            Ok(_) => return None,
            Err(_) => return malformed(packet),
        };
        let decided =
            answer(&self.zone.read().unwrap_or_else(PoisonError::into_inner), &self.authority, &request);
        let mut response = match decided {
            Answer::Done(message) => message,
            Answer::Forward => {
                self.counts.forwarded.fetch_add(1, Ordering::Relaxed);
                match self.forwarder.ask(packet, udp).await {
                    Some(bytes) => return Some(bytes),
                    None => self.failed(&request),
                }
            }
            Answer::Chase(message, target) => self.chase(message, &request, target).await,
        };
        if let Some(edns) = &request.edns {
            let mut own = hickory_proto::op::Edns::new();
            own.set_max_payload(UDP_MOST);
            own.set_dnssec_ok(edns.flags().dnssec_ok);
            response.set_edns(own);
        }
        let bytes = response.to_vec().ok()?;
        let limit =
            request.edns.as_ref().map_or(UDP_PLAIN, |edns| edns.max_payload().clamp(UDP_PLAIN, UDP_MOST));
        match udp && bytes.len() > usize::from(limit) {
            true => response.truncate().to_vec().ok(),
            false => Some(bytes),
        }
    }

    fn failed(&self, request: &Message) -> Message {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        let mut message = reply(request, ResponseCode::ServFail);
        message.metadata.authoritative = false;
        message
    }

    /// Adds the addresses of an alias's target, found in the zone or outside; without them the alias alone is the answer.
    async fn chase(
        &self,
        mut message: Message,
        request: &Message,
        target: hickory_proto::rr::Name,
    ) -> Message {
        let Some(kind) = request.queries.first().map(Query::query_type) else { return message };
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(target, kind));
        let decided =
            answer(&self.zone.read().unwrap_or_else(PoisonError::into_inner), &self.authority, &question);
        match decided {
            Answer::Done(found) => message.answers.extend(found.answers),
            Answer::Chase(..) => {}
            Answer::Forward => {
                if let Ok(packet) = question.to_vec()
                    && let Some(bytes) = self.forwarder.ask(&packet, false).await
                    && let Ok(found) = Message::from_vec(&bytes)
                {
                    message.answers.extend(found.answers);
                }
            }
        }
        message
    }
}

/// FORMERR for a packet whose header can be read.
fn malformed(packet: &[u8]) -> Option<Vec<u8>> {
    let &[high, low, flags, ..] = packet else { return None };
    if flags & 0x80 != 0 || packet.len() < 12 {
        return None;
    }
    let code = hickory_proto::op::OpCode::Query;
    Message::error_msg(u16::from_be_bytes([high, low]), code, ResponseCode::FormErr).to_vec().ok()
}

/// Serves UDP until the socket fails.
pub async fn udp(server: Arc<Server>, address: SocketAddr) -> Result<()> {
    let socket = Arc::new(UdpSocket::bind(address).await.with_context(|| format!("UDP {address}"))?);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut buffer = vec![0; 4096];
    loop {
        let permit = room.clone().acquire_owned().await?;
        // An ICMP error of an earlier answer is reported here; it concerns that client alone.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let (server, socket, packet) = (server.clone(), socket.clone(), buffer[..length].to_vec());
        tokio::spawn(async move {
            if let Some(bytes) = server.respond(&packet, true).await {
                let _ = socket.send_to(&bytes, client).await;
            }
            drop(permit);
        });
    }
}

/// Serves TCP until the listener fails.
pub async fn tcp(server: Arc<Server>, address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("TCP {address}"))?;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let permit = room.clone().acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: wait for connections to end rather than spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let server = server.clone();
        tokio::spawn(async move {
            let _ = connection(&server, stream).await;
            drop(permit);
        });
    }
}

async fn connection(server: &Server, mut stream: TcpStream) -> Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut packet = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut packet)).await??;
        let Some(bytes) = server.respond(&packet, false).await else { return Ok(()) };
        stream.write_all(&u16::try_from(bytes.len())?.to_be_bytes()).await?;
        stream.write_all(&bytes).await?;
    }
}
