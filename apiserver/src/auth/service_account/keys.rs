//! The keys that sign and verify ServiceAccount tokens.
//!
//! A key decides its algorithm, never the token: RSA keys mean RS256, P-256 keys ES256, P-384 keys
//! ES384. A token that names another algorithm is not verified at all.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der;

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// Algorithm parameters of RSA keys.
const NULL: &[u8] = &[0x05, 0x00];

/// A signature algorithm of JSON Web Signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Rs256,
    Es256,
    Es384,
}

impl Algorithm {
    /// The name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
        }
    }

    fn verifier(self) -> &'static dyn signature::VerificationAlgorithm {
        match self {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        }
    }

    fn curve(self) -> Option<&'static [u8]> {
        match self {
            Algorithm::Rs256 => None,
            Algorithm::Es256 => Some(OID_P256),
            Algorithm::Es384 => Some(OID_P384),
        }
    }
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("error reading {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{0}: data does not contain any valid RSA or ECDSA public keys")]
    NoPublicKey(String),
    #[error("{0}: data does not contain a valid RSA or ECDSA private key")]
    NoPrivateKey(String),
}

/// A key that verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// RSAPublicKey DER, or the uncompressed point.
    bytes: Vec<u8>,
    id: String,
}

impl PublicKey {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> PublicKey {
        let info = subject_public_key_info(algorithm, bytes);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(&info));
        PublicKey { algorithm, bytes: bytes.to_vec(), id }
    }

    fn from_info(info: &[u8]) -> Option<PublicKey> {
        let (rest, info) = SubjectPublicKeyInfo::from_der(info).ok()?;
        if !rest.is_empty() {
            return None;
        }
        PublicKey::from_parsed(&info)
    }

    fn from_parsed(info: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
        let parameters = info.algorithm.parameters.as_ref();
        let curve = parameters.and_then(|p| p.clone().oid().ok()).map(|oid| oid.as_bytes().to_vec());
        let algorithm = match info.algorithm.algorithm.as_bytes() {
            OID_RSA => Algorithm::Rs256,
            OID_EC if curve.as_deref() == Some(OID_P256) => Algorithm::Es256,
            OID_EC if curve.as_deref() == Some(OID_P384) => Algorithm::Es384,
            _ => return None,
        };
        Some(PublicKey::new(algorithm, &info.subject_public_key.data))
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key id that tokens name: the hash of the key's encoding.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the signature over the message is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verifier(), &self.bytes).verify(message, signature).is_ok()
    }

    /// Modulus and exponent, or the coordinates of the point, unpadded.
    pub(super) fn parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match self.algorithm {
            Algorithm::Rs256 => {
                let (body, _) = der::expect(der::SEQUENCE, &self.bytes)?;
                let (modulus, rest) = der::expect(der::INTEGER, body)?;
                let (exponent, _) = der::expect(der::INTEGER, rest)?;
                Some((unsigned(modulus), unsigned(exponent)))
            }
            Algorithm::Es256 | Algorithm::Es384 => {
                let (&form, point) = self.bytes.split_first()?;
                let (x, y) = point.split_at(point.len() / 2);
                (form == 4).then(|| (x.to_vec(), y.to_vec()))
            }
        }
    }
}

fn unsigned(integer: &[u8]) -> Vec<u8> {
    integer.iter().copied().skip_while(|&byte| byte == 0).collect()
}

fn subject_public_key_info(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
    let parameters = match algorithm.curve() {
        Some(curve) => {
            [der::element(der::OBJECT_ID, &[OID_EC]), der::element(der::OBJECT_ID, &[curve])].concat()
        }
        None => [&der::element(der::OBJECT_ID, &[OID_RSA])[..], NULL].concat(),
    };
    let parameters = der::element(der::SEQUENCE, &[&parameters]);
    der::element(der::SEQUENCE, &[&parameters, &der::element(der::BIT_STRING, &[&[0], bytes])])
}

/// A key that signs tokens.
pub struct PrivateKey {
    signer: Signer,
    public: PublicKey,
}

enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

impl PrivateKey {
    /// Reads a key file.
    pub fn load(path: &Path) -> Result<PrivateKey, KeyError> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| KeyError::Read { path: name.clone(), source })?;
        let blocks = pem::parse_many(&text).unwrap_or_default();
        blocks.iter().find_map(private_key).ok_or(KeyError::NoPrivateKey(name))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the message; fails only if the key is unusable.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
            Signer::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
        }
    }

    fn rsa(pair: RsaKeyPair) -> PrivateKey {
        let public = PublicKey::new(Algorithm::Rs256, pair.public().as_ref());
        PrivateKey { signer: Signer::Rsa(Box::new(pair)), public }
    }

    fn ec(algorithm: Algorithm, pair: EcdsaKeyPair) -> PrivateKey {
        let public = PublicKey::new(algorithm, pair.public_key().as_ref());
        PrivateKey { signer: Signer::Ec(Box::new(pair)), public }
    }
}

fn signing(algorithm: Algorithm) -> Option<&'static signature::EcdsaSigningAlgorithm> {
    match algorithm {
        Algorithm::Rs256 => None,
        Algorithm::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
    }
}

fn private_key(block: &pem::Pem) -> Option<PrivateKey> {
    let content = block.contents();
    match block.tag() {
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(content).ok().map(PrivateKey::rsa),
        "EC PRIVATE KEY" => sec1_key(content),
        "PRIVATE KEY" => {
            if let Ok(pair) = RsaKeyPair::from_pkcs8(content) {
                return Some(PrivateKey::rsa(pair));
            }
            [Algorithm::Es256, Algorithm::Es384].into_iter().find_map(|algorithm| {
                let pair = EcdsaKeyPair::from_pkcs8(signing(algorithm)?, content, &SystemRandom::new());
                pair.ok().map(|pair| PrivateKey::ec(algorithm, pair))
            })
        }
        _ => None,
    }
}

/// SEC 1: version, private scalar, `[0]` curve, `[1]` public point.
fn sec1_key(content: &[u8]) -> Option<PrivateKey> {
    let (body, _) = der::expect(der::SEQUENCE, content)?;
    let (_, rest) = der::expect(der::INTEGER, body)?;
    let (scalar, rest) = der::expect(der::OCTET_STRING, rest)?;
    let (parameters, rest) = der::expect(der::CONTEXT_0, rest)?;
    let (curve, _) = der::expect(der::OBJECT_ID, parameters)?;
    let (public, _) = der::expect(der::CONTEXT_1, rest)?;
    let (point, _) = der::expect(der::BIT_STRING, public)?;
    let algorithm = [Algorithm::Es256, Algorithm::Es384].into_iter().find(|a| a.curve() == Some(curve))?;
    let point = point.strip_prefix(&[0])?;
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(signing(algorithm)?, scalar, point, &random);
    pair.ok().map(|pair| PrivateKey::ec(algorithm, pair))
}

/// Reads the verification keys of a file: public keys, certificates, or the public halves of private keys.
pub fn load_public_keys(path: &Path) -> Result<Vec<PublicKey>, KeyError> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|source| KeyError::Read { path: name.clone(), source })?;
    let keys = parse_public_keys(&text);
    if keys.is_empty() { Err(KeyError::NoPublicKey(name)) } else { Ok(keys) }
}

fn parse_public_keys(text: &[u8]) -> Vec<PublicKey> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    blocks
        .iter()
        .filter_map(|block| match block.tag() {
            "PUBLIC KEY" => PublicKey::from_info(block.contents()),
            "RSA PUBLIC KEY" => Some(PublicKey::new(Algorithm::Rs256, block.contents())),
            "CERTIFICATE" => {
                let (_, certificate) =
                    x509_parser::certificate::X509Certificate::from_der(block.contents()).ok()?;
                PublicKey::from_parsed(certificate.public_key())
            }
            _ => private_key(block).map(|key| key.public),
        })
        .collect()
}

#[cfg(test)]
pub(in crate::auth) mod tests {
    use super::*;

    /// A fresh P-256 key.
    pub(in crate::auth) fn p256() -> PrivateKey {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        private_key(&pem::parse(pair.serialize_pem()).unwrap()).unwrap()
    }

    #[test]
    fn signs_and_verifies() {
        let (key, other) = (p256(), p256());
        let signature = key.sign(b"message").unwrap();
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(!other.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"message", &[]));
    }

    #[test]
    fn a_public_key_survives_its_encoding() {
        let key = p256();
        let info = subject_public_key_info(Algorithm::Es256, &key.public.bytes);
        let text = pem::encode(&pem::Pem::new("PUBLIC KEY", info));
        assert_eq!(parse_public_keys(text.as_bytes()), [key.public().clone()]);
        assert_eq!(key.public().parts().unwrap().0.len(), 32);
    }

    #[test]
    fn garbage_is_no_key() {
        for text in ["", "garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(parse_public_keys(text.as_bytes()).is_empty());
        }
    }
}
