//! Whom a TLS client takes for the server it wants.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where distributions keep the authorities they trust.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Decides whether a server is the one that is wanted.
#[derive(Debug)]
pub struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Option<Roots>,
}

#[derive(Debug)]
struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    /// `None` where there are no certificates, so that nobody is vouched for.
    chains: Option<Arc<WebPkiServerVerifier>>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Verifier {
    /// Accepts every server that has its certificate's key: what `insecure-skip-tls-verify` asks for.
    pub fn anyone() -> Arc<Self> {
        Arc::new(Verifier { provider: provider(), roots: None })
    }

    /// Accepts whom these certificates vouch for and, as Go does, who presents one of them itself, be it an authority's or not:
    /// certificates that vouch for themselves are common for webhooks. What can't be read among certificates that can is passed over.
    ///
    /// # Errors
    /// Certificates of which none can be read.
    pub fn vouched_for(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<Self>, Error> {
        let provider = provider();
        let mut store = RootCertStore::empty();
        let mut unreadable = None;
        for certificate in &certificates {
            if let Err(error) = store.add(certificate.clone()) {
                unreadable.get_or_insert(error);
            }
        }
        let chains = match (store.is_empty(), unreadable) {
            (true, Some(error)) => return Err(error),
            (true, None) => None,
            (false, _) => {
                let builder = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone());
                Some(builder.build().map_err(|error| Error::General(error.to_string()))?)
            }
        };
        Ok(Arc::new(Verifier { provider, roots: Some(Roots { certificates, chains }) }))
    }
}

/// The certificates of the authorities that this system trusts; none if there is no list of them.
pub fn system() -> Vec<CertificateDer<'static>> {
    let list = SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    CertificateDer::pem_slice_iter(&list).filter_map(Result::ok).collect()
}

/// The beginning of a client's configuration that trusts as the verifier says.
///
/// # Errors
/// None that is known: the versions are those that the provider was built with.
pub fn client(verifier: Arc<Verifier>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let builder = ClientConfig::builder_with_provider(verifier.provider.clone());
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// Checks a certificate that is trusted as it is: its names, its time and what it may be used for.
fn check_itself(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    match parsed.extended_key_usage().map_err(|_| bad())? {
        Some(usage) if !usage.value.server_auth && !usage.value.any => {
            Err(CertificateError::InvalidPurpose.into())
        }
        _ => Ok(()),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        if roots.certificates.contains(certificate) {
            check_itself(certificate, name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &roots.chains {
            Some(chains) => chains.verify_server_cert(certificate, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
    }

    fn verdict(verifier: &Verifier, certificate: &CertificateDer<'_>, name: &str) -> Result<(), Error> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn who_is_trusted() {
        let (ours, others) = (authority("a.example"), authority("a.example"));
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["leaf.example".to_owned()]).expect("parameters");
        let leaf = leaf.signed_by(&key, &ours).expect("a certificate");
        let verifier = Verifier::vouched_for(vec![ours.der().clone()]).expect("a verifier");
        assert_eq!(verdict(&verifier, leaf.der(), "leaf.example"), Ok(()));
        assert!(verdict(&verifier, leaf.der(), "other.example").is_err());
        // An authority's own certificate serves too, for its own names only.
        assert_eq!(verdict(&verifier, ours.der(), "a.example"), Ok(()));
        assert!(verdict(&verifier, ours.der(), "b.example").is_err());
        assert!(verdict(&verifier, others.der(), "a.example").is_err());
        let unreadable = CertificateDer::from(vec![0x30, 0]);
        let some = Verifier::vouched_for(vec![unreadable.clone(), ours.der().clone()]).expect("a verifier");
        assert_eq!(verdict(&some, leaf.der(), "leaf.example"), Ok(()));
        assert!(Verifier::vouched_for(vec![unreadable]).is_err());
        let nobody = Verifier::vouched_for(Vec::new()).expect("a verifier");
        assert_eq!(verdict(&nobody, leaf.der(), "leaf.example"), Err(CertificateError::UnknownIssuer.into()));
        assert_eq!(verdict(&Verifier::anyone(), others.der(), "whoever.example"), Ok(()));
    }
}
