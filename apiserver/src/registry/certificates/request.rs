//! CertificateSigningRequests: who asks is the server's to say, who approves goes through `approval`, who signs through
//! `status`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use proto::field::{Error, Errors, Path};
use proto::view::{View, at, remove_at, set_at, text_at};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;

use super::signer::signer_name;
use crate::registry::checks::required_supported;
use crate::registry::{Ctx, Hooks, strategy};

/// In the order that errors list them.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const LEAST_SECONDS: i64 = 600;
/// Conditions that say yes or no for good.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

/// Hooks of the request itself: nothing of it changes but its metadata.
pub(super) fn hooks() -> Hooks {
    Hooks {
        prepare_create: |ctx, new| {
            ask_as(ctx, new);
            remove_at(new, &["status"]);
        },
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["spec"]);
            strategy::keep(new, old, &["status"]);
        },
        validate: |_, new| validate(new),
        validate_update: |_, new, old| validate_update(new, old, false, false),
        validate_name: |_, _| Vec::new(),
        reset_fields: &[&["spec"], &["status"]],
        ..Hooks::default()
    }
}

/// Hooks of `approval`: it changes conditions alone.
pub(super) fn approval() -> Hooks {
    Hooks {
        prepare_update: |ctx, new, old| {
            stamp(ctx, new, old);
            let conditions = at(new, &["status", "conditions"]).clone();
            strategy::keep(new, old, &["spec"]);
            strategy::keep(new, old, &["status"]);
            set_at(new, &["status", "conditions"], conditions);
        },
        validate_update: |_, new, old| validate_update(new, old, true, false),
        validate_name: |_, _| Vec::new(),
        reset_fields: &[&["spec"], &["status", "certificate"]],
        ..Hooks::default()
    }
}

/// Hooks of `status`: certificates and other conditions, never the decision.
pub(super) fn status() -> Hooks {
    Hooks {
        prepare_update: |ctx, new, old| {
            strategy::keep(new, old, &["spec"]);
            keep_decisions(new, old);
            stamp(ctx, new, old);
        },
        validate_update: |_, new, old| validate_update(new, old, false, true),
        validate_name: |_, _| Vec::new(),
        reset_fields: &[&["spec"], &["status", "conditions"]],
        ..Hooks::default()
    }
}

/// The request is made by whoever makes it, whatever it says.
fn ask_as(ctx: &Ctx, new: &mut Value) {
    for field in ["username", "uid", "groups", "extra"] {
        remove_at(new, &["spec", field]);
    }
    let user = &ctx.user;
    for (field, value, is_empty) in [
        ("username", json!(user.name), user.name.is_empty()),
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ] {
        if !is_empty {
            set_at(new, &["spec", field], value);
        }
    }
}

fn conditions(object: &Value) -> &[Value] {
    at(object, &["status", "conditions"]).as_array().map(Vec::as_slice).unwrap_or_default()
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    conditions(object).iter().filter(|condition| condition["type"] == kind).collect()
}

/// A signer that sends back an older or rounded decision doesn't change it.
fn keep_decisions(new: &mut Value, old: &Value) {
    for kind in DECISIONS {
        let kept: Vec<Value> = of_type(old, kind).into_iter().cloned().collect();
        if kept.len() != of_type(new, kind).len() {
            continue;
        }
        let mut kept = kept.into_iter();
        let list = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in list.into_iter().flatten().filter(|condition| condition["type"] == kind) {
            if let Some(old) = kept.next() {
                *condition = old;
            }
        }
    }
}

/// Fills in the times that conditions lack.
fn stamp(ctx: &Ctx, new: &mut Value, old: &Value) {
    let now = Value::from(proto::time::Time(ctx.now).to_string());
    let list = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in list.into_iter().flatten() {
        if text_at(condition, &["lastUpdateTime"]).is_empty() {
            condition["lastUpdateTime"] = now.clone();
        }
        if text_at(condition, &["lastTransitionTime"]).is_empty() {
            let same = |old: &&Value| {
                old["type"] == condition["type"]
                    && old["status"] == condition["status"]
                    && !text_at(old, &["lastTransitionTime"]).is_empty()
            };
            let before = conditions(old).iter().find(same).map(|old| old["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = before.unwrap_or_else(|| now.clone());
        }
    }
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(object);
    let spec = view.get("spec");
    let request = spec.get("request");
    if let Err(problem) = check_request(request.str()) {
        errors.push(request.invalid_str(problem));
    }
    let usages = spec.get("usages");
    if usages.is_empty() {
        errors.push(usages.required(""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for usage in usages.items() {
        if !USAGES.contains(&usage.str()) {
            errors.push(usage.not_supported(&USAGES));
        }
    }
    for usage in usages.items() {
        if seen.contains(&usage.str()) {
            errors.push(usage.duplicate());
        }
        seen.push(usage.str());
    }
    let signer = spec.get("signerName");
    if signer.str() == LEGACY {
        errors.push(signer.invalid_str("the legacy signerName is not allowed via this API version"));
    } else {
        signer_name(&signer, &mut errors);
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.is_set() && seconds.i64() < LEAST_SECONDS {
        errors.push(seconds.invalid_int("may not specify a duration less than 600 seconds (10 minutes)"));
    }
    validate_conditions(&view.get("status").get("conditions"), &mut errors);
    let certificate = view.get("status").get("certificate");
    if let Err(problem) = check_certificate(certificate.str()) {
        errors.push(Error::invalid(certificate.path(), "<certificate data>", problem));
    }
    errors
}

fn validate_conditions(list: &View, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for condition in list.items() {
        let kind = condition.get("type");
        if kind.is_empty() {
            errors.push(kind.required(""));
        }
        let allowed: &[&str] =
            if FINAL.contains(&kind.str()) { &["True"] } else { &["False", "True", "Unknown"] };
        required_supported(&condition.get("status"), allowed, errors);
        let other = DECISIONS.iter().find(|other| DECISIONS.contains(&kind.str()) && **other != kind.str());
        if other.is_some_and(|other| seen.contains(other)) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(Error::invalid(list.path(), kind.str(), detail));
        }
        if seen.contains(&kind.str()) {
            errors.push(kind.duplicate());
        }
        seen.push(kind.str());
    }
}

fn validate_update(new: &Value, old: &Value, may_decide: bool, may_sign: bool) -> Errors {
    // What was allowed when it was stored may stay.
    let before: Vec<String> = validate(old).iter().map(ToString::to_string).collect();
    let mut errors: Errors =
        validate(new).into_iter().filter(|error| !before.contains(&error.to_string())).collect();
    let path = Path::new("status").child("conditions");
    let forbid = |what: &str, kind: &str| {
        Error::forbidden(&path, format!("updates may not {what} a condition of type {kind:?}"))
    };
    for kind in FINAL {
        if of_type(new, kind).len() < of_type(old, kind).len() {
            errors.push(forbid("remove", kind));
        }
    }
    if !may_decide {
        for kind in DECISIONS {
            let (is, was) = (of_type(new, kind), of_type(old, kind));
            if is.len() > was.len() {
                errors.push(forbid("add", kind));
            } else if is.len() == was.len() && is != was {
                errors.push(forbid("modify", kind));
            }
        }
    }
    let (is, was) = (text_at(new, &["status", "certificate"]), text_at(old, &["status", "certificate"]));
    if is != was {
        let path = Path::new("status").child("certificate");
        if !may_sign {
            errors.push(Error::forbidden(&path, "updates may not set certificate content"));
        } else if !was.is_empty() {
            errors.push(Error::forbidden(&path, "updates may not modify existing certificate content"));
        }
    }
    errors
}

/// One PEM block with a request that its own key has signed.
fn check_request(encoded: &str) -> Result<(), String> {
    let bytes = BASE64.decode(encoded).map_err(|error| error.to_string())?;
    const WRONG: &str = "PEM block type must be CERTIFICATE REQUEST";
    let Ok(block) = pem::parse(&bytes) else { return Err(WRONG.to_owned()) };
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err(WRONG.to_owned());
    }
    let parsed = x509_parser::certification_request::X509CertificationRequest::from_der(block.contents());
    let (_, request) = parsed.map_err(|error| format!("x509: malformed certificate request: {error}"))?;
    request.verify_signature().map_err(|_| {
        "x509: invalid signature: parent certificate cannot sign this kind of certificate".to_owned()
    })
}

/// Nothing, or PEM blocks of certificates without headers.
fn check_certificate(encoded: &str) -> Result<(), String> {
    if encoded.is_empty() {
        return Ok(());
    }
    let bytes = BASE64.decode(encoded).map_err(|error| error.to_string())?;
    let blocks = pem::parse_many(&bytes).unwrap_or_default();
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    for block in blocks {
        if block.tag() != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.tag()));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".to_owned());
        }
        x509_parser::certificate::X509Certificate::from_der(block.contents())
            .map_err(|error| format!("x509: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Value {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
        let pem = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
        json!({"spec": {
            "request": BASE64.encode(pem),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        }})
    }

    fn texts(errors: &Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn requests_are_checked() {
        assert_eq!(texts(&validate(&request())), Vec::<String>::new());
        let mut bad = request();
        bad["spec"]["usages"] = json!(["client auth", "client auth", "magic"]);
        bad["spec"]["expirationSeconds"] = json!(599);
        bad["spec"]["signerName"] = json!(LEGACY);
        let all = texts(&validate(&bad)).join("\n");
        for part in [
            "spec.usages[1]: Duplicate value: \"client auth\"",
            "spec.usages[2]: Unsupported value: \"magic\"",
            "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ] {
            assert!(all.contains(part), "{part} is not in {all}");
        }
        bad["spec"]["request"] = json!(BASE64.encode("nonsense"));
        assert!(texts(&validate(&bad))[0].ends_with("PEM block type must be CERTIFICATE REQUEST"));
    }

    #[test]
    fn only_approval_decides_and_only_status_signs() {
        let old = request();
        let mut approved = request();
        approved["spec"] = old["spec"].clone();
        approved["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        assert!(validate_update(&approved, &old, true, false).is_empty());
        let refused = texts(&validate_update(&approved, &old, false, true));
        assert_eq!(
            refused,
            ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
        );
        let undone = texts(&validate_update(&old, &approved, true, false));
        assert_eq!(
            undone,
            ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
        );
        let mut both = approved.clone();
        both["status"]["conditions"] =
            json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]);
        assert!(
            texts(&validate_update(&both, &approved, true, false)).join("").contains("mutually exclusive")
        );
    }
}
