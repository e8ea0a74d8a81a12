//! Several versions of a resource, and a webhook between them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::common::Server;
use super::common::webhook;
use super::{DEFINITIONS, definition, establish, object, path, until};

/// v1 has `hostPort`, v2 `host` and `port`.
fn convert(mut object: Value, wanted: &str) -> Value {
    object["apiVersion"] = wanted.into();
    let Some(fields) = object.as_object_mut() else { return object };
    if wanted.ends_with("/v2") {
        if let Some(Value::String(both)) = fields.remove("hostPort") {
            let (host, port) = both.split_once(':').unwrap_or((&both, ""));
            fields.insert("host".into(), host.into());
            fields.insert("port".into(), port.into());
        }
    } else {
        let text =
            |value: Option<Value>| value.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let (host, port) = (text(fields.remove("host")), text(fields.remove("port")));
        fields.insert("hostPort".into(), format!("{host}:{port}").into());
    }
    object
}

fn versions(stored: &str) -> Value {
    let version = |name: &str, properties: Value, selectable: Value| {
        json!({
            "name": name, "served": true, "storage": name == stored, "selectableFields": selectable,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        })
    };
    let text = json!({"type": "string"});
    json!([
        version("v1", json!({"hostPort": text}), json!([{"jsonPath": ".hostPort"}])),
        version(
            "v2",
            json!({"host": text, "port": {"type": "string", "pattern": "^[0-9]*$"}}),
            json!([{"jsonPath": ".host"}, {"jsonPath": ".port"}]),
        ),
    ])
}

/// Answers a ConversionReview.
fn answer(review: &Value) -> Value {
    let request = &review["request"];
    let wanted = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let refused = objects.iter().any(|o| o["metadata"]["name"] == "refused");
    let result = match refused {
        true => json!({"status": "Failed", "message": "not this one"}),
        false => json!({"status": "Success"}),
    };
    let converted: Vec<Value> = objects.into_iter().map(|object| convert(object, wanted)).collect();
    json!({
        "apiVersion": review["apiVersion"], "kind": "ConversionReview",
        "response": {"uid": request["uid"], "result": result, "convertedObjects": converted},
    })
}

/// With no conversion an answer to a write is what was stored: what the stored version has no room for is gone.
pub(crate) async fn into_a_narrower_version(server: &Server) {
    let version = |name: &str, field: &str| {
        let schema =
            json!({"type": "object", "properties": {"name": {"type": "string"}, field: {"type": "string"}}});
        json!({"name": name, "served": true, "storage": name == "v2", "schema": {"openAPIV3Schema": schema}})
    };
    let versions = json!([version("v1", "old"), version("v2", "new")]);
    establish(server, definition("changers", "Changer", versions)).await;
    let (v1, v2) = (path("v1", "changers"), path("v2", "changers"));
    let fields = |answer: &Value| (answer["name"].clone(), answer["old"].clone(), answer["new"].clone());
    let wide = |name: &str| object("v1", "Changer", name, json!({"name": "n", "old": "o"}));
    let lost = (json!("n"), Value::Null, Value::Null);

    let (code, dry) = server.json(Method::POST, &format!("{v1}?dryRun=All"), wide("a")).await;
    assert_eq!((code, fields(&dry)), (201, lost.clone()));
    let (code, made) = server.json(Method::POST, &v1, wide("a")).await;
    assert_eq!((code, fields(&made)), (201, lost.clone()));
    assert_eq!(made["apiVersion"], "example.com/v1");
    let named = format!("{v1}/a");
    let (code, changed) = server.json(Method::PATCH, &named, json!({"old": "p", "name": "m"})).await;
    assert_eq!((code, fields(&changed)), (200, (json!("m"), Value::Null, Value::Null)));
    let applied = format!("{v1}/b?fieldManager=test");
    let (code, text) =
        server.send(Method::PATCH, &applied, "application/apply-patch+yaml", &wide("b").to_string()).await;
    assert_eq!(code, 201, "{text}");
    assert_eq!(fields(&serde_json::from_str(&text).expect("JSON")), lost);
    // The stored version itself loses nothing.
    let (code, made) =
        server.json(Method::POST, &v2, object("v2", "Changer", "c", json!({"name": "n", "new": "x"}))).await;
    assert_eq!((code, fields(&made)), (201, (json!("n"), Value::Null, json!("x"))));
}

pub(crate) async fn by_webhook(server: &Server) {
    let (port, ca) = webhook::serve(answer).await;
    let mut endpoints = definition("endpoints", "Endpoint", versions("v1"));
    endpoints["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": {"url": format!("https://localhost:{port}/convert"), "caBundle": STANDARD.encode(ca)},
    }});
    establish(server, endpoints).await;
    let (v1, v2) = (path("v1", "endpoints"), path("v2", "endpoints"));
    let make = |name: &str, host: &str, port: &str| {
        object("v2", "Endpoint", name, json!({"host": host, "port": port, "unknown": 1}))
    };
    let mut watch = server.watch(&format!("{v2}?watch=1&fieldSelector=host%3Dh1")).await;

    let (code, made) = server.json(Method::POST, &v2, make("a", "h1", "80")).await;
    assert_eq!((code, &made["host"], &made["port"]), (201, &json!("h1"), &json!("80")), "{made}");
    assert!(made["unknown"].is_null());
    let (_, read) = server.json(Method::GET, &format!("{v1}/a"), Value::Null).await;
    assert_eq!(
        (&read["apiVersion"], &read["hostPort"]),
        (&json!("example.com/v1"), &json!("h1:80")),
        "{read}"
    );
    assert_eq!(read["metadata"], {
        let mut metadata = made["metadata"].clone();
        metadata["managedFields"] = read["metadata"]["managedFields"].clone();
        metadata
    });
    // The version that is spoken is the one that validates.
    let (code, refused) = server.json(Method::POST, &v2, make("bad", "h", "x")).await;
    assert_eq!(code, 422, "{refused}");
    assert_eq!(
        refused["message"],
        "Endpoint.example.com \"bad\" is invalid: port: Invalid value: \"x\": port in body should match '^[0-9]*$'"
    );
    let (code, failed) = server.json(Method::POST, &v2, make("refused", "h", "1")).await;
    assert_eq!(code, 500);
    assert_eq!(
        failed["message"],
        "conversion webhook for example.com/v2, Kind=Endpoint failed: not this one"
    );

    // Lists select by the fields of the version that is spoken.
    let (_, _) = server.json(Method::POST, &v2, make("b", "h1", "8080")).await;
    let (_, _) =
        server.json(Method::POST, &v1, object("v1", "Endpoint", "c", json!({"hostPort": "h2:80"}))).await;
    let names = async |path: &str, selector: &str| -> Vec<String> {
        let (_, list) =
            server.json(Method::GET, &format!("{path}?fieldSelector={selector}"), Value::Null).await;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|i| i["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&v2, "host%3Dh1").await, ["a", "b"]);
    assert_eq!(names(&v2, "host%3Dh1,port%3D80").await, ["a"]);
    assert_eq!(names(&v1, "hostPort%3Dh2:80").await, ["c"]);
    let (code, unknown) =
        server.json(Method::GET, &format!("{v1}?fieldSelector=host%3Dh1"), Value::Null).await;
    assert_eq!((code, &unknown["message"]), (400, &json!("field label not supported: host")));

    // Changes in one version are seen in the other; a watcher is told of what leaves its selection.
    let (code, changed) = server.json(Method::PATCH, &format!("{v2}/b"), json!({"host": "h3"})).await;
    assert_eq!((code, &changed["port"]), (200, &json!("8080")), "{changed}");
    let (_, read) = server.json(Method::GET, &format!("{v1}/b"), Value::Null).await;
    assert_eq!(read["hostPort"], "h3:8080");
    let told = watch.take(3).await;
    let told: Vec<_> = told
        .iter()
        .map(|e| (e["type"].as_str(), e["object"]["metadata"]["name"].as_str(), e["object"]["host"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("ADDED"), Some("a"), Some("h1")),
            (Some("ADDED"), Some("b"), Some("h1")),
            (Some("DELETED"), Some("b"), Some("h1")),
        ]
    );

    // After a change of the storage version old objects are converted as they are read, and written anew in the new one.
    let name = format!("{DEFINITIONS}/endpoints.example.com");
    let (code, changed) =
        server.json(Method::PATCH, &name, json!({"spec": {"versions": versions("v2")}})).await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    let (code, refused) =
        server.json(Method::PATCH, &name, json!({"spec": {"versions": [versions("v2")[1]]}})).await;
    assert_eq!(code, 422, "{refused}");
    let (_, _) = server.json(Method::POST, &v2, make("d", "h4", "1")).await;
    let list =
        until(server, &v2, |list| list["items"].as_array().is_some_and(|items| items.len() == 4)).await;
    let hosts: Vec<_> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|i| i["host"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(hosts, ["h1", "h3", "h2", "h4"]);
    let (code, status) = server.json(Method::DELETE, &format!("{v1}/a"), Value::Null).await;
    assert_eq!(code, 200, "{status}");
    let (code, _) = server.json(Method::DELETE, &name, Value::Null).await;
    assert_eq!(code, 200);
    until(server, &name, |gone| gone["code"] == 404).await;
}
