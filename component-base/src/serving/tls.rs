//! The server's side of TLS: certificates from files, read again when they change, or self-signed.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::flags::Parsed;

/// TLS settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A suite that nobody knows.
    #[error("Cipher suite {0} not supported or doesn't exist")]
    Cipher(String),
    /// None of the suites given is one that this server has.
    #[error("none of the cipher suites given is supported; supported are {0}")]
    NoCipher(String),
    /// A version that nobody knows.
    #[error("unknown tls version {0:?}")]
    Version(String),
    /// A certificate or key that can't be read.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// An SNI flag of another form.
    #[error(
        "invalid argument {0:?} for \"--tls-sni-cert-key\" flag: expected \"certfile,keyfile[:domain,...]\""
    )]
    Sni(String),
    /// The library refuses.
    #[error("tls: {0}")]
    Library(#[from] rustls::Error),
    /// No self-signed certificate could be made.
    #[error("creating self-signed certificates: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// Suites that Go has and this server doesn't: naming them isn't an error as long as others remain.
const ELSEWHERE: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

static TLS13_ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How a server proves who it is, and what it speaks.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Certificate and key; without, one is made.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where a made certificate is kept, under this name; in memory only without.
    pub keep: Option<(PathBuf, String)>,
    /// Certificate, key, and the names they serve.
    pub sni: Vec<(PathBuf, PathBuf, Vec<String>)>,
    /// Go's names of suites; all if empty.
    pub cipher_suites: Vec<String>,
    /// Go's name of the lowest version.
    pub min_version: String,
}

impl TlsOptions {
    pub(super) fn from_flags(flags: &Parsed) -> Result<Self, TlsError> {
        let certificate = flags.non_empty("tls-cert-file").zip(flags.non_empty("tls-private-key-file"));
        let options = Self {
            certificate: certificate.map(|(certificate, key)| (certificate.into(), key.into())),
            keep: flags.non_empty("cert-dir").map(|dir| (dir.into(), flags.program().to_owned())),
            sni: flags
                .list("tls-sni-cert-key")
                .iter()
                .map(|text| parse_sni(text))
                .collect::<Result<_, _>>()?,
            cipher_suites: flags.list("tls-cipher-suites").to_vec(),
            min_version: flags.str("tls-min-version").to_owned(),
        };
        options.provider()?;
        Ok(options)
    }

    /// The crypto of these options, checked.
    fn provider(&self) -> Result<CryptoProvider, TlsError> {
        let mut provider = rustls::crypto::ring::default_provider();
        if self.cipher_suites.is_empty() {
            return Ok(provider);
        }
        // Go's names and the library's differ in the prefix of TLS 1.3.
        let name = |suite: rustls::CipherSuite| format!("{suite:?}").replace("TLS13_", "TLS_");
        let known: Vec<String> = provider.cipher_suites.iter().map(|suite| name(suite.suite())).collect();
        let given: Vec<String> = self
            .cipher_suites
            .iter()
            .map(|suite| {
                if suite.ends_with("_CHACHA20_POLY1305") { format!("{suite}_SHA256") } else { suite.clone() }
            })
            .collect();
        for suite in &given {
            if !known.contains(suite) && !ELSEWHERE.contains(&&**suite) {
                return Err(TlsError::Cipher(suite.clone()));
            }
        }
        // Go lets no one choose among the suites of TLS 1.3.
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some() || given.contains(&name(suite.suite())));
        if provider.cipher_suites.is_empty() {
            return Err(TlsError::NoCipher(known.join(",")));
        }
        Ok(provider)
    }

    fn versions(&self) -> Result<&'static [&'static rustls::SupportedProtocolVersion], TlsError> {
        match self.min_version.as_str() {
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(rustls::ALL_VERSIONS),
            "VersionTLS13" => Ok(TLS13_ONLY),
            other => Err(TlsError::Version(other.to_owned())),
        }
    }
}

fn parse_sni(text: &str) -> Result<(PathBuf, PathBuf, Vec<String>), TlsError> {
    let (files, names) = text.split_once(':').unwrap_or((text, ""));
    let (certificate, key) = files.split_once(',').ok_or_else(|| TlsError::Sni(text.to_owned()))?;
    let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok((certificate.into(), key.into(), names))
}

/// Accepts TLS connections; clones share it.
#[derive(Clone)]
pub(super) struct Acceptor(TlsAcceptor);

impl Acceptor {
    pub(super) fn new(options: TlsOptions, address: IpAddr, http2: bool) -> Result<Self, TlsError> {
        let provider = Arc::new(options.provider()?);
        let versions = options.versions()?;
        let resolver = Certificates::new(&options, address, provider.clone())?;
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::new(AnyClient(provider)))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols =
            if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

/// The certificates served, each read again when its file changes.
#[derive(Debug)]
struct Certificates {
    main: Pair,
    by_name: Vec<(Vec<String>, Pair)>,
}

#[derive(Debug)]
struct Pair {
    files: Option<(PathBuf, PathBuf)>,
    provider: Arc<CryptoProvider>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    stamp: Option<SystemTime>,
    looked: Instant,
}

impl Certificates {
    fn new(options: &TlsOptions, address: IpAddr, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let main = match (&options.certificate, &options.keep) {
            (Some((certificate, key)), _) => Pair::from_files(certificate, key, provider.clone())?,
            (None, Some((dir, name))) => {
                let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
                if !(certificate.exists() && key.exists()) {
                    let (certificate_pem, key_pem) = self_signed(address)?;
                    let fail = |path: &Path| {
                        let path = path.to_owned();
                        move |e: io::Error| TlsError::File(path, e.to_string())
                    };
                    std::fs::create_dir_all(dir).map_err(fail(dir))?;
                    std::fs::write(&certificate, certificate_pem).map_err(fail(&certificate))?;
                    write_secret(&key, &key_pem).map_err(fail(&key))?;
                }
                Pair::from_files(&certificate, &key, provider.clone())?
            }
            (None, None) => {
                let (certificate, key) = self_signed(address)?;
                tracing::info!("Generated self-signed cert in-memory");
                let key = certified(certificate.as_bytes(), key.as_bytes(), &provider)
                    .map_err(|e| TlsError::File("".into(), e))?;
                Pair::new(key, None, provider.clone())
            }
        };
        let mut by_name = Vec::new();
        for (certificate, key, names) in &options.sni {
            let pair = Pair::from_files(certificate, key, provider.clone())?;
            let names = if names.is_empty() { names_of(&pair.current.lock().key) } else { names.clone() };
            by_name.push((names, pair));
        }
        Ok(Self { main, by_name })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let exact = |names: &[String]| names.iter().any(|n| n.eq_ignore_ascii_case(&name));
        let wild = |names: &[String]| {
            let parent = name.split_once('.').map(|(_, parent)| parent);
            names.iter().any(|n| n.strip_prefix("*.").is_some_and(|n| Some(n) == parent))
        };
        let found = self
            .by_name
            .iter()
            .find(|(names, _)| exact(names))
            .or_else(|| self.by_name.iter().find(|(names, _)| wild(names)));
        Some(found.map_or(&self.main, |(_, pair)| pair).current())
    }
}

impl Pair {
    fn new(key: CertifiedKey, files: Option<(PathBuf, PathBuf)>, provider: Arc<CryptoProvider>) -> Self {
        let stamp = files.as_ref().and_then(|(certificate, _)| stamp(certificate));
        Self {
            files,
            provider,
            current: Mutex::new(Current { key: Arc::new(key), stamp, looked: Instant::now() }),
        }
    }

    fn from_files(certificate: &Path, key: &Path, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let pair = read(certificate, key, &provider)?;
        Ok(Self::new(pair, Some((certificate.to_owned(), key.to_owned())), provider))
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock();
        if let Some((certificate, key)) = &self.files
            && current.looked.elapsed() > Duration::from_secs(1)
        {
            current.looked = Instant::now();
            let now = stamp(certificate);
            if now != current.stamp {
                // A pair caught half-written is tried again at the next handshake.
                match read(certificate, key, &self.provider) {
                    Ok(fresh) => (current.key, current.stamp) = (Arc::new(fresh), now),
                    Err(error) => tracing::warn!(err = %error, "The changed certificate can't be used yet"),
                }
            }
        }
        current.key.clone()
    }
}

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let bytes = |path: &Path| std::fs::read(path).map_err(|e| TlsError::File(path.to_owned(), e.to_string()));
    certified(&bytes(certificate)?, &bytes(key)?, provider)
        .map_err(|e| TlsError::File(certificate.to_owned(), e))
}

fn certified(certificate: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| e.to_string())?;
    CertifiedKey::from_der(chain, key, provider).map_err(|e| e.to_string())
}

fn names_of(key: &CertifiedKey) -> Vec<String> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let Some(first) = key.cert.first() else { return Vec::new() };
    let Ok((_, certificate)) = X509Certificate::from_der(first) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

fn self_signed(address: IpAddr) -> Result<(String, String), TlsError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = crate::daemon::hostname();
    if !host.is_empty() {
        names.push(host);
    }
    if !address.is_unspecified() && !address.is_loopback() {
        names.push(address.to_string());
    }
    let pair = rcgen::generate_simple_self_signed(names)?;
    Ok((pair.cert.pem(), pair.signing_key.serialize_pem()))
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Asks for a client certificate and accepts any, or none: whom it proves is decided per request, where a
/// bad certificate is answered with 401 and not with a broken connection.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_and_versions_go_by_gos_names() {
        let options = |suites: &[&str]| TlsOptions {
            cipher_suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            ..Default::default()
        };
        let provider = options(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA"])
            .provider()
            .unwrap();
        assert_eq!(provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
        let error = options(&["FOO"]).provider().unwrap_err().to_string();
        assert_eq!(error, "Cipher suite FOO not supported or doesn't exist");
        let bad = TlsOptions { min_version: "VersionTLS9".into(), ..Default::default() };
        assert_eq!(bad.versions().unwrap_err().to_string(), "unknown tls version \"VersionTLS9\"");
        assert_eq!(parse_sni("a.crt,a.key:*.x.com,y").unwrap().2, ["*.x.com", "y"]);
    }
}
