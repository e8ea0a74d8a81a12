//! The file of --encryption-provider-config.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use proto::field::{self, Error, Errors, Path as FieldPath};
use proto::view::View;
use proto::yaml;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cipher::Cipher;
use super::{Encryption, Provider, Providers};

const AES_SIZES: &[usize] = &[16, 24, 32];
const BOX_SIZES: &[usize] = &[32];
/// Resources of etcd that no object of the API is.
const INTERNAL: [&str; 3] = ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<ResourceConfiguration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceConfiguration {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<ProviderConfiguration>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ProviderConfiguration {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Value>,
    kms: Option<Value>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

/// Reads the file.
pub fn load(path: &Path) -> Result<Encryption, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| {
        format!("error while loading file: error reading encryption provider configuration file \"{shown}\": {error}")
    })?;
    if text.is_empty() {
        return Err(format!(
            "error while loading file: encryption provider configuration file \"{shown}\" is empty"
        ));
    }
    parse(&text).map_err(|why| format!("encryption provider configuration file \"{shown}\": {why}"))
}

pub(super) fn parse(text: &[u8]) -> Result<Encryption, String> {
    let (value, strict) = yaml::to_value(text).map_err(|error| error.to_string())?;
    if let Some(first) = strict.first() {
        return Err(format!("strict decoding error: {first}"));
    }
    let config: Configuration = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if (config.api_version.as_str(), config.kind.as_str())
        != ("apiserver.config.k8s.io/v1", "EncryptionConfiguration")
    {
        return Err(format!(
            "no kind \"{}\" is registered for version \"{}\"",
            config.kind, config.api_version
        ));
    }
    let errors = validate(&config);
    if !errors.is_empty() {
        return Err(field::aggregate(&errors));
    }
    let mut resources: HashMap<(String, String), Providers> = HashMap::new();
    for group in &config.resources {
        for resource in &group.resources {
            let own = parse_resource(resource);
            for wider in [(own.0.clone(), "*".to_owned()), ("*".to_owned(), "*".to_owned())] {
                if resources.contains_key(&wider) {
                    return Err(format!(
                        "resource \"{}\" is masked by earlier rule \"{}\"",
                        shown(&own),
                        shown(&wider)
                    ));
                }
            }
            let providers = resources.entry(own).or_insert_with(|| Providers(Vec::new()));
            providers.0.extend(group.providers.iter().filter_map(provider));
        }
    }
    Ok(Encryption { resources, rows: HashMap::new(), root: "/registry/".to_owned() })
}

/// `resource.group` as (group, resource).
fn parse_resource(text: &str) -> (String, String) {
    let (resource, group) = text.split_once('.').unwrap_or((text, ""));
    (group.to_owned(), resource.to_owned())
}

fn shown((group, resource): &(String, String)) -> String {
    if group.is_empty() && resource != "*" { resource.clone() } else { format!("{resource}.{group}") }
}

fn provider(config: &ProviderConfiguration) -> Option<Provider> {
    type Make = fn(&[u8]) -> Option<Cipher>;
    let of = |keys: &Keys, prefix, name, make: Make| {
        let made = |key: &Key| Some((key.name.clone(), make(&BASE64.decode(&key.secret).ok()?)?));
        Provider::Keys { prefix, name, keys: keys.keys.iter().filter_map(made).collect() }
    };
    if let Some(keys) = &config.aesgcm {
        Some(of(keys, "k8s:enc:aesgcm:v1:", "AES", Cipher::gcm))
    } else if let Some(keys) = &config.aescbc {
        Some(of(keys, "k8s:enc:aescbc:v1:", "AES", Cipher::cbc))
    } else if let Some(keys) = &config.secretbox {
        Some(of(keys, "k8s:enc:secretbox:v1:", "Secretbox", Cipher::secretbox))
    } else {
        config.identity.as_ref().map(|_| Provider::Identity)
    }
}

fn validate(config: &Configuration) -> Errors {
    let mut errors = Errors::new();
    let root = FieldPath::new("resources");
    let at_least_one =
        |path: &FieldPath, what: &str| Error::required(path, format!("at least one {what} is required"));
    if config.resources.is_empty() {
        return vec![at_least_one(&root, "resources")];
    }
    for (at, own) in config.resources.iter().enumerate() {
        let (resources, providers) = (root.index(at).child("resources"), root.index(at).child("providers"));
        if own.resources.is_empty() {
            errors.push(at_least_one(&resources, &resources.to_string()));
        }
        overlap(&own.resources, &resources, &mut errors);
        names(&own.resources, &resources, &mut errors);
        if own.providers.is_empty() {
            errors.push(at_least_one(&providers, &providers.to_string()));
        }
        for (at, provider) in own.providers.iter().enumerate() {
            self::check(provider, &providers.index(at), &mut errors);
        }
    }
    errors
}

fn overlap(list: &[String], path: &FieldPath, errors: &mut Errors) {
    let all: Vec<(String, String)> = list.iter().map(|resource| parse_resource(resource)).collect();
    let pairs = || (0..all.len()).flat_map(|a| (0..all.len()).filter(move |b| *b != a).map(move |b| (a, b)));
    let doubled = pairs().any(|(a, b)| all[a] == all[b]);
    let overlapping = pairs().any(|(a, b)| {
        let (one, other) = (&all[a], &all[b]);
        let is_everything = one.0 == "*" && one.1 == "*";
        one != other && (is_everything || one.0 == other.0 && (one.1 == "*" || other.1 == "*"))
    });
    if doubled {
        errors.push(Error::invalid(
            path,
            json!(list),
            "the same resource cannot be specified multiple times",
        ));
    }
    if overlapping {
        errors.push(Error::invalid(path, json!(list), "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"));
    }
}

fn names(list: &[String], path: &FieldPath, errors: &mut Errors) {
    for (at, text) in list.iter().enumerate() {
        let (group, resource) = parse_resource(text);
        let problem = if text.chars().any(char::is_uppercase) {
            "resource name should not contain capital letters"
        } else if text == "*" {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        } else if INTERNAL.contains(&text.as_str()) {
            "resources which do not have REST API/s cannot be encrypted"
        } else if group == "events.k8s.io" {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        } else if group == "extensions" {
            "'extensions' group has been removed and cannot be used for encryption"
        } else if group == "*" && resource != "*" {
            "encrypting the same resource across groups is not supported"
        } else {
            continue;
        };
        errors.push(Error::invalid(&path.index(at), text.as_str(), problem));
    }
}

fn check(provider: &ProviderConfiguration, path: &FieldPath, errors: &mut Errors) {
    let kinds = [
        provider.kms.is_some(),
        provider.aesgcm.is_some(),
        provider.aescbc.is_some(),
        provider.secretbox.is_some(),
        provider.identity.is_some(),
    ];
    let found = kinds.iter().filter(|kind| **kind).count();
    if found != 1 {
        let detail = match found {
            0 => {
                "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
            }
            _ => {
                "more than one provider specified in a single element, should split into different list elements"
            }
        };
        errors.push(Error::invalid(path, "REDACTED", detail));
        return;
    }
    if provider.kms.is_some() {
        let detail =
            "key management services are not asked by this server; use aesgcm, aescbc, secretbox or identity";
        errors.push(Error::forbidden(&path.child("kms"), detail));
    }
    for (field, own, sizes) in [
        ("aesgcm", &provider.aesgcm, AES_SIZES),
        ("aescbc", &provider.aescbc, AES_SIZES),
        ("secretbox", &provider.secretbox, BOX_SIZES),
    ] {
        if let Some(own) = own {
            keys(&own.keys, &path.child(field).child("keys"), sizes, errors);
        }
    }
}

fn keys(keys: &[Key], path: &FieldPath, sizes: &[usize], errors: &mut Errors) {
    if keys.is_empty() {
        errors.push(Error::required(path, "at least one keys is required"));
    }
    for (at, key) in keys.iter().enumerate() {
        let value = json!({"name": key.name, "secret": key.secret});
        let view = View::at(&value, path.index(at));
        let (name, secret) = (view.get("name"), view.get("secret"));
        if name.is_empty() {
            errors.push(name.required("name is a mandatory field for a key"));
        }
        if secret.is_empty() {
            errors.push(secret.required("secret is a mandatory field for a key"));
            continue;
        }
        let detail = match BASE64.decode(&key.secret) {
            Err(_) => "secrets must be base64 encoded".to_owned(),
            Ok(bytes) if sizes.contains(&bytes.len()) => continue,
            Ok(bytes) => {
                let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
                format!(
                    "secret is not of the expected length, got {}, expected one of [{}]",
                    bytes.len(),
                    sizes.join(" ")
                )
            }
        };
        errors.push(Error::invalid(secret.path(), "REDACTED", detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked() {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
        let cases = [
            ("resources: []", "resources: Required value: at least one resources is required"),
            (
                "resources: [{resources: [secrets], providers: []}]",
                "resources[0].providers: Required value: at least one resources[0].providers is required",
            ),
            (
                "resources: [{resources: [Secrets], providers: [{identity: {}}]}]",
                "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters",
            ),
            (
                "resources: [{resources: [secrets, '*.'], providers: [{identity: {}}]}]",
                "resources[0].resources: Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
            ),
            (
                "resources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: a, secret: YWJj}]}}]}]",
                "resources[0].providers[0].aescbc.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 3, expected one of [16 24 32]",
            ),
            (
                "resources: [{resources: [secrets], providers: [{kms: {name: a}}]}]",
                "resources[0].providers[0].kms: Forbidden: key management services are not asked by this server; use aesgcm, aescbc, secretbox or identity",
            ),
            (
                "resources: [{resources: ['*.*'], providers: [{identity: {}}]}, {resources: [secrets], providers: [{identity: {}}]}]",
                "resource \"secrets\" is masked by earlier rule \"*.*\"",
            ),
            (
                "resources: [{resources: [secrets], other: 1}]",
                "unknown field `other`, expected `resources` or `providers`",
            ),
        ];
        for (text, want) in cases {
            let text = format!("{head}{text}");
            assert_eq!(parse(text.as_bytes()).err().as_deref(), Some(want));
        }
    }
}
