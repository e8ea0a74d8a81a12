//! Names of signers and of the trust bundles named after them, and who may act for signers.

use std::sync::Arc;

use proto::content;
use proto::field::{Error, Errors, quote};
use proto::view::View;

use crate::auth::{Attributes, Decision, UserInfo};
use crate::registry::Local;
use crate::registry::checks::name_with;

/// A domain and a path: `example.com/signer-name`.
pub(crate) fn signer_name(view: &View, errors: &mut Errors) {
    const MOST_IN_PATH: usize = content::SUBDOMAIN_MAX + content::LABEL_MAX + 1;
    const MOST: usize = content::SUBDOMAIN_MAX + MOST_IN_PATH + 1;
    let name = view.str();
    if name.is_empty() {
        errors.push(view.required(""));
        return;
    }
    let (domain, path) = match name.split('/').collect::<Vec<_>>()[..] {
        [domain, path] => (domain, path),
        _ => {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(view.invalid_str(detail));
            return;
        }
    };
    if domain.len() > content::SUBDOMAIN_MAX {
        errors.push(Error::too_long(view.path(), content::SUBDOMAIN_MAX));
    }
    segments(view, domain, content::is_dns1123_label, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(view.path(), domain, detail));
    }
    segments(view, path, content::is_dns1123_subdomain, errors);
    if name.len() > MOST {
        errors.push(Error::too_long(view.path(), MOST));
    }
}

/// Reports the first bad segment only; the others would say the same.
fn segments(view: &View, part: &str, check: fn(&str) -> Vec<String>, errors: &mut Errors) {
    for segment in part.split('.') {
        let messages = check(segment);
        if !messages.is_empty() {
            errors.extend(messages.into_iter().map(|message| {
                let detail = format!("validating label {}: {message}", quote(segment));
                Error::invalid(view.path(), part, detail)
            }));
            return;
        }
    }
}

/// The name of a trust bundle. `signer` is its signer, or None to take it from the name.
pub(crate) fn trust_bundle_name(name: &str, signer: Option<&str>) -> Vec<String> {
    let from_name = name.rsplit_once(':').map(|(signer, _)| signer.replace(':', "/"));
    let signer = signer.map(str::to_owned).or(from_name).unwrap_or_default();
    trust_bundle_name_of(&signer, name, false)
}

/// The name of a trust bundle of this signer ("" for none).
pub(crate) fn trust_bundle_name_of(signer: &str, name: &str, prefix: bool) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()];
        }
        return name_with(content::is_dns1123_subdomain, name, prefix);
    }
    let required = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&required) {
        Some(rest) => name_with(content::is_dns1123_subdomain, rest, prefix),
        None => {
            vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {required}")]
        }
    }
}

/// Whether a user holds a verb for the signer, or for all signers of its domain.
pub(crate) async fn may(local: &Arc<dyn Local>, user: &Arc<UserInfo>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let attributes = Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            resource_request: true,
            group: super::GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            ..Attributes::default()
        };
        if local.services().authorizer.authorize(&attributes).await.decision == Decision::Allow {
            return true;
        }
    }
    false
}
