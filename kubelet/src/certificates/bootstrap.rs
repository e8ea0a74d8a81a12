//! The first client certificate, asked for with a bootstrap token.

use super::CLIENT;
use super::request::{Purpose, obtain};
use super::store::{Store, life_of};
use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use component_base::client::{Client, Config, Source};
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Makes sure that the kubeconfig at `path` can be used; if not, gets a certificate with the kubeconfig
/// at `bootstrap` and writes it.
pub async fn bootstrap(path: &str, bootstrap: &str, directory: &Path, node: &str) -> anyhow::Result<()> {
    if bootstrap.is_empty() || still_valid(Path::new(path)) {
        return Ok(());
    }
    if !Path::new(bootstrap).exists() {
        bail!(
            "failed to run Kubelet: unable to load bootstrap kubeconfig: stat {bootstrap}: no such file or directory"
        );
    }
    let config = Config::load(bootstrap, "")?.with_component("kubelet");
    let client = Client::new(config.clone())?;
    let (certificate, key) = loop {
        match obtain(&client, node, &Purpose::Client).await {
            Ok(pair) => break pair,
            Err(e) => tracing::error!(error = format!("{e:#}"), "Can't get a client certificate yet"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    let store = Store::new(directory, CLIENT);
    store.update(&certificate, &key)?;
    write(path, &config, &store.current())
}

fn still_valid(path: &Path) -> bool {
    let Ok(config) = Config::from_file(path) else { return false };
    let Some((certificate, _)) = &config.identity else {
        // Other credentials don't end at a time that could be known.
        return true;
    };
    let life = certificate.read().ok().and_then(|text| life_of(&text).ok());
    life.is_some_and(|l| jiff::Timestamp::now().as_second() < l.until)
}

fn write(path: &str, config: &Config, certificate: &Path) -> anyhow::Result<()> {
    let mut cluster = json!({ "server": config.server });
    match &config.ca {
        Some(Source::File(path)) => cluster["certificate-authority"] = json!(path),
        Some(Source::Data(data)) => {
            cluster["certificate-authority-data"] = json!(BASE64_STANDARD.encode(data))
        }
        None => {}
    }
    if config.insecure {
        cluster["insecure-skip-tls-verify"] = json!(true);
    }
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "default-cluster", "cluster": cluster }],
        "contexts": [{
            "name": "default-context",
            "context": { "cluster": "default-cluster", "namespace": "default", "user": "default-auth" },
        }],
        "current-context": "default-context",
        "users": [{
            "name": "default-auth",
            "user": { "client-certificate": certificate, "client-key": certificate },
        }],
    });
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("write {path}"))?;
    out.write_all(serde_json::to_string_pretty(&file)?.as_bytes())?;
    Ok(())
}
