//! The keys of an issuer: JSON Web Keys, and the signatures that they make.
//!
//! RSA keys must have 2048 to 8192 bits. Keys of kinds that sign no token are read and never used.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p521::ecdsa::signature::Verifier;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// The algorithms that may be allowed, in upstream's order.
pub(super) const ALGORITHMS: &[&str] =
    &["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// A set of keys as it is served.
#[derive(Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    keys: Option<Vec<Raw>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    kty: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    id: String,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// A curve and an uncompressed point.
    Ec(Curve, Vec<u8>),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn of(name: &str) -> Option<(Curve, usize)> {
        match name {
            "P-256" => Some((Curve::P256, 32)),
            "P-384" => Some((Curve::P384, 48)),
            "P-521" => Some((Curve::P521, 66)),
            _ => None,
        }
    }
}

impl Document {
    /// The keys, all of which must be readable.
    pub(super) fn keys(self) -> Result<Vec<Key>, String> {
        self.keys.unwrap_or_default().into_iter().map(Key::read).collect()
    }
}

impl Key {
    fn read(raw: Raw) -> Result<Key, String> {
        let part = |text: &Option<String>, missing: &str| {
            let text = text.as_deref().ok_or_else(|| format!("go-jose/go-jose: {missing}"))?;
            // Padding is common, if wrong.
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| error.to_string())
        };
        let material = match raw.kty.as_deref().unwrap_or_default() {
            "RSA" => {
                let missing = "invalid RSA key, missing n/e values";
                let unsigned = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect();
                Material::Rsa(unsigned(part(&raw.n, missing)?), unsigned(part(&raw.e, missing)?))
            }
            "EC" => {
                let name = raw.crv.as_deref().unwrap_or_default();
                let (curve, size) = Curve::of(name)
                    .ok_or_else(|| format!("go-jose/go-jose: unsupported elliptic curve '{name}'"))?;
                let missing = "invalid EC key, missing x/y values";
                let (x, y) = (part(&raw.x, missing)?, part(&raw.y, missing)?);
                for (coordinate, bytes) in [("x", &x), ("y", &y)] {
                    if bytes.len() != size {
                        return Err(format!(
                            "go-jose/go-jose: invalid EC public key, wrong length for {coordinate}"
                        ));
                    }
                }
                Material::Ec(curve, [&[4][..], &x, &y].concat())
            }
            "oct" => Material::Other,
            "OKP" => match raw.crv.as_deref() {
                Some("Ed25519") if raw.x.is_some() => Material::Other,
                crv => return Err(format!("go-jose/go-jose: unknown curve {}'", crv.unwrap_or_default())),
            },
            other => return Err(format!("go-jose/go-jose: unknown json web key type '{other}'")),
        };
        Ok(Key { id: raw.kid.unwrap_or_default(), material })
    }

    /// The key's id; empty if it has none.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the signature over the message is this key's, by this algorithm.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa(n, e) => rsa(algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            Material::Ec(curve, point) => match (algorithm, curve) {
                ("ES256", Curve::P256) => {
                    let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                    key.verify(message, signature).is_ok()
                }
                ("ES384", Curve::P384) => {
                    let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                    key.verify(message, signature).is_ok()
                }
                ("ES512", Curve::P521) => {
                    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
                    let signature = p521::ecdsa::Signature::from_slice(signature);
                    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
                }
                _ => false,
            },
            Material::Other => false,
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
