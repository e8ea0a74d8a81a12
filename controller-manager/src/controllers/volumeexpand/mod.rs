//! Claims that ask for more than they have.
//!
//! Watches claims. Drivers outside grow volumes; what is done here is to say who is waited for.

use std::sync::Arc;

use component_base::client::known::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::Key;

use crate::api::storage::{PersistentVolume, PersistentVolumeClaim};
use crate::common::events::Event;
use crate::context::{Controller, Subject};

const PRE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

/// The event for a claim that waits to grow.
fn plan(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Event> {
    let size = |storage: &crate::api::storage::Storage| storage.storage.clone().unwrap_or_default();
    let grows = size(&claim.spec.resources.requests) > size(&claim.status.capacity);
    if claim.status.phase != "Bound" || !grows && !volume.metadata.annotations.contains_key(PRE_RESIZE) {
        return None;
    }
    let text = "waiting for an external controller to expand this PVC";
    // Drivers can grow volumes; of other kinds nobody is known who could.
    Some(match volume.spec.csi {
        Some(_) => Event::normal("ExternalExpanding", text),
        None => Event::warning("ExternalExpanding", text),
    })
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("volume_expand");
    let claims: Store<PersistentVolumeClaim> = controller.store(&PERSISTENT_VOLUME_CLAIMS);
    let volumes: Store<PersistentVolume> = controller.store(&PERSISTENT_VOLUMES);
    let keys = queue.clone();
    claims.subscribe(move |change: &Change<PersistentVolumeClaim>| {
        let wanted = |claim: &Arc<PersistentVolumeClaim>| claim.spec.resources.requests.storage.clone();
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && wanted(old) < wanted(new)
        {
            keys.add(change.key());
        }
    });
    let (all_claims, all_volumes) = (claims.clone(), volumes.clone());
    let ready = async move {
        all_claims.synced().await;
        all_volumes.synced().await;
    };
    let own = controller.clone();
    controller.run(&queue, 1, ready, move |key| {
        let (controller, claim) = (own.clone(), claims.get_key(&key));
        let volume = claim.as_ref().and_then(|claim| volumes.get("", &claim.spec.volume_name));
        async move {
            if let (Some(claim), Some(volume)) = (claim, volume)
                && let Some(event) = plan(&claim, &volume)
            {
                let subject = Subject::new("v1", "PersistentVolumeClaim", &claim.metadata);
                controller.record(&subject, &event);
            }
            Ok(Next::Done)
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_is_waited_for() {
        for (phase, capacity, driver, wanted) in [
            ("Bound", "1Gi", json!({"driver": "d"}), Some(false)),
            ("Bound", "1Gi", json!(null), Some(true)),
            ("Bound", "2Gi", json!({"driver": "d"}), None),
            ("Pending", "1Gi", json!({"driver": "d"}), None),
        ] {
            let claim = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}},
                "status": {"phase": phase, "capacity": {"storage": capacity}}});
            let claim: PersistentVolumeClaim = serde_json::from_str(&claim.to_string()).unwrap();
            let volume: PersistentVolume = serde_json::from_value(json!({"spec": {"csi": driver}})).unwrap();
            assert_eq!(plan(&claim, &volume).map(|event| event.warning), wanted, "{phase} {capacity}");
        }
    }
}
