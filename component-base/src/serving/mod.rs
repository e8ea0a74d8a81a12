//! The ports of a daemon: the secure one with TLS and delegated authentication and authorization, and plain ones
//! for health and metrics where upstream has them.

mod auth;
mod client_ca;
mod lookup;
mod tls;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use proto::status::Status;
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub use auth::{Attributes, AuthOptions, Delegated, RequestHeaders, User, verb_of};
pub use client_ca::ClientCa;
pub use tls::{TlsError, TlsOptions};

use crate::flags::Parsed;
use crate::health::{Health, indicators, reset_indicators};
use crate::tasks::Tasks;
use crate::{client, metrics};

/// What handlers answer with: a body in one piece or streamed.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
/// An answer.
pub type Answer = Response<Body>;
/// Answers requests. The [`User`] is among the request's extensions on the secure port.
pub type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Send + Sync>;

/// An answer of plain text.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(code, "text/plain; charset=utf-8", text)
}

/// An answer in JSON.
pub fn json(code: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(code, "application/json", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// An answer of some media type.
pub fn answer(code: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

fn exposition(text: String) -> Answer {
    answer(StatusCode::OK, metrics::CONTENT_TYPE, text)
}

fn status(status: &Status) -> Answer {
    json(StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), status)
}

/// Finds the handler of a path: an exact one, else the longest prefix that ends in `/`.
#[derive(Clone, Default)]
pub struct Router {
    exact: BTreeMap<String, Handler>,
    prefixes: BTreeMap<String, Handler>,
}

impl Router {
    /// No paths.
    pub fn new() -> Self {
        Self::default()
    }

    /// What every daemon serves: health, metrics, and the version.
    pub fn standard(health: &Health) -> Self {
        let mut router = Self::new().get("/metrics", || exposition(metrics::render())).resettable(
            "/metrics/slis",
            indicators,
            reset_indicators,
        );
        for endpoint in ["/healthz", "/livez", "/readyz"] {
            let health = health.clone();
            let handler: Handler = Arc::new(move |request| {
                let uri = request.uri();
                let found = health.answer(uri.path(), uri.query().unwrap_or_default());
                Box::pin(std::future::ready(match found {
                    Some(found) => text(
                        StatusCode::from_u16(found.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                        found.body,
                    ),
                    None => not_found(),
                }))
            });
            router = router.route(endpoint, handler.clone()).route(&format!("{endpoint}/"), handler);
        }
        router
    }

    /// Serves a path, or all below it if it ends in `/`.
    pub fn route(mut self, path: &str, handler: Handler) -> Self {
        let paths = if path.ends_with('/') { &mut self.prefixes } else { &mut self.exact };
        paths.insert(path.to_owned(), handler);
        self
    }

    /// Serves a path whose answer depends on nothing in the request.
    pub fn get(self, path: &str, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        self.route(path, Arc::new(move |_| Box::pin(std::future::ready(answer()))))
    }

    /// Serves `/configz`: the configuration in effect, by name.
    pub fn configz(self, name: &str, config: &impl Serialize) -> Self {
        let shown = serde_json::json!({ name: config });
        self.get("/configz", move || json(StatusCode::OK, &shown))
    }

    /// Serves `/metrics` so that a DELETE resets them.
    pub fn resettable_metrics(self) -> Self {
        self.resettable("/metrics", metrics::render, metrics::reset)
    }

    /// Serves metrics that a DELETE resets.
    fn resettable(self, path: &str, render: fn() -> String, reset: fn()) -> Self {
        let handler = move |request: Request<Incoming>| -> Answer {
            if request.method() != Method::DELETE {
                return exposition(render());
            }
            reset();
            text(StatusCode::OK, metrics::RESET)
        };
        self.route(path, Arc::new(move |request| Box::pin(std::future::ready(handler(request)))))
    }

    fn find(&self, path: &str) -> Option<&Handler> {
        let longest = || {
            self.prefixes.iter().rev().find(|(prefix, _)| path.starts_with(prefix.as_str())).map(|(_, h)| h)
        };
        self.exact.get(path).or_else(longest)
    }

    async fn handle(&self, request: Request<Incoming>) -> Answer {
        match self.find(request.uri().path()) {
            Some(handler) => handler(request).await,
            None => not_found(),
        }
    }
}

fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Where and how to serve the secure port.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 means that nothing is served.
    pub port: u16,
    /// Certificates and protocol versions.
    pub tls: TlsOptions,
    /// Share the port with other processes.
    pub reuse_port: bool,
    /// Speak HTTP/1.1 only.
    pub http1_only: bool,
    /// Streams per HTTP/2 connection.
    pub max_streams: u32,
}

impl Options {
    /// As the flags of [`SECURE_SERVING`](crate::flags::groups::SECURE_SERVING) and `--secure-port` say.
    pub fn from_flags(flags: &Parsed) -> anyhow::Result<Self> {
        let port = flags.int("secure-port");
        let Ok(port) = u16::try_from(port) else {
            anyhow::bail!(
                "--secure-port {port} must be between 0 and 65535, inclusive. 0 for turning off secure port"
            );
        };
        Ok(Self {
            address: flags.str("bind-address").parse().unwrap_or(IpAddr::from([0, 0, 0, 0])),
            port,
            tls: TlsOptions::from_flags(flags)?,
            reuse_port: flags.bool("permit-port-sharing"),
            http1_only: flags.bool("disable-http2-serving"),
            max_streams: u32::try_from(flags.int("http2-max-streams-per-connection"))
                .ok()
                .filter(|n| *n > 0)
                .unwrap_or(250),
        })
    }
}

/// Serves the secure port as the shared flag groups say; does nothing if the port is 0.
pub async fn start(tasks: &Tasks, flags: &Parsed, router: Router) -> anyhow::Result<()> {
    let options = Options::from_flags(flags)?;
    if options.port == 0 {
        return Ok(());
    }
    let delegated = lookup::from_flags(flags, tasks).await?;
    serve_secure(tasks, options, delegated, router).map(drop)
}

/// Serves a secure port; returns the address it got.
///
/// Requests are authorized by their path and method unless the `delegated` says otherwise.
pub fn serve_secure(
    tasks: &Tasks,
    options: Options,
    delegated: Delegated,
    router: Router,
) -> anyhow::Result<SocketAddr> {
    let acceptor = tls::Acceptor::new(options.tls.clone(), options.address, !options.http1_only)?;
    let listener = listen(SocketAddr::new(options.address, options.port), options.reuse_port)?;
    let address = listener.local_addr()?;
    tracing::info!(address = %address, "Serving securely");
    let (delegated, router) = (Arc::new(delegated), Arc::new(router));
    accept(tasks, "secure port", listener, move |stream, _peer, tasks| {
        let (acceptor, delegated, router) = (acceptor.clone(), delegated.clone(), router.clone());
        let max_streams = options.max_streams;
        Box::pin(async move {
            let Ok(stream) = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream)).await?
            else {
                return Ok(());
            };
            let peer = Arc::new(delegated.identify(stream.get_ref().1.peer_certificates()));
            let handle = move |request: Request<Incoming>| {
                let (delegated, router, peer) = (delegated.clone(), router.clone(), peer.clone());
                async move { Ok::<_, Infallible>(guarded(&delegated, &router, &peer, request).await) }
            };
            serve(TokioIo::new(stream), handle, max_streams, &tasks).await
        })
    });
    Ok(address)
}

async fn guarded(
    delegated: &Delegated,
    router: &Router,
    peer: &auth::Peer,
    mut request: Request<Incoming>,
) -> Answer {
    let user = match delegated.authenticate(peer, request.headers()).await {
        Ok(user) => user,
        Err(why) => {
            tracing::debug!(err = why, path = request.uri().path(), "Unable to authenticate the request");
            let mut refusal = status(&Status::unauthorized("Unauthorized"));
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refusal;
        }
    };
    let attributes = delegated.attributes(&request);
    match delegated.authorize_any(&user, &attributes).await {
        Ok(()) => {
            request.extensions_mut().insert(user);
            router.handle(request).await
        }
        Err(refusal) => status(&refusal),
    }
}

/// Serves a plain port; returns the address it got.
pub fn serve_plain(tasks: &Tasks, address: SocketAddr, router: Router) -> io::Result<SocketAddr> {
    let listener = listen(address, false)?;
    let address = listener.local_addr()?;
    let router = Arc::new(router);
    accept(tasks, "plain port", listener, move |stream, _peer, tasks| {
        let router = router.clone();
        Box::pin(async move {
            let handle = move |request: Request<Incoming>| {
                let router = router.clone();
                async move { Ok::<_, Infallible>(router.handle(request).await) }
            };
            serve(TokioIo::new(stream), handle, 250, &tasks).await
        })
    });
    Ok(address)
}

fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("failed to listen on {address}: {e}"));
    socket.bind(address).map_err(named)?;
    socket.listen(1024).map_err(named)
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn accept<F>(tasks: &Tasks, name: &str, listener: TcpListener, handle: F)
where
    F: Fn(TcpStream, SocketAddr, Tasks) -> BoxFuture<'static, Outcome> + Send + 'static,
{
    let inner = tasks.clone();
    tasks.spawn(name, async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let connection = handle(stream, peer, inner.clone());
                    tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::trace!(peer = %peer, err = client::describe(&*error), "Connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors, or the peer has gone already: neither is the listener's end.
                    tracing::warn!(err = %error, "Accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
}

/// Upstream's limit of a request's headers, in bytes.
const HEADER_BYTES: u32 = 1 << 20;
/// How many of them HTTP/1 may have, for all of which there is room while they are read. Upstream counts bytes alone; a user's
/// groups come one by one.
const HEADERS: usize = 1000;

/// Takes headers as long as upstream's servers do; longer ones get status 431.
pub fn limit_headers(builder: &mut auto::Builder<TokioExecutor>) {
    builder.http1().max_buf_size(HEADER_BYTES as usize).max_headers(HEADERS);
    builder.http2().max_header_list_size(HEADER_BYTES);
}

async fn serve<I, F, Fut>(stream: I, handle: F, max_streams: u32, tasks: &Tasks) -> Outcome
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Answer, Infallible>> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    limit_headers(&mut builder);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(32));
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(max_streams);
    let connection = builder.serve_connection_with_upgrades(stream, service_fn(handle));
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = tasks.stopping() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a request with so many headers of such a length gets.
    async fn answered(count: usize, length: usize, http2: bool) -> Option<StatusCode> {
        let (client, server) = tokio::io::duplex(1 << 16);
        let tasks = Tasks::new();
        tokio::spawn(async move {
            let handle = |_| async { Ok::<_, Infallible>(text(StatusCode::OK, "")) };
            serve(TokioIo::new(server), handle, 10, &tasks).await
        });
        let mut request = Request::get("http://localhost/").header("host", "localhost");
        for at in 0..count {
            request = request.header(format!("x-{at}"), "x".repeat(length));
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let response = match http2 {
            true => {
                let executor = TokioExecutor::new();
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(executor, TokioIo::new(client)).await.ok()?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
            false => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(client)).await.ok()?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
        };
        response.ok().map(|response| response.status())
    }

    #[tokio::test]
    async fn headers_are_as_long_as_upstreams() {
        for http2 in [false, true] {
            assert_eq!(answered(500, 200, http2).await, Some(StatusCode::OK), "{http2}");
            assert_eq!(answered(1, 500_000, http2).await, Some(StatusCode::OK), "{http2}");
            let refused = answered(20, 100_000, http2).await;
            assert_ne!(refused, Some(StatusCode::OK), "{http2}");
        }
        let refused = Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(answered(5000, 1, false).await, refused);
        assert_eq!(answered(20, 60_000, true).await, refused);
    }

    #[test]
    fn paths_find_the_closest_handler() {
        let mark = |code: u16| move || text(StatusCode::from_u16(code).unwrap(), "");
        let router =
            Router::new().get("/logs/", mark(201)).get("/logs/x/", mark(202)).get("/logs/x", mark(203));
        let code = |path: &str| router.find(path).is_some();
        assert!(code("/logs/a") && code("/logs/x") && code("/logs/x/y"));
        assert!(!code("/log") && !code("/logs"));
    }
}
