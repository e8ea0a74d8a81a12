//! HTTP requests into pods, for probes and hooks: any certificate is accepted, as pods make their own.

use crate::api::Container;
use bytes::Bytes;
use component_base::tls::{self, Verifier};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::pki_types::ServerName;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::net::TcpStream;

/// Of an answer so much is read.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The beginning of the body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be made from the action.
    #[error("{0}")]
    Invalid(String),
    /// The other side didn't answer; the text is that of Go's client.
    #[error("Get {url:?}: {message}")]
    Failed {
        /// What was asked for.
        url: String,
        /// What went wrong.
        message: String,
        /// It speaks plain HTTP on a port where TLS was tried.
        plain: bool,
    },
}

/// Finds the number of a port given by number or by name.
pub fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => *n,
        IntOrString::String(name) => match name.parse() {
            Ok(n) => n,
            Err(_) => {
                let mut ports = container.ports.iter().flatten();
                let found = ports.find(|p| p.name.as_deref() == Some(name));
                found.map(|p| p.container_port).ok_or_else(|| format!("port {name:?} not found"))?
            }
        },
    };
    u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Joins host and port.
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Asks what the action says, following redirects to the same host. `agent` is what comes before the
/// version in the user agent: `kube-probe` or `kube-lifecycle`.
pub async fn get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    agent: &str,
    timeout: Duration,
    force_plain: bool,
) -> Result<Answer, Error> {
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    let port = resolve_port(&action.port, container).map_err(Error::Invalid)?;
    let scheme = match action.scheme.as_deref() {
        Some("HTTPS") if !force_plain => "https",
        _ => "http",
    };
    let path = action.path.as_deref().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url = format!("{scheme}://{}{slash}{}", join(host, port), path.replace(' ', "%20"));
    let work = async {
        for _ in 0..MAX_REDIRECTS {
            let uri: Uri = url.parse().map_err(|e| Error::Invalid(format!("parse {url:?}: {e}")))?;
            let (answer, location) = once(&uri, action, agent)
                .await
                .map_err(|(message, plain)| Error::Failed { url: url.clone(), message, plain })?;
            match location.and_then(|to| redirect(&uri, &to)) {
                Some(next) if (300..400).contains(&answer.code) => url = next,
                _ => return Ok(answer),
            }
        }
        Err(Error::Failed { url: url.clone(), message: "stopped after 10 redirects".into(), plain: false })
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Failed {
            url: format!("{scheme}://{}{slash}{path}", join(host, port)),
            message: "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into(),
            plain: false,
        }),
    }
}

/// Where a redirect leads, if it stays on the host.
fn redirect(from: &Uri, to: &str) -> Option<String> {
    let target: Uri = to.parse().ok()?;
    match target.host() {
        None => {
            let base = format!("{}://{}", from.scheme_str()?, from.authority()?);
            Some(if to.starts_with('/') { format!("{base}{to}") } else { format!("{base}/{to}") })
        }
        Some(host) if Some(host) == from.host() => Some(to.to_string()),
        Some(_) => None,
    }
}

type Failure = (String, bool);

async fn once(uri: &Uri, action: &HTTPGetAction, agent: &str) -> Result<(Answer, Option<String>), Failure> {
    let plain_error = |e: String| (e, false);
    let tls = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let tcp = TcpStream::connect((bare, port))
        .await
        .map_err(|e| plain_error(format!("dial tcp {}: connect: {}", join(bare, port), io_text(&e))))?;
    let request = request(uri, action, agent).map_err(plain_error)?;
    let response = if tls {
        let name = ServerName::try_from(bare.to_string()).map_err(|e| plain_error(e.to_string()))?;
        let stream = CONNECTOR.connect(name, tcp).await.map_err(|e| {
            if e.to_string().contains("InvalidContentType") {
                ("http: server gave HTTP response to HTTPS client".to_string(), true)
            } else {
                (e.to_string(), false)
            }
        })?;
        send(TokioIo::new(stream), request).await
    } else {
        send(TokioIo::new(tcp), request).await
    };
    response.map_err(plain_error)
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(Answer, Option<String>), String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let text = |e: hyper::Error| if e.is_incomplete_message() { "EOF".to_string() } else { e.to_string() };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(text)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(text)?;
        let code = response.status().as_u16();
        let location =
            response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_string);
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(text)?.into_data() {
                bytes.extend_from_slice(&data);
            }
            if bytes.len() >= MAX_BODY {
                bytes.truncate(MAX_BODY);
                break;
            }
        }
        Ok((Answer { code, body: String::from_utf8_lossy(&bytes).into_owned() }, location))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    // The connection does the work while the exchange waits; it may end first, when all has been read.
    tokio::select! {
        biased;
        result = &mut exchange => result,
        _ = &mut connection => exchange.await,
    }
}

fn request(uri: &Uri, action: &HTTPGetAction, agent: &str) -> Result<Request<Empty<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::get(path).body(Empty::new()).map_err(|e| e.to_string())?;
    let headers = request.headers_mut();
    let mut host = uri.authority().map(ToString::to_string).unwrap_or_default();
    for h in action.http_headers.iter().flatten() {
        if h.name.eq_ignore_ascii_case("host") {
            host = h.value.clone();
            continue;
        }
        let name = header::HeaderName::from_bytes(h.name.as_bytes()).map_err(|e| e.to_string())?;
        headers.append(name, HeaderValue::from_str(&h.value).map_err(|e| e.to_string())?);
    }
    headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|e| e.to_string())?);
    let default =
        |headers: &mut http::HeaderMap, name: header::HeaderName, value: String| match headers.get(&name) {
            // A header set to nothing is a wish to send none.
            Some(v) if v.is_empty() => {
                headers.remove(name);
            }
            Some(_) => {}
            None => {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(name, value);
                }
            }
        };
    default(headers, header::USER_AGENT, format!("{agent}/1.36"));
    default(headers, header::ACCEPT, "*/*".into());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// The words Go has for the usual failures.
pub fn io_text(e: &std::io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection refused".into(),
        Some(libc::EHOSTUNREACH) => "no route to host".into(),
        Some(libc::ENETUNREACH) => "network is unreachable".into(),
        Some(libc::ETIMEDOUT) => "connection timed out".into(),
        Some(libc::ECONNRESET) => "connection reset by peer".into(),
        _ => e.to_string(),
    }
}

static CONNECTOR: LazyLock<tokio_rustls::TlsConnector> = LazyLock::new(|| {
    // The versions are those that the provider was built with, so this can't fail.
    let builder = match tls::client(Verifier::anyone()) {
        Ok(builder) => builder,
        Err(e) => unreachable!("TLS versions: {e}"),
    };
    tokio_rustls::TlsConnector::from(Arc::new(builder.with_no_client_auth()))
});
