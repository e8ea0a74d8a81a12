//! Custom resources as a client sees them, over a real etcd: definitions, conversion by webhook, defaults, pruning, conditions.

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod conversion;
mod definitions;
mod objects;

use std::time::Duration;

use common::Server;
use http::Method;
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_behave() {
    let server = Server::start().await;
    definitions::names_are_given_once(&server).await;
    definitions::deletion_takes_the_objects_along(&server).await;
    definitions::bad_ones_are_refused(&server).await;
    definitions::discovery_and_openapi_follow(&server).await;
    objects::are_pruned_and_defaulted(&server).await;
    objects::are_validated_and_ratcheted(&server).await;
    objects::have_subresources_and_columns(&server).await;
    conversion::into_a_narrower_version(&server).await;
    conversion::by_webhook(&server).await;
    admission::webhooks_see_what_upstreams_see(&server).await;
    server.stop().await;
}

/// A definition of a namespaced resource `plural` of the group `example.com`.
fn definition(plural: &str, kind: &str, versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind}, "versions": versions,
        },
    })
}

/// A version that is served and stored.
fn version(name: &str, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}})
}

fn path(version: &str, plural: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/{plural}")
}

fn object(version: &str, kind: &str, name: &str, fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": format!("example.com/{version}"), "kind": kind, "metadata": {"name": name},
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
    object
}

/// Creates a definition and waits until it is established.
async fn establish(server: &Server, definition: Value) -> Value {
    let (code, made) = server.json(Method::POST, DEFINITIONS, definition).await;
    assert_eq!(code, 201, "{made}");
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    until(server, &format!("{DEFINITIONS}/{name}"), |d| condition(d, "Established")["status"] == "True").await
}

/// A condition of a definition; null if it has none.
fn condition<'a>(definition: &'a Value, kind: &str) -> &'a Value {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.and_then(|c| c.iter().find(|c| c["type"] == kind)).unwrap_or(&Value::Null)
}

/// Reads until it is as wanted.
async fn until(server: &Server, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200 {
        let (_, found) = server.json(Method::GET, path, Value::Null).await;
        if wanted(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} is not as wanted: {}", server.json(Method::GET, path, Value::Null).await.1);
}
