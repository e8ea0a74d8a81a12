//! Certificates that a conversion webhook is trusted by.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::view::{at, text_at};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

/// Checks a bundle in PEM: empty, or at least one certificate that can be read.
fn check(bundle: &[u8]) -> Result<(), String> {
    if bundle.is_empty() {
        return Ok(());
    }
    let why = |text: &str| Err(format!("unable to load root certificates: {text}"));
    let blocks = match pem::parse_many(bundle) {
        Ok(blocks) if !blocks.is_empty() => blocks,
        _ => return why("unable to parse bytes as PEM block"),
    };
    let certificates: Vec<_> = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").collect();
    if certificates.is_empty() {
        return why("no valid certificate authority data seen");
    }
    let mut roots = RootCertStore::empty();
    let certificates = certificates.into_iter().map(|block| CertificateDer::from(block.into_contents()));
    match roots.add_parsable_certificates(certificates) {
        (0, _) => why("failed to parse certificate: x509: malformed certificate"),
        _ => Ok(()),
    }
}

/// Checks the bundle in a field; what is no base64 can't be here.
pub(super) fn check_field(bundle: &Value) -> Result<(), String> {
    check(&STANDARD.decode(bundle.as_str().unwrap_or_default()).unwrap_or_default())
}

/// Checks the bundle of a definition's conversion webhook.
pub(in crate::custom) fn of_definition(definition: &Value) -> Result<(), String> {
    let client = at(definition, &["spec", "conversion", "webhook", "clientConfig"]);
    if text_at(client, &["caBundle"]).is_empty() { Ok(()) } else { check_field(at(client, &["caBundle"])) }
}
