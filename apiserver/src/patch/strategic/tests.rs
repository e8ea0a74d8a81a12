use proto::schema;
use serde_json::json;

use super::*;

fn patched(current: Value, patch: Value) -> std::result::Result<Value, String> {
    let ty = schema::lookup("apps", "v1", "Deployment").unwrap();
    strategic_merge_patch(&current, patch.to_string().as_bytes(), ty)
        .map(|patched| patched.value)
        .map_err(|error| error.to_string())
}

fn containers(current: Value, patch: Value) -> std::result::Result<Value, String> {
    let wrap = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    patched(wrap(current), wrap(patch)).map(|value| value["spec"]["template"]["spec"].clone())
}

#[test]
fn lists_merge_by_key() {
    let current =
        json!({"containers": [{"name": "a", "image": "a:1", "args": ["x"]}, {"name": "b", "image": "b:1"}]});
    let patch = json!({"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]});
    let expected = json!({"containers": [{"name": "a", "image": "a:1", "args": ["x"]}, {"name": "b", "image": "b:2"},
        {"name": "c", "image": "c:1"}]});
    assert_eq!(containers(current.clone(), patch).unwrap(), expected);
    // Lists without a strategy are replaced.
    let patch = json!({"containers": [{"name": "a", "args": ["y"]}]});
    assert_eq!(containers(current, patch).unwrap()["containers"][0]["args"], json!(["y"]));
}

#[test]
fn items_are_deleted_and_replaced() {
    let current = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let patch = json!({"containers": [{"name": "a", "$patch": "delete"}]});
    assert_eq!(containers(current.clone(), patch).unwrap(), json!({"containers": [{"name": "b"}]}));
    let patch = json!({"containers": [{"$patch": "replace"}, {"name": "c"}]});
    assert_eq!(containers(current.clone(), patch).unwrap(), json!({"containers": [{"name": "c"}]}));
    let patch = json!({"containers": [{"image": "x"}]});
    let error = containers(current, patch).unwrap_err();
    assert!(error.ends_with("does not contain declared merge key: name"), "{error}");
}

#[test]
fn maps_are_replaced_deleted_and_retained() {
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "selector": {"matchLabels": {"a": "1"}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(patched(current.clone(), patch).unwrap()["spec"]["strategy"], json!({"type": "Recreate"}));
    let patch = json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}});
    assert_eq!(patched(current.clone(), patch).unwrap()["spec"]["strategy"], json!({"type": "Recreate"}));
    let patch = json!({"spec": {"strategy": {"$patch": "delete"}, "selector": null}});
    assert_eq!(patched(current.clone(), patch).unwrap(), json!({"spec": {"strategy": {}}}));
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}});
    assert_eq!(patched(current.clone(), patch).unwrap_err(), "invalid patch format of retainKeys");
    let patch = json!({"spec": {"strategy": {"$patch": "x"}}});
    let error = patched(current.clone(), patch).unwrap_err();
    assert_eq!(error, "unknown patch type: x in map: map[$patch:x]");
    let patch = json!({"spec": {"strategy": {"$patch": 5, "type": null}}});
    let error = patched(current, patch).unwrap_err();
    assert_eq!(error, "unknown patch type: %!s(int64=5) in map: map[$patch:5 type:<nil>]");
}

#[test]
fn primitive_lists_lose_and_gain_items() {
    let current = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}});
    assert_eq!(patched(current.clone(), patch).unwrap()["metadata"]["finalizers"], json!(["a", "c"]));
    let patch = json!({"metadata": {"finalizers": ["d", "a"]}});
    assert_eq!(
        patched(current.clone(), patch).unwrap()["metadata"]["finalizers"],
        json!(["d", "a", "b", "c"])
    );
    let patch =
        json!({"metadata": {"$setElementOrder/finalizers": ["c", "d", "a", "b"], "finalizers": ["d"]}});
    assert_eq!(
        patched(current.clone(), patch).unwrap()["metadata"]["finalizers"],
        json!(["c", "d", "a", "b"])
    );
    let patch = json!({"metadata": {"finalizers": ["d", 1]}});
    let error = patched(current, patch).unwrap_err();
    assert_eq!(error, "list element types are not identical: [[a b c] [d 1]]");
}

#[test]
fn order_directives_order() {
    let current = json!({"containers": [{"name": "a"}, {"name": "server"}, {"name": "b"}]});
    let patch = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}],
        "containers": [{"name": "n", "image": "n:1"}]});
    let names = |value: Value| -> Vec<String> {
        value["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(containers(current.clone(), patch).unwrap()), ["server", "b", "n", "a"]);
    let patch = json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]});
    assert_eq!(
        containers(current.clone(), patch).unwrap_err(),
        "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n"
    );
    let patch = json!({"$setElementOrder/containers": "x"});
    let error = containers(current, patch).unwrap_err();
    assert_eq!(error, "expected a []interface {}, but received a string");
    let patch = json!({"$setElementOrder/containers": [], "containers": []});
    let error = containers(json!({}), patch).unwrap_err();
    assert_eq!(error, "no elements in any of the given slices");
}

#[test]
fn nulls_delete_and_are_dropped_from_new_values() {
    let current = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let patch = json!({"metadata": {"labels": {"a": null}, "annotations": {"x": null, "y": "z"}}});
    assert_eq!(
        patched(current, patch).unwrap(),
        json!({"metadata": {"labels": {"b": "2"}, "annotations": {"y": "z"}}})
    );
}
