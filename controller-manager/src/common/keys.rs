//! Private keys that sign certificates and tokens: RSA, and ECDSA on P-256 and P-384.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

use super::der;

const EC_PUBLIC_KEY: &[u32] = &[1, 2, 840, 10045, 2, 1];
const P256: &[u32] = &[1, 2, 840, 10045, 3, 1, 7];
const P384: &[u32] = &[1, 3, 132, 0, 34];
const RSA_ENCRYPTION: &[u32] = &[1, 2, 840, 113549, 1, 1, 1];
const RSA_SHA256: &[u32] = &[1, 2, 840, 113549, 1, 1, 11];
const ECDSA_SHA256: &[u32] = &[1, 2, 840, 10045, 4, 3, 2];
const ECDSA_SHA384: &[u32] = &[1, 2, 840, 10045, 4, 3, 3];
const DER_NULL: [u8; 2] = [5, 0];

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("data does not contain a valid PEM private key")]
    NotPem,
    #[error("unsupported private key: only RSA and ECDSA on P-256 or P-384 can sign here")]
    Unsupported,
    #[error("signing failed")]
    Signing,
}

/// A private key.
pub enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    /// With signatures as certificates have them, and as tokens have them.
    Ec {
        p384: bool,
        asn1: Box<EcdsaKeyPair>,
        fixed: Box<EcdsaKeyPair>,
    },
}

impl SigningKey {
    /// Reads a PEM file: PKCS #8, or the older forms of RSA and EC keys.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(text).map_err(|_| KeyError::NotPem)?;
        let block = blocks.iter().find(|b| b.tag().ends_with("PRIVATE KEY")).ok_or(KeyError::NotPem)?;
        let bytes = block.contents();
        match block.tag() {
            "RSA PRIVATE KEY" => {
                let key = RsaKeyPair::from_der(bytes).map_err(|_| KeyError::Unsupported)?;
                Ok(SigningKey::Rsa(Box::new(key)))
            }
            "EC PRIVATE KEY" => Self::from_sec1(bytes),
            _ => Self::from_pkcs8(bytes),
        }
    }

    fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = RsaKeyPair::from_pkcs8(bytes) {
            return Ok(SigningKey::Rsa(Box::new(key)));
        }
        let random = SystemRandom::new();
        let pairs = [
            (false, &ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_FIXED_SIGNING),
            (true, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING),
        ];
        for (p384, asn1, fixed) in pairs {
            let asn1 = EcdsaKeyPair::from_pkcs8(asn1, bytes, &random);
            let fixed = EcdsaKeyPair::from_pkcs8(fixed, bytes, &random);
            if let (Ok(asn1), Ok(fixed)) = (asn1, fixed) {
                return Ok(SigningKey::Ec { p384, asn1: Box::new(asn1), fixed: Box::new(fixed) });
            }
        }
        Err(KeyError::Unsupported)
    }

    /// The older form names its curve inside; PKCS #8 names it outside as well.
    fn from_sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        let names = |curve: &&[u32]| {
            let oid = der::oid(curve);
            bytes.windows(oid.len()).any(|w| w == oid)
        };
        let curve = [P256, P384].into_iter().find(names).ok_or(KeyError::Unsupported)?;
        let algorithm = der::sequence(&[der::oid(EC_PUBLIC_KEY), der::oid(curve)]);
        let inner = der::value(der::tag::OCTET_STRING, bytes);
        Self::from_pkcs8(&der::sequence(&[der::integer(&[0]), algorithm, inner]))
    }

    /// The algorithm of certificate signatures, as DER.
    pub fn algorithm(&self) -> Vec<u8> {
        match self {
            SigningKey::Rsa(_) => der::sequence(&[der::oid(RSA_SHA256), DER_NULL.to_vec()]),
            SigningKey::Ec { p384: false, .. } => der::sequence(&[der::oid(ECDSA_SHA256)]),
            SigningKey::Ec { p384: true, .. } => der::sequence(&[der::oid(ECDSA_SHA384)]),
        }
    }

    /// The algorithm of token signatures.
    pub fn token_algorithm(&self) -> &'static str {
        match self {
            SigningKey::Rsa(_) => "RS256",
            SigningKey::Ec { p384: false, .. } => "ES256",
            SigningKey::Ec { p384: true, .. } => "ES384",
        }
    }

    /// The public key, as DER.
    pub fn public_key_info(&self) -> Vec<u8> {
        match self {
            SigningKey::Rsa(key) => {
                let algorithm = der::sequence(&[der::oid(RSA_ENCRYPTION), DER_NULL.to_vec()]);
                der::sequence(&[algorithm, der::bit_string(key.public_key().as_ref())])
            }
            SigningKey::Ec { p384, asn1, .. } => {
                let curve = if *p384 { P384 } else { P256 };
                let algorithm = der::sequence(&[der::oid(EC_PUBLIC_KEY), der::oid(curve)]);
                der::sequence(&[algorithm, der::bit_string(asn1.public_key().as_ref())])
            }
        }
    }

    /// Signs as certificates are signed.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            SigningKey::Rsa(key) => sign_rsa(key, message),
            SigningKey::Ec { asn1, .. } => sign_ec(asn1, message),
        }
    }

    /// Signs as tokens are signed.
    pub fn sign_token(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            SigningKey::Rsa(key) => sign_rsa(key, message),
            SigningKey::Ec { fixed, .. } => sign_ec(fixed, message),
        }
    }
}

fn sign_rsa(key: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| KeyError::Signing)?;
    Ok(signature)
}

fn sign_ec(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let signature = key.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Signing)?;
    Ok(signature.as_ref().to_vec())
}
