//! The row of a pod, with the one word that sums up how it is.

use jiff::Timestamp;
use proto::view::{View, text_at};
use serde_json::Value;

use super::Table;
use super::cells::{Object, time_of};

pub(super) const POD: Table = (
    &[
        ("Ready", "string", 0),
        ("Status", "string", 0),
        ("Restarts", "string", 0),
        ("Age", "string", 0),
        ("IP", "string", 1),
        ("Node", "string", 1),
        ("Nominated Node", "string", 1),
        ("Readiness Gates", "string", 1),
    ],
    cells,
);

/// What the containers of a pod add up to.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    /// When a container was last restarted.
    last_restart: Option<Timestamp>,
}

fn cells(object: &Object) -> Vec<Value> {
    const NONE: &str = "<none>";
    let summary = summary(object);
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, object.ages.since(last))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = object.view_at(&["status", "podIPs"]).items();
    let ip = ip.first().map(|ip| ip.text("ip")).filter(|ip| !ip.is_empty()).unwrap_or(NONE);
    vec![
        Value::from(format!("{}/{}", summary.ready, summary.total)),
        Value::from(summary.reason),
        Value::from(restarts),
        object.age(),
        Value::from(ip),
        object.text_or(&["spec", "nodeName"], NONE),
        object.text_or(&["status", "nominatedNodeName"], NONE),
        Value::from(readiness_gates(object)),
    ]
}

fn readiness_gates(object: &Object) -> String {
    let gates = object.view_at(&["spec", "readinessGates"]).items();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(object, gate.text("conditionType"))).count();
    format!("{open}/{}", gates.len())
}

fn is_true(object: &Object, condition: &str) -> bool {
    let conditions = object.view_at(&["status", "conditions"]).items();
    conditions.iter().any(|own| own.text("type") == condition && own.text("status") == "True")
}

fn summary(object: &Object) -> Summary {
    let phase = object.text(&["status", "phase"]);
    let own_reason = object.text(&["status", "reason"]);
    let conditions = object.view_at(&["status", "conditions"]).items();
    let gated = conditions
        .iter()
        .any(|own| own.text("type") == "PodScheduled" && own.text("reason") == "SchedulingGated");
    let mut summary = Summary {
        reason: if own_reason.is_empty() { phase } else { own_reason }.to_owned(),
        total: object.view_at(&["spec", "containers"]).len(),
        ..Summary::default()
    };
    if gated {
        summary.reason = "SchedulingGated".to_owned();
    }
    let sidecars: Vec<&str> = object
        .view_at(&["spec", "initContainers"])
        .items()
        .iter()
        .filter(|container| container.text("restartPolicy") == "Always")
        .map(|container| text_at(container.value(), &["name"]))
        .collect();
    summary.total += sidecars.len();
    let (of_sidecars, initializing) = init_containers(object, &sidecars, &mut summary);
    if !initializing || is_true(object, "Initialized") {
        (summary.restarts, summary.last_restart) = of_sidecars;
        containers(object, &mut summary);
    }
    if object.is_deleted() {
        if own_reason == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn last_end(status: &View) -> Option<Timestamp> {
    time_of(status.get("lastState").get("terminated").text("finishedAt"))
}

/// Goes through init containers up to the one that is not done, and returns the restarts of sidecars among them and
/// whether there is one.
fn init_containers(
    object: &Object,
    sidecars: &[&str],
    summary: &mut Summary,
) -> ((i64, Option<Timestamp>), bool) {
    let mut of_sidecars = (0, None);
    let all = object.view_at(&["spec", "initContainers"]).len();
    for (index, status) in object.view_at(&["status", "initContainerStatuses"]).items().iter().enumerate() {
        let sidecar = sidecars.contains(&status.text("name"));
        summary.restarts += status.int("restartCount");
        summary.last_restart = summary.last_restart.max(last_end(status));
        if sidecar {
            of_sidecars.0 += status.int("restartCount");
            of_sidecars.1 = of_sidecars.1.max(last_end(status));
        }
        let (ended, waiting) = (status.get("state").get("terminated"), status.get("state").get("waiting"));
        if ended.is_set() && ended.int("exitCode") == 0 {
            continue;
        }
        if sidecar && status.flag("started") {
            summary.ready += usize::from(status.flag("ready"));
            continue;
        }
        summary.reason = if ended.is_set() {
            format!("Init:{}", end_reason(&ended))
        } else if !matches!(waiting.text("reason"), "" | "PodInitializing") {
            format!("Init:{}", waiting.text("reason"))
        } else {
            format!("Init:{index}/{all}")
        };
        return (of_sidecars, true);
    }
    (of_sidecars, false)
}

fn end_reason(ended: &View) -> String {
    let (reason, signal) = (ended.text("reason"), ended.int("signal"));
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", ended.int("exitCode"))
    }
}

fn containers(object: &Object, summary: &mut Summary) {
    let mut running = false;
    let mut failure = String::new();
    for status in object.view_at(&["status", "containerStatuses"]).items().iter().rev() {
        summary.restarts += status.int("restartCount");
        summary.last_restart = summary.last_restart.max(last_end(status));
        let state = status.get("state");
        let (ended, waiting) = (state.get("terminated"), state.get("waiting"));
        if !waiting.text("reason").is_empty() {
            summary.reason = waiting.text("reason").to_owned();
        } else if ended.is_set() {
            summary.reason = end_reason(&ended);
            if ended.int("exitCode") != 0 {
                failure.clone_from(&summary.reason);
            }
        } else if status.flag("ready") && state.has("running") {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason != "Completed" {
        return;
    }
    if running && is_true(object, "Ready") {
        summary.reason = "Running".to_owned();
    } else if !failure.is_empty() {
        summary.reason = failure;
    } else if running {
        summary.reason = "NotReady".to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Ages;
    use serde_json::json;

    fn status(pod: Value) -> (String, String) {
        let ages = Ages::at("2026-01-01T00:10:00Z".parse().expect("a time"));
        let cells = cells(&Object::new(&pod, &ages));
        (cells[1].as_str().unwrap_or_default().to_owned(), format!("{} {}", cells[0], cells[2]))
    }

    #[test]
    fn one_word_says_how_a_pod_is() {
        let pod = |status: Value| json!({"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}, "status": status});
        let cases = [
            (pod(json!({"phase": "Pending"})), "Pending"),
            (
                pod(
                    json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
                ),
                "Init:0/1",
            ),
            (
                pod(json!({"phase": "Pending", "initContainerStatuses": [
                    {"name": "i", "state": {"terminated": {"exitCode": 3}}}]})),
                "Init:ExitCode:3",
            ),
            (
                pod(json!({"phase": "Running", "containerStatuses": [
                    {"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]})),
                "CrashLoopBackOff",
            ),
            (
                pod(json!({"phase": "Succeeded", "containerStatuses": [
                    {"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]})),
                "Completed",
            ),
        ];
        for (pod, want) in cases {
            assert_eq!(status(pod).0, want);
        }
        let mut deleted = pod(json!({"phase": "Running"}));
        deleted["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(status(deleted).0, "Terminating");
    }

    #[test]
    fn restarts_say_when() {
        let pod = json!({"spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running", "containerStatuses": [{
            "name": "c", "ready": true, "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:05:00Z"}}}]}});
        assert_eq!(status(pod).1, "\"1/1\" \"2 (5m ago)\"");
    }
}
