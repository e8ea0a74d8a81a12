//! What others need to verify ServiceAccount tokens: the key set and the issuer's metadata.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use serde::Serialize;

use super::keys::{Algorithm, PublicKey};

/// Where the key set is served.
pub const JWKS_PATH: &str = "/openid/v1/jwks";
/// Where the metadata is served.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

/// The two documents, ready to serve.
pub struct Documents {
    pub configuration: Vec<u8>,
    pub key_set: Vec<u8>,
}

/// Why discovery can't be served. The server runs without it then, as upstream's does.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("issuer URL must use https scheme, got: {0}")]
    Scheme(String),
    #[error("issuer URL may not include a query, got: {0}")]
    Query(String),
    #[error("issuer URL may not include a fragment, got: {0}")]
    Fragment(String),
    #[error("jwksURI requires https scheme, parsed as: {0}")]
    JwksScheme(String),
    #[error("invalid URL {0}")]
    Url(String),
    #[error("a key can't be published")]
    Key,
}

#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    jwks_uri: &'a str,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

/// Fields in the order in which upstream writes them.
#[derive(Serialize)]
struct Jwk<'a> {
    r#use: &'static str,
    kty: &'static str,
    kid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: Vec<Jwk<'a>>,
}

/// Makes the documents. Without a `jwks_uri` the key set is found at the server's external address.
pub fn documents(
    issuer: &str,
    jwks_uri: &str,
    external_address: &str,
    keys: &[PublicKey],
) -> Result<Documents, DiscoveryError> {
    check_issuer(issuer)?;
    let default_uri = format!("https://{external_address}{JWKS_PATH}");
    let jwks_uri = if jwks_uri.is_empty() { &default_uri } else { jwks_uri };
    let parsed: Uri = jwks_uri.parse().map_err(|_| DiscoveryError::Url(jwks_uri.to_owned()))?;
    if parsed.scheme_str() != Some("https") {
        return Err(DiscoveryError::JwksScheme(jwks_uri.to_owned()));
    }
    let algorithms: BTreeSet<&str> = keys.iter().map(|key| key.algorithm().name()).collect();
    let metadata = Metadata {
        issuer,
        jwks_uri,
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: algorithms.into_iter().collect(),
    };
    let keys = keys.iter().map(jwk).collect::<Option<Vec<_>>>().ok_or(DiscoveryError::Key)?;
    let encode = |result: Result<Vec<u8>, serde_json::Error>| result.map_err(|_| DiscoveryError::Key);
    Ok(Documents {
        configuration: encode(serde_json::to_vec(&metadata))?,
        key_set: encode(serde_json::to_vec(&KeySet { keys }))?,
    })
}

fn check_issuer(issuer: &str) -> Result<(), DiscoveryError> {
    let own = || issuer.to_owned();
    if issuer.contains('#') {
        return Err(DiscoveryError::Fragment(own()));
    }
    if issuer.contains('?') {
        return Err(DiscoveryError::Query(own()));
    }
    match issuer.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") => Ok(()),
        Ok(_) => Err(DiscoveryError::Scheme(own())),
        Err(_) => Err(DiscoveryError::Url(own())),
    }
}

fn jwk(key: &PublicKey) -> Option<Jwk<'_>> {
    let (first, second) = key.parts()?;
    let (first, second) = (URL_SAFE_NO_PAD.encode(first), URL_SAFE_NO_PAD.encode(second));
    let algorithm = key.algorithm();
    let curve = match algorithm {
        Algorithm::Rs256 => None,
        Algorithm::Es256 => Some("P-256"),
        Algorithm::Es384 => Some("P-384"),
    };
    let (x, y, n, e) = match curve {
        Some(_) => (Some(first), Some(second), None, None),
        None => (None, None, Some(first), Some(second)),
    };
    let kty = if curve.is_some() { "EC" } else { "RSA" };
    Some(Jwk { r#use: "sig", kty, kid: key.id(), crv: curve, alg: algorithm.name(), x, y, n, e })
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::p256;
    use super::*;
    use serde_json::Value;

    #[test]
    fn documents_name_issuer_keys_and_algorithms() {
        let key = p256();
        let made = documents("https://issuer", "", "10.0.0.1:6443", &[key.public().clone()]).unwrap();
        assert_eq!(
            String::from_utf8(made.configuration).unwrap(),
            r#"{"issuer":"https://issuer","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}"#
        );
        let keys: Value = serde_json::from_slice(&made.key_set).unwrap();
        assert_eq!(keys["keys"][0]["kid"], key.public().id());
        assert_eq!(keys["keys"][0]["crv"], "P-256");
    }

    #[test]
    fn issuers_that_relying_parties_would_refuse() {
        for issuer in ["http://x", "kubernetes/serviceaccount", "https://x?q", "https://x#f", ""] {
            assert!(documents(issuer, "", "host", &[]).is_err(), "{issuer}");
        }
    }
}
