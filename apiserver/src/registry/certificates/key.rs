//! Public keys of requests for certificates: which are permitted, and what they have signed.

use proto::field::{Error, Path};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const EDWARDS: &str = "1.3.101.112";
const ELLIPTIC: &str = "1.2.840.10045.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const P224: &str = "1.3.132.0.33";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";
const RSA_SIZES: [usize; 2] = [3072, 4096];

/// What is wrong with a key: what to show of it, and why.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong(Option<String>, &'static str);

impl Wrong {
    /// As the error of a field.
    pub(super) fn at(self, path: &Path) -> Error {
        match self.0 {
            Some(shown) => Error::invalid(path, shown, self.1),
            None => Error::invalid_unshown(path, self.1),
        }
    }
}

/// Reads a key in PKIX form.
pub(super) fn parse(der: &[u8]) -> Option<SubjectPublicKeyInfo<'_>> {
    let (rest, key) = SubjectPublicKeyInfo::from_der(der).ok()?;
    (rest.is_empty() && key.parsed().is_ok()).then_some(key)
}

fn curve(key: &SubjectPublicKeyInfo<'_>) -> String {
    let parameters = key.algorithm.parameters.as_ref();
    parameters.and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string()).unwrap_or_default()
}

/// Whether the key is of a permitted kind; `curves` says which elliptic ones are.
pub(super) fn check(key: &SubjectPublicKeyInfo<'_>, curves: &'static str) -> Result<(), Wrong> {
    const UNKNOWN: Wrong =
        Wrong(None, "unknown public key type; supported types are Ed25519, ECDSA, and RSA");
    match key.algorithm.algorithm.to_id_string().as_str() {
        EDWARDS => Ok(()),
        ELLIPTIC => match curve(key).as_str() {
            P256 | P384 | P521 => Ok(()),
            P224 => Err(Wrong(Some("curve P-224".to_owned()), curves)),
            _ => Err(UNKNOWN),
        },
        RSA => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if RSA_SIZES.contains(&rsa.key_size()) => Ok(()),
            Ok(PublicKey::RSA(rsa)) => Err(Wrong(
                Some(format!("{}-bit modulus", rsa.key_size())),
                "RSA keys must have modulus size 3072 or 4096",
            )),
            _ => Err(UNKNOWN),
        },
        _ => Err(UNKNOWN),
    }
}

/// Whether the key made this signature of a text, by SHA-256 unless the key has its own hash. Signatures by P-521, and those of
/// RSA with a salt of another length than the hash, can't be verified: they prove nothing.
pub(super) fn proves(key: &SubjectPublicKeyInfo<'_>, text: &[u8], signature: &[u8]) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match key.algorithm.algorithm.to_id_string().as_str() {
        EDWARDS => &ED25519,
        RSA => &RSA_PSS_2048_8192_SHA256,
        ELLIPTIC => match curve(key).as_str() {
            P256 => &ECDSA_P256_SHA256_ASN1,
            P384 => &ECDSA_P384_SHA256_ASN1,
            _ => return false,
        },
        _ => return false,
    };
    UnparsedPublicKey::new(algorithm, &key.subject_public_key.data).verify(text, signature).is_ok()
}
