//! One version of one object.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::schema::Mask;
use proto::status::Status;
use proto::{fields, labels};
use serde_json::Value;

use super::forms::{Form, Forms, Keep};
use super::index::Index;
use crate::registry::{Open, Storage};
use crate::storage::codec::{Codec, Error, Media, encode};
use crate::storage::etcd::Kv;

/// One version of one object: stored bytes, what selectors ask for, and encodings made on first use.
pub struct Entry {
    /// Key below the row's prefix: `namespace/name` or `name`.
    pub key: Box<str>,
    /// Resource version.
    pub revision: i64,
    /// The bytes in etcd, as they were before they were encrypted.
    pub stored: Bytes,
    /// Whether they should be written anew even if nothing changes.
    pub stale: bool,
    /// Lease, or 0.
    pub lease: i64,
    /// The version of the stored bytes: an index among the codec's.
    version: u8,
    index: Arc<Index>,
    forms: Mutex<Forms>,
}

impl Entry {
    /// An entry of bytes and the hub-version tree that was decoded from them.
    pub fn new(storage: &Storage, key: &str, stored: Bytes, revision: i64, lease: i64, hub: &Value) -> Self {
        let (key, index) = (key.into(), Arc::new(Index::of(storage, hub)));
        Entry { key, revision, stored, stale: false, lease, version: 0, index, forms: Mutex::default() }
    }

    /// An entry of what etcd has. Its index is that of the hub version, or, where that takes outside help, of the stored one.
    pub fn of(codec: &Codec, key: &str, kv: Kv) -> Result<Self, Error> {
        let (mut tree, version) = codec.decode_as_stored(&kv.value, kv.revision, &codec.selectable)?;
        if !codec.is_remote(version) {
            tree = codec.to_hub(version, tree)?;
        }
        let entry = Entry::new(&codec.storage, key, kv.value, kv.revision, kv.lease, &tree);
        Ok(Entry { stale: kv.stale, version: version as u8, ..entry })
    }

    /// An entry of an object of the hub version that is about to be stored as these bytes; [`Entry::arrived`] makes it one of
    /// the cache. `None` for what takes outside help to read.
    pub fn foreseen(codec: &Codec, key: &str, stored: Bytes, hub: &Value) -> Option<Self> {
        let version = codec.stored_index();
        let entry = || Entry { version: version as u8, ..Entry::new(&codec.storage, key, stored, 0, 0, hub) };
        (!codec.is_remote(version)).then(entry)
    }

    /// The entry that was foreseen, as etcd has it now.
    pub fn arrived(self, kv: &Kv) -> Self {
        Entry { revision: kv.revision, lease: kv.lease, stale: kv.stale, ..self }
    }

    /// Whether selectors find the same in both.
    pub fn is_indexed_as(&self, other: &Entry) -> bool {
        self.index == other.index
    }

    /// The same object under another revision: what a watcher is told when it goes out of sight.
    pub fn at(&self, revision: i64) -> Self {
        Entry {
            key: self.key.clone(),
            revision,
            stored: self.stored.clone(),
            stale: self.stale,
            lease: self.lease,
            version: self.version,
            index: self.index.clone(),
            forms: Mutex::default(),
        }
    }

    /// Namespace, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.key.rsplit_once('/').map_or("", |(ns, _)| ns)
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.key.rsplit_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The hub-version tree, decoded anew.
    pub fn decode(&self, codec: &Codec) -> Result<Value, Error> {
        self.decode_some(codec, Mask::ALL)
    }

    /// What is looked at of the hub-version tree. Other fields may be there too, and needn't be what they are in the object.
    pub fn decode_some(&self, codec: &Codec, mask: &Mask) -> Result<Value, Error> {
        let mut value = if codec.is_remote(usize::from(self.version)) {
            let form = self.kept(codec.hub_index(), Media::Json);
            let form = form.ok_or_else(|| Error::External(codec.storage.kind.to_string()))?;
            proto::json::decode_any(&form).map_err(|e| Error::Decode(e.to_string()))?.value
        } else {
            codec.decode_stored(&self.stored, self.revision, mask)?
        };
        if let Some(decorate) = codec.storage.hooks.decorate {
            decorate(&mut value);
        }
        Ok(value)
    }

    /// The object in a version (an index among the codec's) and encoding; JSON ends in a newline, as answers do.
    pub fn form(&self, codec: &Codec, version: usize, media: Media, keep: Keep) -> Result<Bytes, Error> {
        if let Some(bytes) = self.kept(version, media) {
            return Ok(bytes);
        }
        let encoded = codec.encode(version, self.decode(codec)?, media)?;
        Ok(self.keep_object(version, media, encoded, keep))
    }

    /// The Table row that was kept for a version.
    pub fn row(&self, version: usize) -> Option<Bytes> {
        self.forms.lock().find(version, Form::Row)
    }

    /// Keeps the Table row of a version.
    pub fn keep_row(&self, version: usize, row: Open) -> Bytes {
        self.forms.lock().keep(version, Form::Row, row.into_bytes(), Keep::IfThereIsRoom)
    }

    /// The object in a version and encoding, if it is kept.
    pub fn kept(&self, version: usize, media: Media) -> Option<Bytes> {
        self.forms.lock().find(version, Form::Object(media))
    }

    /// Lets go of encodings that nobody has used since the last time.
    pub(super) fn tidy(&self) {
        self.forms.lock().tidy();
    }

    fn keep_object(&self, version: usize, media: Media, mut encoded: Vec<u8>, keep: Keep) -> Bytes {
        if media == Media::Json {
            encoded.push(b'\n');
        }
        self.forms.lock().keep(version, Form::Object(media), encoded, keep)
    }

    /// Whether the hub version's form is still to be had from outside.
    fn awaits_conversion(&self, codec: &Codec) -> bool {
        codec.is_remote(usize::from(self.version)) && self.kept(codec.hub_index(), Media::Json).is_none()
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.stored.len() + self.forms.lock().size()
    }

    fn field(&self, storage: &Storage, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => {
                let at = storage.selectable.iter().position(|f| f.name == name)?;
                self.index.field(at)
            }
        }
    }
}

/// How many stored bytes go into one call of an outside conversion.
const CONVERSION_BATCH: usize = 512 << 10;

/// Of these entries, those whose hub form is still to be had from outside. Without such a conversion: none.
pub fn waiting(codec: &Codec, entries: &mut dyn Iterator<Item = &Arc<Entry>>) -> Vec<Arc<Entry>> {
    match codec.external() {
        Some(_) => entries.filter(|e| e.awaits_conversion(codec)).cloned().collect(),
        None => Vec::new(),
    }
}

/// Has entries converted to the hub version from outside: whoever reads them afterwards finds the form they have there.
pub async fn convert(codec: &Codec, waiting: Vec<Arc<Entry>>) -> Result<(), Status> {
    let Some(conversion) = codec.external() else { return Ok(()) };
    let undecodable = |e: Error| Status::internal(e);
    let hub = codec.hub_index();
    let mut rest = waiting.as_slice();
    while !rest.is_empty() {
        let (mut trees, mut size) = (Vec::new(), 0);
        for entry in rest {
            if size >= CONVERSION_BATCH {
                break;
            }
            size += entry.stored.len();
            let (mut tree, _) =
                codec.decode_as_stored(&entry.stored, entry.revision, Mask::ALL).map_err(undecodable)?;
            proto::view::remove_at(&mut tree, &["metadata", "resourceVersion"]);
            trees.push(tree);
        }
        let (batch, later) = rest.split_at(trees.len());
        rest = later;
        let converted = conversion.convert(trees, codec.hub().api_version()).await?;
        for (entry, tree) in batch.iter().zip(converted) {
            let tree = codec.converted(hub, tree, entry.revision).map_err(undecodable)?;
            let form = encode(codec.hub(), &tree, Media::Json).map_err(undecodable)?;
            entry.keep_object(hub, Media::Json, form, Keep::ForEver);
        }
    }
    Ok(())
}

/// What a reader selects.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Labels.
    pub labels: labels::Selector,
    /// Fields, by the storage row's names.
    pub fields: fields::Selector,
}

impl Selection {
    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether it takes the objects' content to know what is selected.
    pub fn needs_content(&self) -> bool {
        let known = |name: &str| matches!(name, "metadata.name" | "metadata.namespace");
        self.fields.requirements.iter().any(|r| !known(&r.field))
    }

    /// Whether this entry is selected.
    pub fn matches(&self, codec: &Codec, entry: &Entry) -> bool {
        let storage = &codec.storage;
        if codec.is_remote(usize::from(entry.version)) && self.needs_content() {
            // The index is that of another version.
            return entry.decode(codec).is_ok_and(|hub| {
                let same = Entry::new(storage, &entry.key, Bytes::new(), 0, 0, &hub);
                self.matches_index(storage, &same)
            });
        }
        self.matches_index(storage, entry)
    }

    fn matches_index(&self, storage: &Storage, entry: &Entry) -> bool {
        (self.labels.is_empty() || self.labels.matches_with(|k| entry.index.label(k)))
            && (self.fields.is_empty() || self.fields.matches_with(|f| entry.field(storage, f)))
    }
}
