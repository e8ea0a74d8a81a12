//! Waiting for the cluster, and what it stores about itself.

use crate::api::Api;
use crate::config::{Config, VERSION, kubernetes};
use crate::kubelet;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(240);

/// Waits until the API server is ready.
pub(crate) async fn wait(_: &Config) -> Result<()> {
    let api = Api::super_admin()?;
    let began = Instant::now();
    loop {
        match api.text("/readyz").await {
            Ok(answer) if answer == "ok" => {
                println!("    ready after {:.1} s", began.elapsed().as_secs_f64());
                return Ok(());
            }
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(error)
                    .context("the API server is not ready after four minutes: see /var/log/pods");
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Stores the configuration as kubeadm does, with the roles that let joining nodes read it.
pub(crate) async fn upload_config(config: &Config) -> Result<()> {
    let api = Api::super_admin()?;
    api.apply(&binding(
        "ClusterRoleBinding",
        "",
        "kubeadm:cluster-admins",
        "ClusterRole",
        "cluster-admin",
        &["kubeadm:cluster-admins"],
    ))
    .await?;
    let cluster = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "certificatesDir": "/etc/kubernetes/pki",
        "clusterName": "kubernetes",
        "controlPlaneEndpoint": config.endpoint,
        "imageRepository": config.options.image_repository,
        "kubernetesVersion": VERSION,
        "networking": {
            "dnsDomain": config.options.service_dns_domain,
            "podSubnet": config.options.pod_network_cidr.to_string(),
            "serviceSubnet": config.options.service_cidr.to_string(),
        },
    });
    let readers = ["system:bootstrappers:kubeadm:default-node-token", "system:nodes"];
    for (name, role, key, value) in [
        ("kubeadm-config", "kubeadm:nodes-kubeadm-config", "ClusterConfiguration", cluster),
        ("kubelet-config", "kubeadm:kubelet-config", "kubelet", kubelet::configuration(config)),
    ] {
        api.apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kube-system"},
            "data": {key: serde_saphyr::to_string(&value)?},
        }))
        .await?;
        api.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": role, "namespace": "kube-system"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"]}],
        }))
        .await?;
        api.apply(&binding("RoleBinding", "kube-system", role, "Role", role, &readers)).await?;
    }
    Ok(())
}

/// A RoleBinding or ClusterRoleBinding of groups to a role.
pub(crate) fn binding(
    kind: &str,
    namespace: &str,
    name: &str,
    role_kind: &str,
    role: &str,
    groups: &[&str],
) -> Value {
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        "subjects": groups.iter().map(|group| json!({
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group,
        })).collect::<Vec<_>>(),
    })
}

/// Labels and taints the control plane's node, once its kubelet has registered it.
pub(crate) async fn mark_control_plane(config: &Config) -> Result<()> {
    let api = Api::super_admin()?;
    let path = format!("/api/v1/nodes/{}", config.node_name);
    until(&format!("node {} to register", config.node_name), async || {
        let Some(node) = api.get(&path).await? else { return Ok(None) };
        api.patch(&path, &control_plane_marks(&node, config.options.schedulable)).await.map(Some)
    })
    .await
    .map(drop)
}

/// The merge patch that marks `node`; others add and remove taints too, so it holds for this revision alone.
fn control_plane_marks(node: &Value, schedulable: bool) -> Value {
    const TAINT: &str = "node-role.kubernetes.io/control-plane";
    let mut taints: Vec<Value> =
        node.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
    taints.retain(|taint| taint["key"] != TAINT);
    if !schedulable {
        taints.push(json!({"key": TAINT, "effect": "NoSchedule"}));
    }
    json!({
        "metadata": {
            "resourceVersion": node["metadata"]["resourceVersion"],
            "labels": {
                "node-role.kubernetes.io/control-plane": "",
                "node.kubernetes.io/exclude-from-external-load-balancers": if schedulable { Value::Null } else { "".into() },
            },
        },
        "spec": {"taints": taints},
    })
}

/// Waits until this node is Ready.
pub(crate) async fn wait_ready(config: &Config) -> Result<()> {
    // The kubelet may read its own node; on a worker there is no administrator's kubeconfig.
    let path = format!("/api/v1/nodes/{}", config.node_name);
    until(&format!("node {} to be Ready", config.node_name), async || {
        let api = Api::from_file(&kubernetes("kubelet.conf"))?;
        let node = api.get(&path).await?;
        Ok(node.filter(|node| {
            node.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|conditions| {
                conditions
                    .iter()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            })
        }))
    })
    .await
    .map(drop)
}

/// Asks until there is an answer; errors count as "not yet", and the last one is told at the end.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if Instant::now() > deadline {
            match answer {
                Err(error) => return Err(error).context(format!("waited four minutes for {what}")),
                _ => bail!("waited four minutes for {what}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
