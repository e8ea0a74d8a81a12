//! The kubeconfig files of `/etc/kubernetes`. Existing files are kept.

use crate::certs::{Leaf, sign};
use crate::config::{Config, kubernetes, write};
use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Writes every kubeconfig that is missing.
pub(crate) async fn run(config: &Config) -> Result<()> {
    let node = format!("system:node:{}", config.node_name);
    for (file, user, group) in [
        ("admin.conf", "kubernetes-admin", Some("kubeadm:cluster-admins")),
        ("super-admin.conf", "kubernetes-super-admin", Some("system:masters")),
        ("kubelet.conf", node.as_str(), Some("system:nodes")),
        ("controller-manager.conf", "system:kube-controller-manager", None),
        ("scheduler.conf", "system:kube-scheduler", None),
        ("cloud-controller-manager.conf", "system:cloud-controller-manager", None),
    ] {
        let path = kubernetes(file);
        if path.exists() {
            continue;
        }
        println!("    {file}");
        let (certificate, key) = sign("ca", &Leaf::client(user, group))?;
        let credentials = json!({
            "client-certificate-data": BASE64_STANDARD.encode(certificate),
            "client-key-data": BASE64_STANDARD.encode(key.serialize_pem()),
        });
        let authority = std::fs::read_to_string(kubernetes("pki/ca.crt"))?;
        write(&path, yaml(&config.endpoint, &authority, user, credentials)?, 0o600)?;
    }
    Ok(())
}

/// A kubeconfig with one cluster, one user and one context.
pub(crate) fn yaml(endpoint: &str, authority_pem: &str, user: &str, credentials: Value) -> Result<String> {
    let context = format!("{user}@kubernetes");
    let value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": {
            "server": format!("https://{endpoint}"),
            "certificate-authority-data": BASE64_STANDARD.encode(authority_pem),
        }}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": context, "context": {"cluster": "kubernetes", "user": user}}],
        "current-context": context,
    });
    Ok(serde_saphyr::to_string(&value)?)
}
