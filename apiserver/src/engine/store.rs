//! One resource in the cache and in etcd.

use std::sync::Arc;

use bytes::Bytes;
use proto::schema::Mask;
use proto::status::{Cause, Status, reason};
use serde_json::Value;

use super::list::At;
use super::meta;
use crate::cache::entry::{self, Entry};
use crate::cache::feed::Feed;
use crate::cache::fresh::Freshness;
use crate::cache::row::Row;
use crate::registry::{Endpoint, ExternalConversion};
use crate::storage::codec::{self, Codec};
use crate::storage::etcd::{Etcd, Kv, Written};
use crate::storage::keys::{self, Keys};
use crate::storage::lease::Leases;
use crate::storage::{self};

/// One resource in the cache and in etcd.
#[derive(Clone)]
pub struct Store {
    /// Its codec, with the rows.
    pub codec: Arc<Codec>,
    pub(super) keys: Keys,
    pub(super) row: Option<Arc<Row>>,
    pub(super) etcd: Etcd,
    pub(super) feed: Arc<Feed>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) leases: Arc<Leases>,
    pub(super) event_ttl: u64,
}

impl Store {
    /// API group.
    pub fn group(&self) -> &str {
        &self.codec.storage.group
    }

    /// Plural resource.
    pub fn resource(&self) -> &str {
        &self.codec.storage.resource
    }

    /// A 404 about an object of it.
    pub fn not_found(&self, name: &str) -> Status {
        Status::not_found(self.group(), self.resource(), name)
    }

    /// The cached row, if it is cached.
    pub fn row(&self) -> Option<&Arc<Row>> {
        self.row.as_ref()
    }

    /// Reads an object.
    pub async fn get(&self, namespace: &str, name: &str, at: At) -> Result<Arc<Entry>, Status> {
        let key = keys::relative(namespace, name);
        let found = match &self.row {
            Some(row) if self.wait(at).await? => row.get(&key),
            _ => self.fetch(&key).await?,
        };
        let found = found.ok_or_else(|| self.not_found(name))?;
        self.prepare(&mut [&found].into_iter()).await?;
        Ok(found)
    }

    /// Reads an object from etcd.
    pub async fn fetch(&self, key: &str) -> Result<Option<Arc<Entry>>, Status> {
        let (kv, _) = self.etcd.get(&self.keys.full(key)).await.map_err(unavailable)?;
        kv.map(|kv| self.entry(kv)).transpose()
    }

    /// Waits until the cache is as fresh as asked; false if it can't be in time and etcd must be read.
    pub(super) async fn wait(&self, at: At) -> Result<bool, Status> {
        match at {
            At::Any => Ok(self.feed.revision() > 0),
            At::Latest => {
                let revision = self.freshness.revision().await.map_err(unavailable)?;
                Ok(self.feed.reached(revision).await)
            }
            At::NotOlderThan(revision) => {
                if !self.feed.reached(revision).await {
                    return Err(too_large(revision, self.feed.revision()));
                }
                Ok(true)
            }
            At::Exact(_) => Ok(false),
        }
    }

    /// Makes an entry of what etcd answered.
    pub(super) fn entry(&self, kv: Kv) -> Result<Arc<Entry>, Status> {
        let key = self.keys.relative(&kv.key).unwrap_or(&kv.key).to_owned();
        Ok(Arc::new(Entry::of(&self.codec, &key, kv).map_err(undecodable)?))
    }

    /// The lease for an object about to be written.
    pub(super) async fn lease_for(&self, object: &Value) -> Result<i64, Status> {
        let Some(ttl) = self.codec.storage.ttl else { return Ok(0) };
        let events = self.group().is_empty() && self.resource() == "events";
        let seconds = if events { self.event_ttl } else { ttl(object) };
        self.leases.lease_for(seconds).await.map_err(unavailable)
    }

    /// Writes an object, encoded, to a key of this mod revision (0: to one that is absent). An `admitted` object has its
    /// defaults, so that the cache may know from it what will be read.
    pub(super) async fn put(
        &self,
        key: &str,
        expected: i64,
        object: &Value,
        bytes: Vec<u8>,
        lease: i64,
        admitted: bool,
    ) -> Result<Written, Status> {
        let row = self.row.as_ref().filter(|row| admitted && row.codec.hub_index() == self.codec.hub_index());
        let mut foresight = row.and_then(|row| {
            let entry = Entry::foreseen(&self.codec, key, Bytes::copy_from_slice(&bytes), object)?;
            Some(row.foresee(entry))
        });
        let written = self.etcd.put(&self.keys.full(key), expected, bytes, lease).await;
        if let (Some(foresight), Ok(Written::Done(_))) = (&mut foresight, &written) {
            foresight.sure = true;
        }
        written.map_err(unavailable)
    }

    /// Bytes to store. A custom resource that is stored in another version turns into what will be read: as upstream answers, it has
    /// lost what that version has no room for.
    pub(super) async fn encode(&self, object: &mut Value) -> Result<Vec<u8>, Status> {
        let (codec, stored) = (&self.codec, self.codec.stored_endpoint());
        if !stored.custom || stored.version == codec.hub().version {
            return codec.encode_stored(object).map_err(undecodable);
        }
        let revision = meta::get(object, "resourceVersion").clone();
        let bytes = match codec.external() {
            None => codec.encode_stored(object).map_err(undecodable)?,
            Some(conversion) => {
                meta::set(object, "resourceVersion", Value::Null);
                let mut tree = convert(codec, conversion, object.clone(), codec.stored_index()).await?;
                codec.encode_as_stored(&mut tree).map_err(undecodable)?
            }
        };
        let (mut tree, at) = codec.decode_as_stored(&bytes, 0, Mask::ALL).map_err(undecodable)?;
        meta::set(&mut tree, "resourceVersion", Value::Null);
        *object = match codec.external() {
            None => codec.to_hub(at, tree).map_err(undecodable)?,
            Some(conversion) => convert(codec, conversion, tree, codec.hub_index()).await?,
        };
        meta::set(object, "resourceVersion", revision);
        Ok(bytes)
    }

    /// Has entries converted, where that takes outside help.
    pub(super) fn prepare<'s>(
        &'s self,
        entries: &mut dyn Iterator<Item = &Arc<Entry>>,
    ) -> impl Future<Output = Result<(), Status>> + use<'s> {
        let waiting = entry::waiting(&self.codec, entries);
        entry::convert(&self.codec, waiting)
    }

    /// This store as requests in the endpoint's version see it: that version is the hub.
    pub(super) fn seen_from(self: Arc<Self>, endpoint: &Endpoint) -> Arc<Store> {
        match self.codec.version(endpoint).filter(|at| endpoint.custom && *at != self.codec.hub_index()) {
            None => self,
            Some(at) => Arc::new(Store { codec: Arc::new(self.codec.seen_from(at)), ..Store::clone(&self) }),
        }
    }
}

/// A tree in a version, with outside help.
async fn convert(
    codec: &Codec,
    conversion: &Arc<dyn ExternalConversion>,
    tree: Value,
    version: usize,
) -> Result<Value, Status> {
    let converted = conversion.convert(vec![tree], codec.versions[version].api_version()).await?;
    codec.converted(version, converted.into_iter().next().unwrap_or_default(), 0).map_err(undecodable)
}

/// What a failure of etcd is to clients.
pub fn unavailable(error: storage::Error) -> Status {
    match error {
        storage::Error::TooLarge => Status::request_entity_too_large(error),
        storage::Error::Compacted => Status::expired("The resourceVersion for the provided list is too old."),
        storage::Error::Future | storage::Error::Encryption(_) => Status::internal(error),
        storage::Error::Unavailable(message) => Status::failure(500, reason::INTERNAL_ERROR, message),
    }
}

/// What an object that can't be coded is to clients.
pub fn undecodable(error: codec::Error) -> Status {
    Status::internal(error)
}

/// A revision that the cache does not reach in time.
pub(super) fn too_large(revision: i64, current: i64) -> Status {
    let mut status =
        Status::timeout(format!("Too large resource version: {revision}, current: {current}"), 1);
    status.details.get_or_insert_default().causes = vec![Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    }];
    status
}
