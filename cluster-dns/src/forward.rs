//! Asking the node's own resolvers about what is not the cluster's.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const PATIENCE: Duration = Duration::from_secs(2);

/// The servers of a resolv.conf, asked in turn.
pub struct Forwarder {
    servers: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Forwarder {
    /// Reads the `nameserver` lines of `path`; none at all means that nothing outside can be resolved.
    pub fn from_file(path: &Path) -> std::io::Result<Forwarder> {
        Ok(Self::new(parse(&std::fs::read_to_string(path)?)))
    }

    /// Asks `servers`.
    pub fn new(servers: Vec<SocketAddr>) -> Forwarder {
        Forwarder { servers, next: AtomicUsize::new(0) }
    }

    /// Passes a query on as it is; `None` when no server answers in time.
    pub async fn ask(&self, packet: &[u8], udp: bool) -> Option<Vec<u8>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for turn in 0..self.servers.len().min(3) {
            let server = self.servers[(first + turn) % self.servers.len()];
            let attempt = async {
                match udp {
                    true => ask_udp(server, packet).await,
                    false => ask_tcp(server, packet).await,
                }
            };
            if let Ok(Ok(bytes)) = tokio::time::timeout(PATIENCE, attempt).await {
                return Some(bytes);
            }
        }
        None
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

async fn ask_udp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; 65535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything with another id isn't the answer to this question.
        if buffer.get(..2) == packet.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(packet).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resolv_conf() {
        let text = "# comment\nsearch example.org\nnameserver 192.0.2.1\n  nameserver   ::1  \nnameserver nonsense\n";
        assert_eq!(parse(text), ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse::<SocketAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn a_silent_server_is_passed_over() {
        let answering = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let forwarder = Forwarder::new(vec![silent.local_addr().unwrap(), answering.local_addr().unwrap()]);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, client) = answering.recv_from(&mut buffer).await.unwrap();
            answering.send_to(&buffer[..length], client).await.unwrap();
        });
        assert_eq!(forwarder.ask(b"\0\x01hello", true).await.as_deref(), Some(&b"\0\x01hello"[..]));
    }
}
