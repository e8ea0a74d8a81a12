//! Connections to the other end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component_base::tls::{self, Verifier};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::location::{Location, Target};
use crate::server::body;

const CONNECT: Duration = Duration::from_secs(10);

/// A request's body on its way out.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, body::Error>;

/// The flags about kubelets.
#[derive(Debug, Clone, Default)]
pub struct KubeletOptions {
    /// --kubelet-client-certificate
    pub certificate: String,
    /// --kubelet-client-key
    pub key: String,
    /// --kubelet-certificate-authority; empty: kubelets' certificates aren't verified, as upstream's default has it.
    pub authority: String,
    /// --kubelet-preferred-address-types
    pub address_types: Vec<String>,
}

/// What is needed to connect to the other ends.
pub struct Backends {
    kubelet: TlsConnector,
    plain_tls: TlsConnector,
    address_types: Vec<String>,
}

impl Backends {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// A file that can't be read or holds nothing usable, named by its flag.
    pub fn new(options: &KubeletOptions) -> Result<Self, String> {
        let kubelets = match options.authority.as_str() {
            "" => Verifier::anyone(),
            file => {
                let failed = |error: &dyn std::fmt::Display| {
                    format!("--kubelet-certificate-authority: {file}: {error}")
                };
                let bundle = certificates(file).map_err(|error| failed(&error))?;
                Verifier::vouched_for(bundle).map_err(|error| failed(&error))?
            }
        };
        let failed = |error: rustls::Error| format!("TLS: {error}");
        let builder = tls::client(kubelets).map_err(failed)?;
        let kubelet = match (options.certificate.as_str(), options.key.as_str()) {
            ("", _) | (_, "") => builder.with_no_client_auth(),
            (certificate, key) => {
                let failed = |flag: &str, file: &str, error: &dyn std::fmt::Display| {
                    format!("--{flag}: {file}: {error}")
                };
                let chain = certificates(certificate)
                    .map_err(|error| failed("kubelet-client-certificate", certificate, &error))?;
                let secret = PrivateKeyDer::from_pem_file(Path::new(key))
                    .map_err(|error| failed("kubelet-client-key", key, &error))?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| failed("kubelet-client-certificate", certificate, &error))?
            }
        };
        Ok(Backends {
            kubelet: TlsConnector::from(Arc::new(kubelet)),
            plain_tls: TlsConnector::from(Arc::new(
                tls::client(Verifier::anyone()).map_err(failed)?.with_no_client_auth(),
            )),
            address_types: options.address_types.clone(),
        })
    }

    /// The kinds of node address to try, in order.
    pub(super) fn address_types(&self) -> &[String] {
        &self.address_types
    }

    /// Opens an HTTP/1.1 connection; it ends with its sender, or with the connection that it was upgraded to.
    pub(super) async fn open(&self, location: &Location) -> io::Result<http1::SendRequest<Outgoing>> {
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "i/o timeout");
        let work = async {
            let stream = TcpStream::connect((location.host.as_str(), location.port)).await?;
            stream.set_nodelay(true)?;
            let connector = match location.target {
                Target::Plain => return handshake(TokioIo::new(stream)).await,
                Target::PlainTls => &self.plain_tls,
                Target::Kubelet => &self.kubelet,
            };
            let name = ServerName::try_from(location.host.clone()).map_err(io::Error::other)?;
            handshake(TokioIo::new(connector.connect(name, stream).await?)).await
        };
        let dial = |error: io::Error| {
            io::Error::new(error.kind(), format!("dial tcp {}:{}: {error}", location.host, location.port))
        };
        tokio::time::timeout(CONNECT, work).await.unwrap_or_else(|_| Err(timed_out())).map_err(dial)
    }
}

async fn handshake<S>(stream: S) -> io::Result<http1::SendRequest<Outgoing>>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "proxied connection");
        }
    });
    Ok(sender)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_file_iter(Path::new(file))?.collect()
}
