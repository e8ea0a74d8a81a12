//! The OCI image layout, in one tar file.

use crate::containerfile::Config;
use crate::layer::{Layer, digest};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Writes an archive that holds one image called `tag`.
pub(crate) fn write(output: &Path, tag: &str, config: &Config, layer: Layer) -> Result<()> {
    let image = serde_json::to_vec(&image_config(config, &layer.diff_id))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &image),
        "layers": [descriptor(LAYER, &layer.compressed)],
    }))?;
    let mut entry = descriptor(MANIFEST, &manifest);
    // containerd names the image after the first, other tools after the second.
    entry["annotations"] = json!({
        "io.containerd.image.name": tag,
        "org.opencontainers.image.ref.name": tag.rsplit_once(':').map_or("latest", |(_, version)| version),
    });
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

    let mut files = BTreeMap::from([
        ("oci-layout".to_string(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_string(), index),
    ]);
    for blob in [image, manifest, layer.compressed] {
        files.insert(format!("blobs/{}", digest(&blob).replace(':', "/")), blob);
    }
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = std::fs::File::create(output).with_context(|| format!("creating {}", output.display()))?;
    let mut tar = tar::Builder::new(file);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, &bytes[..])?;
    }
    tar.finish()?;
    Ok(())
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn image_config(config: &Config, diff_id: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut run = json!({});
    if !config.env.is_empty() {
        run["Env"] = json!(config.env);
    }
    if !config.entrypoint.is_empty() {
        run["Entrypoint"] = json!(config.entrypoint);
    }
    if !config.cmd.is_empty() {
        run["Cmd"] = json!(config.cmd);
    }
    if let Some(user) = &config.user {
        run["User"] = json!(user);
    }
    if let Some(workdir) = &config.workdir {
        run["WorkingDir"] = json!(workdir);
    }
    if !config.labels.is_empty() {
        run["Labels"] = json!(config.labels);
    }
    if !config.ports.is_empty() {
        run["ExposedPorts"] = config
            .ports
            .iter()
            .map(|port| (port.clone(), json!({})))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    })
}
