//! When a certificate request has served its purpose.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::time::Time;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::api::policy::CertificateSigningRequest;

const DECIDED: i64 = 3600;
const PENDING: i64 = 24 * 3600;

/// How long until the request is to be deleted: zero if now, nothing if that can't be told yet.
pub(super) fn due(csr: &CertificateSigningRequest, now: Time) -> Option<Duration> {
    let issued = !csr.status.certificate.is_empty();
    let mut deadlines: Vec<i64> = Vec::new();
    let mut after = |since: Option<Time>, seconds: i64| {
        deadlines.extend(since.map(|t| t.0.as_second() + seconds));
    };
    if csr.status.conditions.is_empty() {
        after(csr.metadata.creation_timestamp, PENDING);
    }
    for condition in &csr.status.conditions {
        match condition.kind.as_str() {
            "Approved" if issued => after(condition.last_update_time, DECIDED),
            "Approved" => after(condition.last_update_time, PENDING),
            "Denied" | "Failed" => after(condition.last_update_time, DECIDED),
            _ => {}
        }
    }
    deadlines.extend(not_after(&csr.status.certificate));
    let left = deadlines.into_iter().min()? - now.0.as_second();
    Some(Duration::from_secs(u64::try_from(left + 1).unwrap_or(0)))
}

fn not_after(certificate: &str) -> Option<i64> {
    let block = pem::parse(STANDARD.decode(certificate).ok()?).ok()?;
    let (_, certificate) = X509Certificate::from_der(block.contents()).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deadlines() {
        let now: Time = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
        let csr = |condition: Option<(&str, &str)>| -> CertificateSigningRequest {
            let conditions: Vec<_> = condition
                .iter()
                .map(|(kind, at)| json!({"type": kind, "status": "True", "lastUpdateTime": at}))
                .collect();
            let created = "2026-01-01T12:00:00Z";
            serde_json::from_value(json!({
                "metadata": {"creationTimestamp": created}, "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        let hours = |n: u64| Some(Duration::from_secs(n * 3600 + 1));
        assert_eq!(due(&csr(None), now), hours(12));
        assert_eq!(due(&csr(Some(("Denied", "2026-01-01T23:00:00Z"))), now), hours(0));
        assert_eq!(due(&csr(Some(("Denied", "2026-01-01T20:00:00Z"))), now), Some(Duration::ZERO));
        assert_eq!(due(&csr(Some(("Approved", "2026-01-01T23:00:00Z"))), now), hours(23));
    }
}
