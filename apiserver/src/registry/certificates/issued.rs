//! Certificates that signers issue for pods: they must be what was asked for.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use proto::field::{Error, Errors};
use proto::time::Duration;
use proto::view::{View, text_at};
use serde_json::Value;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::key;

const CHAIN_MAX: usize = 100 * 1024;
/// How far the beginning may be from now.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How far a refresh stays from both ends.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// Checks the status of a request that now is issued.
pub(super) fn check(new: &Value, old: &Value, now: Timestamp) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    let chain = status.get("certificateChain");
    if chain.str().len() > CHAIN_MAX {
        return vec![Error::too_long(chain.path(), CHAIN_MAX)];
    }
    let wrong = |detail: &str| vec![chain.invalid_str(detail)];
    let blocks = pem::parse_many(chain.str()).unwrap_or_default();
    let Some((first, others)) = blocks.split_first() else {
        return wrong("issued certificate chain must contain at least one certificate");
    };
    if first.tag() != "CERTIFICATE" {
        return wrong("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    let Some(leaf) = parse(first.contents()) else {
        return wrong("leaf certificate does not parse as valid X.509");
    };
    names(&leaf, &chain, &mut errors);
    match wanted_key(old) {
        Err(error) => errors.push(error),
        Ok(wanted) if leaf.public_key().raw != wanted => {
            errors.push(chain.invalid_str("leaf certificate was not issued to the requested public key"));
        }
        Ok(_) => times(&status, &leaf, new, now, &mut errors),
    }
    if !errors.is_empty() {
        return errors;
    }
    for block in others {
        if block.tag() != "CERTIFICATE" {
            return wrong("issued certificate chain must consist entirely of CERTFICATE PEM blocks");
        }
        if parse(block.contents()).is_none() {
            return wrong("intermediate certificate does not parse as valid X.509");
        }
    }
    errors
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, parsed)| parsed)
}

fn names(leaf: &X509Certificate<'_>, chain: &View, errors: &mut Errors) {
    let names = leaf.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let mut wrong = |name: &str, detail: &str| errors.push(Error::invalid(chain.path(), name, detail));
        match name {
            GeneralName::DNSName(name) => {
                if name.is_empty() {
                    wrong(name, "leaf certificate should not contain empty DNSName");
                }
                if name.contains("..") {
                    wrong(name, "leaf certificate's DNSName should not contain '..'");
                }
                if name.starts_with('.') || name.ends_with('.') {
                    wrong(name, "leaf certificate's DNSName should not start or end with '.'");
                }
            }
            GeneralName::RFC822Name(name) => {
                let parts = name.rsplit_once('@');
                if parts.is_none_or(|(user, host)| user.is_empty() || host.is_empty()) {
                    wrong(name, "leaf certificate should not contain invalid EmailAddress");
                }
            }
            _ => {}
        }
    }
}

/// The key that the request names, as it is encoded.
fn wanted_key(old: &Value) -> Result<Vec<u8>, Error> {
    let spec = View::root(old).get("spec");
    let (request, key) = (spec.get("stubPKCS10Request"), spec.get("pkixPublicKey"));
    let bytes = |field: &View| BASE64.decode(field.str()).unwrap_or_default();
    if request.is_empty() {
        let der = bytes(&key);
        let known = key::parse(&der).map(|key| key.raw.to_vec());
        return known.ok_or_else(|| key.invalid_unshown("must be a valid PKIX-serialized public key"));
    }
    let der = bytes(&request);
    match X509CertificationRequest::from_der(&der) {
        Ok((_, parsed)) => Ok(parsed.certification_request_info.subject_pki.raw.to_vec()),
        Err(_) => Err(request.invalid_unshown("must be a valid PKCS#10 CSR")),
    }
}

/// A time as errors show it.
fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

fn times(status: &View, leaf: &X509Certificate<'_>, new: &Value, now: Timestamp, errors: &mut Errors) {
    const CONSISTENT: &str = "must be present and consistent with the issued certificate";
    const REFRESH: &str = "must be present and in the range [notbefore+10min, notafter-10min]";
    let read = |field: &str| text_at(new, &["status", field]).parse::<Timestamp>().ok();
    let (start, end, refresh) = (read("notBefore"), read("notAfter"), read("beginRefreshAt"));
    let (Some(start), Some(end), Some(refresh)) = (start, end, refresh) else {
        for (field, time, detail) in [
            ("notBefore", start, CONSISTENT),
            ("notAfter", end, CONSISTENT),
            ("beginRefreshAt", refresh, REFRESH),
        ] {
            if time.is_none() {
                errors.push(status.get(field).required(detail));
            }
        }
        return;
    };
    let wrong = |field: &'static str, time: Timestamp, detail: &str| {
        Error::invalid_as(status.get(field).path(), shown(time), detail)
    };
    let validity = leaf.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let lifetime = until - from;
    let most = View::root(new).get("spec").int("maxExpirationSeconds");
    let lasting = Duration { nanos: lifetime.saturating_mul(1_000_000_000) };
    let chain = status.get("certificateChain");
    errors.extend(if start.as_second() != from {
        let detail = "must be set to the NotBefore time encoded in the leaf certificate";
        Some(wrong("notBefore", start, detail))
    } else if start.duration_since(now).abs() >= SKEW {
        let detail = "must be set to within 5 minutes of kube-apiserver's current time";
        Some(wrong("notBefore", start, detail))
    } else if end.as_second() != until {
        Some(wrong("notAfter", end, "must be set to the NotAfter time encoded in the leaf certificate"))
    } else if lifetime < 3600 {
        let detail = "leaf certificate lifetime must be >= 1 hour";
        Some(Error::invalid_as(chain.path(), lasting.to_string(), detail))
    } else if lifetime > most {
        let detail = format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})");
        Some(Error::invalid_as(chain.path(), lasting.to_string(), detail))
    } else if refresh.duration_since(start) < MARGIN {
        Some(wrong("beginRefreshAt", refresh, "must be at least 10 minutes after status.notBefore"))
    } else if end.duration_since(refresh) < MARGIN {
        Some(wrong("beginRefreshAt", refresh, "must be at least 10 minutes before status.notAfter"))
    } else {
        None
    });
}
