//! The server's certificate.
//!
//! Clients are asked for a certificate but need not have one; whether a chain can be trusted is for the authenticator to
//! say, so that who presents an unknown certificate is answered 401 and not cut off. What TLS does check is that the
//! client has the leaf's key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// rustls.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// A self-signed certificate could not be made.
    #[error("making a certificate: {0}")]
    Generate(String),
}

/// Takes any client certificate whose key the client has. Signatures are checked with the certificate's key alone, so that
/// certificates of X.509 v1, which many make by hand, are taken as well.
#[derive(Debug)]
struct AnyClient(WebPkiSupportedAlgorithms);

fn parsed<'a>(cert: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, rustls::Error> {
    let malformed = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    X509Certificate::from_der(cert).map(|(_, cert)| cert).map_err(malformed)
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let cert = parsed(cert)?;
        let key = &cert.public_key().subject_public_key.data;
        let known = self.0.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let mut algorithms = known.into_iter().flat_map(|(_, algorithms)| algorithms.iter());
        match algorithms.any(|algorithm| algorithm.verify_signature(key, message, dss.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let cert = parsed(cert)?;
        let key = SubjectPublicKeyInfoDer::from(cert.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The certificate served, which may be replaced.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

/// A certificate and key in files that are read again when they change.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    served: Arc<Served>,
}

impl Certificate {
    /// Reads the files.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, Error> {
        let served = Arc::new(Served(RwLock::new(Arc::new(load(cert, key)?))));
        Ok(Certificate { cert: cert.to_owned(), key: key.to_owned(), served })
    }

    /// A self-signed one for these names and addresses, kept in `apiserver.crt` and `apiserver.key` of the directory.
    pub fn self_signed(directory: &Path, names: Vec<String>) -> Result<Self, Error> {
        let (cert, key) = (directory.join("apiserver.crt"), directory.join("apiserver.key"));
        if !cert.exists() || !key.exists() {
            let made =
                rcgen::generate_simple_self_signed(names).map_err(|e| Error::Generate(e.to_string()))?;
            let write = |path: &Path, text: String| {
                std::fs::create_dir_all(directory)
                    .and_then(|()| std::fs::write(path, text))
                    .map_err(|e| Error::File { path: path.to_owned(), error: e.to_string() })
            };
            write(&cert, made.cert.pem())?;
            write(&key, made.signing_key.serialize_pem())?;
        }
        Self::open(&cert, &key)
    }

    /// The configuration of the listener.
    pub fn config(&self, http2: bool) -> Result<Arc<ServerConfig>, Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(AnyClient(provider.signature_verification_algorithms));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.served.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Arc::new(config))
    }

    /// Reads the files again; a failure leaves the certificate as it is.
    pub fn reload(&self) -> Result<(), Error> {
        *self.served.0.write() = Arc::new(load(&self.cert, &self.key)?);
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }
}

fn load(cert: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let file = |path: &Path, error: String| Error::File { path: path.to_owned(), error };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(|certs| certs.collect())
        .map_err(|e| file(cert, e.to_string()))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| file(key, e.to_string()))?;
    let provider: CryptoProvider = ring::default_provider();
    Ok(CertifiedKey::from_der(chain, key_der, &provider)?)
}
