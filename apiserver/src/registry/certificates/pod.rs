//! PodCertificateRequests: a kubelet asks for the certificate of a pod, and a signer answers through `status`, once.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use futures::future::BoxFuture;
use proto::content;
use proto::field::{Error, Errors, Path, quote};
use proto::view::{View, at, text_at};
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::issued;
use super::key;
use super::signer::{may, signer_name};
use crate::registry::checks::{conditions, each, immutable};
use crate::registry::{Ctx, Hooks, strategy};

const UID_MAX: usize = 128;
const FIELD_MAX: usize = 10 * 1024;
const LEAST_SECONDS: i64 = 3600;
const MOST_SECONDS: i64 = 91 * 24 * 3600;
/// The most for signers that are Kubernetes' own.
const OWN_MOST_SECONDS: i64 = 24 * 3600;
/// Conditions that end a request, in the order that errors list them.
const ENDS: [&str; 3] = ["Denied", "Failed", "Issued"];

pub(super) fn hooks() -> Hooks {
    Hooks {
        validate: |_, new| validate(new),
        validate_update: |_, new, old| {
            let mut errors = Errors::new();
            immutable(&View::root(new).get("spec"), &View::root(old).get("spec"), &mut errors);
            errors
        },
        allow_unconditional_update: false,
        ..strategy::with_status()
    }
}

pub(super) fn status() -> Hooks {
    Hooks {
        validate_update: |ctx, new, old| validate_status(new, old, ctx.now),
        ask: Some(signs),
        reset_fields: &[&["spec"]],
        allow_unconditional_update: false,
        ..strategy::status_only()
    }
}

/// Only who may sign for the signer may answer.
fn signs<'a>(ctx: &'a Ctx, new: &'a Value, old: &'a Value) -> BoxFuture<'a, Errors> {
    Box::pin(async move {
        let signer = text_at(old, &["spec", "signerName"]);
        if at(new, &["status"]) == at(old, &["status"]) || may(&ctx.local, &ctx.user, "sign", signer).await {
            return Errors::new();
        }
        let (user, signer) = (quote(&ctx.user.name), quote(signer));
        let why = format!("User {user} is not permitted to \"sign\" for signer {signer}");
        vec![Error::forbidden(&Path::dotted("spec.signerName"), why)]
    })
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(object).get("spec");
    let signer = spec.get("signerName");
    signer_name(&signer, &mut errors);
    user_annotations(&spec.get("unverifiedUserAnnotations"), &mut errors);
    for (name, uid) in
        [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")]
    {
        let (name, uid) = (spec.get(name), spec.get(uid));
        each(&name, content::is_dns1123_subdomain(name.str()), &mut errors);
        if uid.is_empty() {
            errors.push(uid.invalid_str("must not be empty"));
        }
        if uid.str().len() > UID_MAX {
            errors.push(Error::too_long(uid.path(), UID_MAX));
        }
    }
    let seconds = spec.get("maxExpirationSeconds");
    if !seconds.is_set() {
        errors.push(seconds.required("must be set"));
        return errors;
    }
    let host = signer.str().split('/').next().unwrap_or_default();
    let is_own = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
    let most = if is_own { OWN_MOST_SECONDS } else { MOST_SECONDS };
    if !(LEAST_SECONDS..=most).contains(&seconds.i64()) {
        errors.push(seconds.invalid_int(format!("must be in the range [{LEAST_SECONDS}, {most}]")));
    }
    let (request, key, proof) =
        (spec.get("stubPKCS10Request"), spec.get("pkixPublicKey"), spec.get("proofOfPossession"));
    match (request.is_empty(), key.is_empty(), proof.is_empty()) {
        (false, true, true) => signed_request(&request, &mut errors),
        (true, false, false) => key_with_proof(&key, &proof, spec.text("podUID"), &mut errors),
        _ => errors.push(spec.invalid_unshown(
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        )),
    }
    errors
}

fn user_annotations(annotations: &View, errors: &mut Errors) {
    const LIMIT: usize = 256 * 1024;
    let mut size = 0;
    for (key, value) in annotations.entries() {
        errors.extend(content::is_domain_prefixed_key(annotations.path(), &key.to_lowercase()));
        size += key.len() + value.str().len();
    }
    if size > LIMIT {
        errors.push(Error::too_long(annotations.path(), LIMIT));
    }
}

/// The bytes of a field, unless there are too many.
fn bytes(field: &View, errors: &mut Errors) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(field.str()).unwrap_or_default();
    if bytes.len() > FIELD_MAX {
        errors.push(Error::too_long(field.path(), FIELD_MAX));
        return None;
    }
    Some(bytes)
}

/// A request that its own key has signed; what else it says is the signer's to judge.
fn signed_request(field: &View, errors: &mut Errors) {
    let Some(der) = bytes(field, errors) else { return };
    let problem = match X509CertificationRequest::from_der(&der) {
        Ok((&[], request)) => {
            let subject = &request.certification_request_info.subject_pki;
            match key::check(subject, "elliptic public keys must use curve P256, P384, or P521") {
                Err(wrong) => Some(wrong.at(field.path())),
                Ok(()) if request.verify_signature().is_err() => {
                    Some(field.invalid_unshown("invalid signature"))
                }
                Ok(()) => None,
            }
        }
        _ => Some(field.invalid_unshown("must be a valid PKCS#10 CSR")),
    };
    errors.extend(problem);
}

/// A key, and its signature of the pod's uid.
fn key_with_proof(field: &View, proof: &View, uid: &str, errors: &mut Errors) {
    let (Some(der), Some(signature)) = (bytes(field, errors), bytes(proof, errors)) else { return };
    let Some(subject) = key::parse(&der) else {
        errors.push(field.invalid_str("must be a valid PKIX-serialized public key"));
        return;
    };
    if let Err(wrong) = key::check(&subject, "elliptic public keys must use curve P256 or P384") {
        errors.push(wrong.at(field.path()));
    } else if !key::proves(&subject, uid.as_bytes(), &signature) {
        errors.push(proof.invalid_unshown("could not verify proof-of-possession signature"));
    }
}

/// Whether a condition that ends the request holds.
fn has(object: &Value, kind: &str) -> bool {
    let conditions = at(object, &["status", "conditions"]).as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn validate_status(new: &Value, old: &Value, now: jiff::Timestamp) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    let list = status.get("conditions");
    let mut ends = 0;
    for (at, condition) in list.items().iter().enumerate() {
        let path = list.path().child_named(&format!("[{at}]"));
        let (kind, holds) = (condition.text("type"), condition.text("status"));
        if !ENDS.contains(&kind) {
            errors.push(Error::not_supported(&path.child("type"), kind, &ENDS));
            continue;
        }
        ends += 1;
        if ends > 1 {
            let detail = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(Error::invalid(&path.child("type"), kind, detail));
        }
        if holds != "True" {
            errors.push(Error::not_supported(&path.child("status"), holds, &["True"]));
        }
    }
    conditions(&list, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    let changed = at(new, &["status"]) != at(old, &["status"]);
    if ENDS.iter().any(|end| has(old, end)) {
        if changed {
            let detail = "immutable after PodCertificateRequest is issued, denied, or failed";
            errors.push(status.invalid_unshown(detail));
        }
    } else if has(new, "Denied") || has(new, "Failed") {
        let others = status.map().is_some_and(|fields| fields.keys().any(|name| name != "conditions"));
        if others {
            let detail =
                "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
            errors.push(status.invalid_unshown(detail));
        }
    } else if has(new, "Issued") {
        errors.extend(issued::check(new, old, now));
    } else if changed {
        let detail = "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
        errors.push(status.invalid_unshown(detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use serde_json::json;

    fn request(key: &KeyPair) -> Value {
        let params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        let request = params.serialize_request(key).expect("a request");
        json!({"spec": {
            "signerName": "example.com/signer", "maxExpirationSeconds": 3600,
            "podName": "p", "podUID": "1", "serviceAccountName": "s", "serviceAccountUID": "2",
            "nodeName": "n", "nodeUID": "3", "stubPKCS10Request": BASE64.encode(request.der()),
        }})
    }

    fn texts(errors: &Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn requests_are_checked() {
        let good = request(&KeyPair::generate().expect("a key"));
        let none: [&str; 0] = [];
        assert_eq!(texts(&validate(&good)), none);
        for (field, value, error) in [
            ("podUID", json!(""), "spec.podUID: Invalid value: \"\": must not be empty"),
            ("nodeUID", json!("x".repeat(129)), "spec.nodeUID: Too long: may not be more than 128 bytes"),
            ("maxExpirationSeconds", Value::Null, "spec.maxExpirationSeconds: Required value: must be set"),
            (
                "maxExpirationSeconds",
                json!(7_862_401),
                "spec.maxExpirationSeconds: Invalid value: 7862401: must be in the range [3600, 7862400]",
            ),
            (
                "stubPKCS10Request",
                json!("AAAA"),
                "spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR",
            ),
            (
                "proofOfPossession",
                json!("AAAA"),
                "spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
            ),
        ] {
            let mut bad = good.clone();
            bad["spec"][field] = value;
            assert_eq!(texts(&validate(&bad)), [error]);
        }
        let mut own = good.clone();
        own["spec"]["signerName"] = "kubernetes.io/kube-apiserver-client-pod".into();
        own["spec"]["maxExpirationSeconds"] = json!(86_401);
        assert!(texts(&validate(&own))[0].ends_with("must be in the range [3600, 86400]"));
    }

    #[test]
    fn keys_prove_that_they_are_held() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let mut object = request(&key);
        object["spec"]["stubPKCS10Request"] = Value::Null;
        object["spec"]["pkixPublicKey"] =
            BASE64.encode(rcgen::PublicKeyData::subject_public_key_info(&key)).into();
        let signer = ring::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.serialize_der());
        let signature = signer.expect("a key").sign(b"1");
        object["spec"]["proofOfPossession"] = BASE64.encode(signature.as_ref()).into();
        assert!(validate(&object).is_empty(), "{:?}", texts(&validate(&object)));
        object["spec"]["podUID"] = "2".into();
        assert_eq!(
            texts(&validate(&object)),
            ["spec.proofOfPossession: Invalid value: could not verify proof-of-possession signature"]
        );
    }

    #[test]
    fn a_request_is_answered_once() {
        let now = jiff::Timestamp::now();
        let old = request(&KeyPair::generate().expect("a key"));
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "r", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        let with = |status: Value| {
            let mut new = old.clone();
            new["status"] = status;
            new
        };
        let denied = with(json!({"conditions": [condition("Denied", "True")]}));
        assert!(validate_status(&denied, &old, now).is_empty());
        let told = |new: &Value, old: &Value| texts(&validate_status(new, old, now));
        assert_eq!(
            told(
                &with(json!({"conditions": [condition("Denied", "False"), condition("Odd", "True")]})),
                &old
            ),
            [
                "status.conditions.[0].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions.[1].type: Unsupported value: \"Odd\": supported values: \"Denied\", \"Failed\", \"Issued\"",
            ]
        );
        assert_eq!(
            told(&old, &denied),
            ["status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed"]
        );
        assert_eq!(
            told(&with(json!({"conditions": [condition("Failed", "True")], "certificateChain": "x"})), &old),
            [
                "status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest"
            ]
        );
        assert_eq!(
            told(&with(json!({"notBefore": "2020-01-01T00:00:00Z"})), &old),
            [
                "status: Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\""
            ]
        );
    }

    #[test]
    fn issued_certificates_fit_the_request() {
        let now = jiff::Timestamp::now();
        let key = KeyPair::generate().expect("a key");
        let old = request(&key);
        let start = now.as_second();
        let certificate = |key: &KeyPair, seconds: i64| {
            let mut params = CertificateParams::new(vec!["pod.example".to_owned()]).expect("parameters");
            let time = |at: i64| time::OffsetDateTime::from_unix_timestamp(at).expect("a time");
            (params.not_before, params.not_after) = (time(start), time(start + seconds));
            params.self_signed(key).expect("a certificate").pem()
        };
        let with = |chain: String, until: i64, refresh: i64| {
            let time =
                |at: i64| proto::time::Time(jiff::Timestamp::from_second(at).expect("a time")).to_string();
            let mut new = old.clone();
            new["status"] = json!({
                "conditions": [{"type": "Issued", "status": "True", "reason": "r", "lastTransitionTime": time(start)}],
                "certificateChain": chain, "notBefore": time(start),
                "notAfter": time(start + until), "beginRefreshAt": time(start + refresh),
            });
            texts(&validate_status(&new, &old, now))
        };
        let none: [&str; 0] = [];
        assert_eq!(with(certificate(&key, 3600), 3600, 1800), none);
        let other = KeyPair::generate().expect("a key");
        for (got, end) in [
            (
                with("x".to_owned(), 3600, 1800),
                "issued certificate chain must contain at least one certificate",
            ),
            (with(certificate(&other, 3600), 3600, 1800), "was not issued to the requested public key"),
            (
                with(certificate(&key, 3600), 3601, 1800),
                "must be set to the NotAfter time encoded in the leaf certificate",
            ),
            (
                with(certificate(&key, 3599), 3599, 1800),
                "59m59s: leaf certificate lifetime must be >= 1 hour",
            ),
            (
                with(certificate(&key, 3601), 3601, 1800),
                "1h0m1s: leaf certificate lifetime must be <= spec.maxExpirationSeconds (3600)",
            ),
            (with(certificate(&key, 3600), 3600, 599), "must be at least 10 minutes after status.notBefore"),
            (with(certificate(&key, 3600), 3600, 3001), "must be at least 10 minutes before status.notAfter"),
        ] {
            assert!(got.len() == 1 && got[0].ends_with(end), "{got:?} is not {end}");
        }
    }
}
