//! Pods that were marked for a disruption which never came.

use std::sync::Arc;
use std::time::Duration;

use component_base::client::Patch;
use component_base::client::known::PODS;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::Key;
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::core::Pod;
use crate::api::find_condition;
use crate::common::{pods, seconds_between};
use crate::context::Controller;

const CONDITION: &str = "DisruptionTarget";
/// How long a mark holds without the pod being deleted, in seconds.
const TIMEOUT: i64 = 120;

/// Starts taking marks back.
pub(super) fn start(controller: &Arc<Controller>, store: Store<Pod>) {
    let queue: Queue<Key> = Queue::new("stale_pod_disruption");
    let keys = queue.clone();
    store.subscribe(move |change: &Change<Pod>| {
        if let Some(wait) = change.new.as_ref().and_then(|pod| stale_in(pod, Time::now())) {
            keys.add_after(change.key(), wait);
        }
    });
    let all = store.clone();
    let ready = async move { all.synced().await };
    let own = controller.clone();
    controller.run(&queue, 1, ready, move |key| {
        let (controller, pod) = (own.clone(), store.get_key(&key));
        async move {
            let Some(pod) = pod else { return Ok(Next::Done) };
            match stale_in(&pod, Time::now()) {
                None => return Ok(Next::Done),
                Some(wait) if !wait.is_zero() => return Ok(Next::After(wait)),
                Some(_) => {}
            }
            let status = PODS.sub("status");
            let client = &controller.client;
            client
                .patch::<Value>(
                    &status,
                    &key.namespace,
                    &key.name,
                    Patch::Strategic,
                    &unmark(&pod, Time::now()),
                )
                .await?;
            Ok(Next::Done)
        }
    });
}

/// How long until the mark of a pod is stale; none if it has none that can be. The kubelet's own marks stay: it may
/// take its time.
fn stale_in(pod: &Pod, now: Time) -> Option<Duration> {
    if pod.metadata.is_being_deleted() || pods::is_terminal(pod) {
        return None;
    }
    let condition = find_condition(&pod.status.conditions, CONDITION)?;
    if !condition.is_true() || condition.reason == "TerminationByKubelet" {
        return None;
    }
    let age = condition.last_transition_time.map_or(TIMEOUT, |since| seconds_between(since, now));
    Some(Duration::from_secs(u64::try_from(TIMEOUT - age).unwrap_or(0)))
}

fn unmark(pod: &Pod, now: Time) -> Value {
    json!({
        "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": [{
            "type": CONDITION,
            "observedGeneration": pod.metadata.generation,
            "status": "False",
            "reason": null,
            "message": null,
            "lastTransitionTime": now,
        }]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_get_stale() {
        let now: Time = "2026-01-01T00:01:00Z".parse().unwrap();
        for (metadata, phase, status, reason, wanted) in [
            (json!({}), "Running", "True", "EvictionByEvictionAPI", Some(60)),
            (json!({}), "Running", "False", "", None),
            (json!({}), "Running", "True", "TerminationByKubelet", None),
            (json!({}), "Failed", "True", "EvictionByEvictionAPI", None),
            (json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), "Running", "True", "x", None),
        ] {
            let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "status": {
                "phase": phase,
                "conditions": [{
                    "type": CONDITION, "status": status, "reason": reason,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            }}))
            .unwrap();
            assert_eq!(stale_in(&pod, now), wanted.map(Duration::from_secs), "{phase} {status} {reason}");
        }
    }
}
