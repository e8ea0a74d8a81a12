//! The object in an answer, for records that want it.

use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use proto::{protobuf, schema};
use serde_json::Value;

use crate::server::{Body, Response};

/// The answer and its object, if it has one that can be read. A stream is gathered if `whole`.
pub async fn read(response: Response, whole: bool) -> (Response, Option<Value>) {
    let (parts, body) = response.into_parts();
    let bytes = match body {
        Body::Full(bytes) => bytes,
        stream if whole => match stream.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => {
                tracing::debug!(error, "gathering an answer to audit it");
                return (Response::from_parts(parts, Body::empty()), None);
            }
        },
        stream => return (Response::from_parts(parts, stream), None),
    };
    let media = parts.headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let object = if media.starts_with("application/json") {
        serde_json::from_slice(&bytes).ok()
    } else if protobuf::is_protobuf(&bytes) {
        decode(&bytes)
    } else {
        None
    };
    (Response::from_parts(parts, Body::Full(bytes)), object)
}

fn decode(bytes: &[u8]) -> Option<Value> {
    let unknown = protobuf::unwrap(bytes).ok()?;
    let (group, version) = unknown.api_version.split_once('/').unwrap_or(("", &unknown.api_version));
    let ty = match unknown.kind.as_str() {
        "Status" => schema::lookup("meta.k8s.io", "v1", "Status"),
        kind => schema::lookup(group, version, kind),
    }?;
    let mut object = protobuf::decode(unknown.raw, ty).ok()?;
    let fields = object.as_object_mut()?;
    fields.insert("apiVersion".to_owned(), Value::from(unknown.api_version.clone()));
    fields.insert("kind".to_owned(), Value::from(unknown.kind.clone()));
    Some(object)
}
