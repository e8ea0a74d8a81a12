//! The envelope of stored and transmitted objects, `runtime.Unknown`, and the frames of watches.

use super::Error;
use super::wire::{BYTES, Number, Reader, put_bytes, put_message, put_tag, put_varint};

/// What every enveloped object starts with.
pub const MAGIC: &[u8] = b"k8s\0";

/// An opened envelope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unknown<'a> {
    /// The object's `apiVersion`.
    pub api_version: String,
    /// The object's `kind`.
    pub kind: String,
    /// The message.
    pub raw: &'a [u8],
    /// The content encoding; empty for none.
    pub content_encoding: String,
    /// The content type; empty for protobuf.
    pub content_type: String,
}

/// Whether bytes are an enveloped object.
pub fn is_protobuf(data: &[u8]) -> bool {
    data.starts_with(MAGIC)
}

/// Opens an envelope.
pub fn unwrap(data: &[u8]) -> Result<Unknown<'_>, Error> {
    if data.is_empty() {
        return Err(Error::Empty);
    }
    let data = data.strip_prefix(MAGIC).ok_or(Error::Prefix)?;
    if data.is_empty() {
        return Err(Error::EmptyBody);
    }
    let mut unknown = Unknown::default();
    let mut reader = Reader::new(data, "Unknown");
    while let Some(field) = reader.field()? {
        let Number::Bytes(bytes) = field.value else {
            continue;
        };
        match field.number {
            1 => {
                let mut meta = Reader::new(bytes, "TypeMeta");
                while let Some(field) = meta.field()? {
                    match (field.number, field.value) {
                        (1, Number::Bytes(bytes)) => unknown.api_version = text(bytes),
                        (2, Number::Bytes(bytes)) => unknown.kind = text(bytes),
                        _ => {}
                    }
                }
            }
            2 => unknown.raw = bytes,
            3 => unknown.content_encoding = text(bytes),
            4 => unknown.content_type = text(bytes),
            _ => {}
        }
    }
    Ok(unknown)
}

/// Puts a message into its envelope.
pub fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let (mut out, tail) = envelope(api_version, kind, raw.len());
    out.reserve_exact(raw.len() + tail.len());
    out.extend_from_slice(raw);
    out.extend_from_slice(tail);
    out
}

/// What an envelope has before and after a message of this length.
pub fn envelope(api_version: &str, kind: &str, length: usize) -> (Vec<u8>, &'static [u8]) {
    /// An empty content encoding and an empty content type.
    const TAIL: &[u8] = &[3 << 3 | BYTES, 0, 4 << 3 | BYTES, 0];
    let mut out = Vec::with_capacity(api_version.len() + kind.len() + 24);
    out.extend_from_slice(MAGIC);
    put_message(1, &mut out, |out| {
        put_bytes(1, api_version.as_bytes(), out);
        put_bytes(2, kind.as_bytes(), out);
    });
    put_tag(2, BYTES, &mut out);
    put_varint(length as u64, &mut out);
    (out, TAIL)
}

/// A watch event without an envelope of its own, as watches send it: the event's type and an enveloped object.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + kind.len() + 16);
    put_bytes(1, kind.as_bytes(), &mut out);
    put_message(2, &mut out, |out| put_bytes(1, object, out));
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
