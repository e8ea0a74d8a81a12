//! The environment of a container.

use super::downward::{self, Surroundings};
use super::expand::expand;
use crate::api::{Container, Pod, PodView};
use crate::objects::{Kind, Object, Sources};
use std::collections::BTreeMap;
use std::path::Path;

/// The objects a container's environment refers to.
pub fn references(container: &Container) -> Vec<(Kind, String)> {
    let mut all = Vec::new();
    for from in container.env_from.iter().flatten() {
        all.extend(from.config_map_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
        all.extend(from.secret_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        all.extend(source.config_map_key_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
        all.extend(source.secret_key_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
    }
    all
}

/// Builds the environment. Variables of services rank below the container's own; a value refers to
/// those above it in the list, and to services.
pub fn build(
    pod: &Pod,
    container: &Container,
    services: &BTreeMap<String, String>,
    sources: &Sources,
    around: &Surroundings,
    volume_path: impl Fn(&str) -> Option<std::path::PathBuf>,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(r), _) => (Kind::ConfigMap, &r.name, r.optional),
            (None, Some(r)) => (Kind::Secret, &r.name, r.optional),
            (None, None) => continue,
        };
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let object = sources.get(kind, name, optional.unwrap_or(false))?;
        for (key, value) in object.iter().flat_map(|o: &&Object| &o.data) {
            env.insert(format!("{prefix}{key}"), lossy(value));
        }
    }
    for var in container.env.iter().flatten() {
        let plain = var.value.as_deref().unwrap_or_default();
        let value = if !plain.is_empty() {
            let lookup = |name: &str| env.get(name).or_else(|| services.get(name)).cloned();
            Some(expand(plain, lookup))
        } else if let Some(from) = &var.value_from {
            if let Some(selector) = &from.field_ref {
                Some(downward::field(selector, pod, around)?)
            } else if let Some(selector) = &from.resource_field_ref {
                Some(downward::resource(selector, pod, Some(container), around)?)
            } else if let Some(r) = &from.config_map_key_ref {
                key(sources, Kind::ConfigMap, pod, &r.name, &r.key, r.optional)?
            } else if let Some(r) = &from.secret_key_ref {
                key(sources, Kind::Secret, pod, &r.name, &r.key, r.optional)?
            } else if let Some(r) = &from.file_key_ref {
                let root = volume_path(&r.volume_name).ok_or_else(|| {
                    format!("cannot find the volume {:?} referenced by FileKeyRef", r.volume_name)
                })?;
                file_key(&root, &r.path, &r.key, r.optional.unwrap_or(false))?
            } else {
                Some(String::new())
            }
        } else {
            Some(String::new())
        };
        if let Some(value) = value {
            env.insert(var.name.clone(), value);
        }
    }
    for (name, value) in services {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(env)
}

fn key(
    sources: &Sources,
    kind: Kind,
    pod: &Pod,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, String> {
    let optional = optional.unwrap_or(false);
    let Some(object) = sources.get(kind, name, optional)? else { return Ok(None) };
    match object.data.get(key) {
        Some(value) => Ok(Some(lossy(value))),
        None if optional => Ok(None),
        None => Err(format!("couldn't find key {key} in {kind:?} {}/{name}", pod.namespace())),
    }
}

/// A variable from a file of `KEY='value'` lines in a volume.
fn file_key(root: &Path, path: &str, key: &str, optional: bool) -> Result<Option<String>, String> {
    if path.split('/').any(|part| part == "..") || path.starts_with('/') {
        return Err(format!("invalid path {path:?} of an environment file"));
    }
    let file = root.join(path);
    let text = std::fs::read_to_string(&file).map_err(|_| "couldn't parse env file".to_string())?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        if name.trim_start().starts_with('#') || name.trim() != key {
            return None;
        }
        value.trim().strip_prefix('\'')?.strip_suffix('\'').map(str::to_string)
    });
    match value {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None => Err(format!(
            "environment variable key {key:?} not found in file {:?}",
            file.display().to_string()
        )),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A service as its variables show it.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub struct Service {
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its cluster address; `None` and empty mean there is none.
    #[serde(default)]
    pub cluster_ip: String,
    /// Its ports: name, number, protocol.
    #[serde(default)]
    pub ports: Vec<(String, i32, String)>,
}

/// The variables of the services a pod may see: those of its namespace, if it wants them, and always
/// the API server's.
pub fn service_variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut visible: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        if service.cluster_ip.is_empty() || service.cluster_ip == "None" {
            continue;
        }
        if service.namespace == namespace && links {
            visible.insert(&service.name, service);
        } else if service.namespace == "default" && service.name == "kubernetes" {
            visible.entry(&service.name).or_insert(service);
        }
    }
    for service in visible.values() {
        add_service(&mut env, service);
    }
    env
}

fn add_service(env: &mut BTreeMap<String, String>, service: &Service) {
    let upper = |s: &str| s.replace('-', "_").to_uppercase();
    let prefix = upper(&service.name);
    let ip = &service.cluster_ip;
    env.insert(format!("{prefix}_SERVICE_HOST"), ip.clone());
    for (i, (name, port, protocol)) in service.ports.iter().enumerate() {
        let protocol = if protocol.is_empty() { "TCP" } else { protocol };
        let lower = protocol.to_lowercase();
        let host = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        if i == 0 {
            env.insert(format!("{prefix}_SERVICE_PORT"), port.to_string());
            env.insert(format!("{prefix}_PORT"), format!("{lower}://{host}"));
        }
        if !name.is_empty() {
            env.insert(format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.to_string());
        }
        let link = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
        env.insert(format!("{link}_PROTO"), lower.clone());
        env.insert(format!("{link}_PORT"), port.to_string());
        env.insert(format!("{link}_ADDR"), ip.clone());
        env.insert(link, format!("{lower}://{host}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn build_env(
        container: serde_json::Value,
        sources: &Sources,
    ) -> Result<BTreeMap<String, String>, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "n" }, "spec": { "containers": [] }
        }))
        .unwrap();
        let services = [("SVC".to_string(), "1.2.3.4".to_string())].into();
        let container = serde_json::from_value(container).unwrap();
        build(&pod, &container, &services, sources, &Surroundings::default(), |_| None)
    }

    #[test]
    fn values_refer_to_earlier_ones_and_to_services() {
        let env = build_env(
            json!({ "name": "c", "env": [
                { "name": "A", "value": "$(SVC):$(B)" },
                { "name": "B", "value": "b" },
                { "name": "C", "value": "$(A)-$(B)" },
                { "name": "N", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            ]}),
            &Sources::default(),
        )
        .unwrap();
        assert_eq!(env["A"], "1.2.3.4:$(B)");
        assert_eq!(env["C"], "1.2.3.4:$(B)-b");
        assert_eq!((env["N"].as_str(), env["SVC"].as_str()), ("p", "1.2.3.4"));
    }

    #[test]
    fn missing_sources_are_errors_unless_optional() {
        let mut sources = Sources::default();
        let object = Object { data: [("k".to_string(), b"v".to_vec())].into(), ..Default::default() };
        sources.insert(Kind::ConfigMap, "cm", Ok(Some(std::sync::Arc::new(object))));
        let env = |optional: bool, name: &str, key: &str| {
            let from = json!({ "configMapKeyRef": { "name": name, "key": key, "optional": optional } });
            build_env(json!({ "name": "c", "env": [{ "name": "A", "valueFrom": from }] }), &sources)
        };
        assert_eq!(env(false, "cm", "k").unwrap()["A"], "v");
        assert_eq!(env(false, "cm", "x").unwrap_err(), "couldn't find key x in ConfigMap n/cm");
        assert!(!env(true, "cm", "x").unwrap().contains_key("A"));
        assert_eq!(env(false, "no", "k").unwrap_err(), "configmap \"no\" not found");
        assert!(env(true, "no", "k").is_ok());
    }

    #[test]
    fn services_become_variables() {
        let service = Service {
            namespace: "n".into(),
            name: "my-db".into(),
            cluster_ip: "10.0.0.5".into(),
            ports: vec![("sql".into(), 5432, "TCP".into())],
        };
        let env = service_variables([&service].into_iter(), "n", true);
        assert_eq!(env["MY_DB_SERVICE_HOST"], "10.0.0.5");
        assert_eq!(env["MY_DB_SERVICE_PORT_SQL"], "5432");
        assert_eq!(env["MY_DB_PORT"], "tcp://10.0.0.5:5432");
        assert_eq!(env["MY_DB_PORT_5432_TCP_ADDR"], "10.0.0.5");
        assert!(service_variables([&service].into_iter(), "n", false).is_empty());
    }
}
