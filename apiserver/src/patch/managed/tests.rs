use proto::schema;
use serde_json::json;

use super::*;

const NOW: &str = "2026-01-02T03:04:05Z";

/// All versions of the tests' kinds look alike, except those that are gone.
struct Alike(&'static Type);

impl Versions for Alike {
    fn convert(&self, printed: &Value, api_version: &str) -> Option<(Value, Ref<Type>)> {
        (!api_version.ends_with("gone")).then(|| {
            let mut value = printed.clone();
            value["apiVersion"] = Value::from(api_version);
            (value, Ref::Static(self.0))
        })
    }
}

fn deployment() -> &'static Type {
    schema::lookup("apps", "v1", "Deployment").unwrap()
}

fn with<R>(manager: &str, run: impl FnOnce(&Request<'_>) -> R) -> R {
    let ty = deployment();
    run(&Request {
        manager,
        api_version: "apps/v1",
        kind: "Deployment",
        subresource: "",
        ty,
        custom: false,
        reset: Some(&Set::of(&["status"])),
        now: NOW,
        versions: &Alike(ty),
    })
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": spec})
}

fn container(name: &str, image: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": name, "image": image}]}}})
}

fn applied(live: Option<&Value>, config: &Value, force: bool, manager: &str) -> Result<Value, String> {
    with(manager, |request| apply(live, config, force, request))
        .map(|printed| {
            let mut value = json::canonical(&printed, deployment()).unwrap().value;
            value["metadata"]["uid"] = Value::from("u");
            value
        })
        .map_err(|error| error.to_string())
}

fn fields_of(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .find(|entry| entry["manager"] == manager)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn a_create_is_owned_by_its_manager() {
    let mut new = object(container("main", "web:1"));
    with("kubectl-create", |request| update(None, &mut new, request));
    let entry = &new["metadata"]["managedFields"][0];
    assert_eq!(entry["operation"], "Update");
    assert_eq!(entry["time"], NOW);
    let expected = json!({"f:spec": {"f:selector": {}, "f:template": {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}}}}});
    assert_eq!(entry["fieldsV1"], expected);
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut live = object(container("main", "web:1"));
    with("first", |request| update(None, &mut live, request));
    live["metadata"]["uid"] = Value::from("u");
    let mut new = live.clone();
    new["spec"]["replicas"] = Value::from(3);
    new["spec"]["template"]["spec"]["containers"][0]["image"] = Value::from("web:2");
    with("", |request| update(Some(&live), &mut new, request));
    let image = json!({"f:containers": {"k:{\"name\":\"main\"}": {"f:image": {}}}});
    assert_eq!(
        fields_of(&new, "unknown"),
        json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": image}}})
    );
    assert_eq!(
        fields_of(&new, "first")["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"],
        json!({".": {}, "f:name": {}, "f:resources": {}})
    );
    // An update that changes nothing owns nothing.
    let mut same = new.clone();
    with("idle", |request| update(Some(&new), &mut same, request));
    assert_eq!(same, new);
}

#[test]
fn an_update_can_reset_all_managers() {
    let mut live = object(container("main", "web:1"));
    with("first", |request| update(None, &mut live, request));
    live["metadata"]["uid"] = Value::from("u");
    for reset in [json!([]), json!([{}])] {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = reset;
        with("second", |request| update(Some(&live), &mut new, request));
        assert_eq!(new["metadata"].get("managedFields"), None);
    }
}

#[test]
fn applied_fields_that_are_left_out_go() {
    let mut config = object(container("main", "web:1"));
    config["spec"]["replicas"] = Value::from(2);
    config["metadata"]["labels"] = json!({"a": "1", "b": "2"});
    let live = applied(None, &config, false, "me").unwrap();
    assert_eq!(live["spec"]["replicas"], 2);
    config["spec"]["replicas"] = Value::Null;
    config["spec"].as_object_mut().unwrap().remove("replicas");
    config["metadata"]["labels"] = json!({"a": "1"});
    let live = applied(Some(&live), &config, false, "me").unwrap();
    assert_eq!(live["spec"].get("replicas"), None);
    assert_eq!(live["metadata"]["labels"], json!({"a": "1"}));
    assert_eq!(live["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    // What another owns as well stays.
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}}});
    let live = applied(Some(&live), &other, false, "other").unwrap();
    config["metadata"].as_object_mut().unwrap().remove("labels");
    let live = applied(Some(&live), &config, false, "me").unwrap();
    assert_eq!(live["metadata"]["labels"], json!({"a": "1"}));
}

#[test]
fn conflicts_are_reported_and_can_be_forced() {
    let mut live = object(container("main", "web:1"));
    live["spec"]["replicas"] = Value::from(1);
    with("kubectl", |request| update(None, &mut live, request));
    live["metadata"]["uid"] = Value::from("u");
    let mut config = object(json!({"replicas": 5}));
    let error = applied(Some(&live), &config, false, "me").unwrap_err();
    assert_eq!(
        error,
        "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas"
    );
    config["spec"]["template"] = json!({"spec": {"containers": [{"name": "main", "image": "web:2"}]}});
    let error = applied(Some(&live), &config, false, "me").unwrap_err();
    assert_eq!(
        error,
        "Apply failed with 2 conflicts: conflicts with \"kubectl\" using apps/v1:\n- .spec.replicas\n- \
         .spec.template.spec.containers[name=\"main\"].image"
    );
    let forced = applied(Some(&live), &config, true, "me").unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(fields_of(&forced, "kubectl")["f:spec"].get("f:replicas"), None);
    // The same value is no conflict but shared ownership.
    config["spec"] = json!({"replicas": 5});
    let shared = applied(Some(&forced), &config, false, "third").unwrap();
    assert_eq!(fields_of(&shared, "third"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields_of(&shared, "me")["f:spec"]["f:replicas"], json!({}));
}

#[test]
fn fields_from_before_the_first_apply_belong_to_a_manager_of_their_own() {
    let mut live = object(container("main", "web:1"));
    live["metadata"]["uid"] = Value::from("u");
    let config = object(json!({"replicas": 1}));
    let new = applied(Some(&live), &config, false, "me").unwrap();
    assert_eq!(fields_of(&new, "me"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields_of(&new, "before-first-apply")["f:spec"]["f:selector"], json!({}));
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_clients_side() {
    let mut live = object(container("main", "web:1"));
    live["spec"]["replicas"] = Value::from(1);
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    live["metadata"]["annotations"] = json!({annotation: live.to_string()});
    with("kubectl-client-side-apply", |request| update(None, &mut live, request));
    live["metadata"]["uid"] = Value::from("u");
    let config = object(json!({"replicas": 4}));
    let new = applied(Some(&live), &config, false, "kubectl").unwrap();
    assert_eq!(new["spec"]["replicas"], 4);
    let kept: Value =
        serde_json::from_str(new["metadata"]["annotations"][annotation].as_str().unwrap()).unwrap();
    assert_eq!(kept["spec"], json!({"replicas": 4}));
    // Not if another has changed the value since.
    live["spec"]["replicas"] = Value::from(2);
    assert!(applied(Some(&live), &config, false, "kubectl").unwrap_err().contains(".spec.replicas"));
}

#[test]
fn configurations_are_checked() {
    let mut config = object(json!({"replicas": 1}));
    config["kind"] = Value::from("Pod");
    assert_eq!(applied(None, &config, false, "me").unwrap_err(), "invalid object type: apps/v1, Kind=Pod");
    let mut config = object(json!({"replicas": 1}));
    config["metadata"]["managedFields"] = json!([]);
    assert_eq!(applied(None, &config, false, "me").unwrap_err(), "metadata.managedFields must be nil");
    let config = object(json!({"replicaz": 1}));
    assert_eq!(
        applied(None, &config, false, "me").unwrap_err(),
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema"
    );
    let twice = json!([{"name": "a"}, {"name": "a"}]);
    let config = object(json!({"template": {"spec": {"containers": twice}}}));
    assert!(
        applied(None, &config, false, "me").unwrap_err().contains("duplicate entries for key [name=\"a\"]")
    );
}

#[test]
fn managers_of_versions_that_are_gone_are_forgotten_and_old_ones_share_an_entry() {
    let mut live = object(container("main", "web:1"));
    live["metadata"]["uid"] = Value::from("u");
    let entry = |manager: &str, version: &str, seconds: usize, field: &str| {
        json!({"manager": manager, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1",
            "time": format!("2026-01-01T00:00:{seconds:02}Z"), "fieldsV1": {"f:metadata": {"f:labels": {format!("f:{field}"): {}}}}})
    };
    let mut entries = vec![entry("old", "apps/gone", 0, "x")];
    let mut labels = serde_json::Map::new();
    for index in 0..12 {
        entries.push(entry(&format!("m{index}"), "apps/v1", index, &format!("l{index}")));
        labels.insert(format!("l{index}"), Value::from("1"));
    }
    live["metadata"]["labels"] = Value::Object(labels);
    live["metadata"]["managedFields"] = Value::Array(entries);
    let mut new = live.clone();
    new["spec"]["replicas"] = Value::from(7);
    with("m3", |request| update(Some(&live), &mut new, request));
    let names: Vec<String> = new["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["manager"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["ancient-changes", "m4", "m5", "m6", "m7", "m8", "m9", "m10", "m11", "m3"]);
    assert_eq!(
        fields_of(&new, "ancient-changes"),
        json!({"f:metadata": {"f:labels": {"f:l0": {}, "f:l1": {}, "f:l2": {}}}})
    );
}

#[test]
fn list_items_keep_the_live_order_and_new_ones_follow() {
    let ports = |list: &[(i64, &str)]| -> Value {
        let list: Vec<Value> =
            list.iter().map(|(port, name)| json!({"containerPort": port, "name": name})).collect();
        object(json!({"template": {"spec": {"containers": [{"name": "main", "ports": list}]}}}))
    };
    let live = applied(None, &ports(&[(1, "a"), (2, "b")]), false, "one").unwrap();
    let live = applied(Some(&live), &ports(&[(3, "c"), (2, "b")]), false, "two").unwrap();
    let list = live["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().unwrap().clone();
    let numbers: Vec<i64> = list.iter().map(|port| port["containerPort"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 3, 2]);
    let own = fields_of(&live, "two");
    let key = "k:{\"containerPort\":3,\"protocol\":\"TCP\"}";
    let container = &own["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"];
    assert_eq!(container["f:ports"][key], json!({".": {}, "f:containerPort": {}, "f:name": {}}));
}

#[test]
fn long_lists_cost_what_they_are_long() {
    // Merged by item: comparing each with each would take minutes.
    let many: Vec<String> = (0..30_000).map(|i| format!("example.com/{i}")).collect();
    let mut config = object(container("web", "v1"));
    config["metadata"]["finalizers"] = json!(many);
    let live = applied(None, &config, false, "ci").unwrap();
    let again = applied(Some(&live), &config, false, "ci").unwrap();
    assert_eq!(again["metadata"]["finalizers"], json!(many));
    let patch = json!({"metadata": {"finalizers": many}}).to_string();
    let printed = json::print(&live, deployment());
    let merged = crate::patch::strategic_merge_patch(&printed, patch.as_bytes(), deployment()).unwrap();
    assert_eq!(merged.value["metadata"]["finalizers"], json!(many));
}
