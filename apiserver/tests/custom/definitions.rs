//! Definitions: their names, conditions and end, and what else follows from them.

use http::Method;
use serde_json::{Value, json};

use super::common::Server;
use super::{DEFINITIONS, condition, definition, establish, object, path, until, version};

pub(crate) async fn names_are_given_once(server: &Server) {
    let open =
        || json!([version("v1", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))]);
    let first = establish(server, definition("firsts", "Shared", open())).await;
    assert_eq!(
        (&condition(&first, "NamesAccepted")["reason"], &condition(&first, "Established")["reason"]),
        (&json!("NoConflicts"), &json!("InitialNamesAccepted"))
    );
    assert_eq!(first["status"]["storedVersions"], json!(["v1"]));
    let key = "/registry/apiextensions.k8s.io/customresourcedefinitions/firsts.example.com";
    let (found, _) = server.etcd.get(key).await.expect("etcd answers");
    let stored: Value = serde_json::from_slice(&found.expect("it is there").value).expect("JSON");
    assert_eq!(
        (&stored["apiVersion"], &stored["spec"]["version"]),
        (&json!("apiextensions.k8s.io/v1beta1"), &json!("v1"))
    );
    let (code, _) = server.json(Method::POST, DEFINITIONS, definition("seconds", "Shared", open())).await;
    assert_eq!(code, 201);
    let second = format!("{DEFINITIONS}/seconds.example.com");
    let refused = until(server, &second, |d| condition(d, "NamesAccepted")["status"] == "False").await;
    assert_eq!(condition(&refused, "NamesAccepted")["reason"], "ListKindConflict");
    assert_eq!(condition(&refused, "NamesAccepted")["message"], "\"SharedList\" is already in use");
    assert_eq!(condition(&refused, "Established")["reason"], "NotAccepted");
    assert_eq!(server.json(Method::GET, &path("v1", "seconds"), Value::Null).await.0, 404);
    let (code, _) =
        server.json(Method::DELETE, &format!("{DEFINITIONS}/firsts.example.com"), Value::Null).await;
    assert_eq!(code, 200);
    until(server, &second, |d| condition(d, "Established")["status"] == "True").await;
    server.json(Method::DELETE, &second, Value::Null).await;
    until(server, &second, |gone| gone["code"] == 404).await;
}

pub(crate) async fn deletion_takes_the_objects_along(server: &Server) {
    let open =
        json!([version("v1", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))]);
    establish(server, definition("mortals", "Mortal", open)).await;
    let mortals = path("v1", "mortals");
    let mut held = object("v1", "Mortal", "held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(server.json(Method::POST, &mortals, held).await.0, 201);
    assert_eq!(server.json(Method::POST, &mortals, object("v1", "Mortal", "free", json!({}))).await.0, 201);
    let name = format!("{DEFINITIONS}/mortals.example.com");
    let (code, deleting) = server.json(Method::DELETE, &name, Value::Null).await;
    assert_eq!((code, &deleting["kind"]), (200, &json!("CustomResourceDefinition")), "{deleting}");
    let deleting =
        until(server, &name, |d| condition(d, "Terminating")["reason"] == "InstanceDeletionInProgress").await;
    assert_eq!(deleting["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let (code, refused) =
        server.json(Method::POST, &mortals, object("v1", "Mortal", "late", json!({}))).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "mortals.example.com \"late\" is forbidden: create not allowed while custom resource definition is terminating"
    );
    let (_, listed) = server.json(Method::GET, "/apis/example.com/v1", Value::Null).await;
    assert_eq!(
        listed["resources"][0]["verbs"],
        json!(["delete", "deletecollection", "get", "list", "watch"])
    );
    until(server, &mortals, |list| list["items"].as_array().is_some_and(|items| items.len() == 1)).await;
    let patch = json!({"metadata": {"finalizers": null}});
    assert_eq!(server.json(Method::PATCH, &format!("{mortals}/held"), patch).await.0, 200);
    until(server, &name, |gone| gone["code"] == 404).await;
    assert_eq!(server.json(Method::GET, &mortals, Value::Null).await.0, 404);
}

pub(crate) async fn bad_ones_are_refused(server: &Server) {
    let mut bad =
        definition("bads", "Bad", json!([version("v1", json!({"type": "object", "properties": {"a": {}}}))]));
    bad["metadata"]["name"] = "bads.example.org".into();
    let (code, refused) = server.json(Method::POST, DEFINITIONS, bad).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["message"],
        "CustomResourceDefinition.apiextensions.k8s.io \"bads.example.org\" is invalid: [metadata.name: Invalid value: \"bads.example.org\": must be spec.names.plural+\".\"+spec.group, spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields]"
    );
}

pub(crate) async fn discovery_and_openapi_follow(server: &Server) {
    let schema = json!({"type": "object", "description": "What is listed.", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    let mut versions = json!([version("v1beta1", schema.clone()), version("v1", schema)]);
    versions[0]["storage"] = false.into();
    versions[1]["subresources"] = json!({"status": {}});
    let mut listed = definition("listeds", "Listed", versions);
    listed["spec"]["names"]["shortNames"] = json!(["li"]);
    listed["spec"]["names"]["categories"] = json!(["all"]);
    establish(server, listed).await;
    let (_, group) = server.json(Method::GET, "/apis/example.com", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let (_, resources) = server.json(Method::GET, "/apis/example.com/v1", Value::Null).await;
    let names: Vec<_> = resources["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| r["name"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(names, ["listeds", "listeds/status"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["li"]));
    assert!(resources["resources"][0]["storageVersionHash"].is_string());
    let (_, document) = server.json(Method::GET, "/openapi/v3/apis/example.com/v1", Value::Null).await;
    let model = &document["components"]["schemas"]["com.example.v1.Listed"];
    assert_eq!(model["description"], "What is listed.", "{document}");
    assert_eq!(model["properties"]["spec"]["properties"]["n"], json!({"type": "integer"}));
    let (_, document) = server.json(Method::GET, "/openapi/v2", Value::Null).await;
    assert!(document["definitions"]["com.example.v1.Listed"]["properties"]["spec"].is_object());
    // A version that is not served any more is nowhere.
    let name = format!("{DEFINITIONS}/listeds.example.com");
    let patch = r#"[{"op": "replace", "path": "/spec/versions/0/served", "value": false}]"#;
    let (code, text) = server.send(Method::PATCH, &name, "application/json-patch+json", patch).await;
    assert_eq!(code, 200, "{text}");
    until(server, "/openapi/v3", |index| index["paths"]["apis/example.com/v1beta1"].is_null()).await;
    assert_eq!(server.json(Method::GET, "/apis/example.com/v1beta1", Value::Null).await.0, 404);
    server.json(Method::DELETE, &name, Value::Null).await;
    until(server, "/openapi/v3", |index| index["paths"]["apis/example.com/v1"].is_null()).await;
}
