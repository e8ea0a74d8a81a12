//! The default objects of API Priority and Fairness.
//!
//! The mandatory ones always have their built-in spec. The suggested ones follow it until an
//! administrator opts out by the autoupdate annotation or by changing a spec that lacks it.

use serde_json::{Value, json};

pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const AUTOUPDATE_ANNOTATION: &str = "apf.kubernetes.io/autoupdate-spec";
const MANDATORY: &[&str] = &["exempt", "catch-all"];

/// How a priority level treats requests beyond its share.
enum Response {
    Exempt,
    Reject,
    /// (queues, hand size, queue length limit)
    Queue(i32, i32, i32),
}

/// (name, nominal shares, percent that can be lent, response)
const PRIORITY_LEVELS: &[(&str, i32, i32, Response)] = &[
    ("exempt", 0, 0, Response::Exempt),
    ("catch-all", 5, 0, Response::Reject),
    ("system", 30, 33, Response::Queue(64, 6, 50)),
    ("node-high", 40, 25, Response::Queue(64, 6, 50)),
    ("leader-election", 10, 0, Response::Queue(16, 4, 50)),
    ("workload-high", 40, 50, Response::Queue(128, 6, 50)),
    ("workload-low", 100, 90, Response::Queue(128, 6, 50)),
    ("global-default", 20, 50, Response::Queue(128, 6, 50)),
];

/// Default PriorityLevelConfigurations.
pub(crate) fn priority_levels() -> Vec<Value> {
    let level = |(name, shares, lendable, response): &(&str, i32, i32, Response)| {
        let limits = json!({ "nominalConcurrencyShares": shares, "lendablePercent": lendable });
        let spec = match response {
            Response::Exempt => json!({ "type": "Exempt", "exempt": limits }),
            Response::Reject => limited(limits, json!({ "type": "Reject" })),
            Response::Queue(queues, hand, length) => {
                let queuing = json!({ "queues": queues, "handSize": hand, "queueLengthLimit": length });
                limited(limits, json!({ "type": "Queue", "queuing": queuing }))
            }
        };
        object("PriorityLevelConfiguration", name, spec)
    };
    PRIORITY_LEVELS.iter().map(level).collect()
}

fn limited(mut limits: Value, response: Value) -> Value {
    limits["limitResponse"] = response;
    json!({ "type": "Limited", "limited": limits })
}

/// Default FlowSchemas.
pub(crate) fn flow_schemas() -> Vec<Value> {
    let everyone = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let system_accounts = || account("kube-system", "*");
    let probes = json!({ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"] });
    let leases = resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false);
    let nodes = resources(&["*"], "", &["nodes", "nodes/status"], true);
    let node_leases = resources(&["*"], "coordination.k8s.io", &["leases"], false);
    let leaders =
        vec![user("system:kube-controller-manager"), user("system:kube-scheduler"), system_accounts()];
    vec![
        schema("exempt", "exempt", 1, None, vec![group("system:masters")], everything()),
        schema("probes", "exempt", 2, None, everyone(), json!({ "nonResourceRules": [probes] })),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            BY_USER,
            leaders,
            json!({ "resourceRules": [leases] }),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            BY_USER,
            vec![group("system:nodes")],
            json!({ "resourceRules": [nodes, node_leases] }),
        ),
        schema("system-nodes", "system", 500, BY_USER, vec![group("system:nodes")], everything()),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            BY_NAMESPACE,
            vec![user("system:kube-controller-manager")],
            everything(),
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            BY_NAMESPACE,
            vec![user("system:kube-scheduler")],
            everything(),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            BY_NAMESPACE,
            vec![system_accounts()],
            everything(),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            BY_USER,
            vec![group("system:serviceaccounts")],
            everything(),
        ),
        schema("global-default", "global-default", 9900, BY_USER, everyone(), everything()),
        schema("catch-all", "catch-all", 10000, BY_USER, everyone(), everything()),
    ]
}

/// The object of this kind whose spec nobody may change, if the name is of one.
pub(crate) fn mandatory(kind: &str, name: &str) -> Option<Value> {
    if !MANDATORY.contains(&name) {
        return None;
    }
    let all = if kind == "FlowSchema" { flow_schemas() } else { priority_levels() };
    all.into_iter().find(|object| object["metadata"]["name"] == name)
}

const BY_USER: Option<&str> = Some("ByUser");
const BY_NAMESPACE: Option<&str> = Some("ByNamespace");

fn schema(
    name: &str,
    level: &str,
    precedence: i32,
    distinguisher: Option<&str>,
    subjects: Vec<Value>,
    mut rules: Value,
) -> Value {
    rules["subjects"] = Value::Array(subjects);
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": level },
        "matchingPrecedence": precedence,
        "rules": [rules],
    });
    if let Some(distinguisher) = distinguisher {
        spec["distinguisherMethod"] = json!({ "type": distinguisher });
    }
    object("FlowSchema", name, spec)
}

fn everything() -> Value {
    json!({
        "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    })
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule =
        json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"] });
    if cluster_scope {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn group(name: &str) -> Value {
    json!({ "kind": "Group", "group": { "name": name } })
}

fn user(name: &str) -> Value {
    json!({ "kind": "User", "user": { "name": name } })
}

fn account(namespace: &str, name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": name } })
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": { "name": name, "annotations": { AUTOUPDATE_ANNOTATION: "true" } },
        "spec": spec,
    })
}

/// The object as it should become, if it exists and is not as it should be.
pub(super) fn reconcile(desired: &Value, existing: &Value) -> Option<Value> {
    let name = desired["metadata"]["name"].as_str().unwrap_or_default();
    let annotation = existing["metadata"]["annotations"][AUTOUPDATE_ANNOTATION].as_str();
    let follows = MANDATORY.contains(&name)
        || match annotation {
            Some(text) => text == "true",
            // Not said: whoever changed the spec took it over.
            None => existing["metadata"]["generation"] == 1,
        };
    let mut updated = existing.clone();
    let flag = if follows { "true" } else { "false" };
    if annotation != Some(flag) && (follows || annotation.is_none()) {
        if !updated["metadata"]["annotations"].is_object() {
            updated["metadata"]["annotations"] = json!({});
        }
        updated["metadata"]["annotations"][AUTOUPDATE_ANNOTATION] = json!(flag);
    }
    if follows {
        updated["spec"] = desired["spec"].clone();
    }
    (updated != *existing).then_some(updated)
}

/// The condition of a default FlowSchema whose priority level exists, which it does.
pub(super) fn not_dangling(schema: &Value, now: &str) -> Value {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    json!({
        "type": "Dangling",
        "status": "False",
        "lastTransitionTime": now,
        "reason": "Found",
        "message": format!(
            "This FlowSchema references the PriorityLevelConfiguration object named \"{level}\" and it exists"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_has_its_level() {
        let levels = priority_levels();
        for schema in flow_schemas() {
            let level = &schema["spec"]["priorityLevelConfiguration"]["name"];
            assert!(levels.iter().any(|l| l["metadata"]["name"] == *level), "{level}");
        }
    }

    #[test]
    fn administrators_may_take_suggested_objects_over() {
        let desired = object("FlowSchema", "probes", json!({ "a": 1 }));
        assert_eq!(reconcile(&desired, &desired), None);
        let mut changed = desired.clone();
        changed["spec"]["a"] = json!(2);
        assert_eq!(reconcile(&desired, &changed), Some(desired.clone()));
        let mut taken = changed.clone();
        taken["metadata"]["annotations"][AUTOUPDATE_ANNOTATION] = json!("false");
        assert_eq!(reconcile(&desired, &taken), None);
        let mut silent = changed.clone();
        silent["metadata"]["annotations"] = Value::Null;
        silent["metadata"]["generation"] = json!(2);
        let updated = reconcile(&desired, &silent).unwrap();
        assert_eq!(updated["spec"]["a"], 2);
        assert_eq!(updated["metadata"]["annotations"][AUTOUPDATE_ANNOTATION], "false");
        let mandatory = object("FlowSchema", "exempt", json!({ "a": 1 }));
        taken["metadata"]["name"] = json!("exempt");
        assert_eq!(reconcile(&mandatory, &taken).unwrap()["spec"]["a"], 1);
    }
}
