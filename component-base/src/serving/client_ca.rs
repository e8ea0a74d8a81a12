//! Authorities of client certificates, replaced at run time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A set of authorities: none, from a file that is read again when it changes, or set by whoever finds them
/// in the cluster. Clones share it.
#[derive(Clone, Default)]
pub struct ClientCa(Arc<RwLock<Authorities>>);

#[derive(Default)]
struct Authorities {
    file: Option<PathBuf>,
    stamp: Option<SystemTime>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// The names in a certificate that was verified.
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

impl ClientCa {
    /// Authorities from a file.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, String> {
        let ca = Self::default();
        ca.0.write().file = Some(path.into());
        ca.refresh()?;
        Ok(ca)
    }

    /// Whether the authorities come from a file.
    pub fn has_file(&self) -> bool {
        self.0.read().file.is_some()
    }

    /// Replaces the authorities by those in this PEM text.
    pub fn set(&self, pem: &[u8]) -> Result<(), String> {
        let verifier = verifier(pem)?;
        self.0.write().verifier = Some(verifier);
        Ok(())
    }

    fn refresh(&self) -> Result<(), String> {
        let (file, old) = {
            let now = self.0.read();
            (now.file.clone(), now.stamp)
        };
        let Some(file) = file else { return Ok(()) };
        let describe = |e: std::io::Error| format!("{}: {e}", file.display());
        let stamp = std::fs::metadata(&file).and_then(|meta| meta.modified()).map_err(describe)?;
        if old != Some(stamp) {
            let pem = std::fs::read(&file).map_err(describe)?;
            let verifier = verifier(&pem).map_err(|e| format!("{}: {e}", file.display()))?;
            let mut now = self.0.write();
            (now.verifier, now.stamp) = (Some(verifier), Some(stamp));
        }
        Ok(())
    }

    /// The subject of a certificate, if these authorities vouch for it as a client's.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>]) -> Option<Subject> {
        if let Err(error) = self.refresh() {
            tracing::warn!(err = error, "Client authorities can't be read again");
        }
        let verifier = self.0.read().verifier.clone()?;
        let (first, rest) = chain.split_first()?;
        verifier.verify_client_cert(first, rest, UnixTime::now()).ok()?;
        let (_, certificate) = X509Certificate::from_der(first).ok()?;
        let subject = certificate.subject();
        let text =
            |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        Some(Subject {
            common_name: subject.iter_common_name().find_map(text).unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(text).collect(),
        })
    }
}

fn verifier(pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| e.to_string())?;
    Ok(verifier)
}
