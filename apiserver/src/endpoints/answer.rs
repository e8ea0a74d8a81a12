//! Answers: objects, statuses and texts as HTTP responses.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response as HttpResponse, StatusCode};
use indexmap::IndexSet;
use proto::schema::{self, Type};
use proto::status::Status;
use proto::{json, protobuf, yaml};
use serde_json::Value;

use super::negotiate::{Format, Output};
use crate::server::{Body, Response};

const WARNING: HeaderName = HeaderName::from_static("warning");

/// An answer of bytes.
pub fn bytes(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = HttpResponse::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A text for people.
pub fn text(code: StatusCode, body: impl Into<Bytes>) -> Response {
    bytes(code, "text/plain; charset=utf-8", Body::Full(body.into()))
}

/// A failure, in the form that [`Output::of_failure`] found.
pub fn status(status: &Status, form: Output) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let value = serde_json::to_value(status).unwrap_or_default();
    let mut response = meta_object(code, form, "Status", &value);
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// An object of this type (`None`: printed as it is).
pub fn object(code: StatusCode, output: Output, value: &Value, ty: Option<&Type>) -> Response {
    let format = if ty.is_none() && output.format == Format::Protobuf { Format::Json } else { output.format };
    let body = match (format, ty) {
        (Format::Protobuf, Some(ty)) => protobuf::encode_object(value, ty),
        _ => json_text(output, format, value, ty),
    };
    bytes(code, format.media_type(), body)
}

fn json_text(output: Output, format: Format, value: &Value, ty: Option<&Type>) -> Vec<u8> {
    let mut body = Vec::new();
    match ty {
        Some(ty) => json::encode(value, ty, &mut body),
        None => json::encode_any(value, &mut body),
    }
    finish_json(output, format, body)
}

/// JSON as it goes out: pretty or as YAML if so wished, with a newline at its end.
pub fn finish_json(output: Output, format: Format, mut body: Vec<u8>) -> Vec<u8> {
    if format == Format::Yaml {
        return yaml::from_json(&body).unwrap_or(body);
    }
    if output.pretty {
        body = indent(&body);
    }
    body.push(b'\n');
    body
}

/// An object of meta.k8s.io/v1, such as a Status.
pub fn meta_object(code: StatusCode, output: Output, kind: &str, value: &Value) -> Response {
    object(code, output, value, schema::lookup("meta.k8s.io", "v1", kind))
}

/// Characters of warnings that one answer carries before they are cut, and that each keeps then (upstream's limits).
const MAX_WARNINGS: usize = 4096;
const CUT_WARNING: usize = 256;

/// Adds warnings to an answer: all of them, or the beginnings of the first if they are too long together.
pub fn warn(response: &mut Response, warnings: &IndexSet<String>) {
    let length = |warning: &String| warning.chars().count();
    let cut = warnings.iter().map(length).sum::<usize>() > MAX_WARNINGS;
    let mut written = 0;
    for warning in warnings {
        let end = warning.char_indices().nth(CUT_WARNING).map_or(warning.len(), |(at, _)| at);
        let warning = if cut { &warning[..end] } else { warning.as_str() };
        if cut && written >= MAX_WARNINGS {
            break;
        }
        written += warning.chars().count();
        let warning = warning.strip_prefix("yaml: unmarshal errors:\n  ").unwrap_or(warning);
        let clean: String = warning.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
        // Header values are bytes: text beyond ASCII goes as UTF-8, as upstream sends it.
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// JSON text with two spaces per level, as Go's indenter has it.
pub fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (i, &b) in compact.iter().enumerate() {
        if in_text {
            out.push(b);
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => {
                in_text = true;
                out.push(b);
            }
            b'{' | b'[' => {
                out.push(b);
                let empty = matches!((b, compact.get(i + 1)), (b'{', Some(b'}')) | (b'[', Some(b']')));
                depth += 1;
                if !empty {
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(compact.get(i.wrapping_sub(1)), Some(b'{' | b'[')) {
                    newline(&mut out, depth);
                }
                out.push(b);
            }
            b',' => {
                out.push(b);
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(b),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indents_as_go() {
        let pretty = indent(br#"{"a":[],"b":{"c":[1,2]},"d":"x,{:\"","e":{}}"#);
        let want = "{\n  \"a\": [],\n  \"b\": {\n    \"c\": [\n      1,\n      2\n    ]\n  },\n  \"d\": \"x,{:\\\"\",\n  \"e\": {}\n}";
        assert_eq!(String::from_utf8(pretty).expect("text"), want);
    }

    #[test]
    fn warnings_are_quoted() {
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &IndexSet::from(["unknown field \"spec.foo\"".to_owned()]));
        assert_eq!(response.headers()[WARNING], "299 - \"unknown field \\\"spec.foo\\\"\"");
        // Too many are cut, then left out.
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &(0..1000).map(|i| format!("{i:0500}")).collect());
        let told: Vec<_> = response.headers().get_all(WARNING).iter().map(|w| w.len()).collect();
        assert_eq!(told, [CUT_WARNING + 8; MAX_WARNINGS / CUT_WARNING]);
    }
}
