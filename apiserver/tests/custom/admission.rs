//! Admission webhooks for custom resources: what they are asked, and what their answers do.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::common::{Server, webhook};
use super::{DEFINITIONS, condition, until};

const GROUP: &str = "webhook.example.com";
const PLURAL: &str = "e2e-test-webhook-1-2-crds";
const KIND: &str = "e2e-test-webhook-1-2-crd";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Refuses some data, adds to other, and knows markers by their label.
fn answer(path: &str, request: &Value) -> Value {
    let object = if request["operation"] == "DELETE" { &request["oldObject"] } else { &request["object"] };
    let data = |key: &str| object["data"][key].as_str().unwrap_or_default();
    let refused = |why: &str| json!({"allowed": false, "status": {"reason": why}});
    let patched = |key: &str| {
        let patch = json!([{"op": "add", "path": format!("/data/{key}"), "value": "yes"}]);
        json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
    };
    match path {
        "/always-deny" => refused("this webhook denies all requests"),
        "/mutating-custom-resource" if data("mutation-stage-1") == "yes" => patched("mutation-stage-2"),
        "/mutating-custom-resource" if data("mutation-start") == "yes" => patched("mutation-stage-1"),
        "/custom-resource" => match (data("webhook-e2e-test"), request["operation"].as_str()) {
            ("webhook-disallow", Some("CREATE" | "UPDATE")) => refused("unwanted data"),
            ("webhook-nondeletable", Some("DELETE")) => refused("cannot be deleted"),
            _ => json!({"allowed": true}),
        },
        _ => json!({"allowed": true}),
    }
}

fn version(name: &str, stored: bool) -> Value {
    json!({
        "name": name, "served": true, "storage": stored,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    })
}

fn object(name: &str, data: Value) -> Value {
    json!({
        "kind": KIND, "apiVersion": format!("{GROUP}/v1"),
        "metadata": {"name": name, "namespace": "default"}, "data": data,
    })
}

/// Registers webhooks as (path, operations, name) together with one for markers, and waits until markers are refused.
async fn register(server: &Server, kind: &str, port: u16, ca: &str, hooks: &[(&str, &[&str], &str)]) {
    let hook = |name: &str, path: &str, operations: &[&str], rule: Value| {
        let mut rule = rule;
        rule["operations"] = json!(operations);
        json!({
            "name": name, "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1", "v1beta1"],
            "clientConfig": {"url": format!("https://localhost:{port}{path}"), "caBundle": STANDARD.encode(ca)},
        })
    };
    let ours = json!({"apiGroups": [GROUP], "apiVersions": ["v1"], "resources": [PLURAL]});
    let mut webhooks: Vec<Value> =
        hooks.iter().map(|(path, operations, name)| hook(name, path, operations, ours.clone())).collect();
    let maps = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]});
    let mut marker = hook("is-ready.k8s.io", "/always-deny", &["CREATE"], maps);
    marker["objectSelector"] = json!({"matchLabels": {kind: "true"}});
    webhooks.push(marker);
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": "custom-resources"}, "webhooks": webhooks,
    });
    let path = format!("{CONFIGURATIONS}/{}s", kind.to_lowercase());
    let (code, made) = server.post_protobuf(&path, &configuration).await;
    assert_eq!(code, 201, "{made}");
    let marker = json!({"metadata": {"generateName": "marker-", "labels": {kind: "true"}}});
    for _ in 0..200 {
        let (code, told) = server.json(Method::POST, MAPS, marker.clone()).await;
        if code == 400 {
            assert!(told["message"].as_str().is_some_and(|m| m.ends_with("denies all requests")), "{told}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the webhooks of {path} are never called");
}

async fn unregister(server: &Server, kind: &str) {
    let path = format!("{CONFIGURATIONS}/{}s/custom-resources", kind.to_lowercase());
    let (code, gone) = server.json(Method::DELETE, &path, Value::Null).await;
    assert_eq!(code, 200, "{gone}");
}

pub(crate) async fn webhooks_see_what_upstreams_see(server: &Server) {
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let record = seen.clone();
    let (port, ca) = webhook::serve_paths(move |path, review| {
        let request = &review["request"];
        let mut response = answer(path, request);
        response["uid"] = request["uid"].clone();
        let body =
            json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
        record.lock().push(review.clone());
        body
    })
    .await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced", "versions": [version("v1", true), version("v2", false)],
            "names": {"plural": PLURAL, "singular": KIND, "kind": KIND, "listKind": format!("{KIND}List")},
        },
    });
    let (code, made) = server.post_protobuf(DEFINITIONS, &definition).await;
    assert_eq!(code, 201, "{made}");
    let own = format!("{DEFINITIONS}/{PLURAL}.{GROUP}");
    until(server, &own, |d| condition(d, "Established")["status"] == "True").await;
    refusals(server, port, &ca, &seen).await;
    mutations(server, port, &ca, &own).await;
    let (code, gone) = server.json(Method::DELETE, &own, Value::Null).await;
    assert_eq!(code, 200, "{gone}");
}

async fn refusals(server: &Server, port: u16, ca: &str, seen: &Mutex<Vec<Value>>) {
    let kind = "ValidatingWebhookConfiguration";
    let path = format!("/apis/{GROUP}/v1/namespaces/default/{PLURAL}");
    register(
        server,
        kind,
        port,
        ca,
        &[("/custom-resource", &["CREATE", "UPDATE", "DELETE"], "deny-unwanted-custom-resource-data.k8s.io")],
    )
    .await;
    seen.lock().clear();
    let (code, told) =
        server.json(Method::POST, &path, object("a", json!({"webhook-e2e-test": "webhook-disallow"}))).await;
    let denied = "admission webhook \"deny-unwanted-custom-resource-data.k8s.io\" denied the request";
    assert_eq!((code, &told["message"]), (400, &json!(format!("{denied}: unwanted data"))));
    let kept = object("b", json!({"webhook-e2e-test": "webhook-nondeletable"}));
    let (code, made) = server.json(Method::POST, &path, kept).await;
    assert_eq!((code, &made["data"]["webhook-e2e-test"]), (201, &json!("webhook-nondeletable")), "{made}");
    let named = format!("{path}/b");
    let mut changed = made.clone();
    changed["data"]["webhook-e2e-test"] = "webhook-disallow".into();
    let (code, told) = server.json(Method::PUT, &named, changed.clone()).await;
    assert_eq!((code, &told["message"]), (400, &json!(format!("{denied}: unwanted data"))));
    let (code, told) = server.json(Method::DELETE, &named, Value::Null).await;
    assert_eq!((code, &told["message"]), (400, &json!(format!("{denied}: cannot be deleted"))));
    changed["data"]["webhook-e2e-test"] = "webhook-allow".into();
    let (code, updated) = server.json(Method::PUT, &named, changed).await;
    assert_eq!(code, 200, "{updated}");
    let (code, gone) = server.json(Method::DELETE, &named, Value::Null).await;
    assert_eq!(code, 200, "{gone}");
    requests_are_upstreams(&seen.lock());
    unregister(server, kind).await;
}

/// The reviews of the six writes: create, create, update, delete, update, delete.
fn requests_are_upstreams(seen: &[Value]) {
    let operations: Vec<_> =
        seen.iter().map(|r| r["request"]["operation"].as_str().unwrap_or_default()).collect();
    assert_eq!(operations, ["CREATE", "CREATE", "UPDATE", "DELETE", "UPDATE", "DELETE"]);
    for review in seen {
        let request = &review["request"];
        let gvk = json!({"group": GROUP, "version": "v1", "kind": KIND});
        let gvr = json!({"group": GROUP, "version": "v1", "resource": PLURAL});
        assert_eq!(
            (&review["apiVersion"], &review["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        assert_eq!((&request["kind"], &request["requestKind"]), (&gvk, &gvk));
        assert_eq!((&request["resource"], &request["requestResource"]), (&gvr, &gvr));
        assert_eq!((&request["namespace"], &request["dryRun"]), (&json!("default"), &json!(false)));
        assert_eq!(request["userInfo"]["username"], "admin");
        let (new, old) = match request["operation"].as_str() {
            Some("CREATE") => (true, false),
            Some("UPDATE") => (true, true),
            _ => (false, true),
        };
        for (name, there) in [("object", new), ("oldObject", old)] {
            let object = &request[name];
            assert_eq!(object.is_null(), !there, "{request}");
            if there {
                assert_eq!(
                    (&object["apiVersion"], &object["kind"]),
                    (&json!(format!("{GROUP}/v1")), &json!(KIND))
                );
                assert!(object["data"]["webhook-e2e-test"].is_string(), "{request}");
                assert!(
                    object["metadata"]["uid"].is_string() && object["metadata"]["managedFields"].is_array()
                );
            }
        }
        let options = match request["operation"].as_str() {
            Some("CREATE") => "CreateOptions",
            Some("UPDATE") => "UpdateOptions",
            _ => "DeleteOptions",
        };
        assert_eq!(
            (&request["options"]["kind"], &request["options"]["apiVersion"]),
            (&json!(options), &json!("meta.k8s.io/v1"))
        );
    }
}

async fn mutations(server: &Server, port: u16, ca: &str, definition: &str) {
    let kind = "MutatingWebhookConfiguration";
    let path = |version: &str| format!("/apis/{GROUP}/{version}/namespaces/default/{PLURAL}");
    register(
        server,
        kind,
        port,
        ca,
        &[
            (
                "/mutating-custom-resource",
                &["CREATE", "UPDATE"],
                "mutate-custom-resource-data-stage-1.k8s.io",
            ),
            ("/mutating-custom-resource", &["CREATE"], "mutate-custom-resource-data-stage-2.k8s.io"),
        ],
    )
    .await;
    let (code, made) =
        server.json(Method::POST, &path("v1"), object("m", json!({"mutation-start": "yes"}))).await;
    let all = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    assert_eq!((code, &made["data"]), (201, &all), "{made}");
    let versions = json!({"spec": {"versions": [version("v1", false), version("v2", true)]}}).to_string();
    let strategic = "application/strategic-merge-patch+json";
    let (code, told) = server.send(Method::PATCH, definition, strategic, &versions).await;
    assert_eq!(code, 200, "{told}");
    let patch = r#"[{"op": "add", "path": "/dummy", "value": "test"}]"#;
    let named = format!("{}/m", path("v2"));
    let (code, told) = server.send(Method::PATCH, &named, "application/json-patch+json", patch).await;
    let patched: Value = serde_json::from_str(&told).unwrap_or_default();
    assert_eq!((code.as_u16(), &patched["data"], &patched["dummy"]), (200, &all, &json!("test")), "{told}");
    unregister(server, kind).await;
}
