//! Generic ephemeral volumes: the claim of each is made with its pod, and goes with it.
//!
//! Watches pods and claims. A claim's template isn't kept in the cache: the pod is read once, when it must be made.

use std::sync::Arc;

use component_base::client::known::{PERSISTENT_VOLUME_CLAIMS, PODS};
use component_base::metrics::Family;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::Key;
use serde_json::{Value, json};

use crate::api::core::{Pod, Volume};
use crate::api::storage::PersistentVolumeClaim;
use crate::common::events::Event;
use crate::common::refs;
use crate::context::{BY_CLAIM, Controller, Subject};

static ATTEMPTS: Family = Family::counter(
    "ephemeral_volume_controller_create_total",
    "[ALPHA] Number of PersistenVolumeClaims creation requests",
    &[],
);
static FAILURES: Family = Family::counter(
    "ephemeral_volume_controller_create_failures_total",
    "[ALPHA] Number of PersistenVolumeClaims creation requests",
    &[],
);

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-ephemeralvolume-syncs")).unwrap_or(5);
    let queue: Queue<Key> = Queue::new("ephemeral_volume");
    let pods = controller.pods_by_claim();
    let claims: Store<PersistentVolumeClaim> = controller.store(&PERSISTENT_VOLUME_CLAIMS);
    let keys = queue.clone();
    // The volumes of a pod don't change.
    pods.subscribe(move |change: &Change<Pod>| {
        if change.old.is_none() && wants_claims(change.latest()) {
            keys.add(change.key());
        }
    });
    let (keys, users) = (queue.clone(), pods.clone());
    claims.subscribe(move |change: &Change<PersistentVolumeClaim>| {
        if change.new.is_none() {
            let users = users.by_index(BY_CLAIM, &change.key().to_string());
            users.iter().filter(|pod| wants_claims(pod)).for_each(|pod| keys.add(pod.metadata.key()));
        }
    });
    let (all_pods, all_claims) = (pods.clone(), claims.clone());
    let ready = async move {
        all_pods.synced().await;
        all_claims.synced().await;
    };
    let own = controller.clone();
    controller.run(&queue, workers, ready, move |key| {
        let (controller, claims, pod) = (own.clone(), claims.clone(), pods.get_key(&key));
        async move {
            let Some(pod) = pod.filter(|pod| wants_claims(pod)) else { return Ok(Next::Done) };
            for volume in pod.spec.volumes.iter().filter(|volume| volume.ephemeral.is_some()) {
                if let Err(why) = make(&controller, &claims, &pod, volume).await {
                    let text = format!("ephemeral volume {}: {why}", volume.name);
                    let subject = Subject::new("v1", "Pod", &pod.metadata);
                    controller.record(&subject, &Event::warning("FailedBinding", text));
                    anyhow::bail!("pod {key}, ephemeral volume {}: {why}", volume.name);
                }
            }
            Ok(Next::Done)
        }
    });
    Ok(())
}

fn wants_claims(pod: &Pod) -> bool {
    !pod.metadata.is_being_deleted() && pod.spec.volumes.iter().any(|volume| volume.ephemeral.is_some())
}

async fn make(
    controller: &Controller,
    claims: &Store<PersistentVolumeClaim>,
    pod: &Pod,
    volume: &Volume,
) -> anyhow::Result<()> {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let Some(claim_name) = volume.claim_name(name) else { return Ok(()) };
    if let Some(claim) = claims.get(namespace, &claim_name) {
        if !claim.metadata.is_controlled_by(&pod.metadata.uid) {
            anyhow::bail!(
                "PVC {namespace}/{claim_name} was not created for pod {namespace}/{name} (pod is not owner)"
            );
        }
        return Ok(());
    }
    let live: Value = controller.client.get(&PODS, namespace, name).await?;
    if live["metadata"]["uid"] != *pod.metadata.uid {
        return Ok(());
    }
    let Some(claim) = claim(&live, &pod.metadata, volume, &claim_name) else { return Ok(()) };
    ATTEMPTS.with(&[]).inc();
    let created = controller.client.create::<Value>(&PERSISTENT_VOLUME_CLAIMS, namespace, &claim).await;
    if let Err(error) = created {
        FAILURES.with(&[]).inc();
        anyhow::bail!("create PVC {claim_name}: {error}");
    }
    Ok(())
}

/// The claim of a pod's volume, from the template in the live pod.
fn claim(live: &Value, owner: &proto::meta::ObjectMeta, volume: &Volume, name: &str) -> Option<Value> {
    let volumes = live["spec"]["volumes"].as_array()?;
    let template = &volumes.iter().find(|v| v["name"] == *volume.name)?["ephemeral"]["volumeClaimTemplate"];
    let mut metadata = json!({"name": name, "ownerReferences": [refs::controller_ref(owner, "v1", "Pod")]});
    for key in ["annotations", "labels"] {
        if !template["metadata"][key].is_null() {
            metadata[key] = template["metadata"][key].clone();
        }
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": template["spec"],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_follow_their_template() {
        let live = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"volumes": [
            {"name": "a", "emptyDir": {}},
            {"name": "data", "ephemeral": {"volumeClaimTemplate": {
                "metadata": {"labels": {"l": "1"}}, "spec": {"storageClassName": "fast"}}}},
        ]}});
        let pod: Pod = serde_json::from_value(live.clone()).unwrap();
        let volume = &pod.spec.volumes[1];
        assert!(wants_claims(&pod));
        let name = volume.claim_name("p").unwrap();
        assert_eq!(
            claim(&live, &pod.metadata, volume, &name).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "p-data", "labels": {"l": "1"}, "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u",
                    "controller": true, "blockOwnerDeletion": true,
                }]},
                "spec": {"storageClassName": "fast"},
            })
        );
    }
}
