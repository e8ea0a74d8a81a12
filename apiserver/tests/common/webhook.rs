//! Webhooks in this process.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;

/// Answers reviews on a port of its own: the port and the certificate that vouches for it.
pub async fn serve(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> (u16, String) {
    serve_paths(move |_, review| answer(review)).await
}

/// Answers reviews by the path that they are sent to.
pub async fn serve_paths(answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> (u16, String) {
    serve_texts(move |path, body| answer(path, &serde_json::from_slice(body).unwrap_or_default()).to_string())
        .await
}

/// Answers any text by the path that is asked for.
pub async fn serve_texts(answer: impl Fn(&str, &[u8]) -> String + Send + Sync + 'static) -> (u16, String) {
    let answer = Arc::new(answer);
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
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await?.to_bytes();
                    let body = answer(&path, &body);
                    Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(body))))
                });
                let serving = hyper::server::conn::http1::Builder::new();
                let _ = serving.serve_connection(TokioIo::new(tls), service).await;
            });
        }
    });
    (port, made.cert.pem())
}
