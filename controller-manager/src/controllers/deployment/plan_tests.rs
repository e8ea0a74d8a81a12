use super::*;
use serde_json::json;

const DAY: &str = "2026-01-01T00:00:00Z";

/// A Deployment with 10 replicas, a surge of 3 and 2 that may be missing.
fn deployment(edit: impl FnOnce(&mut Value)) -> Deployment {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "d1", "generation": 2},
        "spec": {
            "replicas": 10, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"v": 2}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
        },
    });
    edit(&mut value);
    serde_json::from_str(&value.to_string()).unwrap()
}

fn rs(name: &str, version: i32, replicas: i32, available: i32, revision: i32) -> Arc<ReplicaSet> {
    let value = json!({
        "metadata": {"name": name, "uid": name, "creationTimestamp": DAY, "generation": 1, "annotations": {
            REVISION: revision.to_string(), DESIRED_REPLICAS: "10", MAX_REPLICAS: "13",
        }},
        "spec": {"replicas": replicas, "template": {
            "metadata": {"labels": {"app": "web", POD_TEMPLATE_HASH: name}}, "spec": {"v": version},
        }},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available,
            "observedGeneration": 1},
    });
    Arc::new(serde_json::from_str(&value.to_string()).unwrap())
}

fn run(deployment: &Deployment, replica_sets: Vec<Arc<ReplicaSet>>) -> Plan {
    let now: Time = serde_json::from_value(json!(DAY)).unwrap();
    plan(&View { deployment, replica_sets, running_pods: Vec::new(), now })
}

fn sizes(plan: &Plan) -> Vec<(&str, i32)> {
    plan.updates.iter().filter_map(|u| Some((u.name.as_str(), u.replicas?))).collect()
}

#[test]
fn a_first_rollout_creates_a_replica_set() {
    let d = deployment(|_| ());
    let plan = run(&d, vec![]);
    let create = plan.create.unwrap();
    assert_eq!(create.replicas, 10);
    assert_eq!(
        create.name,
        format!("web-{}", create.object["metadata"]["labels"][POD_TEMPLATE_HASH].as_str().unwrap())
    );
    assert_eq!(create.object["spec"]["selector"]["matchLabels"]["app"], "web");
    assert_eq!(create.object["metadata"]["annotations"][MAX_REPLICAS], "13");
    assert_eq!(plan.revision.as_deref(), Some("1"));
    assert_eq!(plan.status.unwrap().conditions[0].reason, "NewReplicaSetCreated");
}

#[test]
fn an_update_surges_then_shrinks() {
    let d = deployment(|_| ());
    let plan = run(&d, vec![rs("old", 1, 10, 10, 1)]);
    assert_eq!(plan.create.as_ref().map(|c| c.replicas), Some(3));
    assert_eq!(sizes(&plan), [("old", 8)]);
    assert_eq!(plan.updates[0].events[0].message, "Scaled down replica set old from 10 to 8");
    // Unavailable pods of the new one don't allow more to go.
    assert!(sizes(&run(&d, vec![rs("old", 1, 8, 8, 1), rs("new", 2, 5, 0, 2)])).is_empty());
    // Each pod that becomes available lets one go, and room lets the new one grow.
    assert_eq!(sizes(&run(&d, vec![rs("old", 1, 8, 8, 1), rs("new", 2, 5, 2, 2)])), [("old", 6)]);
    assert_eq!(sizes(&run(&d, vec![rs("old", 1, 6, 6, 1), rs("new", 2, 5, 5, 2)])), [("new", 7)]);
}

#[test]
fn broken_old_pods_go_first() {
    let d = deployment(|_| ());
    let plan = run(&d, vec![rs("old", 1, 10, 4, 1), rs("new", 2, 3, 3, 2)]);
    assert_eq!(sizes(&plan), [("old", 5)]);
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let recreate = |d: &mut Value| d["spec"]["strategy"] = json!({"type": "Recreate"});
    let d = deployment(recreate);
    let plan = run(&d, vec![rs("old", 1, 10, 10, 1)]);
    assert!(plan.create.is_none());
    assert_eq!(sizes(&plan), [("old", 0)]);
    let mut gone = ReplicaSet::clone(&rs("old", 1, 0, 0, 1));
    gone.status.replicas = 0;
    let view = View {
        deployment: &d,
        replica_sets: vec![Arc::new(gone.clone())],
        running_pods: vec!["old".into()],
        now: Time::now(),
    };
    assert!(super::plan(&view).create.is_none());
    assert_eq!(run(&d, vec![Arc::new(gone)]).create.map(|c| c.replicas), Some(10));
}

#[test]
fn scaling_in_the_middle_is_proportional() {
    let d = deployment(|d| d["spec"]["replicas"] = json!(20));
    let plan = run(&d, vec![rs("old", 1, 8, 8, 1), rs("new", 2, 5, 5, 2)]);
    let mut got = sizes(&plan);
    got.sort();
    assert_eq!(got, [("new", 9), ("old", 14)]);
    assert!(plan.updates.iter().all(|u| u.annotations[DESIRED_REPLICAS] == "20"));
}

#[test]
fn pausing_is_noted_and_scales_on() {
    let d = deployment(|d| d["spec"]["paused"] = json!(true));
    let plan = run(&d, vec![rs("old", 1, 10, 10, 1)]);
    assert!(plan.create.is_none() && plan.updates.is_empty());
    let status = plan.status.unwrap();
    assert_eq!(find_condition(&status.conditions, "Progressing").unwrap().reason, "DeploymentPaused");
}

#[test]
fn history_is_limited_when_complete() {
    let d = deployment(|d| {
        d["status"] = json!({"replicas": 10, "updatedReplicas": 10, "readyReplicas": 10,
            "availableReplicas": 10, "observedGeneration": 2});
    });
    let plan = run(&d, vec![rs("a", 0, 0, 0, 1), rs("b", 1, 0, 0, 2), rs("new", 2, 10, 10, 3)]);
    assert_eq!(plan.deletes, [("a".to_string(), "a".to_string())]);
    let status = plan.status.unwrap();
    let progress = find_condition(&status.conditions, "Progressing").unwrap();
    assert_eq!(progress.reason, "NewReplicaSetAvailable");
}

#[test]
fn a_complete_rollout_settles() {
    let mut d = deployment(|_| ());
    let sets = || vec![rs("new", 2, 10, 10, 1)];
    for _ in 0..3 {
        let plan = run(&d, sets());
        let Some(status) = plan.status else { break };
        d.status = status;
        if let Some(revision) = plan.revision {
            d.metadata.annotations.insert(REVISION.into(), revision);
        }
    }
    assert_eq!(run(&d, sets()), Plan::default());
    let progress = find_condition(&d.status.conditions, "Progressing").unwrap();
    assert_eq!(progress.reason, "NewReplicaSetAvailable");
    assert_eq!(progress.message, "ReplicaSet \"new\" has successfully progressed.");
}

#[test]
fn the_deadline_passes() {
    let since = |at: &str| {
        deployment(|d| {
            d["metadata"]["annotations"] = json!({REVISION: "1"});
            d["status"] = json!({"replicas": 10, "updatedReplicas": 10, "observedGeneration": 2,
                "unavailableReplicas": 10, "terminatingReplicas": null, "conditions": [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
                    "message": "Deployment does not have minimum availability."},
                {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": at},
            ]});
        })
    };
    let waiting = run(&since("2025-12-31T23:55:00Z"), vec![rs("new", 2, 10, 0, 1)]);
    assert_eq!((waiting.status, waiting.again_after), (None, Some(Duration::from_secs(301))));
    let late = run(&since("2025-12-31T23:00:00Z"), vec![rs("new", 2, 10, 0, 1)]);
    let status = late.status.unwrap();
    let progress = find_condition(&status.conditions, "Progressing").unwrap();
    assert_eq!(progress.reason, "ProgressDeadlineExceeded");
}

#[test]
fn rolling_back_takes_the_old_template() {
    let d = deployment(|d| d["metadata"]["annotations"] = json!({ROLLBACK_TO: "0", "note": "x"}));
    let plan = run(&d, vec![rs("old", 1, 0, 0, 1), rs("new", 2, 10, 10, 2)]);
    let rollback = plan.rollback.unwrap();
    assert_eq!(rollback.event.message, "Rolled back deployment \"web\" to revision 1");
    let (template, annotations) = rollback.to.unwrap();
    assert_eq!(template["spec"]["v"], 1);
    assert!(template.pointer("/metadata/labels").unwrap().get(POD_TEMPLATE_HASH).is_none());
    assert!(!annotations.contains_key("note"));
}

#[test]
fn returning_to_an_old_template_renews_its_revision() {
    let d = deployment(|_| ());
    let plan = run(&d, vec![rs("back", 2, 0, 0, 1), rs("old", 1, 10, 10, 2)]);
    let update = plan.updates.iter().find(|u| u.name == "back").unwrap();
    assert_eq!(update.annotations[REVISION], "3");
    assert_eq!(update.annotations[REVISION_HISTORY], "1");
    assert_eq!(update.replicas, Some(3));
    assert_eq!(plan.revision.as_deref(), Some("3"));
}
