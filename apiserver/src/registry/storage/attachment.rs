//! Attachments of volumes to nodes.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::View;
use serde_json::Value;

use crate::registry::checks::*;
use crate::registry::core::pod::sources::csi_driver_name;
use crate::registry::core::volume::{self, Inline};
use crate::registry::{Hooks, strategy};

/// Hooks of VolumeAttachments.
pub(super) fn attachment() -> Hooks {
    Hooks {
        validate: |_, new| validate(new),
        validate_update: |_, new, old| validate_update(new, old),
        allow_unconditional_update: false,
        return_deleted: true,
        ..strategy::with_status()
    }
}

/// Hooks of the subresource `status`.
pub(super) fn status() -> Hooks {
    Hooks {
        validate_update: |_, new, old| validate_update(new, old),
        allow_unconditional_update: false,
        ..strategy::status_only()
    }
}

fn validate_update(new: &Value, old: &Value) -> Errors {
    let mut errors = validate(new);
    immutable(&View::root(new).get("spec"), &View::root(old).get("spec"), &mut errors);
    errors
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let (spec, status) = (View::root(object).get("spec"), View::root(object).get("status"));
    csi_driver_name(&spec.get("attacher"), &mut errors);
    source(&spec.get("source"), &mut errors);
    dns_subdomain(&spec.get("nodeName"), &mut errors);
    metadata(&status.get("attachmentMetadata"), &mut errors);
    for field in ["attachError", "detachError"] {
        volume_error(&status.get(field), &mut errors);
    }
    let name = spec.get("source").get("persistentVolumeName");
    if name.is_set() {
        dns_subdomain(&name.with_path(Path::new("spec.source.persistentVolumeName")), &mut errors);
    }
    errors
}

fn source(source: &View, errors: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let (inline, name) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    match (inline.is_set(), name.is_set()) {
        (false, false) => errors.push(source.required(ONE)),
        (true, true) => errors.push(source.forbidden(ONE)),
        (false, true) => {
            if name.is_empty() {
                errors.push(name.required("must specify non empty persistentVolumeName"));
            }
        }
        (true, false) => volume::spec(&inline, "", Inline::Yes, false, errors),
    }
}

const METADATA_LIMIT: usize = 256 * 1024;

fn metadata(map: &View, errors: &mut Errors) {
    let size: usize = map.entries().iter().map(|(key, value)| key.len() + value.str().len()).sum();
    if size > METADATA_LIMIT {
        errors.push(Error::too_long(map.path(), METADATA_LIMIT));
    }
}

fn volume_error(error: &View, errors: &mut Errors) {
    const MESSAGE_LIMIT: usize = 1024;
    let (message, code) = (error.get("message"), error.get("errorCode"));
    if message.str().len() > MESSAGE_LIMIT {
        // The limit that upstream names is another one.
        errors.push(Error::too_long(message.path(), METADATA_LIMIT));
    }
    if code.i64() < 0 {
        errors.push(code.invalid(content::inclusive_range(0, i64::from(i32::MAX))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attachments() {
        let texts = |source: Value| {
            let spec = json!({"attacher": "a", "nodeName": "n", "source": source});
            validate(&json!({"spec": spec})).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(texts(json!({"persistentVolumeName": "p"})), none);
        assert_eq!(
            texts(json!({})),
            [
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            ]
        );
    }
}
