//! Jobs that ended and are to go some time after.
//!
//! Watches Jobs; the key of one comes back when its time is over.

use std::sync::Arc;
use std::time::Duration;

use component_base::client::DeleteOptions;
use component_base::client::known::JOBS;
use component_base::queue::{Next, Queue};
use component_base::watch::Store;
use proto::meta::Key;
use proto::time::Time;

use crate::api::batch::Job;
use crate::api::find_condition;
use crate::common::seconds_between;
use crate::context::{Controller, enqueue_changes};

/// How long the Job may stay: zero if it must go, nothing if it isn't to go by itself.
fn remaining(job: &Job, now: Time) -> Option<Duration> {
    let ttl = job.spec.ttl_seconds_after_finished?;
    if job.metadata.is_being_deleted() {
        return None;
    }
    let ended = ["Complete", "Failed"].iter().find_map(|kind| {
        find_condition(&job.status.conditions, kind).filter(|c| c.is_true())?.last_transition_time
    })?;
    let left = ttl - seconds_between(ended, now);
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-ttl-after-finished-syncs"));
    let queue: Queue<Key> = Queue::new("ttl_jobs_to_delete");
    let jobs: Store<Job> = controller.store(&JOBS);
    enqueue_changes(&jobs, &queue);
    let all = jobs.clone();
    let ready = async move { all.synced().await };
    let own = controller.clone();
    controller.run(&queue, workers.unwrap_or(5), ready, move |key| {
        let (controller, job) = (own.clone(), jobs.get_key(&key));
        async move {
            let left = job.as_ref().and_then(|job| remaining(job, Time::now()));
            let (Some(job), Some(left)) = (job, left) else { return Ok(Next::Done) };
            if !left.is_zero() {
                return Ok(Next::After(left));
            }
            // The time may have been prolonged a moment ago.
            let fresh: Job = match controller.client.get(&JOBS, &key.namespace, &key.name).await {
                Err(error) if error.is_not_found() => return Ok(Next::Done),
                outcome => outcome?,
            };
            match remaining(&fresh, Time::now()) {
                Some(left) if left.is_zero() => {}
                Some(left) => return Ok(Next::After(left)),
                None => return Ok(Next::Done),
            }
            let options = DeleteOptions {
                propagation_policy: Some("Foreground"),
                ..DeleteOptions::uid(&job.metadata.uid)
            };
            match controller.client.delete(&JOBS, &key.namespace, &key.name, &options).await {
                Err(error) if !error.is_not_found() => Err(error.into()),
                _ => Ok(Next::Done),
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_counts_from_the_end() {
        let now: Time = serde_json::from_value(json!("2026-01-01T00:01:00Z")).unwrap();
        let job = |ttl: Option<i64>, kind: &str| -> Job {
            let value = json!({
                "spec": {"ttlSecondsAfterFinished": ttl},
                "status": {"conditions": [{
                    "type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
                }]},
            });
            serde_json::from_str(&value.to_string()).unwrap()
        };
        assert_eq!(remaining(&job(Some(100), "Complete"), now), Some(Duration::from_secs(40)));
        assert_eq!(remaining(&job(Some(30), "Failed"), now), Some(Duration::ZERO));
        assert_eq!(remaining(&job(Some(30), "Suspended"), now), None);
        assert_eq!(remaining(&job(None, "Complete"), now), None);
    }
}
