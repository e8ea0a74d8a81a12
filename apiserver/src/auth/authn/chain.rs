//! Verifies a client's certificate chain up to a trusted authority.
//!
//! What counts: signatures by algorithms that are still safe, everyone's validity now, the issuers'
//! right to issue, and the leaf's use for clients. Names of clients are subjects, not hosts, so
//! there is no host name to check. Old certificates without extensions (X.509 v1) are accepted as
//! leaves, as upstream does: many are made by hand.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Certificates between leaf and root, at most.
const MAX_INTERMEDIATES: usize = 6;
/// Signatures tried for one chain, at most: a hostile client can send many look-alikes.
const MAX_SIGNATURES: usize = 32;

/// Trusted authorities, as DER.
pub struct Roots(Vec<Vec<u8>>);

impl Roots {
    /// Reads a PEM bundle; other blocks are skipped.
    pub fn parse(bytes: &[u8]) -> Result<Roots, String> {
        let blocks = pem::parse_many(bytes).map_err(|error| error.to_string())?;
        let mut roots = Vec::new();
        for block in blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE") {
            let der = block.into_contents();
            X509Certificate::from_der(&der).map_err(|error| format!("malformed certificate: {error}"))?;
            roots.push(der);
        }
        if roots.is_empty() {
            return Err("data does not contain any valid RSA or ECDSA certificates".to_owned());
        }
        Ok(Roots(roots))
    }
}

/// Why a chain is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("x509: malformed certificate")]
    Malformed,
    #[error("x509: certificate has expired or is not yet valid")]
    Expired,
    #[error("x509: certificate specifies an incompatible key usage")]
    Usage,
    #[error("x509: unhandled critical extension")]
    CriticalExtension,
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).ok()
}

/// Verifies the chain (leaf first) at a time of Unix seconds; answers when it stops being valid.
pub fn verify<C: AsRef<[u8]>>(roots: &Roots, chain: &[C], now: i64) -> Result<i64, ChainError> {
    let presented: Vec<X509Certificate<'_>> = chain.iter().filter_map(|der| parse(der.as_ref())).collect();
    if presented.len() != chain.len() {
        return Err(ChainError::Malformed);
    }
    let roots: Vec<X509Certificate<'_>> = roots.0.iter().filter_map(|der| parse(der)).collect();
    let (leaf, intermediates) = presented.split_first().ok_or(ChainError::Malformed)?;
    check_leaf(leaf, now)?;
    let mut search = Search { roots: &roots, intermediates, now, signatures: 0 };
    search.issuer_of(leaf, 0).map(|limit| limit.min(not_after(leaf))).ok_or(ChainError::UnknownAuthority)
}

struct Search<'a> {
    roots: &'a [X509Certificate<'a>],
    intermediates: &'a [X509Certificate<'a>],
    now: i64,
    signatures: usize,
}

impl Search<'_> {
    /// Finds a path from the certificate to a root; answers when the path stops being valid.
    fn issuer_of(&mut self, certificate: &X509Certificate<'_>, depth: usize) -> Option<i64> {
        let (roots, intermediates) = (self.roots, self.intermediates);
        for root in roots {
            let trusted_itself = root.as_raw() == certificate.as_raw();
            if trusted_itself || self.is_issuer(root, certificate, depth) {
                return is_valid_at(root, self.now).then(|| not_after(root));
            }
        }
        if depth == MAX_INTERMEDIATES {
            return None;
        }
        for candidate in intermediates {
            let usable = candidate.as_raw() != certificate.as_raw()
                && is_valid_at(candidate, self.now)
                && check_extensions(candidate).is_ok()
                && allows_clients(candidate)
                && self.is_issuer(candidate, certificate, depth);
            if usable && let Some(limit) = self.issuer_of(candidate, depth + 1) {
                return Some(limit.min(not_after(candidate)));
            }
        }
        None
    }

    fn is_issuer(
        &mut self,
        issuer: &X509Certificate<'_>,
        subject: &X509Certificate<'_>,
        depth: usize,
    ) -> bool {
        if issuer.subject().as_raw() != subject.issuer().as_raw() || !may_issue(issuer, depth) {
            return false;
        }
        self.signatures += 1;
        self.signatures <= MAX_SIGNATURES
            && has_safe_algorithm(subject)
            && subject.signature_algorithm == subject.tbs_certificate.signature
            && subject.verify_signature(Some(issuer.public_key())).is_ok()
    }
}

fn check_leaf(leaf: &X509Certificate<'_>, now: i64) -> Result<(), ChainError> {
    if !is_valid_at(leaf, now) {
        return Err(ChainError::Expired);
    }
    check_extensions(leaf)?;
    if allows_clients(leaf) { Ok(()) } else { Err(ChainError::Usage) }
}

/// Whether the certificate is an authority that may stand `depth` intermediates above the leaf.
fn may_issue(certificate: &X509Certificate<'_>, depth: usize) -> bool {
    let constraints = match certificate.basic_constraints() {
        Ok(Some(extension)) => extension.value,
        // A root of old that has no extensions at all.
        Ok(None) => return certificate.extensions().is_empty() && is_self_issued(certificate),
        Err(_) => return false,
    };
    let deep_enough = constraints.path_len_constraint.is_none_or(|limit| depth <= limit as usize);
    let may_sign = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    // Constraints on names would have to be applied to the leaf's; no known cluster uses them.
    let constrains_names = !matches!(certificate.name_constraints(), Ok(None));
    constraints.ca && deep_enough && may_sign && !constrains_names
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// Without the extension a certificate is good for any use.
fn allows_clients(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.client_auth || usage.value.any,
        Err(_) => false,
    }
}

/// Every critical extension must be one that is looked at here.
fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), ChainError> {
    for extension in certificate.extensions().iter().filter(|extension| extension.critical) {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_) => {}
            _ => return Err(ChainError::CriticalExtension),
        }
    }
    Ok(())
}

fn has_safe_algorithm(certificate: &X509Certificate<'_>) -> bool {
    let algorithm = &certificate.signature_algorithm.algorithm;
    *algorithm != oid::OID_PKCS1_SHA1WITHRSA && *algorithm != oid::OID_SHA1_WITH_RSA
}

fn is_valid_at(certificate: &X509Certificate<'_>, now: i64) -> bool {
    ASN1Time::from_timestamp(now).is_ok_and(|now| certificate.validity().is_valid_at(now))
}

fn not_after(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    };
    use rcgen::{Certificate, Issuer};

    /// 2026-01-01.
    pub(in crate::auth) const NOW: i64 = 1_767_225_600;

    pub(in crate::auth) struct Authority {
        params: CertificateParams,
        key: KeyPair,
        pub(in crate::auth) certificate: Certificate,
    }

    fn params(common_name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params
    }

    pub(in crate::auth) fn authority(name: &str) -> Authority {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { params, key, certificate }
    }

    impl Authority {
        fn issue(
            &self,
            edit: impl FnOnce(&mut CertificateParams),
        ) -> (Certificate, KeyPair, CertificateParams) {
            let mut leaf = params("leaf");
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            edit(&mut leaf);
            let key = KeyPair::generate().unwrap();
            let issuer = Issuer::from_params(&self.params, &self.key);
            (leaf.signed_by(&key, &issuer).unwrap(), key, leaf)
        }

        pub(in crate::auth) fn leaf(&self, edit: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
            self.issue(edit).0.der().to_vec()
        }

        fn intermediate(&self, edit: impl FnOnce(&mut CertificateParams)) -> Authority {
            let (certificate, key, params) = self.issue(|p| {
                p.distinguished_name = rcgen::DistinguishedName::new();
                p.distinguished_name.push(DnType::CommonName, "intermediate");
                p.extended_key_usages.clear();
                p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                edit(p);
            });
            Authority { params, key, certificate }
        }

        pub(in crate::auth) fn roots(&self) -> Roots {
            Roots::parse(self.certificate.pem().as_bytes()).unwrap()
        }
    }

    #[test]
    fn leaves_of_the_authority() {
        let (ca, other) = (authority("ca"), authority("ca"));
        let roots = ca.roots();
        assert!(verify(&roots, &[ca.leaf(|_| {})], NOW).is_ok());
        assert!(verify(&roots, &[ca.leaf(|p| p.extended_key_usages.clear())], NOW).is_ok());
        // Another authority of the same name.
        assert_eq!(verify(&roots, &[other.leaf(|_| {})], NOW), Err(ChainError::UnknownAuthority));
        // Expired, not yet valid, meant for servers.
        let leaf = ca.leaf(|_| {});
        let year = 366 * 24 * 60 * 60;
        assert_eq!(verify(&roots, &[&leaf], NOW + 2 * year), Err(ChainError::Expired));
        assert_eq!(verify(&roots, &[&leaf], NOW - 2 * year), Err(ChainError::Expired));
        let server = ca.leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        assert_eq!(verify(&roots, &[server], NOW), Err(ChainError::Usage));
        // A leaf is no authority, even if it is trusted itself.
        assert!(verify(&roots, &[ca.certificate.der().to_vec()], NOW).is_ok());
    }

    #[test]
    fn intermediates() {
        let ca = authority("ca");
        let roots = ca.roots();
        let middle = ca.intermediate(|_| {});
        let leaf = middle.leaf(|_| {});
        let der = |authority: &Authority| authority.certificate.der().to_vec();
        assert!(verify(&roots, &[leaf.clone(), der(&middle)], NOW).is_ok());
        assert_eq!(verify(&roots, &[leaf], NOW), Err(ChainError::UnknownAuthority));
        let no_ca = ca.intermediate(|p| p.is_ca = IsCa::ExplicitNoCa);
        assert!(verify(&roots, &[no_ca.leaf(|_| {}), der(&no_ca)], NOW).is_err());
        let plain = ca.intermediate(|p| p.is_ca = IsCa::NoCa);
        assert!(verify(&roots, &[plain.leaf(|_| {}), der(&plain)], NOW).is_err());
        let expired = ca.intermediate(|p| p.not_after = rcgen::date_time_ymd(2025, 6, 1));
        assert!(verify(&roots, &[expired.leaf(|_| {}), der(&expired)], NOW).is_err());
        let signs_nothing = ca.intermediate(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
        assert!(verify(&roots, &[signs_nothing.leaf(|_| {}), der(&signs_nothing)], NOW).is_err());
    }

    #[test]
    fn garbage_is_refused() {
        let roots = authority("ca").roots();
        assert_eq!(verify::<Vec<u8>>(&roots, &[], NOW), Err(ChainError::Malformed));
        assert_eq!(verify(&roots, &[b"garbage".to_vec()], NOW), Err(ChainError::Malformed));
        assert!(Roots::parse(b"garbage").is_err());
        assert!(Roots::parse(b"").is_err());
    }
}
