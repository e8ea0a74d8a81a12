//! Kubernetes' protobuf form, byte for byte as the Go servers write it.
//!
//! A message is a walk over the schema table: fields by ascending number; fields that aren't pointers are written
//! even when they are zero, maps sorted by key. A whole object travels and is stored as an [`Unknown`] envelope
//! behind the magic `k8s\0`.

use serde_json::Value;

use crate::schema::Type;

mod decode;
mod encode;
mod envelope;
#[cfg(test)]
mod tests;
mod wire;

pub use decode::{decode, decode_some};
pub use encode::encode;
pub use envelope::{MAGIC, Unknown, envelope, is_protobuf, unwrap, watch_event, wrap};
pub use wire::{bytes_len, leading, put_bytes};

/// How deep messages may nest; it bounds the stack that walks need.
const MAX_DEPTH: usize = 256;

/// Why bytes aren't a message of a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No bytes at all.
    #[error("empty data")]
    Empty,
    /// The magic without a message.
    #[error("empty body")]
    EmptyBody,
    /// No magic.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// The bytes end within a value.
    #[error("unexpected EOF")]
    Eof,
    /// A varint of more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A group's end without its begin.
    #[error("proto: {0}: wiretype end group for non-group")]
    EndGroup(String),
    /// A field number that can't be.
    #[error("proto: {message}: illegal tag {number} (wire type {wire})")]
    Tag {
        /// The message's name.
        message: String,
        /// The field number.
        number: i32,
        /// The whole tag.
        wire: u64,
    },
    /// A field has another wire type than the schema says.
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WireType {
        /// The wire type found.
        wire_type: u8,
        /// The field's name.
        field: String,
    },
    /// Messages nest too deep.
    #[error("proto: exceeded max depth")]
    Depth,
    /// A text within the message isn't what its type needs (JSON, a quantity, a time).
    #[error("{0}")]
    Value(String),
}

/// Decodes an enveloped object; `apiVersion` and `kind` come from the envelope.
pub fn decode_object(data: &[u8], ty: &Type) -> Result<Value, Error> {
    let unknown = unwrap(data)?;
    let mut value = decode(unknown.raw, ty)?;
    if let Value::Object(map) = &mut value {
        for (name, text) in [("apiVersion", unknown.api_version), ("kind", unknown.kind)] {
            if !text.is_empty() {
                map.insert(name.to_owned(), Value::String(text));
            }
        }
    }
    Ok(value)
}

/// Encodes an object in its envelope.
pub fn encode_object(value: &Value, ty: &Type) -> Vec<u8> {
    let text = |name| value.get(name).and_then(Value::as_str).unwrap_or_default();
    wrap(text("apiVersion"), text("kind"), &encode(value, ty))
}
