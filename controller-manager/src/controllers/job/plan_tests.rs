use super::*;
use serde_json::{Value, json};

fn job(edit: impl FnOnce(&mut Value)) -> Job {
    let mut value = json!({
        "metadata": {"name": "j", "namespace": "d", "uid": "j"},
        "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 1},
        "status": {"startTime": "2026-01-01T00:00:00Z"},
    });
    edit(&mut value);
    serde_json::from_str(&value.to_string()).unwrap()
}

fn pod(name: &str, phase: &str, held: bool, index: Option<i32>) -> Arc<Pod> {
    let finalizers = if held { vec![FINALIZER] } else { vec![] };
    let annotations = index.map(|i| json!({indexes::INDEX: i.to_string()})).unwrap_or(json!({}));
    let value = json!({
        "metadata": {"name": name, "uid": name, "finalizers": finalizers, "annotations": annotations},
        "status": {"phase": phase, "containerStatuses": [
            {"name": "c", "state": {"terminated": {"exitCode": 0, "finishedAt": "2025-12-31T00:00:00Z"}}},
        ]},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn run(job: &Job, pods: &[Arc<Pod>]) -> Plan {
    let now: Time = serde_json::from_value(json!("2026-01-01T00:01:00Z")).unwrap();
    plan(&View { job, pods, up_to_date: true, on_failure: false, closing: false, now })
}

/// Runs a Job to its end: each pass writes its status, and finalizers go afterwards.
fn settle(mut job: Job, mut pods: Vec<Arc<Pod>>) -> Job {
    for _ in 0..6 {
        if is_finished(&job) {
            break;
        }
        let plan = run(&job, &pods);
        assert!(plan.create.is_empty(), "{:?}", plan.create);
        job.status = plan.status;
        for pod in plan.release {
            let index = pods.iter().position(|p| p.metadata.uid == pod.metadata.uid).unwrap();
            let mut free = Pod::clone(&pod);
            free.metadata.finalizers.clear();
            pods[index] = Arc::new(free);
        }
        let gone: Vec<String> = plan.delete.iter().map(|p| p.metadata.uid.clone()).collect();
        pods.retain(|p| !gone.contains(&p.metadata.uid));
    }
    job
}

#[test]
fn pods_run_in_parallel_until_enough_succeed() {
    let job = job(|_| ());
    assert_eq!(run(&job, &[]).create.len(), 2);
    let running = [pod("a", "Running", true, None), pod("b", "Succeeded", true, None)];
    let plan = run(&job, &running);
    assert_eq!((plan.create.len(), plan.release.len()), (1, 1));
    assert_eq!(plan.status.uncounted_terminated_pods.succeeded, ["b"]);
    assert_eq!(plan.status.succeeded, 0, "counted when the finalizer is gone");
}

#[test]
fn a_job_completes_and_counts_each_pod_once() {
    let pods = ["a", "b", "c"].map(|name| pod(name, "Succeeded", true, None)).to_vec();
    let done = settle(job(|_| ()), pods);
    assert_eq!((done.status.succeeded, done.status.active), (3, 0));
    let kinds: Vec<&str> = done.status.conditions.iter().map(|c| c.kind.as_str()).collect();
    assert_eq!(kinds, ["SuccessCriteriaMet", "Complete"]);
    assert!(done.status.completion_time.is_some() && is_finished(&done));
}

#[test]
fn too_many_failures_end_a_job() {
    let pods =
        vec![pod("a", "Failed", true, None), pod("b", "Failed", true, None), pod("c", "Running", true, None)];
    let done = settle(job(|_| ()), pods);
    let failed = find_condition(&done.status.conditions, "Failed").unwrap();
    assert_eq!(failed.reason, "BackoffLimitExceeded");
    assert_eq!(done.status.failed, 3, "a pod cut short counts as failed");
}

#[test]
fn deadlines_pass() {
    let late = job(|j| j["spec"]["activeDeadlineSeconds"] = json!(30));
    let plan = run(&late, &[pod("a", "Running", true, None)]);
    assert_eq!(plan.delete.len(), 1);
    let early = job(|j| j["spec"]["activeDeadlineSeconds"] = json!(90));
    assert_eq!(run(&early, &[]).again_after, Some(Duration::from_secs(30)));
}

#[test]
fn indexes_are_filled_in_order() {
    let indexed = job(|j| j["spec"]["completionMode"] = json!("Indexed"));
    assert_eq!(run(&indexed, &[]).create, [Some(0), Some(1)]);
    let pods = [
        pod("a", "Succeeded", true, Some(0)),
        pod("b", "Running", true, Some(1)),
        pod("twin", "Running", true, Some(1)),
    ];
    let plan = run(&indexed, &pods);
    assert_eq!(plan.delete.len(), 1, "of two pods with one index one goes");
    assert_eq!(plan.status.completed_indexes, "0");
    assert_eq!(run(&indexed, &pods[..2]).create, [Some(2)]);
}

#[test]
fn suspending_deletes_pods_uncounted() {
    let suspended = job(|j| j["spec"]["suspend"] = json!(true));
    let plan = run(&suspended, &[pod("a", "Running", true, None)]);
    assert!(plan.release_deleted && plan.delete.len() == 1);
    assert_eq!(plan.events[0].reason, "Suspended");
    assert_eq!(plan.status.start_time, None);
}

fn failed_before(mut pod: Pod, times: i32) -> Pod {
    pod.metadata.annotations.insert(failures::FAILURES.into(), times.to_string());
    pod
}

#[test]
fn each_index_has_its_own_limit() {
    let limited = job(|j| {
        j["spec"]["completionMode"] = json!("Indexed");
        j["spec"]["backoffLimit"] = json!(i32::MAX);
        j["spec"]["backoffLimitPerIndex"] = json!(1);
    });
    let plan = run(&limited, &[]);
    assert_eq!((plan.create, plan.failures[&0]), (vec![Some(0), Some(1)], (0, 0)));
    // The first failure is tried again; the pod stays, uncounted, until then.
    let first = Arc::new(failed_before(Pod::clone(&pod("a", "Failed", true, Some(0))), 0));
    let plan = run(&limited, &[first.clone(), pod("b", "Running", true, Some(1))]);
    assert_eq!((plan.create, plan.failures.get(&0)), (vec![Some(0)], Some(&(1, 0))));
    assert!(plan.release.is_empty());
    assert_eq!(plan.status.failed_indexes.as_deref(), Some(""));
    let now: Time = "2026-01-01T00:01:00Z".parse().unwrap();
    let pods = std::slice::from_ref(&first);
    let last =
        super::plan(&View { job: &limited, pods, up_to_date: true, on_failure: false, closing: true, now });
    assert_eq!(
        (last.create.len(), last.release.len()),
        (0, 1),
        "nothing comes after it in a namespace that goes"
    );
    // The second is the end of the index, and the end of the Job once the others have ended.
    let second = Arc::new(failed_before(Pod::clone(&pod("c", "Failed", true, Some(0))), 1));
    let plan = run(&limited, &[first.clone(), second.clone(), pod("b", "Running", true, Some(1))]);
    assert_eq!((plan.create, plan.status.failed_indexes.as_deref()), (vec![Some(2)], Some("0")));
    assert_eq!(plan.release.len(), 2);
    let others = [pod("b", "Succeeded", true, Some(1)), pod("d", "Succeeded", true, Some(2))];
    let done = settle(limited, [vec![first, second], others.to_vec()].concat());
    let failed = find_condition(&done.status.conditions, "Failed").unwrap();
    assert_eq!((failed.reason.as_str(), done.status.completed_indexes.as_str()), ("FailedIndexes", "1,2"));
}

#[test]
fn too_many_failed_indexes_end_a_job() {
    let limited = job(|j| {
        j["spec"]["completionMode"] = json!("Indexed");
        j["spec"]["backoffLimit"] = json!(i32::MAX);
        j["spec"]["backoffLimitPerIndex"] = json!(0);
        j["spec"]["maxFailedIndexes"] = json!(0);
    });
    let done = settle(limited, vec![pod("a", "Failed", true, Some(0)), pod("b", "Running", true, Some(1))]);
    let failed = find_condition(&done.status.conditions, "Failed").unwrap();
    assert_eq!(failed.reason, "MaxFailedIndexesExceeded");
}

/// After upstream's success_policy_test.go.
#[test]
fn a_success_policy_ends_a_job_early() {
    for (what, rules, met) in [
        ("all of these", json!([{"succeededIndexes": "0"}]), Some("Matched rules at index 0")),
        ("not yet", json!([{"succeededIndexes": "0,1"}]), None),
        (
            "some of these",
            json!([{"succeededIndexes": "0-2", "succeededCount": 1}]),
            Some("Matched rules at index 0"),
        ),
        ("any", json!([{"succeededIndexes": "1"}, {"succeededCount": 1}]), Some("Matched rules at index 1")),
        ("too few", json!([{"succeededCount": 2}]), None),
    ] {
        let policy = job(|j| {
            j["spec"]["completionMode"] = json!("Indexed");
            j["spec"]["successPolicy"] = json!({"rules": rules});
        });
        let plan = run(&policy, &[pod("a", "Succeeded", true, Some(0)), pod("b", "Running", true, Some(1))]);
        let found = find_condition(&plan.status.conditions, "SuccessCriteriaMet");
        assert_eq!(found.map(|c| c.message.as_str()), met, "{what}");
        assert_eq!(plan.delete.len(), usize::from(met.is_some()), "{what}");
    }
}
