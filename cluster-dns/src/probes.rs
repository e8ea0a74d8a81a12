//! The endpoints of CoreDNS's health, ready and prometheus plugins, at their ports.

use crate::server::Server;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Whether the zone has been filled once; the readiness probe's answer.
pub type Ready = Arc<AtomicBool>;

/// Serves `/health`, `/ready` and `/metrics` on `port`.
pub async fn serve(server: Arc<Server>, ready: Ready, port: u16) -> Result<()> {
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("TCP {address}"))?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (server, ready) = (server.clone(), ready.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(5), answer(&server, &ready, stream)).await;
        });
    }
}

async fn answer(server: &Server, ready: &AtomicBool, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let mut header = String::new();
    while stream.read_line(&mut header).await? > 2 {
        header.clear();
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/health") => ("200 OK", "OK".to_string()),
        Some("/ready") if ready.load(Ordering::Relaxed) => ("200 OK", "OK".to_string()),
        Some("/ready") => ("503 Service Unavailable", "kubernetes".to_string()),
        Some("/metrics") => ("200 OK", metrics(server)),
        _ => ("404 Not Found", "404 page not found\n".to_string()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

fn metrics(server: &Server) -> String {
    let counts = &server.counts;
    let mut text = String::new();
    for (name, value) in [
        ("coredns_dns_requests_total", &counts.requests),
        ("coredns_forward_requests_total", &counts.forwarded),
        ("coredns_forward_failures_total", &counts.failures),
    ] {
        let _ = writeln!(text, "# TYPE {name} counter\n{name} {}", value.load(Ordering::Relaxed));
    }
    text
}
