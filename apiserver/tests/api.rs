//! The API as a client sees it, over a real etcd.

mod admission;
mod common;
mod faults;
mod semantics;

use common::Server;
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}})
}

fn revision(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_behaves() {
    let server = Server::start().await;
    objects_come_and_go(&server).await;
    writers_race(&server).await;
    bodies_are_checked(&server).await;
    lists_are_paged(&server).await;
    watches_tell(&server).await;
    finalizers_hold(&server).await;
    dry_runs_store_nothing(&server).await;
    applies_merge(&server).await;
    keys_are_upstreams(&server).await;
    definitions_make_resources(&server).await;
    admission::policies_change_objects(&server).await;
    requests_are_recorded(&server).await;
    secrets_are_encrypted(&server).await;
    flows_are_controlled(&server).await;
    server.stop().await;
}

async fn objects_come_and_go(server: &Server) {
    let (code, created) = server.json(Method::POST, MAPS, map("a", "1")).await;
    assert_eq!(code, 201, "{created}");
    assert!(created["metadata"]["uid"].is_string() && created["metadata"]["creationTimestamp"].is_string());
    let (code, again) = server.json(Method::POST, MAPS, map("a", "1")).await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(again["message"], "configmaps \"a\" already exists");
    let (_, read) = server.json(Method::GET, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(read, created);
    let (code, status) = server.json(Method::DELETE, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    let (code, gone) = server.json(Method::GET, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!((code, &gone["message"]), (404, &json!("configmaps \"a\" not found")));
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}});
    let (code, made) = server.json(Method::POST, MAPS, generated).await;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    assert!(code == 201 && name.starts_with("g-") && name.len() == 7, "{made}");
}

async fn writers_race(server: &Server) {
    let (_, first) = server.json(Method::POST, MAPS, map("race", "1")).await;
    let path = format!("{MAPS}/race");
    let mut second = first.clone();
    second["data"]["k"] = "2".into();
    let (code, changed) = server.json(Method::PUT, &path, second.clone()).await;
    assert_eq!(code, 200, "{changed}");
    assert_ne!(revision(&changed), revision(&first));
    let (code, conflict) = server.json(Method::PUT, &path, second).await;
    assert_eq!(code, 409);
    assert_eq!(
        conflict["message"],
        "Operation cannot be fulfilled on configmaps \"race\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // What changes nothing writes nothing.
    let (_, same) = server.json(Method::PATCH, &path, json!({"data": {"k": "2"}})).await;
    assert_eq!(revision(&same), revision(&changed));
    let adds = (0..20).map(|i| {
        let body = json!({"data": {format!("x{i}"): "y"}});
        let path = path.clone();
        async move { server.json(Method::PATCH, &path, body).await.0 }
    });
    assert!(futures::future::join_all(adds).await.into_iter().all(|code| code == 200));
    let (_, all) = server.json(Method::GET, &path, Value::Null).await;
    assert_eq!(all["data"].as_object().map(|d| d.len()), Some(21), "no patch is lost");
}

async fn bodies_are_checked(server: &Server) {
    let mut typo = map("typo", "1");
    typo["dta"] = json!({});
    let (code, status) = server.json(Method::POST, &format!("{MAPS}?fieldValidation=Strict"), typo).await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\""
    );
    let (code, status) = server.json(Method::POST, MAPS, map("Bad_Name", "1")).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
    let (code, _) = server.send(Method::POST, MAPS, "text/plain", "x").await;
    assert_eq!(code.as_u16(), 415);
    let (code, _) = server.text(Method::POST, MAPS, &"x".repeat((3 << 20) + 1)).await;
    assert_eq!(code.as_u16(), 413);
    let (code, _) = server.json(Method::GET, "/api/v1/nonsense", Value::Null).await;
    assert_eq!(code, 404);
    let (code, _) = server.json(Method::DELETE, "/api/v1/namespaces/default/pods/x/log", Value::Null).await;
    assert!(code == 404 || code == 405, "{code}");
}

async fn lists_are_paged(server: &Server) {
    server.json(Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": "pages"}})).await;
    let maps = "/api/v1/namespaces/pages/configmaps";
    for i in 0..10 {
        server.json(Method::POST, maps, map(&format!("m{i}"), "1")).await;
    }
    let (_, first) = server.json(Method::GET, &format!("{maps}?limit=4"), Value::Null).await;
    assert_eq!(first["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    assert!(first["items"][0]["kind"].is_null(), "items of typed lists have no kind");
    // The pages are of one moment, whatever happens in between.
    server.json(Method::DELETE, &format!("{maps}/m9"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let (_, rest) = server.json(Method::GET, &format!("{maps}?limit=40&continue={token}"), Value::Null).await;
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(6));
    assert_eq!(revision(&rest), revision(&first));
    let (_, now) = server.json(Method::GET, maps, Value::Null).await;
    assert_eq!(now["items"].as_array().map(Vec::len), Some(9));
    let (_, one) =
        server.json(Method::GET, &format!("{maps}?fieldSelector=metadata.name%3Dm3"), Value::Null).await;
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    let (code, late) =
        server.json(Method::GET, &format!("{maps}?resourceVersion=999999999"), Value::Null).await;
    assert_eq!((code, &late["reason"]), (504, &json!("Timeout")), "{late}");
}

async fn watches_tell(server: &Server) {
    server.json(Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": "watched"}})).await;
    let maps = "/api/v1/namespaces/watched/configmaps";
    let (_, list) = server.json(Method::GET, maps, Value::Null).await;
    let mut labeled = map("w", "1");
    labeled["metadata"]["labels"] = json!({"x": "1"});
    server.json(Method::POST, maps, labeled).await;
    server.json(Method::PATCH, &format!("{maps}/w"), json!({"data": {"k": "2"}})).await;
    server.json(Method::PATCH, &format!("{maps}/w"), json!({"metadata": {"labels": {"x": "2"}}})).await;
    server.json(Method::DELETE, &format!("{maps}/w"), Value::Null).await;
    let since = revision(&list);
    let events = |query: String| async move {
        let (_, text) =
            server.text(Method::GET, &format!("{maps}?watch=1&timeoutSeconds=1&{query}"), "").await;
        let events = text.lines().map(|l| serde_json::from_str::<Value>(l).expect("an event"));
        events.collect::<Vec<_>>()
    };
    let kinds = |events: &[Value]| {
        events.iter().map(|e| e["type"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let all = events(format!("resourceVersion={since}")).await;
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        kinds(&all).into_iter().filter(|k| k != "BOOKMARK").collect::<Vec<_>>(),
        names(&["ADDED", "MODIFIED", "MODIFIED", "DELETED"]),
    );
    // Who selects what the object no longer is sees it go, as it was, at the change's revision.
    let some = events(format!("resourceVersion={since}&labelSelector=x%3D1")).await;
    assert_eq!(kinds(&some), names(&["ADDED", "MODIFIED", "DELETED"]));
    assert_eq!(some[2]["object"]["metadata"]["labels"]["x"], "1");
    assert_eq!(revision(&some[2]["object"]), revision(&all[2]["object"]));
    let streamed = events(
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true".to_owned(),
    )
    .await;
    let end = "/object/metadata/annotations/k8s.io~1initial-events-end";
    assert!(streamed.iter().any(|e| e.pointer(end) == Some(&json!("true"))), "{streamed:?}");
}

async fn finalizers_hold(server: &Server) {
    let mut held = map("held", "1");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.json(Method::POST, MAPS, held).await;
    let path = format!("{MAPS}/held");
    let (code, object) = server.json(Method::DELETE, &path, Value::Null).await;
    assert_eq!(code, 200);
    assert!(object["metadata"]["deletionTimestamp"].is_string(), "{object}");
    let (code, _) = server
        .json(Method::PATCH, &path, json!({"metadata": {"finalizers": ["example.com/hold", "a/b"]}}))
        .await;
    assert_eq!(code, 422, "no new finalizers while it is deleted");
    let (code, _) = server.json(Method::PATCH, &path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(code, 200);
    assert_eq!(server.json(Method::GET, &path, Value::Null).await.0, 404);
    let (_, kept) = server.json(Method::POST, MAPS, map("kept", "1")).await;
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(server.json(Method::DELETE, &format!("{MAPS}/kept"), wrong).await.0, 409);
    let right = json!({"preconditions": {"uid": kept["metadata"]["uid"]}, "propagationPolicy": "Orphan"});
    let (_, orphaning) = server.json(Method::DELETE, &format!("{MAPS}/kept"), right).await;
    assert_eq!(orphaning["metadata"]["finalizers"], json!(["orphan"]));
}

async fn dry_runs_store_nothing(server: &Server) {
    let (code, _) = server.json(Method::POST, &format!("{MAPS}?dryRun=All"), map("dry", "1")).await;
    assert_eq!(code, 201);
    assert_eq!(server.json(Method::GET, &format!("{MAPS}/dry"), Value::Null).await.0, 404);
    let (code, _) = server.json(Method::POST, &format!("{MAPS}?dryRun=Some"), map("dry", "1")).await;
    assert_eq!(code, 422);
}

async fn applies_merge(server: &Server) {
    let path = |manager: &str| format!("{MAPS}/applied?fieldManager={manager}");
    let config = |key: &str, value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {key: value}}).to_string()
    };
    let kind = "application/apply-patch+yaml";
    let (code, _) = server.send(Method::PATCH, &path("one"), kind, &config("a", "1")).await;
    assert_eq!(code.as_u16(), 201);
    let (code, text) = server.send(Method::PATCH, &path("two"), kind, &config("b", "1")).await;
    assert_eq!(code.as_u16(), 200, "{text}");
    let merged: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(merged["data"], json!({"a": "1", "b": "1"}));
    assert_eq!(merged["metadata"]["managedFields"].as_array().map(Vec::len), Some(2));
    let (code, _) = server.send(Method::PATCH, &path("two"), kind, &config("a", "2")).await;
    assert_eq!(code.as_u16(), 409, "a belongs to another manager");
}

async fn keys_are_upstreams(server: &Server) {
    server.json(Method::POST, MAPS, map("stored", "1")).await;
    let (found, _) = server.etcd.get("/registry/configmaps/default/stored").await.expect("etcd answers");
    let value = found.expect("there").value;
    assert!(value.starts_with(b"k8s\0"), "protobuf is the default");
    let namespaces = server.etcd.get("/registry/namespaces/default").await.expect("etcd answers").0;
    assert!(namespaces.is_some());
}

async fn requests_are_recorded(server: &Server) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "audited"}});
    server.json(Method::POST, "/api/v1/namespaces", namespace).await;
    let path = "/api/v1/namespaces/audited/configmaps";
    server.json(Method::POST, path, map("seen", "1")).await;
    server.json(Method::GET, &format!("{path}/absent"), Value::Null).await;
    let events = server.audited();
    let of = |verb: &str, stage: &str| {
        let found = events.iter().find(|event| event["verb"] == verb && event["stage"] == stage);
        found.unwrap_or_else(|| panic!("no {verb} {stage} in {events:?}")).clone()
    };
    let created = of("create", "ResponseComplete");
    assert_eq!(created["user"]["username"], "admin");
    assert_eq!(created["objectRef"]["name"], "seen");
    assert_eq!(created["requestObject"]["data"]["k"], "1");
    assert!(created["responseObject"]["metadata"]["uid"].is_string(), "{created}");
    assert_eq!(created["responseStatus"]["code"], 201);
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    let read = of("get", "ResponseComplete");
    assert_eq!(read["responseStatus"]["reason"], "NotFound");
    assert_eq!(read["auditID"], of("get", "RequestReceived")["auditID"]);
}

async fn secrets_are_encrypted(server: &Server) {
    let path = "/api/v1/namespaces/default/secrets";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hidden"}});
    let (code, created) = server.json(Method::POST, path, secret).await;
    assert_eq!(code, 201, "{created}");
    let stored =
        server.etcd.get("/registry/secrets/default/s").await.expect("etcd answers").0.expect("there");
    assert!(stored.value.starts_with(b"k8s:enc:aesgcm:v1:key1:"));
    let (_, read) = server.json(Method::GET, &format!("{path}/s"), Value::Null).await;
    assert_eq!(read, created);
    let change = json!({"data": {"k": "b3Blbg=="}}).to_string();
    let (code, changed) = server.text(Method::PATCH, &format!("{path}/s"), &change).await;
    assert!(code.is_success() && changed.contains("b3Blbg=="), "{changed}");
}

async fn flows_are_controlled(server: &Server) {
    let headers = server.headers("/api/v1/namespaces/default").await;
    let schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    let (_, exempt) = server.json(Method::GET, &format!("{schemas}/exempt"), Value::Null).await;
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], exempt["metadata"]["uid"].as_str().expect("a uid"));
    assert_eq!(headers["cache-control"], "no-cache, private");
    let dangling = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "lost"},
        "spec": {"priorityLevelConfiguration": {"name": "nowhere"}, "rules": []},
    });
    let (code, made) = server.json(Method::POST, schemas, dangling).await;
    assert_eq!((code, &made["spec"]["matchingPrecedence"]), (201, &json!(1000)));
    for _ in 0..100 {
        let (_, now) = server.json(Method::GET, &format!("{schemas}/lost"), Value::Null).await;
        if now["status"]["conditions"][0]["reason"] == "NotFound" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (_, now) = server.json(Method::GET, &format!("{schemas}/lost"), Value::Null).await;
    assert_eq!(now["status"]["conditions"][0]["status"], "True", "{now}");
    let (code, dump) =
        server.text(Method::GET, "/debug/api_priority_and_fairness/dump_priority_levels", "").await;
    assert!(code.is_success() && dump.contains("workload-low,"), "{dump}");
    let (code, refused) =
        server.json(Method::GET, "/api/v1/namespaces/default?timeout=soon", Value::Null).await;
    assert_eq!(code, 400);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("invalid timeout specified in the request URL"), "{message}");
}

/// Asks again until the answer has this code.
async fn eventually(server: &Server, path: &str, code: u16) -> Value {
    for _ in 0..100 {
        let (got, answer) = server.json(Method::GET, path, Value::Null).await;
        if got == code {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{path} never answered {code}");
}

async fn definitions_make_resources(server: &Server) {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "minimum": 1, "default": 3},
        }},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    }});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
            }],
        },
    });
    let (code, made) = server.json(Method::POST, definitions, definition).await;
    assert_eq!(code, 201, "{made}");
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    // What discovery shows can be read.
    eventually(server, "/apis/example.com/v1", 200).await;
    assert_eq!(server.json(Method::GET, widgets, Value::Null).await.0, 200);
    let (_, established) =
        server.json(Method::GET, &format!("{definitions}/widgets.example.com"), Value::Null).await;
    assert_eq!(established["status"]["acceptedNames"]["kind"], "Widget", "{established}");
    let widget = |name: &str, spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec, "status": {"phase": "x"}});
    let (code, made) = server.json(Method::POST, widgets, widget("w", json!({"unknown": 1}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"], json!({"size": 3}), "pruned and defaulted");
    assert!(made["status"].is_null(), "status is set through its subresource");
    let (code, refused) = server.json(Method::POST, widgets, widget("v", json!({"size": 0}))).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["message"],
        "Widget.example.com \"v\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"
    );
    let (_, status) = server
        .json(
            Method::PATCH,
            &format!("{widgets}/w/status"),
            json!({"status": {"phase": "Ready"}, "spec": {"size": 9}}),
        )
        .await;
    assert_eq!((&status["status"]["phase"], &status["spec"]["size"]), (&json!("Ready"), &json!(3)));
    let (_, changed) =
        server.json(Method::PATCH, &format!("{widgets}/w"), json!({"spec": {"size": 4}})).await;
    assert_eq!(changed["metadata"]["generation"], 2);
    let (_, list) = server.json(Method::GET, widgets, Value::Null).await;
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("WidgetList"), &json!("Widget")));
    let (code, _) =
        server.json(Method::DELETE, &format!("{definitions}/widgets.example.com"), Value::Null).await;
    assert_eq!(code, 200);
    eventually(server, &format!("{definitions}/widgets.example.com"), 404).await;
    eventually(server, widgets, 404).await;
}
