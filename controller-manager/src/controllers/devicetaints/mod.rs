//! Pods that use devices with `NoExecute` taints that they don't tolerate are deleted, at once or in time (KEP-5055).
//!
//! Watches pods, claims and slices. The key is the pod; a planned eviction is a key that comes back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::{RESOURCE_CLAIMS, RESOURCE_SLICES};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use parking_lot::Mutex;
use proto::meta::Key;
use proto::time::Time;

use super::resourceclaim::{BY_RESOURCE_CLAIM, claims_of, pods_by_resource_claim};
use crate::api::core::{Pod, Taint};
use crate::api::resource::{AllocatedDevice, ResourceClaim, ResourceSlice};
use crate::common::events::Event;
use crate::common::nodes::tolerates;
use crate::common::pod_control;
use crate::context::{Controller, Subject};

/// When a pod must go because of the taints of a device that it uses: at once, if that is the time.
fn due(device: &AllocatedDevice, taints: &[Taint], now: Time) -> Option<Time> {
    let mut first: Option<Time> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let matching = device.tolerations.iter().filter(|t| t.effect == "NoExecute" && tolerates(t, taint));
        let mut seconds = None;
        let mut forever = false;
        for toleration in matching {
            match toleration.toleration_seconds {
                None => forever = true,
                Some(time) => {
                    seconds = Some(seconds.map_or(time.max(0), |least: i64| least.min(time.max(0))))
                }
            }
        }
        if forever {
            continue;
        }
        let since = taint.time_added.unwrap_or(now);
        let delay = Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0));
        let at = Time(proto::time::add(since.0, delay));
        first = Some(first.map_or(at, |earlier| earlier.min(at)));
    }
    first
}

struct Evictions {
    controller: Arc<Controller>,
    pods: Store<Pod>,
    claims: Store<ResourceClaim>,
    slices: Store<ResourceSlice>,
    /// Pods that are to be deleted some time.
    scheduled: Mutex<HashSet<Key>>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers =
        usize::try_from(controller.flags().int("concurrent-device-taint-eviction-syncs")).unwrap_or(8);
    let queue: Queue<Key> = Queue::new("device_taint_eviction");
    let this = Arc::new(Evictions {
        pods: pods_by_resource_claim(&controller),
        claims: controller.store(&RESOURCE_CLAIMS),
        slices: controller.store(&RESOURCE_SLICES),
        scheduled: Mutex::default(),
        controller: controller.clone(),
    });
    let keys = queue.clone();
    this.pods.subscribe(move |change: &Change<Pod>| {
        if !change.latest().spec.resource_claims.is_empty() {
            keys.add(change.key());
        }
    });
    let (own, keys) = (this.clone(), queue.clone());
    this.claims.subscribe(move |change: &Change<ResourceClaim>| own.wake_users(&change.key(), &keys));
    let (own, keys) = (this.clone(), queue.clone());
    this.slices.subscribe(move |change: &Change<ResourceSlice>| {
        let devices = |slice: &Arc<ResourceSlice>| (slice.spec.devices.clone(), slice.spec.pool.clone());
        if change.old.as_ref().map(devices) == change.new.as_ref().map(devices) {
            return;
        }
        let spec = &change.latest().spec;
        let of_pool = |d: &AllocatedDevice| d.driver == spec.driver && d.pool == spec.pool.name;
        let mut affected = Vec::new();
        own.claims.for_each(|claim| {
            let allocation = claim.status.allocation.as_ref();
            if allocation.is_some_and(|allocation| allocation.devices.results.iter().any(of_pool)) {
                affected.push(claim.metadata.key());
            }
        });
        affected.iter().for_each(|claim| own.wake_users(claim, &keys));
    });
    let own = this.clone();
    let ready = async move {
        own.pods.synced().await;
        own.claims.synced().await;
        own.slices.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Evictions {
    fn wake_users(&self, claim: &Key, keys: &Queue<Key>) {
        for pod in self.pods.by_index(BY_RESOURCE_CLAIM, &claim.to_string()) {
            keys.add(pod.metadata.key());
        }
    }

    /// The taints of a device, from the newest generation of its pool.
    fn taints(&self, device: &AllocatedDevice) -> Vec<Taint> {
        let mut newest = i64::MIN;
        let mut taints = Vec::new();
        self.slices.for_each(|slice| {
            let spec = &slice.spec;
            if spec.driver != device.driver || spec.pool.name != device.pool || spec.pool.generation < newest
            {
                return;
            }
            if spec.pool.generation > newest {
                newest = spec.pool.generation;
                taints.clear();
            }
            if let Some(found) = spec.devices.iter().find(|d| d.name == device.device) {
                taints = found.taints.clone();
            }
        });
        taints
    }

    /// When a pod must go, if it must.
    fn due(&self, pod: &Pod, now: Time) -> Option<Time> {
        if pod.spec.node_name.is_empty() || pod.metadata.is_being_deleted() {
            return None;
        }
        let claims = claims_of(pod).into_iter().filter_map(|key| self.claims.get_key(&key));
        let reserved = claims.filter(|claim| claim.is_reserved_for(pod));
        let devices = reserved.flat_map(|claim| {
            claim
                .status
                .allocation
                .as_ref()
                .map(|allocation| allocation.devices.results.clone())
                .unwrap_or_default()
        });
        devices.filter_map(|device| due(&device, &self.taints(&device), now)).min()
    }

    fn record(&self, key: &Key, pod: Option<&Pod>, message: &str) {
        let mut subject = Subject::new("v1", "Pod", &pod.map(|pod| pod.metadata.clone()).unwrap_or_default());
        subject.metadata.namespace = key.namespace.to_string();
        subject.metadata.name = key.name.to_string();
        self.controller.record(&subject, &Event::normal("DeviceTaintManagerEviction", message));
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let pod = self.pods.get_key(key);
        let now = Time::now();
        let due = pod.as_ref().and_then(|pod| self.due(pod, now));
        let (Some(pod), Some(due)) = (pod.as_ref(), due) else {
            let was_scheduled = self.scheduled.lock().remove(key);
            let leaves = pod.as_ref().is_none_or(|pod| pod.metadata.is_being_deleted());
            if was_scheduled && !leaves {
                self.record(key, pod.as_deref(), "Cancelling deletion");
            }
            return Ok(Next::Done);
        };
        let left = due.0.duration_since(now.0);
        if left.is_positive() {
            self.scheduled.lock().insert(key.clone());
            return Ok(Next::After(left.unsigned_abs()));
        }
        self.record(key, Some(pod), "Marking for deletion");
        let message = "Device Taint manager: deleting due to NoExecute taint";
        pod_control::disrupt(&self.controller, pod, "DeletionByDeviceTaintManager", message).await?;
        self.scheduled.lock().remove(key);
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// After upstream's device_taint_eviction_test.go.
    #[test]
    fn tolerations_buy_time() {
        let now: Time = "2026-01-01T01:00:00Z".parse().unwrap();
        let added = "2026-01-01T00:59:30Z";
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect, "timeAdded": added});
        let toleration = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        for (taints, tolerations, wanted) in [
            (vec![], vec![], None),
            (vec![taint("a", "NoSchedule")], vec![], None),
            (vec![taint("a", "NoExecute")], vec![], Some(added)),
            (vec![taint("a", "NoExecute")], vec![toleration("a", None)], None),
            (vec![taint("a", "NoExecute")], vec![toleration("a", Some(60))], Some("2026-01-01T01:00:30Z")),
            (
                vec![taint("a", "NoExecute")],
                vec![toleration("a", Some(60)), toleration("a", Some(-1))],
                Some(added),
            ),
            (
                vec![taint("a", "NoExecute"), taint("b", "NoExecute")],
                vec![toleration("a", None)],
                Some(added),
            ),
        ] {
            let device: AllocatedDevice =
                serde_json::from_value(json!({"tolerations": tolerations})).unwrap();
            let taints: Vec<Taint> = serde_json::from_value(Value::Array(taints)).unwrap();
            assert_eq!(due(&device, &taints, now), wanted.map(|text| text.parse().unwrap()), "{taints:?}");
        }
    }
}
