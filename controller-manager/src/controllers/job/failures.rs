//! What a failed pod means for its Job.

use proto::time::Time;

use crate::api::batch::{Job, PodFailureRule};
use crate::api::core::{ContainerStatus, Pod};
use crate::api::find_condition;
use crate::common::seconds_between;

/// Annotations of a pod: how often its index failed before.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const FIRST_DELAY: i64 = 10;
const LONGEST_DELAY: i64 = 600;

/// What the policy says of a failed pod.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It counts against the limit.
    Count,
    /// It doesn't.
    Ignore,
    /// It counts, and its index has failed.
    FailIndex,
    /// The Job fails at once, for this reason.
    FailJob(String),
}

/// Judges a failed pod: the first rule that matches decides.
pub(super) fn judge(job: &Job, pod: &Pod) -> Verdict {
    let Some(policy) = &job.spec.pod_failure_policy else { return Verdict::Count };
    for (index, rule) in policy.rules.iter().enumerate() {
        let Some(what) = matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" if job.spec.backoff_limit_per_index.is_some() => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{what} matching FailJob rule at index {index}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

fn matches(rule: &PodFailureRule, pod: &Pod) -> Option<String> {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    if let Some(codes) = &rule.on_exit_codes {
        let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        let named = |c: &&ContainerStatus| codes.container_name.as_ref().is_none_or(|n| *n == c.name);
        let ended = all.filter(named).filter_map(|c| Some((c, c.state.terminated.as_ref()?.exit_code)));
        let mut failed = ended.filter(|(_, code)| *code != 0);
        let (container, code) =
            failed.find(|(_, code)| codes.values.contains(code) == (codes.operator == "In"))?;
        let container = &container.name;
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code}"
        ));
    }
    let found = rule.on_pod_conditions.iter().find(|pattern| {
        find_condition(&pod.status.conditions, &pattern.kind).is_some_and(|c| c.status == pattern.status)
    })?;
    Some(format!("Pod {namespace}/{name} has condition {}", found.kind))
}

/// When the pod ended.
fn finished_at(pod: &Pod, now: Time) -> Time {
    let statuses = pod.status.container_statuses.iter();
    let ends = statuses.filter_map(|c| c.state.terminated.as_ref()?.finished_at);
    let ready = || find_condition(&pod.status.conditions, "Ready").and_then(|c| c.last_transition_time);
    ends.max().or_else(ready).or(pod.metadata.deletion_timestamp).unwrap_or(now)
}

/// Seconds to wait before the next pod: longer with each failure since the last success.
pub(super) fn delay<'a>(
    succeeded: impl Iterator<Item = &'a Pod>,
    failed: impl Iterator<Item = &'a Pod>,
    now: Time,
) -> i64 {
    let success = succeeded.map(|p| finished_at(p, now)).max();
    let since: Vec<Time> = failed.map(|p| finished_at(p, now)).filter(|t| Some(*t) > success).collect();
    since.iter().max().map_or(0, |last| left(since.len(), *last, now))
}

/// Seconds left to wait after so many failures, of which the last was at `last`.
fn left(failures: usize, last: Time, now: Time) -> i64 {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(16).min(16);
    let delay = (FIRST_DELAY << doublings).min(LONGEST_DELAY);
    (delay - seconds_between(last, now)).max(0)
}

/// How often an index failed before this pod of its: what counted, and what was ignored.
pub(super) fn earlier(pod: &Pod) -> (i32, i32) {
    let read = |key: &str| pod.metadata.annotations.get(key).and_then(|text| text.parse().ok()).unwrap_or(0);
    (read(FAILURES), read(IGNORED_FAILURES))
}

/// The same with this pod's own failure.
pub(super) fn up_to(job: &Job, pod: &Pod) -> (i32, i32) {
    let (counted, ignored) = earlier(pod);
    match judge(job, pod) {
        Verdict::Ignore => (counted, ignored.saturating_add(1)),
        _ => (counted.saturating_add(1), ignored),
    }
}

/// Whether the failure of this pod is the last one that its index may have.
pub(super) fn fails_index(job: &Job, pod: &Pod) -> bool {
    let Some(limit) = job.spec.backoff_limit_per_index else { return false };
    match judge(job, pod) {
        Verdict::FailIndex => true,
        Verdict::Ignore => false,
        _ => earlier(pod).0 >= limit,
    }
}

/// Seconds to wait before the next pod of an index whose last pod failed.
pub(super) fn index_delay(pod: &Pod, now: Time) -> i64 {
    let (counted, ignored) = earlier(pod);
    let failures = usize::try_from(counted.saturating_add(ignored).saturating_add(1)).unwrap_or(1);
    left(failures, finished_at(pod, now), now)
}

/// Of two failed pods of an index: how far the index had come.
pub(super) fn progress(pod: &Pod, now: Time) -> (i32, Time) {
    let (counted, ignored) = earlier(pod);
    (counted.saturating_add(ignored), finished_at(pod, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(code: i32, end: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": "p"},
            "status": {
                "phase": "Failed",
                "conditions": [{"type": "DisruptionTarget", "status": "True"}],
                "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": end}}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn policies() {
        let job = |rule: serde_json::Value| -> Job {
            let text = json!({"spec": {"podFailurePolicy": {"rules": [rule]}}}).to_string();
            serde_json::from_str(&text).unwrap()
        };
        let pod = pod(42, "2026-01-01T00:00:00Z");
        let exit = |operator: &str, values: &[i32], action: &str| {
            job(json!({"action": action, "onExitCodes": {"operator": operator, "values": values}}))
        };
        assert_eq!(judge(&Job::default(), &pod), Verdict::Count);
        assert_eq!(judge(&exit("In", &[42], "Ignore"), &pod), Verdict::Ignore);
        assert_eq!(judge(&exit("NotIn", &[42], "Ignore"), &pod), Verdict::Count);
        let reason = "Container c for pod d/p failed with exit code 42 matching FailJob rule at index 0";
        assert_eq!(judge(&exit("In", &[1, 42], "FailJob"), &pod), Verdict::FailJob(reason.into()));
        let disrupted = job(
            json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}),
        );
        assert_eq!(judge(&disrupted, &pod), Verdict::Ignore);
    }

    #[test]
    fn delays_double_until_a_success() {
        let now: Time = serde_json::from_value(json!("2026-01-01T00:00:05Z")).unwrap();
        let (early, late) = (pod(1, "2025-12-31T23:00:00Z"), pod(1, "2026-01-01T00:00:00Z"));
        assert_eq!(delay([].into_iter(), [&late].into_iter(), now), 5);
        assert_eq!(delay([].into_iter(), [&early, &late].into_iter(), now), 15);
        assert_eq!(delay([&early].into_iter(), [&late].into_iter(), now), 5);
        assert_eq!(delay([&late].into_iter(), [&early].into_iter(), now), 0);
    }
}
