//! Webhooks called for real: a TLS server in this process answers them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use super::super::testing::{Cluster, review};
use super::super::{Chain, Operation, Plugin};
use super::*;

/// Serves `answer` on a port of its own; answers with the port and the certificate that vouches for it.
async fn serve(answer: fn(&Value) -> Value) -> (u16, String) {
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                    let body = request.into_body().collect().await?.to_bytes();
                    let asked: Value = serde_json::from_slice(&body).unwrap();
                    let mut response = answer(&asked["request"]);
                    response["uid"] = asked["request"]["uid"].clone();
                    let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
                    Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(body.to_string()))))
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), service)
                    .await;
            });
        }
    });
    (port, made.cert.pem())
}

fn configuration(port: u16, ca: &str, extra: Value) -> Value {
    let mut webhook = json!({
        "name": "w.acme.com",
        "clientConfig": { "url": format!("https://127.0.0.1:{port}/admit"), "caBundle": STANDARD.encode(ca) },
        "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
        "timeoutSeconds": 5,
    });
    webhook.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({ "metadata": { "name": "c" }, "webhooks": [webhook] })
}

async fn create(resource: &str, configuration: Value) -> (Result<(), String>, Review) {
    let local = Cluster::holding(&[(GROUP, resource, configuration)]);
    let plugin: Arc<dyn Plugin> = match resource {
        "mutatingwebhookconfigurations" => Arc::new(MutatingWebhooks::new(&local)),
        _ => Arc::new(ValidatingWebhooks::new(&local)),
    };
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "ns", "name": "x" } });
    let mut review = review(Operation::Create, "", "configmaps", object);
    let chain = Chain::new(vec![plugin]);
    let mut result = chain.mutate(&mut review).await;
    if result.is_ok() {
        result = chain.validate(&mut review).await;
    }
    (result.map_err(|status| status.message), review)
}

#[tokio::test]
async fn a_webhook_changes_the_object() {
    let (port, ca) = serve(|request| {
        let name = &request["object"]["metadata"]["name"];
        let patch = json!([{ "op": "add", "path": "/data", "value": { "seen": name } }]);
        json!({ "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string()), "warnings": ["hello"] })
    })
    .await;
    let (result, review) = create("mutatingwebhookconfigurations", configuration(port, &ca, json!({}))).await;
    assert_eq!(result, Ok(()));
    assert_eq!(review.object["data"], json!({ "seen": "x" }));
    assert_eq!(review.warnings, ["hello"]);
}

#[tokio::test]
async fn a_webhook_refuses() {
    let (port, ca) =
        serve(|_| json!({ "allowed": false, "status": { "message": "not today", "code": 403 } })).await;
    let (result, _) = create("validatingwebhookconfigurations", configuration(port, &ca, json!({}))).await;
    assert_eq!(result.unwrap_err(), r#"admission webhook "w.acme.com" denied the request: not today"#);
}

#[tokio::test]
async fn failures_follow_the_policy() {
    let (port, ca) = serve(|_| json!({ "allowed": true })).await;
    let (_, other_ca) = serve(|_| json!({})).await;
    let ignore = json!({ "failurePolicy": "Ignore" });
    for (port, ca, text) in [(1, &ca, "dial tcp"), (port, &other_ca, "certificate")] {
        let (result, _) = create("validatingwebhookconfigurations", configuration(port, ca, json!({}))).await;
        let error = result.unwrap_err();
        assert!(error.starts_with(r#"Internal error occurred: failed calling webhook "w.acme.com": failed to call webhook: Post "https://127.0.0.1:"#), "{error}");
        assert!(error.contains(text), "{error}");
        let (result, _) =
            create("validatingwebhookconfigurations", configuration(port, ca, ignore.clone())).await;
        assert_eq!(result, Ok(()));
    }
    for (expression, is_meant) in [("object.metadata.name == 'y'", false), ("object.spec.x == 1", true)] {
        let conditions = json!({ "matchConditions": [{ "name": "a", "expression": expression }] });
        let configuration = configuration(port, &ca, conditions);
        let (result, _) = create("validatingwebhookconfigurations", configuration).await;
        assert_eq!(result.is_err(), is_meant, "{result:?}");
    }
}
