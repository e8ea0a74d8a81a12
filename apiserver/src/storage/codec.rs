//! Between bytes and trees: what is stored, what hooks see (the hub version), and what is served.

use std::sync::Arc;

use proto::schema::{Mask, Type};
use proto::{json, protobuf};
use serde_json::Value;

use crate::custom::Version;
use crate::registry::{Conversion, Endpoint, ExternalConversion, Registry, Storage};

/// An encoding of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// JSON text.
    Json,
    /// The bare protobuf message (its envelope is put around it where it is needed).
    Protobuf,
}

/// Why bytes are not an object of the row.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Not decodable.
    #[error("{0}")]
    Decode(String),
    /// Of a version that no row knows.
    #[error("no kind {kind:?} is registered for version {api_version:?} in scheme")]
    UnknownVersion {
        /// What the object says.
        api_version: String,
        /// What the object says.
        kind: String,
    },
    /// The version has no such encoding.
    #[error("object {0} has no protobuf form")]
    NoProtobuf(String),
    /// Its conversion is not a function.
    #[error("conversion of {0} needs its webhook")]
    External(String),
}

/// One storage row with all versions of it.
pub struct Codec {
    /// The row.
    pub storage: Arc<Storage>,
    /// Its endpoint rows, served or not.
    pub versions: Vec<Arc<Endpoint>>,
    /// What selectors ask for.
    pub selectable: Mask,
    hub: usize,
    stored: usize,
    media: Media,
}

impl Codec {
    /// The codec of a row; `None` if no endpoint row has its hub or stored version.
    pub fn new(registry: &Registry, storage: Arc<Storage>, media: Media) -> Option<Self> {
        let versions: Vec<_> = registry.endpoints_of(&storage).cloned().collect();
        let find = |(group, version): &(_, _)| {
            versions.iter().position(|e: &Arc<Endpoint>| e.group == *group && e.version == *version)
        };
        let (hub, stored) = (find(&storage.hub)?, find(&storage.stored)?);
        let custom = versions.get(stored).is_none_or(|e| e.custom || e.schema.is_none());
        let media = if custom { Media::Json } else { media };
        let mut selectable = Mask::of(["metadata.labels"]);
        storage.selectable.iter().for_each(|field| selectable.add(&field.mask()));
        Some(Codec { storage, versions, selectable, hub, stored, media })
    }

    /// The same row with another of its versions as hub: each version of a custom resource is its own.
    pub fn seen_from(&self, version: usize) -> Self {
        Codec {
            storage: self.storage.clone(),
            versions: self.versions.clone(),
            selectable: self.selectable.clone(),
            hub: version,
            stored: self.stored,
            media: self.media,
        }
    }

    /// What converts between versions outside of this process.
    pub fn external(&self) -> Option<&Arc<dyn ExternalConversion>> {
        match &self.versions[self.stored].conversion {
            Conversion::External(conversion) => Some(conversion),
            _ => None,
        }
    }

    /// Whether a tree of this version reaches the hub only with outside help.
    pub fn is_remote(&self, version: usize) -> bool {
        version != self.hub && self.external().is_some()
    }

    /// The index of the hub version.
    pub fn hub_index(&self) -> usize {
        self.hub
    }

    /// The index of the stored version.
    pub fn stored_index(&self) -> usize {
        self.stored
    }

    /// The endpoint of the stored version.
    pub fn stored_endpoint(&self) -> &Arc<Endpoint> {
        &self.versions[self.stored]
    }

    /// The endpoint of the hub version.
    pub fn hub(&self) -> &Arc<Endpoint> {
        &self.versions[self.hub]
    }

    /// The index of an endpoint among `versions`.
    pub fn version(&self, endpoint: &Endpoint) -> Option<usize> {
        self.versions.iter().position(|e| e.version == endpoint.version && e.group == endpoint.group)
    }

    /// Decodes what is looked at of stored bytes to the hub version, with defaults and the revision.
    pub fn decode_stored(&self, bytes: &[u8], revision: i64, mask: &Mask) -> Result<Value, Error> {
        let (value, at) = self.decode_as_stored(bytes, revision, mask)?;
        self.to_hub(at, value)
    }

    /// The same in the version the bytes are of, with its index.
    ///
    /// Other fields may be there too, and needn't be what they are in the object: what is stored as JSON, or still to be converted,
    /// is decoded as a whole, and defaults fill what was passed over.
    pub fn decode_as_stored(
        &self,
        bytes: &[u8],
        revision: i64,
        mask: &Mask,
    ) -> Result<(Value, usize), Error> {
        let mut mask = mask;
        let (mut value, at) = if bytes.starts_with(protobuf::MAGIC) {
            let unknown = protobuf::unwrap(bytes).map_err(|e| Error::Decode(e.to_string()))?;
            let at = self.find(&unknown.api_version, &unknown.kind)?;
            if !matches!(self.versions[at].conversion, Conversion::Same) {
                mask = Mask::ALL;
            }
            (decode(&self.versions[at], Media::Protobuf, unknown.raw, mask)?, at)
        } else {
            mask = Mask::ALL;
            let head: TypeMeta = serde_json::from_slice(bytes).map_err(|e| Error::Decode(e.to_string()))?;
            let at = self.find(&head.api_version, &head.kind)?;
            (decode(&self.versions[at], Media::Json, bytes, mask)?, at)
        };
        if let Some(version) = Version::of(&self.versions[at]) {
            version.coerce(&mut value, true).map_err(|e| Error::Decode(e.to_string()))?;
        }
        default_some(&self.versions[at], &mut value, mask);
        set_revision(&mut value, revision);
        Ok((value, at))
    }

    /// A tree that came from an outside conversion to this version, in the form the version has.
    pub fn converted(&self, version: usize, mut value: Value, revision: i64) -> Result<Value, Error> {
        self.settle(version, &mut value)?;
        if revision > 0 {
            set_revision(&mut value, revision);
        }
        Ok(value)
    }

    /// Gives a converted tree the type of its new version; a custom resource loses what that version does not have.
    fn settle(&self, version: usize, value: &mut Value) -> Result<(), Error> {
        let endpoint = &self.versions[version];
        if let Some(known) = Version::of(endpoint) {
            known.coerce(value, true).map_err(|e| Error::Decode(e.to_string()))?;
        }
        set_type(value, endpoint);
        Ok(())
    }

    /// Encodes a hub-version tree as it is to be stored. The tree stays as it is.
    pub fn encode_stored(&self, hub: &mut Value) -> Result<Vec<u8>, Error> {
        if self.stored == self.hub && matches!(self.hub().conversion, Conversion::Same) {
            set_type(hub, self.hub());
            return self.encode_as_stored(hub);
        }
        self.encode_as_stored(&mut self.from_hub(self.stored, hub.clone())?)
    }

    /// Encodes a tree of the stored version. The tree stays as it is.
    pub fn encode_as_stored(&self, value: &mut Value) -> Result<Vec<u8>, Error> {
        const NOT_STORED: [&str; 2] = ["resourceVersion", "selfLink"];
        let taken = NOT_STORED.map(|name| proto::view::remove_at(value, &["metadata", name]));
        let encoded = self.encode_bare(value);
        for (name, taken) in NOT_STORED.iter().zip(taken) {
            if let Some(taken) = taken {
                proto::view::set_at(value, &["metadata", name], taken);
            }
        }
        encoded
    }

    fn encode_bare(&self, value: &Value) -> Result<Vec<u8>, Error> {
        let endpoint = &self.versions[self.stored];
        match self.media {
            Media::Json => {
                let mut bytes = encode(endpoint, value, Media::Json)?;
                bytes.push(b'\n');
                Ok(bytes)
            }
            Media::Protobuf => {
                let raw = encode(endpoint, value, Media::Protobuf)?;
                Ok(protobuf::wrap(&endpoint.api_version(), &endpoint.kind, &raw))
            }
        }
    }

    /// Encodes a hub-version tree in a version.
    pub fn encode(&self, version: usize, hub: Value, media: Media) -> Result<Vec<u8>, Error> {
        let value = self.from_hub(version, hub)?;
        encode(&self.versions[version], &value, media)
    }

    /// Converts a tree of a version to the hub version.
    pub fn to_hub(&self, version: usize, mut value: Value) -> Result<Value, Error> {
        let from = &self.versions[version];
        match &from.conversion {
            Conversion::External(_) if version != self.hub => {
                return Err(Error::External(from.kind.to_string()));
            }
            Conversion::Functions { to_hub, .. } => to_hub(&mut value),
            _ => {}
        }
        if version == self.hub {
            set_type(&mut value, self.hub());
        } else {
            self.settle(self.hub, &mut value)?;
        }
        Ok(value)
    }

    /// Converts a tree of the hub version to a version.
    pub fn from_hub(&self, version: usize, mut value: Value) -> Result<Value, Error> {
        let to = &self.versions[version];
        match &to.conversion {
            Conversion::External(_) if version != self.hub => {
                return Err(Error::External(to.kind.to_string()));
            }
            Conversion::Functions { from_hub, .. } => from_hub(&mut value),
            _ => {}
        }
        if version == self.hub {
            set_type(&mut value, to);
        } else {
            self.settle(version, &mut value)?;
        }
        Ok(value)
    }

    fn find(&self, api_version: &str, kind: &str) -> Result<usize, Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.versions
            .iter()
            .position(|e| e.group == group && e.version == version && e.kind == kind)
            .ok_or_else(|| Error::UnknownVersion {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
            })
    }
}

#[derive(serde::Deserialize)]
struct TypeMeta {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

/// Decodes an object of the endpoint's version from trusted bytes: nothing is reported about unknown fields.
fn decode(endpoint: &Endpoint, media: Media, bytes: &[u8], mask: &Mask) -> Result<Value, Error> {
    match (media, schema_of(endpoint)) {
        (Media::Json, None) => {
            json::decode_any(bytes).map(|d| d.value).map_err(|e| Error::Decode(e.to_string()))
        }
        (Media::Json, Some(ty)) => {
            json::decode(bytes, ty).map(|d| d.value).map_err(|e| Error::Decode(e.to_string()))
        }
        (Media::Protobuf, Some(ty)) => {
            protobuf::decode_some(bytes, ty, mask).map_err(|e| Error::Decode(e.to_string()))
        }
        (Media::Protobuf, None) => Err(Error::NoProtobuf(endpoint.kind.to_string())),
    }
}

/// Encodes an object of the endpoint's version.
pub fn encode(endpoint: &Endpoint, value: &Value, media: Media) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    match (media, schema_of(endpoint)) {
        (Media::Json, None) => json::encode_any(value, &mut bytes),
        (Media::Json, Some(ty)) => json::encode(value, ty, &mut bytes),
        (Media::Protobuf, Some(ty)) => bytes = protobuf::encode(value, ty),
        (Media::Protobuf, None) => return Err(Error::NoProtobuf(endpoint.kind.to_string())),
    }
    Ok(bytes)
}

/// The schema that objects are coded by; custom resources are coded as they are.
pub fn schema_of(endpoint: &Endpoint) -> Option<&Type> {
    if endpoint.custom { None } else { endpoint.schema.as_deref() }
}

/// Applies a version's defaults: the schema's, then those that span fields.
pub fn default(endpoint: &Endpoint, value: &mut Value) {
    default_some(endpoint, value, Mask::ALL);
}

fn default_some(endpoint: &Endpoint, value: &mut Value, mask: &Mask) {
    if let Some(version) = Version::of(endpoint) {
        version.default(value);
    } else if let Some(ty) = &endpoint.schema {
        proto::schema::default_some(value, ty, mask);
    }
    if let Some(default) = endpoint.default {
        default(value);
    }
}

/// Sets apiVersion and kind.
pub fn set_type(value: &mut Value, endpoint: &Endpoint) {
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".to_owned(), endpoint.api_version().into());
        object.insert("kind".to_owned(), endpoint.kind.as_ref().into());
    }
}

/// Sets `metadata.resourceVersion`.
pub fn set_revision(value: &mut Value, revision: i64) {
    if let Some(object) = value.as_object_mut() {
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Default::default()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        }
    }
}
