//! Volumes, claims and attributes classes stay as long as something uses them.
//!
//! Watches them, and pods. Each carries a finalizer from its creation on; once it is to be deleted and nothing uses it
//! any more, the finalizer goes.

use std::sync::Arc;

use component_base::client::known::{
    PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES,
};
use component_base::client::{ListOptions, Resource};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::{Key, ObjectMeta};
use serde_json::{Value, json};

use crate::api::core::{Metadata, Pod};
use crate::api::storage::{PersistentVolume, PersistentVolumeClaim};
use crate::common::{pods, write};
use crate::context::{BY_CLAIM, Controller, claims_of};

/// Index of volumes and claims: the attributes classes that they refer to.
const BY_ATTRIBUTES_CLASS: &str = "attributes class";

/// What is protected, and how.
struct Guard {
    resource: Resource,
    kind: &'static str,
    finalizer: &'static str,
}

#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    /// It is new and has no finalizer yet.
    Protect,
    /// It is to be deleted: the finalizer may go, if nothing uses the object.
    Check,
}

fn plan(metadata: &ObjectMeta, finalizer: &str) -> Plan {
    let protected = metadata.finalizers.iter().any(|f| f == finalizer);
    match (metadata.is_being_deleted(), protected) {
        (false, false) => Plan::Protect,
        (true, true) => Plan::Check,
        _ => Plan::Nothing,
    }
}

/// Whether the pod holds on to the claim. A pod that wasn't placed doesn't: no kubelet will start it with a claim that is
/// on its way out.
fn holds(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    if pod.spec.node_name.is_empty() {
        return false;
    }
    let shut_down = pod.metadata.is_being_deleted() && pod.metadata.deletion_grace_period_seconds == Some(0);
    pod.spec.volumes.iter().any(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => source.claim_name == claim.metadata.name,
        (None, Some(_)) => {
            let named = volume.claim_name(&pod.metadata.name).is_some_and(|name| name == claim.metadata.name);
            !shut_down && named && claim.metadata.is_controlled_by(&pod.metadata.uid)
        }
        _ => false,
    })
}

impl Guard {
    async fn apply(
        &self,
        controller: &Controller,
        metadata: &ObjectMeta,
        in_use: impl AsyncFnOnce() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Next> {
        let edit: fn(&mut Vec<Value>, &str) = match plan(metadata, self.finalizer) {
            Plan::Nothing => return Ok(Next::Done),
            Plan::Protect => |finalizers, own| finalizers.push(json!(own)),
            Plan::Check if in_use().await? => return Ok(Next::Done),
            Plan::Check => |finalizers, own| finalizers.retain(|f| f != own),
        };
        write::update(controller, &self.resource, self.kind, metadata, |object| {
            let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            edit(&mut finalizers, self.finalizer);
            object["metadata"]["finalizers"] = json!(finalizers);
        })
        .await?;
        Ok(Next::Done)
    }
}

/// Starts the protection of claims.
pub fn start_claims(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("pvcprotection");
    let guard = Arc::new(Guard {
        resource: PERSISTENT_VOLUME_CLAIMS,
        kind: "PersistentVolumeClaim",
        finalizer: "kubernetes.io/pvc-protection",
    });
    let claims: Store<PersistentVolumeClaim> = controller.store(&PERSISTENT_VOLUME_CLAIMS);
    let pods = controller.pods_by_claim();
    crate::context::enqueue_changes(&claims, &queue);
    let keys = queue.clone();
    pods.subscribe(move |change: &Change<Pod>| {
        let lets_go = |pod: &Arc<Pod>| pods::is_terminal(pod) || pod.spec.node_name.is_empty();
        let replaced = change.old.as_ref().filter(|_| change.new.as_ref().is_none_or(lets_go));
        for pod in replaced.into_iter().chain(change.new.as_ref().filter(|pod| lets_go(pod))) {
            claims_of(pod).for_each(|claim| keys.add(claim));
        }
    });
    let (all_claims, all_pods) = (claims.clone(), pods.clone());
    let ready = async move {
        all_claims.synced().await;
        all_pods.synced().await;
    };
    let own = controller.clone();
    controller.run(&queue, 30, ready, move |key| {
        let (controller, guard, pods) = (own.clone(), guard.clone(), pods.clone());
        let claim = claims.get_key(&key);
        async move {
            let Some(claim) = claim else { return Ok(Next::Done) };
            let in_use = async || -> anyhow::Result<bool> {
                if pods.by_index(BY_CLAIM, &key.to_string()).iter().any(|pod| holds(pod, &claim)) {
                    return Ok(true);
                }
                // A pod may be there that no cache has seen yet.
                let live =
                    controller.client.list::<Pod>(&PODS, &key.namespace, &ListOptions::default()).await?;
                Ok(live.items.iter().any(|pod| holds(pod, &claim)))
            };
            guard.apply(&controller, &claim.metadata, in_use).await
        }
    });
    Ok(())
}

/// Starts the protection of volumes: bound ones stay.
pub fn start_volumes(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("pvprotection");
    let guard = Arc::new(Guard {
        resource: PERSISTENT_VOLUMES,
        kind: "PersistentVolume",
        finalizer: "kubernetes.io/pv-protection",
    });
    let volumes: Store<PersistentVolume> = controller.store(&PERSISTENT_VOLUMES);
    crate::context::enqueue_changes(&volumes, &queue);
    let all = volumes.clone();
    let ready = async move { all.synced().await };
    let own = controller.clone();
    controller.run(&queue, 1, ready, move |key| {
        let (controller, guard, volume) = (own.clone(), guard.clone(), volumes.get_key(&key));
        async move {
            let Some(volume) = volume else { return Ok(Next::Done) };
            let in_use = async || Ok(volume.status.phase == "Bound");
            guard.apply(&controller, &volume.metadata, in_use).await
        }
    });
    Ok(())
}

/// Starts the protection of attributes classes: those stay that a volume or a claim names.
pub fn start_attributes_classes(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("vacprotection");
    let guard = Arc::new(Guard {
        resource: VOLUME_ATTRIBUTES_CLASSES,
        kind: "VolumeAttributesClass",
        finalizer: "kubernetes.io/vac-protection",
    });
    let classes: Store<Metadata> = controller.store(&VOLUME_ATTRIBUTES_CLASSES);
    let volumes: Store<PersistentVolume> = controller.store(&PERSISTENT_VOLUMES);
    let claims: Store<PersistentVolumeClaim> = controller.store(&PERSISTENT_VOLUME_CLAIMS);
    volumes.add_index(BY_ATTRIBUTES_CLASS, class_of_volume);
    claims.add_index(BY_ATTRIBUTES_CLASS, PersistentVolumeClaim::attributes_classes);
    crate::context::enqueue_changes(&classes, &queue);
    let keys = queue.clone();
    volumes.subscribe(move |change: &Change<PersistentVolume>| {
        let classes = change.old.as_deref().map(class_of_volume).unwrap_or_default();
        classes.into_iter().for_each(|class| keys.add(Key::cluster(class)));
    });
    let keys = queue.clone();
    claims.subscribe(move |change: &Change<PersistentVolumeClaim>| {
        let classes = change.old.as_ref().map(|claim| claim.attributes_classes()).unwrap_or_default();
        classes.into_iter().for_each(|class| keys.add(Key::cluster(class)));
    });
    let (all, all_volumes, all_claims) = (classes.clone(), volumes.clone(), claims.clone());
    let ready = async move {
        all.synced().await;
        all_volumes.synced().await;
        all_claims.synced().await;
    };
    let own = controller.clone();
    controller.run(&queue, 1, ready, move |key| {
        let (controller, guard, class) = (own.clone(), guard.clone(), classes.get_key(&key));
        let used = !volumes.by_index(BY_ATTRIBUTES_CLASS, &key.name).is_empty()
            || !claims.by_index(BY_ATTRIBUTES_CLASS, &key.name).is_empty();
        async move {
            let Some(class) = class else { return Ok(Next::Done) };
            guard.apply(&controller, &class.metadata, async || Ok(used)).await
        }
    });
    Ok(())
}

fn class_of_volume(volume: &PersistentVolume) -> Vec<String> {
    volume.spec.volume_attributes_class_name.iter().filter(|name| !name.is_empty()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers_come_and_go() {
        for (deleted, finalizers, wanted) in [
            (false, vec![], Plan::Protect),
            (false, vec!["f"], Plan::Nothing),
            (true, vec!["f", "other"], Plan::Check),
            (true, vec!["other"], Plan::Nothing),
        ] {
            let time = deleted.then_some("2026-01-01T00:00:00Z");
            let metadata =
                serde_json::from_value(json!({"deletionTimestamp": time, "finalizers": finalizers})).unwrap();
            assert_eq!(plan(&metadata, "f"), wanted, "{metadata:?}");
        }
    }

    /// After upstream's TestPVCProtectionController.
    #[test]
    fn pods_hold_claims() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {"name": "p-data",
            "ownerReferences": [{"uid": "p1", "controller": true}]}}))
        .unwrap();
        let named = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}}]);
        let ephemeral = json!([{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}]);
        let other = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}, {"name": "e", "emptyDir": {}}]);
        let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
        for (what, metadata, node, volumes, wanted) in [
            ("by name", json!({}), "n", &named, true),
            ("not placed", json!({}), "", &named, false),
            ("other", json!({}), "n", &other, false),
            ("ephemeral", json!({"uid": "p1"}), "n", &ephemeral, true),
            ("ephemeral of another pod of that name", json!({"uid": "p0"}), "n", &ephemeral, false),
            ("by name, shut down", gone.clone(), "n", &named, true),
            ("ephemeral, shut down", gone.clone(), "n", &ephemeral, false),
        ] {
            let mut pod = json!({"metadata": {"name": "p", "uid": "p1"}, "spec": {"nodeName": node, "volumes": volumes}});
            pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(holds(&pod, &claim), wanted, "{what}");
        }
    }
}
