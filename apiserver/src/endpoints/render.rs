//! Stored objects in the form a request wants: a version, an encoding, perhaps as Table rows or metadata only.
//!
//! The plain forms are the cache's own bytes; lists and events are put together from them without decoding anything.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use proto::schema::{self, Mask, Type};
use proto::status::Status;
use proto::{json, protobuf};
use serde_json::{Value, json};

use super::negotiate::{Format, Transform};
use super::shape::{Include, Shape, metadata_only, partial_type};
use super::{answer, table};
use crate::cache::entry::Entry;
use crate::cache::forms::Keep;
use crate::engine::{Listed, Store, undecodable};
use crate::registry::{Ages, Open};
use crate::server::{Body, Response};
use crate::storage::codec::Media;

/// Lists go out in pieces of about this size.
const PIECE: usize = 128 << 10;
/// Answers from this size on are compressed if the client likes (upstream's threshold).
const GZIP_FROM: usize = 128 << 10;
/// What of an object is its metadata.
static METADATA: LazyLock<Mask> = LazyLock::new(|| Mask::of(["metadata"]));
/// The field of a list's items in protobuf.
const ITEMS: u32 = 2;

/// Stored objects in the form that a request wants.
#[derive(Clone)]
pub struct Render {
    /// The form.
    pub shape: Shape,
    /// Whose objects.
    pub store: Arc<Store>,
    /// The index of the endpoint's version in the store's codec.
    pub version: usize,
}

impl Render {
    fn media(&self) -> Media {
        if self.shape.output.format == Format::Protobuf { Media::Protobuf } else { Media::Json }
    }

    /// The object's tree in the wanted version.
    fn tree_of(&self, entry: &Entry) -> Result<Value, Status> {
        let codec = &self.store.codec;
        let hub = entry.decode(codec).map_err(undecodable)?;
        codec.from_hub(self.version, hub).map_err(undecodable)
    }

    /// An answer with one object.
    pub fn entry(&self, code: StatusCode, entry: &Entry) -> Result<Response, Status> {
        self.shape.fits(false)?;
        if self.shape.output.transform != Transform::None {
            return self.shape.object(code, self.tree_of(entry)?);
        }
        let bytes = self.form(entry, self.media(), Keep::IfThereIsRoom)?;
        let body = match self.shape.output.format {
            Format::Json if !self.shape.output.pretty => bytes,
            Format::Protobuf => self.envelope(&bytes).into(),
            format => answer::finish_json(self.shape.output, format, trimmed(&bytes).to_vec()).into(),
        };
        Ok(answer::bytes(code, self.shape.output.format.media_type(), Body::Full(body)))
    }

    /// An answer with one object, from its tree in the hub version.
    pub fn hub(&self, code: StatusCode, hub: Value) -> Result<Response, Status> {
        self.shape.object(code, self.store.codec.from_hub(self.version, hub).map_err(undecodable)?)
    }

    fn envelope(&self, raw: &[u8]) -> Vec<u8> {
        protobuf::wrap(&self.shape.endpoint.api_version(), &self.shape.endpoint.kind, raw)
    }

    /// Appends a Table row as JSON. The rows that are mostly asked for are kept with open ages.
    fn put_row(&self, entry: &Entry, version: &str, out: &mut Vec<u8>) -> Result<(), Status> {
        let keeps = version == "v1" && self.shape.include == Include::Metadata;
        let kept = if keeps { entry.row(self.version) } else { None };
        if let Some(kept) = kept {
            Open::write(&kept, self.shape.now, out);
            return Ok(());
        }
        let object = self.tree_of(entry)?;
        match keeps.then(|| Open::new(|ages| self.shape.row(&object, version, ages))).flatten() {
            Some(row) => Open::write(&entry.keep_row(self.version, row), self.shape.now, out),
            None => json::encode_any(&self.shape.row(&object, version, &Ages::at(self.shape.now)), out),
        }
        Ok(())
    }

    /// Appends one item of a list as JSON. Items of typed lists leave their type out.
    fn put_json(&self, entry: &Entry, kind: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
        match self.shape.output.transform {
            Transform::None => {
                let bytes = self.form(entry, Media::Json, Keep::IfThereIsRoom)?;
                match trimmed(&bytes) {
                    text if kind.is_empty() => out.extend_from_slice(text),
                    text => match text.strip_prefix(kind) {
                        Some(rest) => {
                            out.push(b'{');
                            out.extend_from_slice(rest);
                        }
                        None => out.extend_from_slice(text),
                    },
                }
            }
            Transform::Metadata(version, _) => self.put_partial(entry, version, out)?,
            Transform::Table(version) => self.put_row(entry, version, out)?,
        }
        Ok(())
    }

    /// Appends an object's metadata alone as JSON: that of a built-in kind is cut out of its text, if that is there.
    fn put_partial(&self, entry: &Entry, version: &str, out: &mut Vec<u8>) -> Result<(), Status> {
        if !self.shape.endpoint.custom
            && let Some(text) = entry.kept(self.version, Media::Json)
            && put_metadata_of(&text, version, out)
        {
            return Ok(());
        }
        out.extend_from_slice(&encode(&self.partial(entry, version)?, partial_type(), Media::Json));
        Ok(())
    }

    /// The object, or its metadata alone, as a protobuf message. Metadata is the first field of every kind.
    fn message(&self, entry: &Entry, keep: Keep) -> Result<Bytes, Status> {
        let Transform::Metadata(version, _) = self.shape.output.transform else {
            return self.form(entry, Media::Protobuf, keep);
        };
        if let Some(bytes) = entry.kept(self.version, Media::Protobuf)
            && let Some(metadata) = protobuf::leading(&bytes, 1)
        {
            return Ok(bytes.slice_ref(metadata));
        }
        Ok(encode(&self.partial(entry, version)?, partial_type(), Media::Protobuf))
    }

    /// An object's metadata alone. No more of it is decoded.
    fn partial(&self, entry: &Entry, version: &str) -> Result<Value, Status> {
        let codec = &self.store.codec;
        let hub = entry.decode_some(codec, &METADATA).map_err(undecodable)?;
        let object = codec.from_hub(self.version, hub).map_err(undecodable)?;
        Ok(metadata_only(&object, version))
    }

    fn form(&self, entry: &Entry, media: Media, keep: Keep) -> Result<Bytes, Status> {
        entry.form(&self.store.codec, self.version, media, keep).map_err(undecodable)
    }

    /// An answer with a list.
    pub fn list(&self, listed: Listed, gzip: bool) -> Result<Response, Status> {
        self.shape.fits(true)?;
        let output = self.shape.output;
        let (head, tail) = match output.format {
            Format::Protobuf => self.protobuf_frame(&listed)?,
            Format::Json | Format::Yaml => self.json_frame(&listed),
        };
        let pieces = Pieces {
            render: self.clone(),
            items: listed.items.into_iter(),
            kind: self.type_prefix(),
            head: Some(head),
            tail: Some(tail),
            first: true,
        };
        if output.pretty || output.format == Format::Yaml {
            let mut whole = Vec::new();
            for piece in pieces {
                whole.extend_from_slice(&piece?);
            }
            let body = answer::finish_json(output, output.format, trimmed(&whole).to_vec());
            return Ok(compressed(StatusCode::OK, output.format.media_type(), body.into(), gzip));
        }
        stream(pieces, output.format.media_type(), gzip)
    }

    /// What a list has before and after its items.
    fn json_frame(&self, listed: &Listed) -> (Vec<u8>, Vec<u8>) {
        let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
        if !listed.continue_token.is_empty() {
            metadata["continue"] = listed.continue_token.as_str().into();
        }
        if let Some(remaining) = listed.remaining.filter(|_| !listed.continue_token.is_empty()) {
            metadata["remainingItemCount"] = remaining.into();
        }
        let text = |kind: &str, api_version: &str| {
            format!(
                "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
            )
        };
        match self.shape.output.transform {
            Transform::Table(version) => {
                let head = table::head(&self.shape.endpoint, version, &metadata);
                let columns = &head["columnDefinitions"];
                let head = format!(
                    "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata},\"columnDefinitions\":{columns},\"rows\":["
                );
                (head.into_bytes(), b"]}\n".to_vec())
            }
            Transform::Metadata(version, _) => {
                let head = text("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"));
                (head.into_bytes(), b"]}\n".to_vec())
            }
            Transform::None if self.shape.endpoint.custom => {
                // Lists of custom resources print like maps: sorted by key.
                if metadata.get("continue").is_none_or(Value::is_null) {
                    metadata["continue"] = "".into();
                }
                let head = format!("{{\"apiVersion\":\"{}\",\"items\":[", self.shape.endpoint.api_version());
                let tail =
                    format!("],\"kind\":\"{}\",\"metadata\":{metadata}}}\n", self.shape.endpoint.list_kind);
                (head.into_bytes(), tail.into_bytes())
            }
            Transform::None => {
                let head = text(&self.shape.endpoint.list_kind, &self.shape.endpoint.api_version());
                (head.into_bytes(), b"]}\n".to_vec())
            }
        }
    }

    /// What items of typed lists leave out: their apiVersion and kind.
    fn type_prefix(&self) -> Vec<u8> {
        if self.shape.endpoint.custom || self.shape.output.transform != Transform::None {
            return Vec::new();
        }
        format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",",
            self.shape.endpoint.kind,
            self.shape.endpoint.api_version()
        )
        .into_bytes()
    }

    /// What a list has before and after its items as protobuf. Its length comes first, so all items are made for it, and
    /// made again when they are sent, unless there was room to keep them.
    fn protobuf_frame(&self, listed: &Listed) -> Result<(Vec<u8>, Vec<u8>), Status> {
        let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
        if !listed.continue_token.is_empty() {
            metadata["continue"] = listed.continue_token.as_str().into();
            if let Some(remaining) = listed.remaining {
                metadata["remainingItemCount"] = remaining.into();
            }
        }
        // A list without items encodes to its metadata alone: field 1 of every list type.
        let frame = schema::lookup("meta.k8s.io", "v1", "PartialObjectMetadataList")
            .map(|ty| protobuf::encode(&json!({"metadata": metadata}), ty))
            .unwrap_or_default();
        let mut length = frame.len();
        for entry in &listed.items {
            length += protobuf::bytes_len(ITEMS, self.message(entry, Keep::IfThereIsRoom)?.len());
        }
        let (api_version, kind) = match self.shape.output.transform {
            Transform::Metadata(version, _) => {
                (format!("meta.k8s.io/{version}"), "PartialObjectMetadataList".to_owned())
            }
            _ => (self.shape.endpoint.api_version(), self.shape.endpoint.list_kind.to_string()),
        };
        let (mut head, tail) = protobuf::envelope(&api_version, &kind, length);
        head.extend_from_slice(&frame);
        Ok((head, tail.to_vec()))
    }

    /// The object of a watch event: JSON without a newline, or a whole protobuf envelope. `heading`: whether a Table has its columns.
    pub fn event_object(&self, entry: &Entry, heading: bool) -> Result<Bytes, Status> {
        match (self.shape.output.transform, self.media()) {
            (Transform::None, Media::Json) => {
                let bytes = self.form(entry, Media::Json, Keep::ForWatchers)?;
                Ok(bytes.slice(..trimmed(&bytes).len()))
            }
            (Transform::None, Media::Protobuf) => {
                Ok(self.envelope(&self.message(entry, Keep::ForWatchers)?).into())
            }
            (Transform::Metadata(version, _), Media::Json) => {
                let mut text = Vec::new();
                self.put_partial(entry, version, &mut text)?;
                Ok(text.into())
            }
            (Transform::Metadata(version, _), Media::Protobuf) => {
                let api_version = format!("meta.k8s.io/{version}");
                let message = self.message(entry, Keep::ForWatchers)?;
                Ok(protobuf::wrap(&api_version, "PartialObjectMetadata", &message).into())
            }
            (Transform::Table(_), _) => self.event_tree(self.tree_of(entry)?, heading),
        }
    }

    /// The same from a tree of the wanted version.
    pub fn event_tree(&self, value: Value, heading: bool) -> Result<Bytes, Status> {
        let table = matches!(self.shape.output.transform, Transform::Table(_));
        let (mut value, ty) = self.shape.value(value);
        if table && !heading {
            value["columnDefinitions"] = Value::Null;
        }
        Ok(match (self.media(), ty) {
            (Media::Protobuf, Some(ty)) => protobuf::encode_object(&value, ty).into(),
            _ => encode(&value, ty, Media::Json),
        })
    }
}

fn encode(value: &Value, ty: Option<&Type>, media: Media) -> Bytes {
    let mut bytes = Vec::new();
    match (media, ty) {
        (Media::Protobuf, Some(ty)) => bytes = protobuf::encode(value, ty),
        (_, Some(ty)) => json::encode(value, ty, &mut bytes),
        (_, None) => json::encode_any(value, &mut bytes),
    }
    bytes.into()
}

/// Appends an object's metadata alone, cut out of its text; whether it has metadata.
fn put_metadata_of(text: &[u8], version: &str, out: &mut Vec<u8>) -> bool {
    let Some(metadata) = json::member(text, "metadata") else { return false };
    let head =
        ["{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/", version, "\",\"metadata\":"];
    head.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.extend_from_slice(metadata);
    out.push(b'}');
    true
}

/// Without the newline that JSON forms end in.
fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

/// A list in pieces that are made when they are sent: a large list never is in memory as a whole.
struct Pieces {
    render: Render,
    items: std::vec::IntoIter<Arc<Entry>>,
    /// What items of the list leave out.
    kind: Vec<u8>,
    head: Option<Vec<u8>>,
    tail: Option<Vec<u8>>,
    first: bool,
}

impl Pieces {
    fn put(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Status> {
        if self.render.media() == Media::Protobuf {
            protobuf::put_bytes(ITEMS, &self.render.message(entry, Keep::IfThereIsRoom)?, out);
            return Ok(());
        }
        if !std::mem::take(&mut self.first) {
            out.push(b',');
        }
        self.render.put_json(entry, &self.kind, out)
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.tail.as_ref()?;
        let mut piece = Vec::with_capacity(PIECE + (PIECE >> 3));
        if let Some(head) = self.head.take() {
            piece.extend_from_slice(&head);
        }
        while piece.len() < PIECE {
            let Some(entry) = self.items.next() else {
                piece.extend_from_slice(&self.tail.take()?);
                break;
            };
            if let Err(status) = self.put(&entry, &mut piece) {
                self.tail = None;
                return Some(Err(status));
            }
        }
        Some(Ok(piece.into()))
    }
}

/// Sends pieces; the first is made at once, so that what can't be shown at all is answered as an error.
fn stream(mut pieces: Pieces, content_type: &'static str, gzip: bool) -> Result<Response, Status> {
    let first = pieces.next().transpose()?.unwrap_or_default();
    if pieces.tail.is_none() {
        return Ok(compressed(StatusCode::OK, content_type, first, gzip));
    }
    let all = std::iter::once(Ok(first)).chain(pieces);
    if !gzip {
        let stream = futures::stream::iter(all.map(|p| p.map_err(Into::into)));
        return Ok(answer::bytes(StatusCode::OK, content_type, Body::Stream(Box::pin(stream))));
    }
    let mut packer = Some(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1)));
    let mut all = all;
    let packed = std::iter::from_fn(move || {
        use std::io::Write;
        loop {
            let Some(piece) = all.next() else {
                let rest = packer.take()?.finish();
                return Some(rest.map(Bytes::from).map_err(crate::server::body::Error::from));
            };
            let encoder = packer.as_mut()?;
            let written = piece
                .map_err(crate::server::body::Error::from)
                .and_then(|piece| encoder.write_all(&piece).map_err(Into::into));
            if let Err(error) = written {
                return Some(Err(error));
            }
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                return Some(Ok(ready.into()));
            }
        }
    });
    let body = Body::Stream(Box::pin(futures::stream::iter(packed)));
    Ok(as_gzip(answer::bytes(StatusCode::OK, content_type, body)))
}

fn as_gzip(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// An answer that is compressed if it is large and the client likes.
pub fn compressed(code: StatusCode, content_type: &'static str, body: Bytes, gzip: bool) -> Response {
    use std::io::Write;
    if !gzip || body.len() < GZIP_FROM {
        return answer::bytes(code, content_type, Body::Full(body));
    }
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::new(1));
    match encoder.write_all(&body).and_then(|()| encoder.finish()) {
        Ok(packed) => as_gzip(answer::bytes(code, content_type, packed)),
        Err(_) => answer::bytes(code, content_type, Body::Full(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_cut_out_is_metadata_encoded() {
        let ty = schema::lookup("", "v1", "ConfigMap").expect("a type");
        for metadata in [
            json!({}),
            json!({"name": "a", "annotations": {"x": "}\"<\\"}, "creationTimestamp": "2024-01-01T00:00:00Z",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:data": {}}}]}),
        ] {
            let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"metadata": "{"}});
            let partial = metadata_only(&object, "v1");
            let mut cut = Vec::new();
            assert!(put_metadata_of(&encode(&object, Some(ty), Media::Json), "v1", &mut cut));
            assert_eq!(cut, encode(&partial, partial_type(), Media::Json));
            let message = encode(&object, Some(ty), Media::Protobuf);
            let cut = protobuf::leading(&message, 1).expect("metadata");
            assert_eq!(cut, encode(&partial, partial_type(), Media::Protobuf));
        }
    }
}
