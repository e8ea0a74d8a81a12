//! Connections to the API server: TLS, one HTTP/2 connection shared by all requests, renewal.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::RwLock;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{Config, ConfigError, Source};
use crate::tls::Verifier;

/// The body of every request.
pub(super) type Body = Full<Bytes>;

/// The connections of one client.
pub(super) struct Transport {
    config: Config,
    current: RwLock<Arc<Current>>,
}

/// The connections made from one reading of the files.
struct Current {
    pool: Pool<Connector, Body>,
    stamps: Vec<Option<SystemTime>>,
}

impl Transport {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { current: RwLock::new(Arc::new(connect(config)?)), config: config.clone() })
    }

    /// The connections to use for the next request.
    pub(super) fn pool(&self) -> Pool<Connector, Body> {
        self.current.read().pool.clone()
    }

    /// Reads certificates again; requests from now on use new connections.
    pub(super) fn reload(&self) -> Result<(), ConfigError> {
        let fresh = connect(&self.config)?;
        *self.current.write() = Arc::new(fresh);
        Ok(())
    }

    /// Reloads if a file has changed since it was read; says whether it did.
    pub(super) fn reload_if_changed(&self) -> bool {
        let changed = self.current.read().stamps != stamps(&self.config);
        changed && self.reload().is_ok()
    }
}

fn stamps(config: &Config) -> Vec<Option<SystemTime>> {
    let identity = config.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
    let files = config.ca.iter().chain(identity).filter_map(Source::path);
    files.map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok()).collect()
}

fn connect(config: &Config) -> Result<Current, ConfigError> {
    let stamps = stamps(config);
    let tls = match config.server.starts_with("https://") {
        true => Some(tls_config(config)?),
        false => None,
    };
    let connector = Connector { tls, server_name: config.tls_server_name.as_deref().map(Into::into) };
    let pool = Pool::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(15))
        .build(connector);
    Ok(Current { pool, stamps })
}

fn tls_config(config: &Config) -> Result<Arc<ClientConfig>, ConfigError> {
    let invalid = |what: &str, why: String| ConfigError::Invalid(format!("{what}: {why}"));
    let verifier = match &config.ca {
        _ if config.insecure => Verifier::anyone(),
        Some(ca) => {
            let bundle = CertificateDer::pem_slice_iter(&ca.read()?).collect::<Result<_, _>>();
            let bundle = bundle.map_err(|e| invalid("certificate-authority", e.to_string()))?;
            Verifier::vouched_for(bundle).map_err(|e| invalid("certificate-authority", e.to_string()))?
        }
        None => Verifier::vouched_for(crate::tls::system()).map_err(|e| invalid("tls", e.to_string()))?,
    };
    let builder = crate::tls::client(verifier).map_err(|e| invalid("tls", e.to_string()))?;
    let mut tls = match &config.identity {
        Some((certificate, key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate.read()?)
                .collect::<Result<_, _>>()
                .map_err(|e| invalid("client-certificate", e.to_string()))?;
            let key = PrivateKeyDer::from_pem_slice(&key.read()?)
                .map_err(|e| invalid("client-key", e.to_string()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| invalid("client-certificate", e.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Opens connections to wherever the request's URI says.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    server_name: Option<Arc<str>>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let open = connector.open(uri);
            match tokio::time::timeout(Duration::from_secs(30), open).await {
                Ok(stream) => stream.map(TokioIo::new),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting timed out")),
            }
        })
    }
}

impl Connector {
    async fn open(self, uri: Uri) -> io::Result<Stream> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(default_port))).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = self.tls else { return Ok(Stream::Plain(tcp)) };
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(TlsConnector::from(tls).connect(name, tcp).await?)))
    }
}

/// A connection with or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            _ => Connected::new(),
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, s => s.poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_shutdown(cx))
    }
}
