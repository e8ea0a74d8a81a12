//! Passing requests, answers and upgraded connections on.

use std::fmt::Display;

use futures::StreamExt;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, BodyStream, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proto::status::Status;
use tokio::io::copy_bidirectional;

use super::backend::{Backends, Outgoing};
use super::location::Location;
use crate::server::{Body, Response};

/// How much of an error's text is read.
const LONGEST_ERROR: usize = 50_000;

/// Headers that are one connection's own (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Headers that say who is calling, as the filters have read them.
const IDENTITY: [&str; 2] = ["x-remote-", "impersonate-"];

/// Whether a request wants its connection to become something else.
pub(super) fn is_upgrade(request: &Request<Incoming>) -> bool {
    let tokens = request.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    tokens.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// The log of a container, as it comes.
pub(super) async fn log(backends: &Backends, location: &Location, pod: &str) -> Result<Response, Status> {
    let mut request = Request::new(empty());
    prepare(request.headers_mut(), location);
    *request.uri_mut() = uri(location)?;
    let mut sender = backends.open(location).await.map_err(|error| unreachable(location, error, true))?;
    let answer = sender.send_request(request).await.map_err(|error| unreachable(location, error, true))?;
    let code = answer.status();
    if !code.is_success() {
        let text =
            Limited::new(answer.into_body(), LONGEST_ERROR).collect().await.map(|body| body.to_bytes());
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        return Err(match code {
            StatusCode::BAD_REQUEST => Status::bad_request(text),
            StatusCode::INTERNAL_SERVER_ERROR => Status::internal(text),
            StatusCode::NOT_FOUND => Status::failure(
                404,
                "NotFound",
                format!("the server could not find the requested resource ( {pod})"),
            ),
            code => Status::failure(
                code.as_u16(),
                "Unknown",
                format!(
                    "the server responded with the status code {} but did not return more information ( {pod}): {text}",
                    code.as_u16()
                ),
            ),
        });
    }
    let mut response = Response::new(stream(answer.into_body()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// An ordinary request and its answer.
pub(super) async fn request(
    backends: &Backends,
    location: &Location,
    request: Request<Incoming>,
) -> Result<Response, Status> {
    let (mut parts, body) = request.into_parts();
    parts.uri = uri(location)?;
    parts.version = http::Version::HTTP_11;
    prepare(&mut parts.headers, location);
    let outgoing = Request::from_parts(parts, body.map_err(Into::into).boxed_unsync());
    let mut sender = backends.open(location).await.map_err(|error| unreachable(location, error, false))?;
    let answer = sender.send_request(outgoing).await.map_err(|error| unreachable(location, error, false))?;
    let (mut parts, body) = answer.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(name);
    }
    parts.version = http::Version::default();
    Ok(Response::from_parts(parts, stream(body)))
}

/// An upgraded connection: once both sides have agreed, bytes go both ways until one end closes.
pub(super) async fn upgrade(
    backends: &Backends,
    location: &Location,
    mut request: Request<Incoming>,
    streaming: bool,
) -> Result<Response, Status> {
    let failed = |error: &dyn Display| match streaming {
        true => Status::internal(format!("error dialing backend: {error}")),
        false => Status::service_unavailable(format!("error trying to reach service: {error}")),
    };
    let client = hyper::upgrade::on(&mut request);
    let mut outgoing = Request::new(empty());
    *outgoing.method_mut() = request.method().clone();
    *outgoing.uri_mut() = uri(location)?;
    *outgoing.headers_mut() = request.headers().clone();
    let wanted = request.headers().get(UPGRADE).cloned();
    prepare(outgoing.headers_mut(), location);
    outgoing.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(wanted) = wanted {
        outgoing.headers_mut().insert(UPGRADE, wanted);
    }
    let mut sender = backends.open(location).await.map_err(|error| failed(&error))?;
    let mut answer = sender.send_request(outgoing).await.map_err(|error| failed(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        // What the other end says against it is the answer.
        let (mut parts, body) = answer.into_parts();
        HOP_BY_HOP.iter().for_each(|name| drop(parts.headers.remove(*name)));
        return Ok(Response::from_parts(parts, stream(body)));
    }
    let backend = hyper::upgrade::on(&mut answer);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    tokio::spawn(async move {
        match tokio::try_join!(client, backend) {
            Ok((client, backend)) => {
                // Either side may close without a word: that is how these protocols end.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(backend)).await;
            }
            Err(error) => tracing::debug!(%error, "upgrading a proxied connection"),
        }
    });
    Ok(response)
}

/// What goes out: no identity, no headers of the connection it came by, and the host it goes to.
pub(super) fn prepare(headers: &mut HeaderMap, location: &Location) {
    headers.remove(AUTHORIZATION);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    let identity: Vec<HeaderName> = headers
        .keys()
        .filter(|name| IDENTITY.iter().any(|prefix| name.as_str().starts_with(prefix)))
        .cloned()
        .collect();
    for name in identity {
        headers.remove(name);
    }
    let host = match location.host.contains(':') {
        true => format!("[{}]:{}", location.host, location.port),
        false => format!("{}:{}", location.host, location.port),
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        headers.insert(HOST, host);
    }
}

pub(super) fn uri(location: &Location) -> Result<http::Uri, Status> {
    location.path.parse().map_err(|error| Status::bad_request(format!("invalid path: {error}")))
}

pub(super) fn empty() -> Outgoing {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn stream(body: Incoming) -> Body {
    let frames = BodyStream::new(body).filter_map(|frame| async move {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(error.into())),
        }
    });
    Body::Stream(frames.boxed())
}

fn unreachable(location: &Location, error: impl Display, log: bool) -> Status {
    match log {
        true => {
            let Location { host, port, path, .. } = location;
            Status::internal(format!("Get \"https://{host}:{port}{path}\": {error}"))
        }
        false => Status::service_unavailable(format!("error trying to reach service: {error}")),
    }
}
