//! Credentials for registries, from pull secrets and the node's own file.

use super::name::registry_path;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proto::cri::AuthConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
}

/// Credentials by the registry or path they are for.
#[derive(Debug, Default, Clone)]
pub struct Keyring {
    entries: Vec<(String, AuthConfig)>,
}

impl Keyring {
    /// Adds what a `.dockerconfigjson` holds.
    pub fn add_config_json(&mut self, text: &[u8]) -> Result<(), serde_json::Error> {
        let file: File = serde_json::from_slice(text)?;
        self.add(file.auths);
        Ok(())
    }

    /// Adds what a `.dockercfg`, the older form, holds.
    pub fn add_dockercfg(&mut self, text: &[u8]) -> Result<(), serde_json::Error> {
        self.add(serde_json::from_slice(text)?);
        Ok(())
    }

    fn add(&mut self, auths: BTreeMap<String, Entry>) {
        for (place, entry) in auths {
            let (mut username, mut password) = (entry.username, entry.password);
            if let Ok(decoded) = BASE64_STANDARD.decode(entry.auth.trim())
                && let Some((user, pass)) = String::from_utf8_lossy(&decoded).split_once(':')
            {
                (username, password) = (user.to_string(), pass.trim_end_matches('\0').to_string());
            }
            let config =
                AuthConfig { username, password, identity_token: entry.identitytoken, ..Default::default() };
            self.entries.push((normalize(&place), config));
        }
        // The longest path that fits comes first.
        self.entries.sort_by(|a, b| b.0.cmp(&a.0));
    }

    /// The credentials that fit a repository, the most specific first.
    pub fn lookup(&self, repository: &str) -> Vec<AuthConfig> {
        let path = registry_path(repository);
        let fits = |place: &str| matches(place, &path);
        self.entries.iter().filter(|(place, _)| fits(place)).map(|(_, config)| config.clone()).collect()
    }
}

fn normalize(place: &str) -> String {
    let bare = place.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    if bare == "index.docker.io" { "docker.io".into() } else { bare.to_string() }
}

/// Whether `path` is at or below `place`; a part of the host may be a `*`.
fn matches(place: &str, path: &str) -> bool {
    let (place_host, place_path) = place.split_once('/').unwrap_or((place, ""));
    let (host, rest) = path.split_once('/').unwrap_or((path, ""));
    let parts = |h: &str| h.split('.').map(str::to_string).collect::<Vec<_>>();
    let (a, b) = (parts(place_host), parts(host));
    let host_fits = a.len() == b.len() && a.iter().zip(&b).all(|(p, h)| glob(p, h));
    host_fits && rest.starts_with(place_path)
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_credentials_come_first() {
        let mut ring = Keyring::default();
        let auth = |text: &str| BASE64_STANDARD.encode(text);
        let json = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"r.io":{{"auth":"{}"}},"r.io/team":{{"auth":"{}"}},"*.x.io":{{"auth":"{}"}}}}}}"#,
            auth("hub:1"),
            auth("all:2"),
            auth("team:3"),
            auth("wild:4"),
        );
        ring.add_config_json(json.as_bytes()).unwrap();
        let users = |r: &str| ring.lookup(r).into_iter().map(|a| a.username).collect::<Vec<_>>();
        assert_eq!(users("busybox"), ["hub"]);
        assert_eq!(users("r.io/team/app"), ["team", "all"]);
        assert_eq!(users("r.io/other"), ["all"]);
        assert_eq!(users("a.x.io/y"), ["wild"]);
        assert!(users("q.io/y").is_empty());
    }
}
