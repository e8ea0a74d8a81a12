//! What a request is about, read from its method and path as upstream does.

use http::Method;
use proto::{content, fields};

use super::query::{Query, decode_path};

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource.
    pub is_resource: bool,
    /// Path.
    pub path: String,
    /// API verb, or the lower-case method of a request that is not about a resource.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace.
    pub namespace: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Name.
    pub name: String,
    /// Path segments after the subresource.
    pub rest: Vec<String>,
    /// Whether the verb was in the path (`/watch/…`).
    pub verb_in_path: bool,
}

/// A resource path that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to determine kind and namespace from url, {0}")]
pub struct Undetermined(String);

impl RequestInfo {
    /// Reads a request.
    pub fn new(method: &Method, path: &str, query: &Query) -> Result<Self, Undetermined> {
        let decoded = decode_path(path).unwrap_or_else(|| path.to_owned());
        let mut info = RequestInfo {
            path: decoded.clone(),
            verb: method.as_str().to_ascii_lowercase(),
            ..RequestInfo::default()
        };
        let trimmed = decoded.trim_matches('/');
        let mut parts: Vec<&str> = if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() };
        if parts.len() < 3 || !matches!(parts[0], "api" | "apis") {
            return Ok(info);
        }
        info.api_prefix = parts.remove(0).to_owned();
        if info.api_prefix == "apis" {
            if parts.len() < 3 {
                return Ok(info);
            }
            info.group = parts.remove(0).to_owned();
        }
        info.is_resource = true;
        info.version = parts.remove(0).to_owned();
        if matches!(parts[0], "proxy" | "watch") {
            if parts.len() < 2 {
                return Err(Undetermined(path.to_owned()));
            }
            info.verb = parts.remove(0).to_owned();
            info.verb_in_path = true;
        } else {
            info.verb = match *method {
                Method::POST => "create",
                Method::GET | Method::HEAD => "get",
                Method::PUT => "update",
                Method::PATCH => "patch",
                Method::DELETE => "delete",
                _ => "",
            }
            .to_owned();
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = parts[1].to_owned();
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts.drain(..2);
            }
        }
        let mut parts = parts.into_iter().map(str::to_owned);
        info.resource = parts.next().unwrap_or_default();
        info.name = parts.next().unwrap_or_default();
        if info.verb != "proxy" {
            info.subresource = parts.next().unwrap_or_default();
        }
        info.rest = parts.collect();
        if info.name.is_empty() && info.verb == "get" {
            let watch = query.flag("watch").unwrap_or(false);
            info.verb = if watch { "watch" } else { "list" }.to_owned();
            let selector = query.get("fieldSelector").and_then(|s| fields::Selector::parse(s).ok());
            let name = selector.as_ref().and_then(|s| s.requires_exact_match("metadata.name"));
            if let Some(name) = name.filter(|n| content::is_path_segment_name(n).is_empty()) {
                info.name = name.to_owned();
            }
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".to_owned();
        }
        Ok(info)
    }

    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::new(&method, path, &Query::parse(Some(query))).expect("determined")
    }

    /// (method, target, verb, group, version, namespace, resource, subresource, name); the cases are upstream's.
    #[test]
    fn paths_mean_what_they_mean_upstream() {
        let cases = [
            ("GET", "/api/v1/namespaces", "list", "", "v1", "", "namespaces", "", ""),
            ("GET", "/api/v1/namespaces/other", "get", "", "v1", "other", "namespaces", "", "other"),
            ("GET", "/api/v1/namespaces/other/pods", "list", "", "v1", "other", "pods", "", ""),
            ("GET", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
            ("HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
            ("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
            ("GET", "/api/v1/watch/pods", "watch", "", "v1", "", "pods", "", ""),
            ("GET", "/api/v1/pods?watch=true", "watch", "", "v1", "", "pods", "", ""),
            ("GET", "/api/v1/pods?watch=false", "list", "", "v1", "", "pods", "", ""),
            (
                "GET",
                "/api/v1/namespaces/other/pods/foo/status",
                "get",
                "",
                "v1",
                "other",
                "pods",
                "status",
                "foo",
            ),
            (
                "PUT",
                "/api/v1/namespaces/other/finalize",
                "update",
                "",
                "v1",
                "other",
                "namespaces",
                "finalize",
                "other",
            ),
            (
                "PUT",
                "/api/v1/namespaces/other/status",
                "update",
                "",
                "v1",
                "other",
                "namespaces",
                "status",
                "other",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/x/deployments",
                "deletecollection",
                "apps",
                "v1",
                "x",
                "deployments",
                "",
                "",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/x/deployments/a",
                "patch",
                "apps",
                "v1",
                "x",
                "deployments",
                "",
                "a",
            ),
            (
                "GET",
                "/api/v1/nodes?fieldSelector=metadata.name%3Dn1",
                "list",
                "",
                "v1",
                "",
                "nodes",
                "",
                "n1",
            ),
        ];
        for (method, target, verb, group, version, namespace, resource, subresource, name) in cases {
            let i = info(method.parse().expect("method"), target);
            let got =
                (&*i.verb, &*i.group, &*i.version, &*i.namespace, &*i.resource, &*i.subresource, &*i.name);
            assert_eq!(
                got,
                (verb, group, version, namespace, resource, subresource, name),
                "{method} {target}"
            );
            assert!(i.is_resource);
        }
        for path in ["/", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/metrics/x/y/z"] {
            assert!(!info(Method::GET, path).is_resource, "{path}");
        }
    }
}
