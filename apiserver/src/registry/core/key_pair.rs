//! Whether the certificate and the key of a secret of type `kubernetes.io/tls` belong together, in Go's words.

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";

/// What is wrong with the pair, if anything.
pub(super) fn problem(certificate: &[u8], key: &[u8]) -> Option<String> {
    let (blocks, keys) = (blocks(certificate), blocks(key));
    let chain: Vec<CertificateDer> = blocks
        .iter()
        .filter(|block| block.tag() == CERTIFICATE)
        .map(|block| CertificateDer::from(block.contents().to_vec()))
        .collect();
    if chain.is_empty() {
        return Some(match &tags(&blocks)[..] {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [tag] if tag.ends_with(KEY) => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            tags => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
                tags.join(" ")
            ),
        });
    }
    let Some(block) = keys.iter().find(|block| block.tag().ends_with(KEY)) else {
        return Some(match &tags(&keys)[..] {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [CERTIFICATE] => {
                "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
            }
            tags => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
                tags.join(" ")
            ),
        });
    };
    if chain.first().is_none_or(|first| x509_parser::parse_x509_certificate(first).is_err()) {
        return Some("x509: malformed certificate".to_owned());
    }
    let loaded = PrivateKeyDer::try_from(block.contents().to_vec())
        .ok()
        .and_then(|der| default_provider().key_provider.load_private_key(der).ok());
    let Some(key) = loaded else {
        return Some("tls: failed to parse private key".to_owned());
    };
    let matches = CertifiedKey::new(chain, key).keys_match();
    matches.is_err().then(|| "tls: private key does not match public key".to_owned())
}

fn blocks(text: &[u8]) -> Vec<pem::Pem> {
    pem::parse_many(text).unwrap_or_default()
}

fn tags(blocks: &[pem::Pem]) -> Vec<&str> {
    blocks.iter().map(pem::Pem::tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let pair = |name: &str| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
                .and_then(|params| params.self_signed(&key))
                .expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        };
        let ((certificate, key), (_, other)) = (pair("a"), pair("b"));
        let cases = [
            (certificate.as_str(), key.as_str(), None),
            (&certificate, &other, Some("tls: private key does not match public key")),
            ("", &key, Some("tls: failed to find any PEM data in certificate input")),
            (&certificate, "", Some("tls: failed to find any PEM data in key input")),
            (
                &certificate,
                &certificate,
                Some("tls: found a certificate rather than a key in the PEM for the private key"),
            ),
        ];
        for (certificate, key, want) in cases {
            assert_eq!(problem(certificate.as_bytes(), key.as_bytes()).as_deref(), want);
        }
    }
}
