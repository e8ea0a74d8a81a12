//! Bodies of requests: read, decoded, checked against the endpoint's kind, defaulted.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use proto::schema::Type;
use proto::status::Status;
use proto::{json, protobuf, yaml};
use serde_json::Value;

use super::MAX_BODY;
use super::negotiate::Format;
use super::options::Strictness;
use crate::custom::Version;
use crate::registry::Endpoint;
use crate::storage::codec::{self, schema_of};

/// The kind a body must be of.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// `group/version`.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Its schema; `None`: decoded as it is.
    pub ty: Option<&'a Type>,
}

/// A decoded body.
pub struct Decoded {
    /// The object, with apiVersion and kind.
    pub value: Value,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

/// Reads a whole body.
pub async fn read(body: Option<Incoming>) -> Result<Bytes, Status> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::request_entity_too_large(format!("limit is {MAX_BODY}")))
        }
        Err(error) => Err(Status::bad_request(format!("error reading the body: {error}"))),
    }
}

/// Decodes an object.
pub fn object(
    format: Format,
    bytes: &[u8],
    expected: Expected<'_>,
    strictness: Strictness,
) -> Result<Decoded, Status> {
    let unrecognized = |error: &dyn std::fmt::Display| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {error} ({})",
            expected.kind,
            summary(bytes)
        ))
    };
    object_or(format, bytes, expected, strictness, &unrecognized)
}

/// DeleteOptions: their kind may be of any group that serves it.
pub fn delete_options(format: Format, bytes: &[u8]) -> Result<Value, Status> {
    let head = match format {
        Format::Protobuf => protobuf::unwrap(bytes).ok().map(|u| (u.api_version, u.kind)),
        _ => json::type_meta(bytes).ok(),
    };
    let (api_version, kind) = head.unwrap_or_default();
    let api_version = if api_version.is_empty() { "meta.k8s.io/v1".to_owned() } else { api_version };
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(Status::bad_request(format!(
            "no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        )));
    }
    let ty = proto::schema::lookup("meta.k8s.io", "v1", "DeleteOptions");
    let expected = Expected { api_version: &api_version, kind: "DeleteOptions", ty };
    let bare = |error: &dyn std::fmt::Display| Status::bad_request(error.to_string());
    Ok(object_or(format, bytes, expected, Strictness::Ignore, &bare)?.value)
}

fn object_or(
    format: Format,
    bytes: &[u8],
    expected: Expected<'_>,
    strictness: Strictness,
    unrecognized: &dyn Fn(&dyn std::fmt::Display) -> Status,
) -> Result<Decoded, Status> {
    let mut strict = Vec::new();
    let value = match format {
        Format::Protobuf => {
            let unknown = protobuf::unwrap(bytes).map_err(|e| unrecognized(&e))?;
            check_type(&unknown.api_version, &unknown.kind, expected).map_err(Status::bad_request)?;
            let ty = expected.ty.ok_or_else(|| unrecognized(&"no protobuf form"))?;
            protobuf::decode(unknown.raw, ty).map_err(|e| cannot(expected, &e))?
        }
        Format::Json | Format::Yaml => {
            let converted;
            let mut text = bytes;
            if format == Format::Yaml {
                let made = yaml::to_json(bytes).map_err(|e| unrecognized(&e))?;
                strict.extend(made.strict);
                converted = made.json;
                text = &converted;
            }
            let decoded = match expected.ty {
                Some(ty) => json::decode(text, ty),
                None => json::decode_any(text),
            };
            let exact =
                expected.ty.is_some() && decoded.as_ref().is_ok_and(|decoded| decoded.strict.is_empty());
            match &decoded {
                // No other spelling of these two is in the text: what was decoded says what it is.
                Ok(decoded) if exact => {
                    let named = |name| decoded.value.get(name).and_then(Value::as_str).unwrap_or_default();
                    check_type(named("apiVersion"), named("kind"), expected)
                }
                _ => {
                    let head = json::type_meta(text).map_err(|e| {
                        unrecognized(&format_args!("couldn't get version/kind; json parse error: {e}"))
                    })?;
                    check_type(&head.0, &head.1, expected)
                }
            }
            .map_err(Status::bad_request)?;
            let decoded = decoded.map_err(|e| cannot(expected, &e))?;
            strict.extend(decoded.strict);
            decoded.value
        }
    };
    finish(value, strict, expected, strictness)
}

/// Applies the strictness and sets the type.
pub fn finish(
    mut value: Value,
    strict: Vec<String>,
    expected: Expected<'_>,
    strictness: Strictness,
) -> Result<Decoded, Status> {
    if strictness == Strictness::Strict && !strict.is_empty() {
        return Err(cannot(expected, &format_args!("strict decoding error: {}", strict.join(", "))));
    }
    let Some(object) = value.as_object_mut() else {
        return Err(cannot(expected, &"not an object"));
    };
    object.insert("apiVersion".to_owned(), expected.api_version.into());
    object.insert("kind".to_owned(), expected.kind.into());
    let warnings = if strictness == Strictness::Warn { strict } else { Vec::new() };
    Ok(Decoded { value, warnings })
}

/// Decodes an object of the endpoint and applies its defaults.
pub fn endpoint_object(
    format: Format,
    bytes: &[u8],
    endpoint: &Endpoint,
    strictness: Strictness,
) -> Result<Decoded, Status> {
    let api_version = endpoint.api_version();
    let expected = Expected { api_version: &api_version, kind: &endpoint.kind, ty: schema_of(endpoint) };
    let mut decoded = object(format, bytes, expected, Strictness::Warn)?;
    decoded.warnings = complete(endpoint, &mut decoded, strictness)?;
    Ok(decoded)
}

/// Prunes what the endpoint's schema does not have, applies the strictness, and defaults: the texts to warn of. Before, the
/// warnings hold everything strict decoding has against the object.
pub fn complete(
    endpoint: &Endpoint,
    decoded: &mut Decoded,
    strictness: Strictness,
) -> Result<Vec<String>, Status> {
    if let Some(version) = Version::of(endpoint) {
        let api_version = endpoint.api_version();
        let expected = Expected { api_version: &api_version, kind: &endpoint.kind, ty: None };
        let dropped = version.coerce(&mut decoded.value, false).map_err(|error| cannot(expected, &error))?;
        let texts = dropped.iter().map(|path| format!("unknown field {}", proto::field::quote(path)));
        decoded.warnings.extend(texts);
    }
    match strictness {
        Strictness::Strict if !decoded.warnings.is_empty() => {
            let api_version = endpoint.api_version();
            let expected = Expected { api_version: &api_version, kind: &endpoint.kind, ty: None };
            let text = format!("strict decoding error: {}", decoded.warnings.join(", "));
            return Err(cannot(expected, &text));
        }
        Strictness::Ignore => decoded.warnings.clear(),
        _ => {}
    }
    codec::default(endpoint, &mut decoded.value);
    Ok(std::mem::take(&mut decoded.warnings))
}

fn cannot(expected: Expected<'_>, error: &dyn std::fmt::Display) -> Status {
    let version = expected.api_version.rsplit('/').next().unwrap_or_default();
    let kind = expected.kind;
    Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
}

/// Whether the type that a body names is the expected one; or upstream's words for what it is instead.
pub fn check_type(api_version: &str, kind: &str, expected: Expected<'_>) -> Result<(), String> {
    let api_version = if api_version.is_empty() { expected.api_version } else { api_version };
    let kind = if kind.is_empty() { expected.kind } else { kind };
    if (api_version, kind) == (expected.api_version, expected.kind) {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let cannot = |why: &dyn std::fmt::Display| {
        let wanted = expected.kind;
        Err(format!("{kind} in version \"{version}\" cannot be handled as a {wanted}: {why}"))
    };
    let known = proto::schema::lookup(group, version, kind).is_some();
    if !known && expected.ty.is_some() {
        return cannot(&format_args!(
            "no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        ));
    }
    let wanted_group = expected.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    if kind != expected.kind || internal_package(group) != internal_package(wanted_group) {
        return cannot(&format_args!(
            "converting ({version}.{kind}) to ({}.{}): unknown conversion",
            internal_package(wanted_group),
            expected.kind
        ));
    }
    Err(format!(
        "the API version in the data ({api_version}) does not match the expected API version ({})",
        expected.api_version
    ))
}

/// The Go package of a group's internal types, which upstream's messages name.
pub fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        group => group.split('.').next().unwrap_or(group),
    }
}

/// The beginning of a body, for people.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let (shown, more) = match bytes.get(..SHOWN) {
        Some(start) if bytes.len() > SHOWN => (start, " ..."),
        _ => (bytes, ""),
    };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => shown.iter().map(|b| format!("{b:02x}")).collect::<String>() + more,
    }
}
