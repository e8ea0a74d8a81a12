//! Making a certificate from a request.

use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use proto::time::Time;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::request::Request;
use crate::common::der::{self, tag};
use crate::common::keys::SigningKey;

/// Certificates are dated back a little, for clocks that are behind.
const BACKDATE: i64 = 300;
/// A shorter life isn't shortened by that.
const SHORT: i64 = 8 * 3600;
/// The shortest life that can be asked for.
const MINIMUM: i64 = 600;

const ALTERNATIVE_NAME: &[u32] = &[2, 5, 29, 17];
const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
const EXTENDED_KEY_USAGE: &[u32] = &[2, 5, 29, 37];
const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
const AUTHORITY_KEY: &[u32] = &[2, 5, 29, 35];

/// Usages by the bit of the key usage extension.
const KEY_USAGES: &[(&str, u8)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// Usages by the last numbers of the purpose.
const PURPOSES: &[(&str, &[u32])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113730, 4, 1]),
];

/// A certificate authority; its files are read again when they change.
pub(super) struct Authority {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Option<(Vec<u8>, std::sync::Arc<Loaded>)>>,
}

struct Loaded {
    key: SigningKey,
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    not_after: i64,
}

impl Authority {
    /// An authority in these files; they are read now, to fail early.
    pub(super) fn new(certificate: &str, key: &str) -> Result<Self, String> {
        let authority =
            Authority { certificate: certificate.into(), key: key.into(), loaded: Mutex::default() };
        authority.load()?;
        Ok(authority)
    }

    fn load(&self) -> Result<std::sync::Arc<Loaded>, String> {
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|e| format!("error reading CA file {path:?}: {e}"));
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let source = [certificate.as_slice(), &key].concat();
        let mut loaded = self.loaded.lock();
        if let Some((same, current)) = &*loaded
            && *same == source
        {
            return Ok(current.clone());
        }
        let new = std::sync::Arc::new(parse(&certificate, &key)?);
        *loaded = Some((source, new.clone()));
        Ok(new)
    }

    /// The signed certificate as PEM.
    pub(super) fn sign(
        &self,
        request: &Request,
        usages: &[String],
        wanted_seconds: Option<i64>,
        longest: Duration,
        now: Time,
    ) -> Result<String, String> {
        let authority = self.load()?;
        let ttl = lifetime(wanted_seconds, longest);
        let now = now.0.as_second();
        let start = now - BACKDATE;
        let end = if ttl < SHORT { now + ttl } else { now + ttl - BACKDATE }.min(authority.not_after);
        if now >= authority.not_after {
            return Err("the signer has expired".into());
        }
        let mut serial: [u8; 16] = rand::random();
        serial[0] &= 0x7f;
        let body = der::sequence(&[
            der::value(0xa0, &der::integer(&[2])),
            der::integer(&serial),
            authority.key.algorithm(),
            authority.subject.clone(),
            der::sequence(&[time(start)?, time(end)?]),
            request.subject.clone(),
            request.public_key.clone(),
            der::value(0xa3, &der::sequence(&extensions(request, usages, &authority)?)),
        ]);
        let signature = authority.key.sign(&body).map_err(|e| e.to_string())?;
        let certificate = der::sequence(&[body, authority.key.algorithm(), der::bit_string(&signature)]);
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Ok(pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate), config))
    }
}

fn lifetime(wanted: Option<i64>, longest: Duration) -> i64 {
    let longest = i64::try_from(longest.as_secs()).unwrap_or(i64::MAX / 2);
    wanted.map_or(longest, |wanted| wanted.max(MINIMUM).min(longest))
}

fn parse(certificate: &[u8], key: &[u8]) -> Result<Loaded, String> {
    let blocks = pem::parse_many(certificate).map_err(|e| e.to_string())?;
    let block = blocks.iter().find(|b| b.tag() == "CERTIFICATE").ok_or("no certificate in CA file")?;
    let (_, certificate) = X509Certificate::from_der(block.contents()).map_err(|e| e.to_string())?;
    let key = SigningKey::from_pem(key).map_err(|e| e.to_string())?;
    if certificate.public_key().raw != key.public_key_info() {
        return Err("private key does not match the CA certificate".into());
    }
    let key_id = certificate.iter_extensions().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    Ok(Loaded {
        key,
        subject: certificate.subject().as_raw().to_vec(),
        key_id,
        not_after: certificate.validity().not_after.timestamp(),
    })
}

/// Times from 2050 on need the longer form.
fn time(seconds: i64) -> Result<Vec<u8>, String> {
    let text = jiff::Timestamp::from_second(seconds).map_err(|e| e.to_string())?;
    let long = text.strftime("%Y%m%d%H%M%SZ").to_string();
    Ok(if long.as_str() < "2050" {
        der::value(tag::UTC_TIME, &long.as_bytes()[2..])
    } else {
        der::value(tag::GENERALIZED_TIME, long.as_bytes())
    })
}

fn extension(id: &[u32], critical: bool, contents: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::oid(id)];
    if critical {
        parts.push(der::value(tag::BOOLEAN, &[0xff]));
    }
    parts.push(der::value(tag::OCTET_STRING, contents));
    der::sequence(&parts)
}

fn extensions(request: &Request, usages: &[String], authority: &Loaded) -> Result<Vec<Vec<u8>>, String> {
    let known = |u: &&String| {
        KEY_USAGES.iter().any(|(name, _)| name == u) || PURPOSES.iter().any(|(name, _)| name == u)
    };
    let unknown: Vec<&String> = usages.iter().filter(|u| !known(u)).collect();
    if !unknown.is_empty() {
        return Err(format!("unrecognized usage values: {unknown:?}"));
    }
    let asked = |name: &str| usages.iter().any(|u| u == name);
    let mut out = Vec::new();
    let bits = KEY_USAGES.iter().filter(|(name, _)| asked(name));
    let bits = bits.fold(0_u16, |bits, (_, bit)| bits | 0x8000 >> bit);
    if bits != 0 {
        out.push(extension(KEY_USAGE, true, &named_bits(bits)));
    }
    let mut purposes: Vec<&[u32]> = Vec::new();
    for (_, id) in PURPOSES.iter().filter(|(name, _)| asked(name)) {
        if !purposes.contains(id) {
            purposes.push(id);
        }
    }
    if !purposes.is_empty() {
        let ids: Vec<Vec<u8>> = purposes.into_iter().map(der::oid).collect();
        out.push(extension(EXTENDED_KEY_USAGE, false, &der::sequence(&ids)));
    }
    out.push(extension(BASIC_CONSTRAINTS, true, &der::sequence(&[])));
    if let Some(id) = &authority.key_id {
        let contents = der::sequence(&[der::value(0x80, id)]);
        out.push(extension(AUTHORITY_KEY, false, &contents));
    }
    if let Some(names) = &request.alternative_names {
        // Without a subject the names are all there is.
        let critical = request.subject == der::sequence(&[]);
        out.push(extension(ALTERNATIVE_NAME, critical, names));
    }
    Ok(out)
}

/// A bit string without trailing zero bits.
fn named_bits(bits: u16) -> Vec<u8> {
    let unused = bits.trailing_zeros() % 8;
    let bytes = bits.to_be_bytes();
    let used = if bits & 0xff == 0 { &bytes[..1] } else { &bytes[..] };
    der::value(tag::BIT_STRING, &[&[unused as u8], used].concat())
}

/// The names again as DER; kinds of names that clients can't use are left out.
pub(super) fn alternative_names(names: &[GeneralName<'_>]) -> Vec<u8> {
    let one = |name: &GeneralName<'_>| match name {
        GeneralName::RFC822Name(text) => Some(der::value(0x81, text.as_bytes())),
        GeneralName::DNSName(text) => Some(der::value(0x82, text.as_bytes())),
        GeneralName::URI(text) => Some(der::value(0x86, text.as_bytes())),
        GeneralName::IPAddress(bytes) => Some(der::value(0x87, bytes)),
        _ => None,
    };
    der::sequence(&names.iter().filter_map(one).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::request::{CLIENT, KUBELET_CLIENT, parse as parse_request};
    use super::*;
    use base64::Engine as _;
    use rcgen::{CertificateParams, DnType, IsCa, KeyPair};

    fn authority(dir: &std::path::Path) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let certificate = params.self_signed(&key).unwrap();
        let write = |name: &str, text: String| {
            std::fs::write(dir.join(name), text).unwrap();
            dir.join(name).to_str().unwrap().to_string()
        };
        let (certificate, key) = (write("ca.crt", certificate.pem()), write("ca.key", key.serialize_pem()));
        Authority::new(&certificate, &key).unwrap()
    }

    fn request(name: &str, sans: Vec<String>) -> Request {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        parse_request(&base64::engine::general_purpose::STANDARD.encode(pem)).unwrap()
    }

    fn usages(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_signed_certificate_verifies() {
        let dir = std::env::temp_dir().join(format!("keelson-sign-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let authority = authority(&dir);
        let request = request("system:node:a", vec!["a.example".into(), "10.0.0.1".into()]);
        let asked = usages(&["digital signature", "key encipherment", "server auth"]);
        let day = Duration::from_secs(86400);
        let text = authority.sign(&request, &asked, Some(60), day, Time::now()).unwrap();
        let block = pem::parse(&text).unwrap();
        let (_, certificate) = X509Certificate::from_der(block.contents()).unwrap();
        let ca = std::fs::read(dir.join("ca.crt")).unwrap();
        let ca = pem::parse(ca).unwrap();
        let (_, ca) = X509Certificate::from_der(ca.contents()).unwrap();
        certificate.verify_signature(Some(ca.public_key())).unwrap();
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.server_auth);
        let names = certificate.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 2);
        let validity = certificate.validity();
        let life = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert_eq!(life, MINIMUM + BACKDATE);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn signers_check_what_they_sign() {
        let node = request("system:node:a", vec![]);
        let asked = usages(&["digital signature", "client auth"]);
        assert_eq!(node.check(KUBELET_CLIENT, &asked), Ok(()));
        let other = request("root", vec![]);
        let name = "subject common name does not begin with system:node:";
        assert_eq!(other.check(KUBELET_CLIENT, &asked), Err(name.into()));
        let named = request("system:node:a", vec!["a.example".into()]);
        assert_eq!(named.check(KUBELET_CLIENT, &asked), Err("DNS subjectAltNames are not allowed".into()));
        let wrong = "invalid usage for client certificate: server auth";
        assert_eq!(other.check(CLIENT, &usages(&["server auth"])), Err(wrong.into()));
    }
}
