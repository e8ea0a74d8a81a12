//! Whether the proxy is well, and the ports on which load balancers ask about single Services.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use component_base::serving::{Answer, Router, json};
use http::StatusCode;
use parking_lot::Mutex;
use proto::time::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::metrics;
use crate::model::ServiceKey;

/// How long changes may wait before the proxy counts as ill: twice upstream's period of synchronization.
const LIMIT: Duration = Duration::from_secs(60);

/// How the proxy is.
#[derive(Debug)]
pub(super) struct Health {
    waiting_since: Mutex<Option<Instant>>,
    synced: AtomicBool,
    eligible: AtomicBool,
    updated: Mutex<Time>,
}

impl Health {
    pub(super) fn new() -> Self {
        Health {
            waiting_since: Mutex::new(Some(Instant::now())),
            synced: AtomicBool::new(false),
            eligible: AtomicBool::new(true),
            updated: Mutex::new(Time::now()),
        }
    }

    /// Changes wait to be applied.
    pub(super) fn waiting(&self) {
        self.waiting_since.lock().get_or_insert_with(Instant::now);
    }

    /// All changes are applied.
    pub(super) fn synced(&self) {
        *self.waiting_since.lock() = None;
        *self.updated.lock() = Time::now();
        self.synced.store(true, Ordering::Relaxed);
    }

    /// May load balancers send traffic to this node?
    pub(super) fn set_eligible(&self, eligible: bool) {
        self.eligible.store(eligible, Ordering::Relaxed);
    }

    /// Is the proxy working?
    pub(super) fn is_healthy(&self) -> bool {
        self.synced.load(Ordering::Relaxed)
            && self.waiting_since.lock().is_none_or(|since| since.elapsed() < LIMIT)
    }

    fn answer(&self, with_node: bool) -> Answer {
        let healthy = self.is_healthy();
        let eligible = self.eligible.load(Ordering::Relaxed);
        let well = healthy && (eligible || !with_node);
        let now = Time::now().to_string();
        let updated = if well { now.clone() } else { self.updated.lock().to_string() };
        let mut body = serde_json::json!({"lastUpdated": updated, "currentTime": now, "healthy": healthy});
        if with_node {
            body["nodeEligible"] = eligible.into();
        }
        let code = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let family = if with_node { &metrics::HEALTHZ } else { &metrics::LIVEZ };
        family.with(&[code.as_str()]).inc();
        json(code, &body)
    }

    /// `/healthz` and `/livez`.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        let (healthz, livez) = (self.clone(), self.clone());
        Router::new().get("/healthz", move || healthz.answer(true)).get("/livez", move || livez.answer(false))
    }
}

/// One Service's health port.
#[derive(Debug)]
struct Port {
    service: ServiceKey,
    endpoints: Arc<AtomicUsize>,
    listeners: Vec<AbortHandle>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
    }
}

/// The health ports of Services.
#[derive(Debug)]
pub(super) struct Ports {
    health: Arc<Health>,
    open: HashMap<u16, Port>,
}

impl Ports {
    pub(super) fn new(health: Arc<Health>) -> Self {
        Ports { health, open: HashMap::new() }
    }

    /// Opens, closes and updates ports. A port that can't be opened is tried again next time.
    pub(super) fn update(&mut self, wanted: Vec<(u16, ServiceKey, usize)>, addresses: &[IpAddr]) {
        self.open.retain(|port, open| wanted.iter().any(|(p, s, _)| p == port && *s == open.service));
        for (port, service, count) in wanted {
            if let Some(open) = self.open.get(&port) {
                open.endpoints.store(count, Ordering::Relaxed);
                continue;
            }
            let endpoints = Arc::new(AtomicUsize::new(count));
            let mut opened =
                Port { service: service.clone(), endpoints: endpoints.clone(), listeners: Vec::new() };
            let mut failed = false;
            for address in addresses {
                let state = (service.clone(), endpoints.clone(), self.health.clone());
                match listen(SocketAddr::new(*address, port)) {
                    Ok(listener) => {
                        opened.listeners.push(tokio::spawn(serve(listener, state)).abort_handle())
                    }
                    Err(error) => {
                        failed = true;
                        tracing::error!(port, address = %address, err = %error, "Can't open a health check port");
                    }
                }
            }
            if !failed {
                self.open.insert(port, opened);
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

type State = (ServiceKey, Arc<AtomicUsize>, Arc<Health>);

async fn serve(listener: TcpListener, state: State) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    // A slow asker only costs itself the answer.
                    let _ = tokio::time::timeout(Duration::from_secs(5), answer(stream, state)).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Whatever is asked, this is the answer.
async fn answer(mut stream: TcpStream, (service, endpoints, health): State) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < 16 * 1024 {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    let count = endpoints.load(Ordering::Relaxed);
    let healthy = health.is_healthy();
    let status = if count > 0 && healthy { "200 OK" } else { "503 Service Unavailable" };
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {:?},\n\t\t\"name\": {:?}\n\t}},\n\t\"localEndpoints\": {count},\n\t\
         \"serviceProxyHealthy\": {healthy}\n}}",
        service.namespace, service.name
    );
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {count}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await
}
