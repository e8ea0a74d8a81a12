//! ComponentStatuses: how the parts of the control plane do on this host, asked when somebody wants to know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component_base::tls::{self, Verifier};
use futures::future::{BoxFuture, join_all};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use proto::status::Status;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::kind::{Enabled, Kind};
use super::super::{Builder, Ctx, Verbs};

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of an answer is shown.
const SHOWN: usize = 10 * 1024;
/// Where the others listen unless they are told to do so elsewhere.
const PARTS: [(&str, u16); 2] = [("controller-manager", 10257), ("scheduler", 10259)];
const ETCD: &str = "etcd-0";

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::computed("", "v1", "componentstatuses", "ComponentStatus", statuses)
        .cluster()
        .short(&["cs"])
        .verbs(Verbs::GET.and(Verbs::LIST))
        .install(builder, enabled);
}

/// The status of one part, or of all if no name is given.
fn statuses<'a>(ctx: &'a Ctx, name: &'a str) -> BoxFuture<'a, Result<Vec<Value>, Status>> {
    Box::pin(async move {
        let wanted = |part: &&str| name.is_empty() || name == *part;
        let names: Vec<_> = PARTS.iter().map(|(part, _)| *part).chain([ETCD]).filter(wanted).collect();
        if names.is_empty() {
            return Err(Status::not_found("", "componentstatus", name));
        }
        Ok(join_all(names.into_iter().map(|part| status(ctx, part))).await)
    })
}

async fn status(ctx: &Ctx, part: &'static str) -> Value {
    let mut condition = json!({"type": "Healthy"});
    let port = PARTS.iter().find(|(name, _)| *name == part).map(|(_, port)| *port);
    let (healthy, message, error) = match port {
        Some(port) => probe(port).await,
        None => etcd(ctx).await,
    };
    condition["status"] = healthy.into();
    for (field, text) in [("message", message), ("error", error)] {
        if !text.is_empty() {
            condition[field] = text.into();
        }
    }
    json!({
        "apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": part}, "conditions": [condition],
    })
}

/// etcd is well if it answers a read.
async fn etcd(ctx: &Ctx) -> (&'static str, String, String) {
    let read = ctx.local.get("", "namespaces", "", "kube-system");
    match tokio::time::timeout(PATIENCE, read).await {
        Err(_) => ("False", String::new(), "context deadline exceeded".to_owned()),
        Ok(Err(status)) if !status.is_not_found() => ("False", String::new(), status.message),
        Ok(_) => ("True", "ok".to_owned(), String::new()),
    }
}

/// Asks a part for its health; what is wrong with it is a message, as upstream tells it.
async fn probe(port: u16) -> (&'static str, String, String) {
    let failed = |why: String| format!("Get \"https://127.0.0.1:{port}/healthz\": {why}");
    let (healthy, message) = match tokio::time::timeout(PATIENCE, ask(port)).await {
        Err(_) => ("False", failed("context deadline exceeded".to_owned())),
        Ok(Err(why)) => ("False", failed(why)),
        Ok(Ok((code, body))) => match code {
            200..300 => ("True", body),
            300..400 => ("Unknown", format!("Probe terminated redirects, Response body: {body}")),
            _ => ("False", format!("HTTP probe failed with statuscode: {code}")),
        },
    };
    (healthy, message, String::new())
}

async fn ask(port: u16) -> Result<(u16, String), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp 127.0.0.1:{port}: {why}")
    })?;
    let config = tls::client(Verifier::anyone()).map_err(|e| text(&e))?.with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").map_err(|e| text(&e))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|e| text(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    tokio::spawn(connection);
    let request = http::Request::get("/healthz").header(http::header::HOST, format!("127.0.0.1:{port}"));
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| text(&e))?;
    let response = sender.send_request(request).await.map_err(|e| text(&e))?;
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), SHOWN).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}
