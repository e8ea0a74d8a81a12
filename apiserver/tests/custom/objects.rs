//! Objects of custom resources.

use http::Method;
use serde_json::{Value, json};

use super::common::Server;
use super::{DEFINITIONS, definition, establish, object, path, until, version};

async fn forget(server: &Server, plural: &str) {
    let name = format!("{DEFINITIONS}/{plural}.example.com");
    server.json(Method::DELETE, &name, Value::Null).await;
    until(server, &name, |gone| gone["code"] == 404).await;
}

pub(crate) async fn are_pruned_and_defaulted(server: &Server) {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string"}, "b": {"type": "string"},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }});
    establish(server, definition("plains", "Plain", json!([version("v1", schema)]))).await;
    let plains = path("v1", "plains");
    let (code, made) =
        server.json(Method::POST, &plains, object("v1", "Plain", "one", json!({"x": 1}))).await;
    assert_eq!(code, 201);
    assert!(made["x"].is_null());
    // What is unknown is told as strictly as is wished.
    let odd = object(
        "v1",
        "Plain",
        "two",
        json!({"x": 1, "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {}}}),
    );
    let mut odd = odd;
    odd["metadata"]["odd"] = 1.into();
    let (code, refused) = server.json(Method::POST, &format!("{plains}?fieldValidation=Strict"), odd).await;
    assert_eq!(code, 400);
    assert_eq!(
        refused["message"],
        "Plain in version \"v1\" cannot be handled as a Plain: strict decoding error: unknown field \"metadata.odd\", unknown field \"x\", unknown field \"template.metadata.odd\""
    );
    // A default that comes later fills what was stored before.
    let patch = r#"[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/a/default", "value": "A"}]"#;
    let name = format!("{DEFINITIONS}/plains.example.com");
    let (code, text) = server.send(Method::PATCH, &name, "application/json-patch+json", patch).await;
    assert_eq!(code, 200, "{text}");
    until(server, &format!("{plains}/one"), |object| object["a"] == "A").await;
    let (code, made) =
        server.json(Method::POST, &plains, object("v1", "Plain", "three", json!({"a": null}))).await;
    assert_eq!((code, &made["a"]), (201, &json!("A")));
    let (code, bad) = server
        .json(Method::POST, &plains, object("v1", "Plain", "four", json!({"template": {"kind": "Pod"}})))
        .await;
    assert_eq!(code, 422);
    assert_eq!(bad["message"], "Plain.example.com \"four\" is invalid: template.apiVersion: Required value");
    forget(server, "plains").await;
}

pub(crate) async fn are_validated_and_ratcheted(server: &Server) {
    let schema = |limit: u64| {
        json!({"type": "object", "properties": {
            "text": {"type": "string", "maxLength": limit}, "other": {"type": "string"},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        }})
    };
    establish(server, definition("valids", "Valid", json!([version("v1", schema(10))]))).await;
    let valids = path("v1", "valids");
    let (code, refused) = server
        .json(Method::POST, &valids, object("v1", "Valid", "a", json!({"text": 1, "set": ["x", "x"]})))
        .await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["message"],
        "Valid.example.com \"a\" is invalid: [text: Invalid value: \"integer\": text in body must be of type string: \"integer\", set[1]: Duplicate value: \"x\"]"
    );
    let (code, _) =
        server.json(Method::POST, &valids, object("v1", "Valid", "a", json!({"text": "0123456789"}))).await;
    assert_eq!(code, 201);
    let name = format!("{DEFINITIONS}/valids.example.com");
    let versions = json!({"spec": {"versions": [version("v1", schema(5))]}});
    assert_eq!(server.json(Method::PATCH, &name, versions).await.0, 200);
    let a = format!("{valids}/a");
    // The tighter schema is in force once something new is refused.
    let longer = object("v1", "Valid", "b", json!({"text": "012345"}));
    for _ in 0..100 {
        if server.json(Method::POST, &format!("{valids}?dryRun=All"), longer.clone()).await.0 == 422 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (code, kept) = server.json(Method::PATCH, &a, json!({"other": "x"})).await;
    assert_eq!((code, &kept["other"]), (200, &json!("x")), "what did not change is not judged anew: {kept}");
    let (code, refused) = server.json(Method::PATCH, &a, json!({"text": "9876543210"})).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["message"],
        "Valid.example.com \"a\" is invalid: text: Too long: may not be more than 5 bytes"
    );
    forget(server, "valids").await;
}

pub(crate) async fn have_subresources_and_columns(server: &Server) {
    let number = json!({"type": "integer"});
    let mut only = version(
        "v1",
        json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"replicas": number}},
            "status": {"type": "object", "properties": {"replicas": number, "selector": {"type": "string"}}},
        }}),
    );
    only["subresources"] = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    only["additionalPrinterColumns"] =
        json!([{"name": "Want", "type": "integer", "jsonPath": ".spec.replicas"}]);
    establish(server, definition("scaleds", "Scaled", json!([only]))).await;
    let scaleds = path("v1", "scaleds");
    let (code, _) = server
        .json(Method::POST, &scaleds, object("v1", "Scaled", "s", json!({"spec": {"replicas": 2}})))
        .await;
    assert_eq!(code, 201);
    let (_, bad) = server
        .json(Method::PATCH, &format!("{scaleds}/s/status"), json!({"status": {"replicas": "x"}}))
        .await;
    assert_eq!(
        bad["message"],
        "Scaled.example.com \"s\" is invalid: [status.replicas: Invalid value: \"string\": replicas in body must be of type integer: \"string\", .status.replicas: Invalid value: 0: .status.replicas accessor error: x is of the type string, expected int64]"
    );
    let status = json!({"status": {"replicas": 1, "selector": "a=b"}});
    assert_eq!(server.json(Method::PATCH, &format!("{scaleds}/s/status"), status).await.0, 200);
    let scale = format!("{scaleds}/s/scale");
    let (_, read) = server.json(Method::GET, &scale, Value::Null).await;
    assert_eq!(
        (&read["spec"], &read["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 1, "selector": "a=b"}))
    );
    let (code, changed) = server.json(Method::PATCH, &scale, json!({"spec": {"replicas": 5}})).await;
    assert_eq!((code, &changed["spec"]["replicas"]), (200, &json!(5)), "{changed}");
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let (_, text) = server.accept(&scaleds, table).await;
    let table: Value = serde_json::from_str(&text).expect("a table");
    assert_eq!(table["rows"][0]["cells"], json!(["s", 5]), "{table}");
    forget(server, "scaleds").await;
}
