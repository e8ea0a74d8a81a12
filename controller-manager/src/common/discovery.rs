//! Which resources the server has, and what can be done with them.

use component_base::client::{Client, Error, Resource};
use http::Method;
use serde::Deserialize;

/// One resource in the version that the server prefers.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovered {
    pub resource: Resource,
    pub kind: String,
    pub verbs: Vec<String>,
}

impl Discovered {
    /// Whether it has all of these verbs.
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|v| v == verb))
    }
}

/// What could be found out; some groups may have failed, as when an extension server is down.
#[derive(Debug, Default)]
pub struct Discovery {
    pub resources: Vec<Discovered>,
    /// Group versions that didn't answer, with the reason.
    pub failed: Vec<(String, Error)>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    versions: Vec<Version>,
    preferred_version: Option<Version>,
}

#[derive(Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Version {
    group_version: String,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
struct ApiResource {
    name: String,
    #[serde(default)]
    namespaced: bool,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Asks for every resource, each in the preferred version of its group, or else in the first that has it.
pub async fn preferred(client: &Client) -> Result<Discovery, Error> {
    let groups: Groups = get(client, "/apis").await?;
    let mut versions = vec![("/api/v1".to_string(), "v1".to_string())];
    for group in groups.groups {
        let first = group.preferred_version.clone();
        let rest = group.versions.into_iter().filter(|v| Some(v) != group.preferred_version.as_ref());
        for version in first.into_iter().chain(rest) {
            versions.push((format!("/apis/{}", version.group_version), version.group_version));
        }
    }
    let mut found = Discovery::default();
    for (path, group_version) in versions {
        match get::<Resources>(client, &path).await {
            Ok(list) => add(&mut found, &group_version, list),
            Err(error) => found.failed.push((group_version, error)),
        }
    }
    Ok(found)
}

/// The kind of a resource, if the server has that.
pub async fn kind_of(
    client: &Client,
    group: &str,
    version: &str,
    plural: &str,
) -> Result<Option<String>, Error> {
    let prefix = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    match get::<Resources>(client, &format!("{prefix}/{version}")).await {
        Ok(list) => Ok(list.resources.into_iter().find(|resource| resource.name == plural).map(|r| r.kind)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the objects of a resource have this subresource.
pub async fn has_subresource(client: &Client, resource: &Resource, subresource: &str) -> Result<bool, Error> {
    let group_version = resource.api_version();
    let prefix = if resource.group.is_empty() { "/api" } else { "/apis" };
    let list: Resources = get(client, &format!("{prefix}/{group_version}")).await?;
    let name = format!("{}/{subresource}", resource.plural);
    Ok(list.resources.iter().any(|resource| resource.name == name))
}

fn add(found: &mut Discovery, group_version: &str, list: Resources) {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    for resource in list.resources.into_iter().filter(|r| !r.name.contains('/')) {
        let known = |d: &Discovered| d.resource.group == group && d.resource.plural == resource.name;
        if !found.resources.iter().any(known) {
            found.resources.push(Discovered {
                resource: Resource::dynamic(group, version, &resource.name, resource.namespaced),
                kind: resource.kind,
                verbs: resource.verbs,
            });
        }
    }
}

async fn get<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<T, Error> {
    let body = client.request(Method::GET, path, None).await?;
    serde_json::from_slice(&body).map_err(|e| Error::Decode(e.to_string()))
}
