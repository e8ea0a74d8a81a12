//! Discovery: which groups, versions and resources there are, in the old form (one document each) and the aggregated one.
//!
//! Everything is derived from the registry's rows when asked; nothing is kept that could go stale.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use proto::status::Status;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::answer;
use super::negotiate::{Format, Output};
use crate::registry::{Endpoint, Registry, Subresource};
use crate::server::filters::Passed;
use crate::server::{Body, Response};

/// Groups in the order of their priorities; groups that are not listed come after them by name.
const GROUP_ORDER: [&str; 22] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
];

/// Answers discovery requests.
pub struct Discovery {
    /// Host and port under which clients reach the server.
    pub external_address: String,
}

/// A group with its served versions, preferred first.
struct Group<'a> {
    name: &'a str,
    versions: Vec<(&'a str, Vec<&'a Endpoint>)>,
}

fn groups(registry: &Registry) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for endpoint in registry.endpoints().filter(|e| !e.verbs.is_empty()) {
        let group = match groups.iter().position(|g| g.name == endpoint.group) {
            Some(i) => &mut groups[i],
            None => {
                groups.push(Group { name: &endpoint.group, versions: Vec::new() });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        match group.versions.iter_mut().find(|(v, _)| *v == endpoint.version) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => group.versions.push((&endpoint.version, vec![endpoint])),
        }
    }
    for group in &mut groups {
        group.versions.sort_by_key(|(v, _)| std::cmp::Reverse(version_rank(v)));
        for (_, endpoints) in &mut group.versions {
            endpoints.sort_by(|a, b| a.resource.cmp(&b.resource));
        }
    }
    let place = |g: &Group| GROUP_ORDER.iter().position(|n| *n == g.name).unwrap_or(GROUP_ORDER.len());
    groups.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.name.cmp(b.name)));
    groups
}

/// Orders versions as Kubernetes does: stable before beta before alpha, then higher numbers first.
fn version_rank(version: &str) -> (u8, u32, u32) {
    let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let (major, rest) = rest.split_at(digits(rest));
    let Ok(major) = major.parse() else { return (0, 0, 0) };
    if rest.is_empty() {
        return (3, major, 0);
    }
    let stage = |name: &str, rank| {
        let minor = rest.strip_prefix(name)?.parse().ok()?;
        Some((rank, major, minor))
    };
    stage("beta", 2).or_else(|| stage("alpha", 1)).unwrap_or((0, 0, 0))
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

impl Discovery {
    /// Answers a path that is not about a resource.
    pub fn answer(&self, registry: &Registry, passed: &Passed) -> Result<Option<Response>, Status> {
        let path = passed.info.path.trim_matches('/');
        let parts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        let groups = groups(registry);
        let find = |name: &str| groups.iter().find(|g| g.name == name);
        let headers = passed.request.headers();
        let value = match parts.as_slice() {
            [] | ["index.html"] => paths(&groups),
            ["api"] | ["apis"] => {
                let core = parts == ["api"];
                if let Some(version) = aggregated(headers) {
                    return Ok(Some(aggregated_list(&groups, core, version, headers)));
                }
                if core { self.versions() } else { group_list(&groups) }
            }
            ["api", version] => resources(find("").ok_or_else(Status::unknown_path)?, version)?,
            ["apis", name] if !name.is_empty() => {
                let Some(found) = find(name) else { return Ok(None) };
                let mut group = group(found);
                group["kind"] = "APIGroup".into();
                group["apiVersion"] = "v1".into();
                group
            }
            ["apis", name, version] if !name.is_empty() => {
                let Some(found) = find(name) else { return Ok(None) };
                resources(found, version)?
            }
            _ => return Ok(None),
        };
        let output = Output::negotiate(headers, &passed.query, false, false)?;
        let mut response = match (output.format, value.get("kind").and_then(Value::as_str)) {
            (Format::Protobuf, Some(kind)) => answer::meta_object(StatusCode::OK, output, kind, &value),
            _ => answer::object(StatusCode::OK, output, &value, None),
        };
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        Ok(Some(response))
    }

    fn versions(&self) -> Value {
        json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs":
                [{"clientCIDR": "0.0.0.0/0", "serverAddress": self.external_address}],
        })
    }
}

fn paths(groups: &[Group]) -> Value {
    let mut paths: Vec<String> =
        ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/readyz", "/version"]
            .iter()
            .map(ToString::to_string)
            .collect();
    for group in groups.iter().filter(|g| !g.name.is_empty()) {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|(v, _)| format!("/apis/{}/{v}", group.name)));
    }
    paths.sort();
    json!({"paths": paths})
}

fn group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(v, _)| json!({"groupVersion": api_version(group.name, v), "version": v}))
        .collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": group.name, "versions": versions, "preferredVersion": preferred})
}

fn group_list(groups: &[Group]) -> Value {
    let groups: Vec<Value> = groups.iter().filter(|g| !g.name.is_empty()).map(group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resources(group: &Group, version: &str) -> Result<Value, Status> {
    let found = group.versions.iter().find(|(v, _)| *v == version);
    let (_, endpoints) = found.ok_or_else(Status::unknown_path)?;
    let mut list = Vec::new();
    for endpoint in endpoints {
        let mut entry = json!({
            "name": endpoint.resource, "singularName": endpoint.singular,
            "namespaced": endpoint.namespaced, "kind": endpoint.kind, "verbs": endpoint.verbs.names(),
        });
        if !endpoint.short_names.is_empty() {
            entry["shortNames"] = json!(endpoint.short_names);
        }
        if !endpoint.categories.is_empty() {
            entry["categories"] = json!(endpoint.categories);
        }
        list.push((endpoint.resource.to_string(), entry));
        for sub in &endpoint.subresources {
            let name = format!("{}/{}", endpoint.resource, sub.name);
            let mut entry = json!({
                "name": name, "singularName": "", "namespaced": endpoint.namespaced,
                "kind": kind_of(endpoint, sub), "verbs": sub.verbs.names(),
            });
            if let Some((group, version, _)) = &sub.kind
                && (*group != endpoint.group || *version != endpoint.version)
            {
                if !group.is_empty() {
                    entry["group"] = json!(group);
                }
                entry["version"] = json!(version);
            }
            list.push((name, entry));
        }
    }
    list.sort_by(|a, b| a.0.cmp(&b.0));
    let mut resources: Vec<Value> = Vec::with_capacity(list.len());
    for (name, mut entry) in list {
        if let Some(endpoint) = endpoints.iter().find(|e| e.resource == name)
            && matches!(endpoint.backing, crate::registry::Backing::Stored(..))
        {
            entry["storageVersionHash"] = storage_version_hash(endpoint).into();
        }
        resources.push(entry);
    }
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": api_version(group.name, version), "resources": resources,
    }))
}

fn kind_of<'a>(endpoint: &'a Endpoint, sub: &'a Subresource) -> &'a str {
    sub.kind.as_ref().map_or(&endpoint.kind, |(_, _, kind)| kind)
}

/// Tells clients whether the stored version has changed.
fn storage_version_hash(endpoint: &Endpoint) -> String {
    let text = format!("{}/{}/{}", endpoint.group, endpoint.version, endpoint.kind);
    STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}

/// The version of aggregated discovery the client accepts.
fn aggregated(headers: &http::HeaderMap) -> Option<&'static str> {
    let accept = headers.get(http::header::ACCEPT)?.to_str().ok()?;
    accept.split(',').find_map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "*/*") {
            return None;
        }
        let parameters: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
        let get = |name| parameters.iter().find(|(k, _)| *k == name).map_or("", |(_, v)| v);
        if get("g") != "apidiscovery.k8s.io" || get("as") != "APIGroupDiscoveryList" {
            return None;
        }
        ["v2", "v2beta1"].into_iter().find(|v| *v == get("v"))
    })
}

fn aggregated_list(groups: &[Group], core: bool, version: &str, headers: &http::HeaderMap) -> Response {
    let items: Vec<Value> =
        groups.iter().filter(|g| g.name.is_empty() == core).map(aggregated_group).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    });
    let body = list.to_string().into_bytes();
    let hash: String = Sha512::digest(&body).iter().map(|b| format!("{b:02X}")).collect();
    let etag = format!("\"{hash}\"");
    let content_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    let known = headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let mut response = match known {
        true => answer::bytes(StatusCode::NOT_MODIFIED, content_type, Body::empty()),
        false => answer::bytes(StatusCode::OK, content_type, body),
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, endpoints)| {
            let resources: Vec<Value> = endpoints.iter().map(|e| aggregated_resource(e)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(endpoint: &Endpoint) -> Value {
    let mut resource = Map::new();
    let own = json!({"group": endpoint.group, "version": endpoint.version, "kind": endpoint.kind});
    resource.insert("resource".into(), json!(endpoint.resource));
    resource.insert("responseKind".into(), own.clone());
    resource.insert("scope".into(), if endpoint.namespaced { "Namespaced" } else { "Cluster" }.into());
    resource.insert("singularResource".into(), json!(endpoint.singular));
    resource.insert("verbs".into(), json!(endpoint.verbs.names()));
    if !endpoint.short_names.is_empty() {
        resource.insert("shortNames".into(), json!(endpoint.short_names));
    }
    if !endpoint.categories.is_empty() {
        resource.insert("categories".into(), json!(endpoint.categories));
    }
    let mut subresources: Vec<&Subresource> = endpoint.subresources.iter().collect();
    subresources.sort_by(|a, b| a.name.cmp(&b.name));
    if !subresources.is_empty() {
        let list: Vec<Value> = subresources
            .iter()
            .map(|sub| {
                let kind = match &sub.kind {
                    Some((group, version, kind)) => json!({"group": group, "version": version, "kind": kind}),
                    None => own.clone(),
                };
                json!({"subresource": sub.name, "responseKind": kind, "verbs": sub.verbs.names()})
            })
            .collect();
        resource.insert("subresources".into(), list.into());
    }
    Value::Object(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_versions_hash_as_upstream() {
        assert_eq!(storage_version_hash(&Endpoint::new("", "v1", "configmaps", "ConfigMap")), "qFsyl6wFWjQ=");
        assert_eq!(storage_version_hash(&Endpoint::new("", "v1", "endpoints", "Endpoints")), "fWeeMqaN/OA=");
    }

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions = ["v1alpha1", "foo", "v1", "v2beta1", "v10", "v1beta2", "v2"];
        versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }
}
