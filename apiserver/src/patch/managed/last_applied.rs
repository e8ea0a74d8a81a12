//! The handover from client-side apply: kubectl's `last-applied-configuration` annotation.

use proto::json;
use serde_json::Value;

use super::{Conflicts, Request};
use crate::patch::fields::Set;
use crate::patch::typed;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ANNOTATIONS: &str = "/metadata/annotations";

/// The most that all annotations may take.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The conflicts that aren't about fields kubectl itself applied on the client's side and that still have the
/// applied values; `None` if the annotation says nothing.
pub(super) fn remaining_conflicts(
    conflicts: &Conflicts,
    live: &Value,
    request: &Request<'_>,
) -> Option<Conflicts> {
    Some(conflicts.outside(&applied_before(live, request)?))
}

fn applied_before(live: &Value, request: &Request<'_>) -> Option<Set> {
    let text = live.pointer(ANNOTATIONS)?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())?;
    let applied = json::decode_any(text.as_bytes()).ok()?.value;
    if applied.get("apiVersion")?.as_str()? != request.api_version {
        return None;
    }
    typed::validate(&applied, request.ty).ok()?;
    let comparison = typed::compare(&applied, live, request.ty);
    let fields = typed::collect(&applied, request.ty);
    Some(
        fields.difference(&comparison.modified).difference(&comparison.added).difference(&comparison.removed),
    )
}

/// Keeps the annotation of an object that has it in step with what was applied, so that clients can go back.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    let has = |object: &Value| {
        object.pointer(ANNOTATIONS).and_then(|map| map.get(ANNOTATION)).is_some_and(|text| text != "")
    };
    if !has(object) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut(ANNOTATIONS).and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
        if annotations.is_empty()
            && let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("annotations");
        }
    }
    let mut text = Vec::new();
    json::encode_any(&config, &mut text);
    text.push(b'\n');
    let Some(annotations) = object.pointer_mut(ANNOTATIONS).and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.to_owned(), Value::String(String::from_utf8_lossy(&text).into_owned()));
    let size: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATIONS {
        annotations.remove(ANNOTATION);
    }
}
