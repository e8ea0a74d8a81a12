//! ClusterTrustBundles: authorities' certificates, named after their signer if they have one.

use proto::field::{Error, Errors, Path};
use proto::view::{View, at};
use serde_json::Value;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::signer::{signer_name, trust_bundle_name_of};
use crate::registry::Hooks;
use crate::registry::checks::immutable_str;

const BYTES_MAX: usize = 1 << 20;
const SIGNER: [&str; 2] = ["spec", "signerName"];
const BUNDLE: [&str; 2] = ["spec", "trustBundle"];

/// The rule for names depends on the signer: it is applied with the rest.
pub(super) fn hooks() -> Hooks {
    Hooks {
        validate_name: |_, _| Vec::new(),
        validate: |_, new| validate(new, true),
        validate_update: |_, new, old| {
            // What can be read as a certificate may differ between releases: old bundles may stay.
            let mut errors = validate(new, at(new, &BUNDLE) != at(old, &BUNDLE));
            let path = Path::dotted("spec.signerName");
            let view = |object| View::at(at(object, &SIGNER), path.clone());
            immutable_str(&view(new), &view(old), &mut errors);
            errors
        },
        allow_unconditional_update: false,
        ..Hooks::default()
    }
}

fn validate(object: &Value, parse: bool) -> Errors {
    let mut errors = Errors::new();
    let (metadata, spec) = (View::root(object).get("metadata"), View::root(object).get("spec"));
    let signer = spec.get("signerName");
    for (field, prefix) in [("generateName", true), ("name", false)] {
        let name = metadata.get(field);
        if !name.is_empty() {
            let wrong = trust_bundle_name_of(signer.str(), name.str(), prefix);
            errors.extend(wrong.into_iter().map(|text| name.invalid_str(text)));
        }
    }
    if !signer.is_empty() {
        signer_name(&signer, &mut errors);
    }
    if parse {
        trust_bundle(&spec.get("trustBundle"), &mut errors);
    }
    errors
}

/// At least one certificate of an authority, none twice, and nothing else.
fn trust_bundle(bundle: &View, errors: &mut Errors) {
    if bundle.str().len() > BYTES_MAX {
        errors.push(Error::too_long(bundle.path(), BYTES_MAX));
        return;
    }
    let wrong = |detail: String| Error::invalid(bundle.path(), "<value omitted>", detail);
    let before = errors.len();
    let mut anchors: Vec<(Vec<u8>, Vec<String>)> = Vec::new();
    for (at, block) in pem::parse_many(bundle.str()).unwrap_or_default().into_iter().enumerate() {
        let problem = if block.tag() != "CERTIFICATE" {
            Some(format!("has bad block type: {}", block.tag()))
        } else if block.headers().iter().next().is_some() {
            Some("has PEM block headers".to_owned())
        } else {
            authority(block.contents()).err().map(str::to_owned)
        };
        if let Some(problem) = problem {
            errors.push(wrong(format!("entry {at} {problem}")));
            continue;
        }
        match anchors.iter_mut().find(|(known, _)| known == block.contents()) {
            Some((_, places)) => places.push(at.to_string()),
            None => anchors.push((block.into_contents(), vec![at.to_string()])),
        }
    }
    if errors.len() > before {
        return;
    }
    if anchors.is_empty() {
        errors.push(wrong("at least one trust anchor must be provided".to_owned()));
    }
    for (_, places) in anchors.iter().filter(|(_, places)| places.len() > 1) {
        errors.push(wrong(format!("duplicate trust anchor (indices [{}])", places.join(" "))));
    }
}

fn authority(der: &[u8]) -> Result<(), &'static str> {
    const UNREADABLE: &str = "does not parse as X.509";
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| UNREADABLE)?;
    let constraints = certificate.basic_constraints().map_err(|_| UNREADABLE)?;
    if !rest.is_empty() {
        return Err(UNREADABLE);
    }
    match constraints {
        Some(constraints) if constraints.value.ca => Ok(()),
        _ => Err("does not have the CA bit set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use serde_json::json;

    fn certificate(is_ca: bool) -> String {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("parameters");
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    fn texts(name: &str, signer: &str, bundle: &str) -> Vec<String> {
        let object =
            json!({"metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": bundle}});
        validate(&object, true).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bundles_hold_authorities() {
        let (own, leaf) = (certificate(true), certificate(false));
        let none: [&str; 0] = [];
        assert_eq!(texts("a", "", &own), none);
        assert_eq!(texts("example.com:s:a", "example.com/s", &own), none);
        let shown = "spec.trustBundle: Invalid value: \"<value omitted>\":";
        let block = |tag: &str| format!("-----BEGIN {tag}-----\nAA==\n-----END {tag}-----\n");
        for (bundle, detail) in [
            (String::new(), "at least one trust anchor must be provided"),
            (format!("{own}{own}"), "duplicate trust anchor (indices [0 1])"),
            (format!("{own}{leaf}"), "entry 1 does not have the CA bit set"),
            (block("CERTIFICATE"), "entry 0 does not parse as X.509"),
            (block("KEY"), "entry 0 has bad block type: KEY"),
        ] {
            assert_eq!(texts("a", "", &bundle), [format!("{shown} {detail}")]);
        }
        assert_eq!(
            texts("a", "example.com/s", &own),
            [
                "metadata.name: Invalid value: \"a\": ClusterTrustBundle for signerName example.com/s must be named with prefix example.com:s:"
            ]
        );
    }

    #[test]
    fn signers_stay() {
        let object = |signer: &str| json!({"spec": {"signerName": signer, "trustBundle": "odd"}});
        let old = object("");
        assert!(validate(&old, false).is_empty());
        let view = |object| View::at(at(object, &SIGNER), Path::dotted("spec.signerName"));
        let mut errors = Errors::new();
        immutable_str(&view(&object("example.com/s")), &view(&old), &mut errors);
        assert_eq!(errors.len(), 1);
    }
}
