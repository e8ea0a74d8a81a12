//! ConfigMaps and Secrets as pods use them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The kinds of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl Kind {
    /// The resource's plural.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmaps",
            Kind::Secret => "secrets",
        }
    }

    /// The word in messages.
    pub fn word(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        }
    }
}

/// The content of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// `type`, of a Secret.
    pub kind: String,
    /// `data`; of a Secret decoded.
    pub data: BTreeMap<String, Vec<u8>>,
    /// `binaryData` of a ConfigMap, decoded.
    pub binary: BTreeMap<String, Vec<u8>>,
}

impl Object {
    /// All keys, for files.
    pub fn files(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.data.iter().chain(&self.binary)
    }

    /// One key, for files.
    pub fn file(&self, key: &str) -> Option<&Vec<u8>> {
        self.data.get(key).or_else(|| self.binary.get(key))
    }
}

/// What is known of one: its content, that there is none, or why it couldn't be read.
pub type Fetched = Result<Option<Arc<Object>>, String>;

/// The objects a pod refers to, read beforehand, so that what depends on them needs no client.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    map: HashMap<(Kind, String), Fetched>,
}

impl Sources {
    /// Adds one.
    pub fn insert(&mut self, kind: Kind, name: &str, fetched: Fetched) {
        self.map.insert((kind, name.to_string()), fetched);
    }

    /// Gets one; an optional one may be missing.
    pub fn get(&self, kind: Kind, name: &str, optional: bool) -> Result<Option<&Object>, String> {
        match self.map.get(&(kind, name.to_string())) {
            Some(Ok(Some(object))) => Ok(Some(object)),
            Some(Err(e)) => Err(e.clone()),
            Some(Ok(None)) | None if optional => Ok(None),
            Some(Ok(None)) | None => Err(format!("{} {name:?} not found", kind.word())),
        }
    }
}
