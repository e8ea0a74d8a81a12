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
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut parts = group.split('.').filter(|part| !part.is_empty());
    let first = parts.next().unwrap_or("core").to_owned();
    parts.fold(first, |name, part| name + &capital(part))
}

/// A word with a capital letter.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
