//! One version of one object.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::{fields, labels};
use serde_json::Value;
use smallvec::SmallVec;

use crate::registry::Storage;
use crate::storage::codec::{Codec, Error, Media};

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
    index: Arc<Index>,
    forms: Mutex<SmallVec<[(u8, Media, Bytes); 1]>>,
}

/// What selectors ask for.
struct Index {
    labels: Box<[(Box<str>, Box<str>)]>,
    /// In the order of the storage row's selectable fields.
    fields: Box<[Box<str>]>,
}

impl Entry {
    /// An entry of bytes and the hub-version tree that was decoded from them.
    pub fn new(storage: &Storage, key: &str, stored: Bytes, revision: i64, lease: i64, hub: &Value) -> Self {
        let labels = hub.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        let text = |v: &Value| v.as_str().unwrap_or_default().into();
        let index = Index {
            labels: labels.map(|(k, v)| (k.as_str().into(), text(v))).collect(),
            fields: storage.selectable.iter().map(|f| f.value(hub).into_boxed_str()).collect(),
        };
        let (key, index) = (key.into(), Arc::new(index));
        Entry { key, revision, stored, stale: false, lease, index, forms: Mutex::default() }
    }

    /// The same entry, which is to be written anew or not.
    pub fn outdated(self, stale: bool) -> Self {
        Entry { stale, ..self }
    }

    /// The same object under another revision: what a watcher is told when it goes out of sight.
    pub fn at(&self, revision: i64) -> Self {
        Entry {
            key: self.key.clone(),
            revision,
            stored: self.stored.clone(),
            stale: self.stale,
            lease: self.lease,
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
        let mut value = codec.decode_stored(&self.stored, self.revision)?;
        if let Some(decorate) = codec.storage.hooks.decorate {
            decorate(&mut value);
        }
        Ok(value)
    }

    /// The object in a version (an index among the codec's) and encoding; JSON ends in a newline, as answers do.
    pub fn form(&self, codec: &Codec, version: usize, media: Media) -> Result<Bytes, Error> {
        let find = |forms: &SmallVec<[(u8, Media, Bytes); 1]>| {
            forms.iter().find(|(v, m, _)| usize::from(*v) == version && *m == media).map(|(.., b)| b.clone())
        };
        if let Some(bytes) = find(&self.forms.lock()) {
            return Ok(bytes);
        }
        let mut encoded = codec.encode(version, self.decode(codec)?, media)?;
        if media == Media::Json {
            encoded.push(b'\n');
        }
        encoded.shrink_to_fit();
        let mut forms = self.forms.lock();
        // Another reader may have been quicker; then its bytes are shared and ours go.
        if let Some(bytes) = find(&forms) {
            return Ok(bytes);
        }
        let bytes = Bytes::from(encoded);
        forms.push((version as u8, media, bytes.clone()));
        Ok(bytes)
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.stored.len() + self.forms.lock().iter().map(|(.., b)| b.len()).sum::<usize>()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.index.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
    }

    fn field(&self, storage: &Storage, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => {
                let at = storage.selectable.iter().position(|f| f.name == name)?;
                self.index.fields.get(at).map(|v| &**v)
            }
        }
    }
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

    /// Whether this entry is selected.
    pub fn matches(&self, storage: &Storage, entry: &Entry) -> bool {
        (self.labels.is_empty() || self.labels.matches_with(|k| entry.label(k)))
            && (self.fields.is_empty() || self.fields.matches_with(|f| entry.field(storage, f)))
    }
}
