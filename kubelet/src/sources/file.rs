//! Static pods: manifests in a directory, or one file.
//!
//! The directory is watched; it is also read again now and then, for filesystems that tell nothing. A file
//! that doesn't parse is logged and changes nothing: neither the others nor, as it may be only half
//! written, the pod it described before.

use super::defaults;
use super::intake::mark;
use crate::api::{CONFIG_HASH, CONFIG_SEEN, Pod, PodView};
use crate::kubelet::Kubelet;
use component_base::files::Watcher;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// It isn't YAML, nor JSON.
    #[error("couldn't parse as pod: {0}")]
    Parse(String),
    /// It is something else.
    #[error("invalid pod: {0}")]
    Invalid(String),
}

/// Reads a manifest.
pub fn read(path: &Path, node: &str) -> Result<Pod, Error> {
    let text = std::fs::read_to_string(path)?;
    parse(&text, path, node)
}

fn parse(text: &str, path: &Path, node: &str) -> Result<Pod, Error> {
    let value: Value = serde_saphyr::from_str(text).map_err(|e| Error::Parse(e.to_string()))?;
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err(Error::Invalid(format!(
            "want kind Pod of v1, got {} of {}",
            value["kind"], value["apiVersion"]
        )));
    }
    let canonical = value.to_string();
    let mut pod = defaults::apply(value).map_err(|e| Error::Parse(e.to_string()))?;
    let name = pod.name().to_string();
    if name.is_empty() || pod.containers().is_empty() {
        return Err(Error::Invalid("a pod needs a name and a container".into()));
    }
    if pod.uid().is_empty() {
        // The same manifest in the same file on the same node is the same pod, now and after a restart.
        let mut hash = Sha256::new();
        hash.update(format!("host:{node}file:{}", path.display()));
        hash.update(canonical);
        let hex: String = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
        pod.metadata.uid = Some(hex);
    }
    let uid = pod.uid().to_string();
    pod.metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    pod.metadata.annotations.get_or_insert_default().insert(CONFIG_HASH.into(), uid);
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.into());
    spec.tolerations.get_or_insert_default().push(k8s_openapi::api::core::v1::Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Default::default()
    });
    pod.status.get_or_insert_default().phase.get_or_insert_with(|| "Pending".into());
    Ok(pod)
}

/// Keeps the node's static pods as the manifests say. `mirrors` is told which names changed.
pub async fn run(
    kubelet: Arc<Kubelet>,
    path: PathBuf,
    every: Duration,
    mirrors: impl Fn(String) + Send + 'static,
) -> anyhow::Result<()> {
    let mut watcher = Watcher::new(&path);
    let mut pods: BTreeMap<PathBuf, Arc<Pod>> = BTreeMap::new();
    loop {
        look(&kubelet, &path, &mut pods, &mirrors);
        match &mut watcher {
            Some(watch) => {
                tokio::time::timeout(every, watch.changed()).await.ok();
            }
            None => {
                tokio::time::sleep(every).await;
                watcher = Watcher::new(&path);
            }
        }
    }
}

fn look(
    kubelet: &Arc<Kubelet>,
    path: &Path,
    pods: &mut BTreeMap<PathBuf, Arc<Pod>>,
    mirrors: &impl Fn(String),
) {
    let files = match list(path) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => {
            tracing::error!(path = %path.display(), error = %e, "Unable to read config path");
            return;
        }
    };
    let mut found = BTreeMap::new();
    for file in files {
        match read(&file, &kubelet.settings.node) {
            Ok(pod) => {
                found.insert(file, pod);
            }
            Err(e) => {
                tracing::error!(path = %file.display(), error = %e, "Can't process manifest file");
                if let Some(pod) = pods.get(&file) {
                    found.insert(file, Pod::clone(pod));
                }
            }
        }
    }
    let gone: Vec<_> = pods
        .iter()
        .filter(|(file, pod)| found.get(*file).is_none_or(|new| new.uid() != pod.uid()))
        .map(|(file, _)| file.clone())
        .collect();
    for file in gone {
        if let Some(pod) = pods.remove(&file) {
            kubelet.pod_removed(&pod);
            mirrors(pod.full_name());
        }
    }
    for (file, mut pod) in found {
        if pods.contains_key(&file) {
            continue;
        }
        let seen = pod.annotation(CONFIG_SEEN).map(str::to_string);
        mark(&mut pod, "file", seen);
        let pod = Arc::new(pod);
        pods.insert(file, pod.clone());
        mirrors(pod.full_name());
        kubelet.pod_changed(pod);
    }
}

/// The manifests, in the order of their names. Files whose name begins with a dot aren't any.
fn list(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && std::fs::metadata(entry.path()).is_ok_and(|m| m.is_file()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd, namespace: kube-system}\n\
        spec: {hostNetwork: true, containers: [{name: c, image: 'etcd:3', ports: [{containerPort: 1}]}]}\n";

    #[test]
    fn manifests_become_pods() {
        let pod = parse(MANIFEST, Path::new("/m/etcd.yaml"), "Node1").unwrap();
        assert_eq!((pod.name(), pod.namespace()), ("etcd-node1", "kube-system"));
        assert_eq!(pod.annotation(CONFIG_HASH), Some(pod.uid()));
        let c = &pod.containers()[0];
        assert_eq!(c.image_pull_policy.as_deref(), Some("IfNotPresent"));
        assert_eq!(c.ports.as_ref().unwrap()[0].host_port, Some(1));
        let again = parse(MANIFEST, Path::new("/m/etcd.yaml"), "Node1").unwrap();
        assert_eq!(pod.uid(), again.uid());
        let edited =
            parse(&MANIFEST.replace("etcd:3", "etcd:4"), Path::new("/m/etcd.yaml"), "Node1").unwrap();
        assert_ne!(pod.uid(), edited.uid());
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for bad in
            ["", "{", "apiVersion: v1\nkind: Service", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}"]
        {
            assert!(parse(bad, Path::new("/x"), "n").is_err(), "{bad}");
        }
    }
}
