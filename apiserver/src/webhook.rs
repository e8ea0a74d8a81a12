//! Calls webhooks (of admission, of conversion) over HTTPS. Connections are kept: one HTTP/2 connection per webhook, or idle
//! HTTP/1.1 ones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component_base::tls::{self, Verifier};
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use proto::view::{at, text_at};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::registry::Local;

/// Answers larger than this are refused.
const MAX_ANSWER: usize = 3 * 1024 * 1024;

type Body = Full<Bytes>;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// At a URL.
    Url(String),
    /// Behind a Service of this cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The path to ask for.
        path: String,
        /// Its port.
        port: u16,
    },
}

/// A webhook as connections see it.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Where it is.
    pub(crate) address: Address,
    /// Certificates in PEM that it is trusted by; empty: the system's.
    pub(crate) ca_bundle: Vec<u8>,
    /// How long a call may take.
    pub(crate) timeout: Duration,
    /// Whether the webhook is told how long it may take.
    pub(crate) tell_timeout: bool,
}

impl Remote {
    /// Reads a WebhookClientConfig.
    pub(crate) fn parse(config: &Value, timeout: Duration, tell_timeout: bool) -> Remote {
        let service = at(config, &["service"]);
        let text = |field: &str| text_at(service, &[field]).to_owned();
        let address = match config.get("url").and_then(Value::as_str) {
            Some(url) => Address::Url(url.to_owned()),
            None => Address::Service {
                namespace: text("namespace"),
                name: text("name"),
                path: text("path"),
                port: at(service, &["port"]).as_u64().and_then(|port| port.try_into().ok()).unwrap_or(443),
            },
        };
        let ca_bundle = STANDARD.decode(text_at(config, &["caBundle"])).unwrap_or_default();
        Remote { address, ca_bundle, timeout, tell_timeout }
    }
}

/// A webhook's address and trust: what connections are shared by.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: Address,
    ca_bundle: Vec<u8>,
}

#[derive(Default)]
struct Connections {
    shared: Option<http2::SendRequest<Body>>,
    idle: Vec<http1::SendRequest<Body>>,
}

/// The caller of webhooks.
#[derive(Default)]
pub(crate) struct Client {
    connections: Mutex<HashMap<Key, Connections>>,
}

/// Where to connect and what to ask for.
struct Destination {
    host: String,
    port: u16,
    /// Dialled instead of the host, if set.
    dial: Option<SocketAddr>,
    uri: Uri,
}

impl Client {
    /// Posts the review; answers with the response's body.
    pub(crate) async fn call(
        &self,
        local: &Arc<dyn Local>,
        webhook: &Remote,
        review: &Value,
    ) -> Result<Value, String> {
        let destination = destination(local, webhook).await?;
        let url = destination.uri.to_string();
        let explain = |error: String| format!("Post \"{url}\": {error}");
        let body = Bytes::from(review.to_string());
        let exchange = self.exchange(webhook, &destination, body);
        match tokio::time::timeout(webhook.timeout, exchange).await {
            Err(_) => Err(explain("context deadline exceeded".to_owned())),
            Ok(Err(error)) => Err(explain(error)),
            Ok(Ok((status, body))) => read_answer(status, &body),
        }
    }

    async fn exchange(
        &self,
        webhook: &Remote,
        destination: &Destination,
        body: Bytes,
    ) -> Result<(u16, Bytes), String> {
        let key = Key { address: webhook.address.clone(), ca_bundle: webhook.ca_bundle.clone() };
        // A kept connection may have been closed by the other side: then a new one gets the request.
        if let Some(response) = self.send_on_kept(&key, destination, body.clone()).await {
            return response;
        }
        match connect(webhook, destination).await? {
            Connection::Http2(mut sender) => {
                self.connections.lock().entry(key).or_default().shared = Some(sender.clone());
                let response = sender.send_request(request(destination, body, false)?).await;
                collect(response.map_err(|error| error.to_string())?).await
            }
            Connection::Http1(mut sender) => {
                let response = sender.send_request(request(destination, body, true)?).await;
                let answer = collect(response.map_err(|error| error.to_string())?).await?;
                self.keep(key, sender);
                Ok(answer)
            }
        }
    }

    async fn send_on_kept(
        &self,
        key: &Key,
        destination: &Destination,
        body: Bytes,
    ) -> Option<Result<(u16, Bytes), String>> {
        let (shared, idle) = {
            let mut all = self.connections.lock();
            let connections = all.get_mut(key)?;
            (connections.shared.clone().filter(|sender| !sender.is_closed()), connections.idle.pop())
        };
        if let Some(mut sender) = shared {
            sender.ready().await.ok()?;
            let response = sender.send_request(request(destination, body, false).ok()?).await.ok()?;
            return Some(collect(response).await);
        }
        let mut sender = idle?;
        sender.ready().await.ok()?;
        let response = sender.send_request(request(destination, body, true).ok()?).await.ok()?;
        let answer = collect(response).await;
        if answer.is_ok() {
            self.keep(key.clone(), sender);
        }
        Some(answer)
    }

    fn keep(&self, key: Key, sender: http1::SendRequest<Body>) {
        let mut all = self.connections.lock();
        let idle = &mut all.entry(key).or_default().idle;
        idle.retain(|sender| !sender.is_closed());
        idle.push(sender);
    }
}

async fn destination(local: &Arc<dyn Local>, webhook: &Remote) -> Result<Destination, String> {
    let query = match webhook.tell_timeout {
        true => format!("timeout={}s", webhook.timeout.as_secs()),
        false => String::new(),
    };
    match &webhook.address {
        Address::Url(url) => {
            let separator = match (query.is_empty(), url.contains('?')) {
                (true, _) => "",
                (false, true) => "&",
                (false, false) => "?",
            };
            let uri: Uri =
                format!("{url}{separator}{query}").parse().map_err(|_| format!("invalid url {url}"))?;
            let host = uri.host().ok_or("url has no host")?.trim_matches(['[', ']']).to_owned();
            Ok(Destination { host, port: uri.port_u16().unwrap_or(443), dial: None, uri })
        }
        Address::Service { namespace, name, path, port } => {
            let host = format!("{name}.{namespace}.svc");
            let slash = if path.starts_with('/') { "" } else { "/" };
            let mark = if query.is_empty() { "" } else { "?" };
            let uri = format!("https://{host}:{port}{slash}{path}{mark}{query}");
            let uri: Uri = uri.parse().map_err(|_| format!("invalid path {path}"))?;
            let dial = service_address(local, namespace, name, *port).await;
            let dial = dial.map_err(|error| format!("Post \"{uri}\": {error}"))?;
            Ok(Destination { host, port: *port, dial: Some(dial), uri })
        }
    }
}

/// The cluster address of a Service, or the address of what it is an alias of.
async fn service_address(
    local: &Arc<dyn Local>,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<SocketAddr, String> {
    let service = match local.cached("", "services", namespace, name) {
        Some(service) => Ok(service),
        None => local.get("", "services", namespace, name).await,
    };
    let service = service.map_err(|_| format!("service \"{name}\" not found"))?;
    let spec = at(&service, &["spec"]);
    if text_at(spec, &["type"]) == "ExternalName" {
        let alias = text_at(spec, &["externalName"]);
        let mut found = tokio::net::lookup_host((alias, port)).await.map_err(|error| error.to_string())?;
        return found.next().ok_or_else(|| format!("no address for {alias}"));
    }
    let mut ports = at(spec, &["ports"]).as_array().into_iter().flatten();
    if !ports.any(|own| at(own, &["port"]) == u64::from(port)) {
        return Err(format!("no service port {port} found for service \"{name}\""));
    }
    let address = text_at(spec, &["clusterIP"]);
    let address = address.parse().map_err(|_| format!("service \"{name}\" has no cluster address"))?;
    Ok(SocketAddr::new(address, port))
}

enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

async fn connect(webhook: &Remote, destination: &Destination) -> Result<Connection, String> {
    let tcp = match destination.dial {
        Some(address) => TcpStream::connect(address).await.map_err(|e| format!("dial tcp {address}: {e}"))?,
        None => {
            let address = (destination.host.as_str(), destination.port);
            TcpStream::connect(address).await.map_err(|e| format!("dial tcp {}: {e}", destination.host))?
        }
    };
    let _ = tcp.set_nodelay(true);
    let config = tls_config(&webhook.ca_bundle)?;
    let name = ServerName::try_from(destination.host.clone()).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let tls = tls.map_err(|error| format!("tls: failed to verify certificate: {error}"))?;
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(tls);
    let broken = |error: hyper::Error| error.to_string();
    if is_http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(Connection::Http2(sender))
    } else {
        let (sender, connection) = http1::handshake(io).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(Connection::Http1(sender))
    }
}

/// The configuration of a client that trusts whom these certificates in PEM vouch for; none: the system's.
pub(crate) fn tls_config(ca_bundle: &[u8]) -> Result<ClientConfig, String> {
    let roots = match ca_bundle {
        [] => tls::system(),
        bundle => CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok).collect(),
    };
    let unusable = |why: String| format!("unable to load root certificates: {why}");
    if roots.is_empty() && !ca_bundle.is_empty() {
        return Err(unusable("unable to parse bytes as PEM block".to_owned()));
    }
    let verifier = Verifier::vouched_for(roots).map_err(|error| unusable(error.to_string()))?;
    let mut config = tls::client(verifier).map_err(|error| error.to_string())?.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn request(destination: &Destination, body: Bytes, is_http1: bool) -> Result<Request<Body>, String> {
    let builder = Request::post(if is_http1 {
        destination.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()
    } else {
        destination.uri.to_string()
    });
    let builder = if is_http1 {
        let authority = destination.uri.authority().map_or("", |authority| authority.as_str());
        builder.header(header::HOST, authority)
    } else {
        builder
    };
    builder
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(body))
        .map_err(|error| error.to_string())
}

async fn collect(response: http::Response<Incoming>) -> Result<(u16, Bytes), String> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    body.map(|body| (status, body.to_bytes())).map_err(|error| error.to_string())
}

fn read_answer(status: u16, body: &[u8]) -> Result<Value, String> {
    if !(200..300).contains(&status) {
        let said = String::from_utf8_lossy(body);
        return Err(match status {
            404 => "the server could not find the requested resource".to_owned(),
            _ => format!(
                "an error on the server ({:?}) has prevented the request from succeeding",
                said.trim()
            ),
        });
    }
    serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))
}
