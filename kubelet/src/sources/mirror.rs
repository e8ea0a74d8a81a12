//! Mirrors: the images of static pods in the API, so that they can be seen there.

use crate::api::{CONFIG_HASH, CONFIG_MIRROR, Pod, PodView};
use crate::kubelet::Kubelet;
use crate::pods::mirror_hash;
use component_base::client::known::{NODES, PODS};
use component_base::client::{Client, DeleteOptions, Error};
use component_base::queue::{Next, Queue, run_workers};
use component_base::tasks::Tasks;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;
use std::sync::Arc;

/// What to do about the mirror of one name.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create,
    Delete(String),
}

fn plan(own: Option<&Pod>, mirror: Option<&Pod>) -> Plan {
    match (own, mirror) {
        (None, None) => Plan::Nothing,
        (Some(_), None) => Plan::Create,
        (None, Some(mirror)) => Plan::Delete(mirror.uid().to_string()),
        (Some(own), Some(mirror)) => {
            let stale = mirror_hash(mirror) != own.annotation(CONFIG_HASH).unwrap_or_default();
            if mirror.deleted() || stale { Plan::Delete(mirror.uid().to_string()) } else { Plan::Nothing }
        }
    }
}

/// Keeps mirrors; the queue takes full names.
pub fn run(tasks: &Tasks, kubelet: &Arc<Kubelet>, client: Client, queue: &Queue<String>) {
    let kubelet = kubelet.clone();
    run_workers(tasks, "mirror pods", queue, 1, move |name: String| {
        let (kubelet, client) = (kubelet.clone(), client.clone());
        async move {
            let Some((pod_name, namespace)) = name.split_once('_') else { return Ok(Next::Done) };
            let own = kubelet.pods.by_name(namespace, pod_name).filter(|p| p.is_static());
            let mirror = kubelet.pods.mirror_named(&name);
            match plan(own.as_deref(), mirror.as_deref()) {
                Plan::Nothing => {}
                Plan::Create => {
                    if let Some(own) = own {
                        create(&client, &kubelet, &own).await?;
                    }
                }
                Plan::Delete(uid) => {
                    tracing::info!(pod = name, "Deleting a mirror pod");
                    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(uid) };
                    match client.delete(&PODS, namespace, pod_name, &options).await {
                        Err(e) if !e.is_not_found() && !e.is_conflict() => return Err(e.into()),
                        _ => {}
                    }
                }
            }
            Ok(Next::Done)
        }
    });
}

async fn create(client: &Client, kubelet: &Kubelet, own: &Pod) -> anyhow::Result<()> {
    let node: Value = client.get(&NODES, "", &kubelet.settings.node).await?;
    let uid = node["metadata"]["uid"].as_str().unwrap_or_default();
    let mut mirror = own.clone();
    let hash = own.annotation(CONFIG_HASH).unwrap_or_default().to_string();
    mirror.metadata.annotations.get_or_insert_default().insert(CONFIG_MIRROR.into(), hash);
    mirror.metadata.uid = None;
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: kubelet.settings.node.clone(),
        uid: uid.into(),
        controller: Some(true),
        ..OwnerReference::default()
    }]);
    mirror.status = None;
    match client.create::<serde::de::IgnoredAny>(&PODS, own.namespace(), &mirror).await {
        Ok(_) => tracing::info!(pod = own.key(), "Created a mirror pod"),
        // The watch will show whose it is.
        Err(e) if e.is_already_exists() => {}
        Err(Error::Api(status)) if status.code == 403 => {
            tracing::error!(pod = own.key(), error = status.message, "Failed creating a mirror pod");
            return Err(Error::Api(status).into());
        }
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mirrors_follow_their_pods() {
        let pod = |v: Value| -> Pod { serde_json::from_value(json!({ "metadata": v })).unwrap() };
        let own = pod(json!({ "annotations": { CONFIG_HASH: "h" } }));
        let good = pod(json!({ "uid": "m", "annotations": { CONFIG_MIRROR: "h" } }));
        let old = pod(json!({ "uid": "m", "annotations": { CONFIG_MIRROR: "x" } }));
        assert_eq!(plan(Some(&own), None), Plan::Create);
        assert_eq!(plan(Some(&own), Some(&good)), Plan::Nothing);
        assert_eq!(plan(Some(&own), Some(&old)), Plan::Delete("m".into()));
        assert_eq!(plan(None, Some(&good)), Plan::Delete("m".into()));
    }
}
