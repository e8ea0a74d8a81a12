//! Discovery: which groups, versions and resources there are, in the old form (one document each) and the aggregated one.
//!
//! Documents are derived from the registry's rows when first asked for, and kept until the rows change.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use parking_lot::Mutex;
use proto::status::Status;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::answer;
use super::negotiate::{Format, MEDIA_TYPES, Offer, Output};
use crate::custom::Version;
use crate::registry::{Backing, Endpoint, Registry, Subresource, Verbs};
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

/// How the documents can be had.
const OFFER: Offer = Offer { custom: false, streams: false, tables: false, metadata: false };

/// Answers discovery requests.
pub struct Discovery {
    /// Host and port under which clients reach the server.
    external_address: String,
    made: Mutex<Made>,
}

/// The documents of one state of the registry, by path.
#[derive(Default)]
struct Made {
    registry: Option<Arc<Registry>>,
    documents: HashMap<String, Arc<Value>>,
    /// The aggregated forms, with their tags.
    aggregated: HashMap<String, (Bytes, HeaderValue)>,
}

impl Made {
    /// The documents of this state; those of another are forgotten.
    fn of(&mut self, registry: &Arc<Registry>) -> &mut Self {
        if self.registry.as_ref().is_none_or(|own| !Arc::ptr_eq(own, registry)) {
            *self = Made { registry: Some(registry.clone()), ..Made::default() };
        }
        self
    }
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
pub(crate) fn version_rank(version: &str) -> (u8, u32, u32) {
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
    /// Of a server that clients reach under this host and port.
    pub fn new(external_address: String) -> Self {
        Discovery { external_address, made: Mutex::default() }
    }

    /// Answers a path that is not about a resource.
    pub fn answer(&self, registry: &Arc<Registry>, passed: &Passed) -> Result<Option<Response>, Status> {
        let path = passed.info.path.trim_matches('/');
        let headers = passed.request.headers();
        if matches!(path, "api" | "apis") && accepts_aggregated(headers) {
            return Ok(Some(self.aggregated(registry, path, headers)));
        }
        let Some(value) = self.document(registry, path)? else { return Ok(None) };
        let output = Output::negotiate(headers, &passed.query, OFFER)?;
        let mut response = match (output.format, value.get("kind").and_then(Value::as_str)) {
            (Format::Protobuf, Some(kind)) => answer::meta_object(StatusCode::OK, output, kind, &value),
            _ => answer::object(StatusCode::OK, output, &value, None),
        };
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        Ok(Some(response))
    }

    fn document(&self, registry: &Arc<Registry>, path: &str) -> Result<Option<Arc<Value>>, Status> {
        if let Some(known) = self.made.lock().of(registry).documents.get(path) {
            return Ok(Some(known.clone()));
        }
        let Some(made) = self.make(registry, path)? else { return Ok(None) };
        let made = Arc::new(made);
        self.made.lock().of(registry).documents.insert(path.to_owned(), made.clone());
        Ok(Some(made))
    }

    fn make(&self, registry: &Registry, path: &str) -> Result<Option<Value>, Status> {
        let parts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        let groups = groups(registry);
        let find = |name: &str| groups.iter().find(|g| g.name == name);
        Ok(Some(match parts.as_slice() {
            [] | ["index.html"] => paths(&groups),
            ["api"] => self.versions(),
            ["apis"] => group_list(&groups),
            ["api", version] => resources(registry, find("").ok_or_else(Status::unknown_path)?, version)?,
            ["apis", name] if !name.is_empty() => {
                let Some(found) = find(name) else { return Ok(None) };
                let mut group = group(found);
                group["kind"] = "APIGroup".into();
                group["apiVersion"] = "v1".into();
                group
            }
            ["apis", name, version] if !name.is_empty() => {
                let Some(found) = find(name) else { return Ok(None) };
                resources(registry, found, version)?
            }
            _ => return Ok(None),
        }))
    }

    fn aggregated(&self, registry: &Arc<Registry>, path: &str, headers: &http::HeaderMap) -> Response {
        const MEDIA: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let known = self.made.lock().of(registry).aggregated.get(path).cloned();
        let (body, tag) = known.unwrap_or_else(|| {
            let made = aggregated_list(&groups(registry), path == "api");
            self.made.lock().of(registry).aggregated.insert(path.to_owned(), made.clone());
            made
        });
        let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag);
        let mut response = match unchanged {
            true => answer::bytes(StatusCode::NOT_MODIFIED, MEDIA, Body::empty()),
            false => answer::bytes(StatusCode::OK, MEDIA, Body::Full(body)),
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, tag);
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        response
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
    let mut paths: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/readyz",
        "/version",
    ]
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

fn resources(registry: &Registry, group: &Group, version: &str) -> Result<Value, Status> {
    let found = group.versions.iter().find(|(v, _)| *v == version);
    let (_, endpoints) = found.ok_or_else(Status::unknown_path)?;
    let mut list = Vec::new();
    for endpoint in endpoints {
        let mut entry = json!({
            "name": endpoint.resource, "singularName": endpoint.singular,
            "namespaced": endpoint.namespaced, "kind": endpoint.kind, "verbs": verbs(endpoint).names(),
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
            && matches!(endpoint.backing, Backing::Stored(..))
            && let Some(hash) = storage_version_hash(registry, endpoint)
        {
            entry["storageVersionHash"] = hash.into();
        }
        resources.push(entry);
    }
    let mut list = json!({
        "kind": "APIResourceList", "groupVersion": api_version(group.name, version), "resources": resources,
    });
    // Upstream leaves it out where clients are as old as the core group.
    if !group.name.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Ok(list)
}

fn kind_of<'a>(endpoint: &'a Endpoint, sub: &'a Subresource) -> &'a str {
    sub.kind.as_ref().map_or(&endpoint.kind, |(_, _, kind)| kind)
}

/// The verbs to list: a custom resource on its way out is only read and deleted.
fn verbs(endpoint: &Endpoint) -> Verbs {
    match Version::of(endpoint).is_some_and(Version::is_terminating) {
        true => endpoint.verbs.without(Verbs::CREATE | Verbs::UPDATE | Verbs::PATCH),
        false => endpoint.verbs,
    }
}

/// Tells clients whether the stored version has changed; nothing if that version is not served.
fn storage_version_hash(registry: &Registry, endpoint: &Endpoint) -> Option<String> {
    let Backing::Stored(group, resource) = &endpoint.backing else { return None };
    let storage = registry.storage(group, resource)?;
    let (group, version) = &storage.stored;
    let stored = registry.endpoints_of(storage).find(|e| e.group == *group && e.version == *version);
    if endpoint.custom && stored.is_none_or(|e| e.verbs.is_empty()) {
        return None;
    }
    let text = format!("{group}/{version}/{}", stored.map_or(&endpoint.kind, |e| &e.kind));
    Some(STANDARD.encode(&Sha256::digest(text.as_bytes())[..8]))
}

/// Whether the client prefers the aggregated form.
fn accepts_aggregated(headers: &http::HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    // The first clause that can be answered counts.
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
        let get = |name: &str| parameters.iter().find(|(k, _)| *k == name).map_or("", |(_, v)| v);
        let plain = ["g", "v", "as"].into_iter().all(|name| get(name).is_empty());
        let json = matches!(media, "application/json" | "application/*" | "*/*");
        if json
            && get("g") == "apidiscovery.k8s.io"
            && get("v") == "v2"
            && get("as") == "APIGroupDiscoveryList"
        {
            return true;
        }
        if plain && (json || MEDIA_TYPES.contains(&media)) {
            return false;
        }
    }
    false
}

fn aggregated_list(groups: &[Group], core: bool) -> (Bytes, HeaderValue) {
    let items: Vec<Value> =
        groups.iter().filter(|g| g.name.is_empty() == core).map(aggregated_group).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items,
    });
    let body = Bytes::from(list.to_string());
    let hash: String = Sha512::digest(&body).iter().map(|b| format!("{b:02X}")).collect();
    let tag = HeaderValue::from_str(&format!("\"{hash}\""));
    (body, tag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")))
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
    // Built-in kinds leave out the group and version that they are in.
    let (group, version) = match endpoint.custom {
        true => (endpoint.group.as_ref(), endpoint.version.as_ref()),
        false => ("", ""),
    };
    let of_kind = |kind: &str| json!({"group": group, "version": version, "kind": kind});
    let own = of_kind(&endpoint.kind);
    resource.insert("resource".into(), json!(endpoint.resource));
    resource.insert("responseKind".into(), own.clone());
    resource.insert("scope".into(), if endpoint.namespaced { "Namespaced" } else { "Cluster" }.into());
    resource.insert("singularResource".into(), json!(endpoint.singular));
    resource.insert("verbs".into(), json!(verbs(endpoint).names()));
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
                    Some((group, version, kind))
                        if *group == endpoint.group && *version == endpoint.version =>
                    {
                        of_kind(kind)
                    }
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
        let registry = crate::registry::builtin(&crate::registry::enabled_by_default);
        let hash = |api_version: &str, resource: &str| {
            let served = registry.find(api_version, resource)?;
            storage_version_hash(&registry, &served.endpoint)
        };
        assert_eq!(hash("v1", "configmaps").as_deref(), Some("qFsyl6wFWjQ="));
        assert_eq!(hash("v1", "endpoints").as_deref(), Some("fWeeMqaN/OA="));
    }

    #[test]
    fn clients_choose_the_form() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let cases = [
            ("", false),
            ("application/json", false),
            (aggregated, true),
            (&format!("{aggregated},application/json"), true),
            (&format!("application/json,{aggregated}"), false),
            (&format!("{aggregated};profile=nopeer"), true),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                false,
            ),
        ];
        for (accept, want) in cases {
            let headers = http::HeaderMap::from_iter([(
                http::header::ACCEPT,
                HeaderValue::from_str(accept).expect("a header"),
            )]);
            assert_eq!(accepts_aggregated(&headers), want, "{accept}");
        }
    }

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions = ["v1alpha1", "foo", "v1", "v2beta1", "v10", "v1beta2", "v2"];
        versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }
}
