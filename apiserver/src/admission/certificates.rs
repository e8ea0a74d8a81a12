//! Who may approve, sign and attest certificates, and for whom.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::step::{Row, text};
use super::{Operation, Outcome, Review};
use crate::auth::MASTERS;
use crate::auth::text::quoted;
use crate::registry::Local;
use crate::registry::certificates::signer::may;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub(super) const CERTIFICATE_APPROVAL: Row = Row {
    name: "CertificateApproval",
    operations: &[Operation::Update],
    mutate: None,
    validate: Some(check_approval),
};

pub(super) const CERTIFICATE_SIGNING: Row = Row {
    name: "CertificateSigning",
    operations: &[Operation::Update],
    mutate: None,
    validate: Some(check_signing),
};

pub(super) const CLUSTER_TRUST_BUNDLE_ATTEST: Row = Row {
    name: "ClusterTrustBundleAttest",
    operations: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(check_attestation),
};

pub(super) const CERTIFICATE_SUBJECT_RESTRICTION: Row = Row {
    name: "CertificateSubjectRestriction",
    operations: &[Operation::Create],
    mutate: None,
    validate: Some(check_subject),
};

fn is_request(review: &Review, subresource: &str) -> bool {
    review.group() == GROUP && review.resource() == REQUESTS && review.subresource == subresource
}

fn check_approval<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !is_request(review, "approval") {
            return Ok(());
        }
        // The signer as it is stored: the request's own may be a lie.
        let signer = text(&review.old["spec"]["signerName"]);
        if may(local, &review.user, "approve", signer).await {
            return Ok(());
        }
        Err(review
            .forbidden(format!("user not permitted to approve requests with signerName {}", quoted(signer))))
    })
}

fn check_signing<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !is_request(review, "status") {
            return Ok(());
        }
        let same = |field: &str| review.old["status"][field] == review.object["status"][field];
        let signer = text(&review.old["spec"]["signerName"]);
        if (same("certificate") && same("conditions")) || may(local, &review.user, "sign", signer).await {
            return Ok(());
        }
        Err(review
            .forbidden(format!("user not permitted to sign requests with signerName {}", quoted(signer))))
    })
}

fn check_attestation<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let signer = text(&review.object["spec"]["signerName"]);
        if !review.is(GROUP, "clustertrustbundles") || signer.is_empty() {
            return Ok(());
        }
        let unchanged = review.operation == Operation::Update
            && crate::auth::rbac::escalation::only_gc_fields(&review.object, &review.old);
        if unchanged || may(local, &review.user, "attest", signer).await {
            return Ok(());
        }
        Err(review.forbidden(format!("user not permitted to attest for signerName {}", quoted(signer))))
    })
}

fn check_subject<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !is_request(review, "") || text(&review.object["spec"]["signerName"]) != CLIENT_SIGNER {
            return Ok(());
        }
        let subject = subject_of(&review.object)
            .map_err(|error| review.forbidden(format!("failed to parse CSR: {error}")))?;
        if subject.organizations.iter().any(|group| group == MASTERS) {
            return Err(review
                .forbidden(format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")));
        }
        Ok(())
    })
}

/// Who a certificate is requested for.
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

/// Reads the subject of a CertificateSigningRequest.
pub(super) fn subject_of(request: &Value) -> Result<Subject, &'static str> {
    let malformed = "PEM block type must be CERTIFICATE REQUEST";
    let pem = STANDARD.decode(text(&request["spec"]["request"])).map_err(|_| malformed)?;
    let block = pem::parse(pem).map_err(|_| malformed)?;
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err(malformed);
    }
    let (_, parsed) =
        X509CertificationRequest::from_der(block.contents()).map_err(|_| "malformed certificate request")?;
    let subject = &parsed.certification_request_info.subject;
    let strings = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let names = strings(subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect());
    let organizations = strings(subject.iter_organization().filter_map(|name| name.as_str().ok()).collect());
    Ok(Subject { common_name: names.last().cloned().unwrap_or_default(), organizations })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use crate::auth::authz::AlwaysAllow;
    use rcgen::{CertificateParams, DnType, KeyPair};
    use serde_json::json;

    /// A CertificateSigningRequest for this name and group.
    pub(in crate::admission) fn request(signer: &str, name: &str, group: &str) -> Value {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        json!({ "metadata": { "name": "csr" }, "spec": { "signerName": signer, "request": STANDARD.encode(pem) } })
    }

    #[tokio::test]
    async fn no_certificates_for_masters() {
        let local = Cluster::holding(&[]);
        for (signer, group, allowed) in
            [(CLIENT_SIGNER, "devs", true), (CLIENT_SIGNER, MASTERS, false), ("acme.com/x", MASTERS, true)]
        {
            let mut review = review(Operation::Create, GROUP, REQUESTS, request(signer, "ann", group));
            let result = admit(CERTIFICATE_SUBJECT_RESTRICTION, &local, &mut review).await;
            assert_eq!(result.is_ok(), allowed, "{signer} {group}");
        }
        let garbage = json!({ "spec": { "signerName": CLIENT_SIGNER, "request": "AAAA" } });
        let mut review = review(Operation::Create, GROUP, REQUESTS, garbage);
        assert!(admit(CERTIFICATE_SUBJECT_RESTRICTION, &local, &mut review).await.is_err());
    }

    #[tokio::test]
    async fn approving_and_signing_need_permission() {
        let (none, all) = (Cluster::holding(&[]), Cluster::with_authorizer(&[], Arc::new(AlwaysAllow)));
        for (row, resource, text) in [
            (CERTIFICATE_APPROVAL, "certificatesigningrequests/approval", "approve"),
            (CERTIFICATE_SIGNING, "certificatesigningrequests/status", "sign"),
        ] {
            let mut object = request("acme.com/x", "ann", "devs");
            let old = Arc::new(object.clone());
            object["status"] = json!({ "certificate": "AAAA" });
            let mut review = review(Operation::Update, GROUP, resource, object);
            review.old = old;
            let error = admit(row, &none, &mut review).await.unwrap_err();
            assert!(
                error.message.ends_with(&format!(
                    r#"user not permitted to {text} requests with signerName "acme.com/x""#
                )),
                "{}",
                error.message
            );
            assert!(admit(row, &all, &mut review).await.is_ok());
        }
    }
}
