//! A conversion webhook in this process.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

/// Converts one object to an apiVersion.
pub type Convert = fn(Value, &str) -> Value;

/// Serves conversions on a port of its own: the port and the certificate that vouches for it.
pub(crate) async fn serve(convert: Convert) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                    let body = request.into_body().collect().await?.to_bytes();
                    let body = answer(convert, &body).to_string();
                    Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(body))))
                });
                let serving = hyper::server::conn::http1::Builder::new();
                let _ = serving.serve_connection(TokioIo::new(tls), service).await;
            });
        }
    });
    (port, made.cert.pem())
}

fn answer(convert: Convert, body: &[u8]) -> Value {
    let review: Value = serde_json::from_slice(body).unwrap_or_default();
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
