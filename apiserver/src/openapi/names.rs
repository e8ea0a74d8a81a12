//! Names of models, documents, operations and tags.

use proto::schema::Type;

use crate::registry::Endpoint;

/// The model of a Go type: `k8s.io/api/apps/v1` and `Deployment` are `io.k8s.api.apps.v1.Deployment`.
pub(super) fn model(package: &str, name: &str) -> String {
    let (host, path) = package.split_once('/').unwrap_or((package, ""));
    let mut parts: Vec<&str> = host.split('.').rev().collect();
    parts.extend(path.split('/').filter(|part| !part.is_empty()));
    parts.push(name);
    parts.join(".")
}

/// The model of a built-in type.
pub(super) fn of_type(ty: &Type) -> String {
    model(&ty.package, &ty.name)
}

/// The model of a custom resource's kind: `org.example.v1.Widget`.
pub(super) fn custom(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').rev().collect();
    parts.extend([version, kind]);
    parts.join(".")
}

/// The document that describes an endpoint: `api/v1`, `apis/apps/v1`.
pub(super) fn document(endpoint: &Endpoint) -> String {
    if endpoint.group.is_empty() {
        format!("api/{}", endpoint.version)
    } else {
        format!("apis/{}/{}", endpoint.group, endpoint.version)
    }
}

/// The group in operations and tags: `rbacAuthorization`, `core`.
pub(super) fn group(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    identifier(group.strip_suffix(".k8s.io").unwrap_or(group), false)
}

/// A word with a capital letter, without what operation ids can't have.
pub(super) fn capital(word: &str) -> String {
    identifier(word, true)
}

/// Joins the parts of a name that are letters, digits and underscores; each but the first, or all, get a capital letter.
fn identifier(name: &str, mut capital: bool) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, letter) in name.char_indices() {
        if letter.is_alphabetic() || letter == '_' || (at > 0 && letter.is_numeric()) {
            if std::mem::take(&mut capital) {
                out.extend(letter.to_uppercase());
            } else {
                out.push(letter);
            }
        } else {
            capital = true;
        }
    }
    out
}

/// An indefinite article and a space; nothing before a plural.
pub(super) fn article(noun: &str) -> &'static str {
    if noun.ends_with('s') && !noun.ends_with("ss") {
        ""
    } else if noun.starts_with(|first: char| "aeiou".contains(first.to_ascii_lowercase())) {
        "an "
    } else {
        "a "
    }
}
