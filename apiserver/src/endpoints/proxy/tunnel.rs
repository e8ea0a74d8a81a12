//! Port-forwarding inside a WebSocket (KEP-4006): the client's SPDY connection travels in binary messages as far as here;
//! the kubelet gets it as the SPDY upgrade that it knows.

use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use proto::status::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::backend::Backends;
use super::forward::{empty, prepare, uri};
use super::location::Location;
use crate::server::{Body, Response};

/// The subprotocol that says so.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocol inside.
const PORT_FORWARD: &str = "portforward.k8s.io";

/// Whether the request asks for a tunnel.
pub(super) fn is_wanted(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let web_socket =
        headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    web_socket && offers(headers)
}

fn offers(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|offered| offered.trim() == TUNNEL)
}

/// Connects to the kubelet first: what it says against it is the answer to the handshake.
pub(super) async fn open(
    backends: &Backends,
    location: &Location,
    mut request: Request<Incoming>,
) -> Result<Response, Status> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        return Err(Status::bad_request("Sec-WebSocket-Key is missing"));
    };
    let failed = |error: &dyn std::fmt::Display| Status::internal(format!("error dialing backend: {error}"));
    let mut outgoing = Request::new(empty());
    *outgoing.method_mut() = Method::POST;
    *outgoing.uri_mut() = uri(location)?;
    prepare(outgoing.headers_mut(), location);
    for (name, value) in [
        (CONNECTION.as_str(), "Upgrade"),
        (UPGRADE.as_str(), "SPDY/3.1"),
        ("x-stream-protocol-version", PORT_FORWARD),
    ] {
        outgoing.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let mut sender = backends.open(location).await.map_err(|error| failed(&error))?;
    let mut answer = sender.send_request(outgoing).await.map_err(|error| failed(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(failed(&format!("unexpected status {}", answer.status())));
    }
    let (client, backend) = (hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
    tokio::spawn(async move {
        match tokio::try_join!(client, backend) {
            Ok((client, backend)) => copy(client, backend).await,
            Err(error) => tracing::debug!(%error, "upgrading a port-forward"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Status::internal)?;
    response.headers_mut().extend([
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(TUNNEL)),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ]);
    Ok(response)
}

/// Bytes from messages, messages from bytes, until either side ends.
async fn copy(client: Upgraded, backend: Upgraded) {
    let (mut to_client, mut from_client) =
        WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await.split();
    let (mut from_backend, mut to_backend) = tokio::io::split(TokioIo::new(backend));
    let inwards = async {
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) if to_backend.write_all(&bytes).await.is_ok() => {}
                Message::Ping(_) | Message::Pong(_) => {}
                _ => break,
            }
        }
        let _ = to_backend.shutdown().await;
    };
    let outwards = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(count) = from_backend.read(&mut buffer).await {
            if count == 0 || to_client.send(Message::binary(buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
        let _ = to_client.close().await;
    };
    tokio::select! {
        () = inwards => {}
        () = outwards => {}
    }
}
