use super::*;
use crate::runtime::Sandbox;
use serde_json::{Value, json};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u" },
        "spec": spec,
    }))
    .unwrap()
}

fn container(name: &str, state: State, exit_code: i32) -> ObservedContainer {
    ObservedContainer {
        id: format!("id-{name}"),
        name: name.into(),
        state,
        exit_code,
        hash: container_hash(name, "img"),
        ..Default::default()
    }
}

fn observed(containers: Vec<ObservedContainer>) -> Observed {
    let sandbox =
        Sandbox { id: "box".into(), ready: true, ips: Some(vec!["10.0.0.1".into()]), ..Default::default() };
    Observed { sandboxes: vec![sandbox], containers, ..Default::default() }
}

fn c(name: &str) -> Value {
    json!({ "name": name, "image": "img" })
}

fn sidecar(name: &str) -> Value {
    json!({ "name": name, "image": "img", "restartPolicy": "Always" })
}

fn run(pod: &Pod, observed: &Observed) -> Plan {
    plan(pod, observed, &Health::default(), false)
}

#[test]
fn a_new_pod_gets_a_sandbox_and_its_containers() {
    let p = run(&pod(json!({ "containers": [c("a"), c("b")] })), &Observed::default());
    assert!(p.create_sandbox && p.kill_pod);
    assert_eq!((p.attempt, p.start), (0, vec![0, 1]));
}

#[test]
fn a_new_pod_with_init_containers_starts_the_first_only() {
    let p = run(
        &pod(json!({ "initContainers": [c("i"), c("j")], "containers": [c("a")] })),
        &Observed::default(),
    );
    assert_eq!((p.start_init, p.start), (vec![0], vec![]));
}

#[test]
fn init_containers_follow_one_another() {
    let pod = pod(json!({ "initContainers": [c("i"), c("j")], "containers": [c("a")] }));
    let p = run(&pod, &observed(vec![container("i", State::Exited, 0)]));
    assert_eq!((p.start_init, p.start.len()), (vec![1], 0));
    let p = run(&pod, &observed(vec![container("i", State::Running, 0)]));
    assert!(p.is_empty() || p.start_init.is_empty());
    // The first one's container has been removed by now.
    let p = run(&pod, &observed(vec![container("j", State::Exited, 0)]));
    assert_eq!((p.start_init.len(), p.start), (0, vec![0]));
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let mut spec = json!({ "initContainers": [c("i")], "containers": [c("a")] });
    let p = run(&pod(spec.clone()), &observed(vec![container("i", State::Exited, 1)]));
    assert_eq!(p.start_init, vec![0]);
    spec["restartPolicy"] = "Never".into();
    let p = run(&pod(spec), &observed(vec![container("i", State::Exited, 1)]));
    assert!(p.kill_pod && p.start_init.is_empty());
}

#[test]
fn a_sidecar_lets_the_next_start_once_it_runs() {
    let pod = pod(json!({ "initContainers": [sidecar("s"), c("i")], "containers": [c("a")] }));
    let p = run(&pod, &observed(vec![container("s", State::Running, 0)]));
    assert_eq!(p.start_init, vec![1]);
    // It died while the next one runs: it comes back.
    let p = run(&pod, &observed(vec![container("i", State::Running, 0), container("s", State::Exited, 1)]));
    assert_eq!(p.start_init, vec![0]);
}

#[test]
fn a_sidecar_waits_for_its_startup_probe() {
    let mut s = sidecar("s");
    s["startupProbe"] = json!({ "tcpSocket": { "port": 1 } });
    let pod = pod(json!({ "initContainers": [s], "containers": [c("a")] }));
    let seen = observed(vec![container("s", State::Running, 0)]);
    assert!(run(&pod, &seen).start.is_empty());
    let mut health = Health::default();
    health.startup.insert("id-s".into(), Outcome::Success);
    assert_eq!(plan(&pod, &seen, &health, false).start, vec![0]);
}

#[test]
fn sidecars_do_not_keep_a_finished_pod_alive() {
    let pod =
        pod(json!({ "restartPolicy": "Never", "initContainers": [sidecar("s")], "containers": [c("a")] }));
    let p = run(&pod, &observed(vec![container("a", State::Exited, 0), container("s", State::Running, 0)]));
    assert!(p.kill_pod && p.start_init.is_empty());
}

#[test]
fn restart_policies_decide_who_comes_back() {
    for (policy, code, back) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ] {
        let pod = pod(json!({ "restartPolicy": policy, "containers": [c("a"), c("b")] }));
        let seen = observed(vec![container("a", State::Exited, code), container("b", State::Running, 0)]);
        assert_eq!(run(&pod, &seen).start == vec![0], back, "{policy} {code}");
    }
}

#[test]
fn a_rule_of_the_container_overrules_the_pod() {
    let mut a = c("a");
    a["restartPolicy"] = "Never".into();
    a["restartPolicyRules"] =
        json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } }]);
    let pod = pod(json!({ "containers": [a, c("b")] }));
    let seen = |code| observed(vec![container("a", State::Exited, code), container("b", State::Running, 0)]);
    assert_eq!(run(&pod, &seen(42)).start, vec![0]);
    assert!(run(&pod, &seen(1)).start.is_empty());
}

#[test]
fn a_failed_liveness_probe_kills_and_restarts() {
    let pod = pod(json!({ "containers": [c("a")] }));
    let mut health = Health::default();
    health.liveness.insert("id-a".into(), Outcome::Failure);
    let p = plan(&pod, &observed(vec![container("a", State::Running, 0)]), &health, false);
    assert_eq!(p.start, vec![0]);
    assert_eq!(p.kill[0].message, "Container a failed liveness probe, will be restarted");
    assert_eq!(p.kill[0].reason, KillReason::LivenessProbe);
}

#[test]
fn a_changed_image_restarts_the_container() {
    let pod = pod(json!({ "containers": [c("a")] }));
    let mut a = container("a", State::Running, 0);
    a.hash = 1;
    let p = run(&pod, &observed(vec![a]));
    assert_eq!(p.kill[0].message, "Container a definition changed, will be restarted");
}

#[test]
fn a_dead_sandbox_is_replaced_unless_the_pod_is_done() {
    let mut seen = observed(vec![container("a", State::Exited, 0)]);
    seen.sandboxes[0].ready = false;
    let p = run(&pod(json!({ "containers": [c("a")] })), &seen);
    assert!(p.create_sandbox && p.attempt == 1 && p.start == vec![0]);
    let p = run(&pod(json!({ "containers": [c("a")], "restartPolicy": "Never" })), &seen);
    assert!(!p.create_sandbox && p.kill_pod);
}

#[test]
fn resetting_a_pod_removes_the_cause_last() {
    let mut a = c("a");
    a["restartPolicy"] = "Never".into();
    a["restartPolicyRules"] =
        json!([{ "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [7] } }]);
    let pod = pod(json!({ "containers": [a, c("b")] }));
    let seen = observed(vec![container("a", State::Exited, 7), container("b", State::Running, 0)]);
    let p = plan(&pod, &seen, &Health::default(), true);
    let order: Vec<_> = p.reset.iter().map(|r| (r.name.as_str(), r.kill)).collect();
    assert_eq!(order, [("b", true), ("a", false)]);
}
