//! Reads documents of issuers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::webhook;

/// How long a document may take to come.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Documents larger than this are refused.
const DOCUMENT_MAX: usize = 3 * 1024 * 1024;
/// How often a request is sent elsewhere, at most.
const REDIRECTS_MAX: usize = 10;

/// A client that trusts an issuer's authority.
pub(super) struct Client {
    tls: Arc<ClientConfig>,
    /// What is asked for at the second address instead of the first.
    rewrite: Option<(String, String)>,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// How Go shows it: the status and the body.
    pub(super) fn shown(&self) -> String {
        format!("{}: {}", status_text(self.status), String::from_utf8_lossy(&self.body))
    }

    /// Reads JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let kind = self
                .headers
                .get(header::CONTENT_TYPE)
                .and_then(|kind| kind.to_str().ok())
                .unwrap_or_default();
            match kind.split(';').next().unwrap_or_default().trim() {
                "application/json" => {
                    format!("got Content-Type = application/json, but could not unmarshal as JSON: {error}")
                }
                _ => {
                    format!("expected Content-Type = application/json, got {}: {error}", super::quoted(kind))
                }
            }
        })
    }
}

/// A status with its reason.
pub(super) fn status_text(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default())
}

impl Client {
    /// A client that trusts whom these certificates in PEM vouch for; none: the system's.
    pub(super) fn new(authority: &str, rewrite: Option<(String, String)>) -> Result<Client, String> {
        let mut tls = webhook::tls_config(authority.as_bytes())?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Client { tls: Arc::new(tls), rewrite })
    }

    /// Reads what is at a URL, and shows this token there if there is one.
    pub(super) async fn get(&self, url: &str, token: &str) -> Result<Answer, String> {
        let read = tokio::time::timeout(TIMEOUT, self.follow(url, token)).await;
        let explain = |error: String| format!("Get {}: {error}", super::quoted(url));
        read.unwrap_or_else(|_| Err("context deadline exceeded".to_owned())).map_err(explain)
    }

    async fn follow(&self, url: &str, token: &str) -> Result<Answer, String> {
        let mut url = url.to_owned();
        let origin = origin_of(&url).to_owned();
        for _ in 0..=REDIRECTS_MAX {
            // A token is for whom it was meant for alone.
            let token = if origin_of(&url) == origin { token } else { "" };
            let answer = self.ask(&url, token).await?;
            let location = answer.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
            match (answer.status.as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => url = resolve(&url, location),
                _ => return Ok(answer),
            }
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects"))
    }

    async fn ask(&self, url: &str, token: &str) -> Result<Answer, String> {
        let url = match &self.rewrite {
            Some((from, to)) if from == url => to,
            _ => url,
        };
        let uri: Uri = url.parse().map_err(|_| format!("invalid url {url}"))?;
        let host = uri.host().ok_or("no Host in request URL")?.trim_matches(['[', ']']).to_owned();
        let is_plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            other => {
                return Err(format!(
                    "unsupported protocol scheme {}",
                    super::quoted(other.unwrap_or_default())
                ));
            }
        };
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let tcp = TcpStream::connect((host.as_str(), port)).await;
        let tcp = tcp.map_err(|error| format!("dial tcp {host}:{port}: {error}"))?;
        if is_plain {
            return exchange(tcp, &uri, token).await;
        }
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(self.tls.clone()).connect(name, tcp).await;
        exchange(tls.map_err(|error| format!("tls: {error}"))?, &uri, token).await
    }
}

async fn exchange<S>(stream: S, uri: &Uri, token: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the sender.
    tokio::spawn(connection);
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, host.rsplit('@').next().unwrap_or(host))
        .header(header::USER_AGENT, "kube-apiserver");
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = Limited::new(response.into_body(), DOCUMENT_MAX).collect().await;
    let body = body.map_err(|error| format!("unable to read response body: {error}"))?.to_bytes();
    Ok(Answer { status, headers, body })
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find(['/', '?']).map_or(url, |end| &url[..start + end])
}

/// Where a redirect leads to.
fn resolve(from: &str, location: &str) -> String {
    let origin = origin_of(from);
    if location.contains("://") {
        return location.to_owned();
    }
    if location.starts_with("//") {
        return format!("{}:{location}", from.split(':').next().unwrap_or("https"));
    }
    if location.starts_with('/') {
        return format!("{origin}{location}");
    }
    let path = from[origin.len()..].split('?').next().unwrap_or_default();
    let directory = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{origin}{directory}{location}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_on() {
        for (location, to) in [
            ("https://b/c", "https://b/c"),
            ("//b/c", "https://b/c"),
            ("/c", "https://a:1/c"),
            ("c?d", "https://a:1/x/c?d"),
        ] {
            assert_eq!(resolve("https://a:1/x/y?z", location), to);
        }
        assert_eq!(resolve("https://a", "c"), "https://a/c");
    }

    #[tokio::test]
    async fn what_is_no_address_is_told() {
        let client = Client::new("", None).unwrap();
        for url in ["", "x", "ftp://a/b", "https://", "/path", "https://\u{1f600}"] {
            assert!(client.get(url, "").await.is_err(), "{url}");
        }
        assert!(Client::new("garbage", None).is_err());
    }
}
