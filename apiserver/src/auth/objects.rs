//! The objects that credentials refer to, as far as authentication reads them.
//!
//! Reads come from the cache; what is not there may be too new for it, so a miss asks etcd.

use std::sync::Arc;

use serde_json::Value;

use crate::registry::Local;

/// Looks up objects of the core group.
#[derive(Clone)]
pub struct Objects {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Local(Arc<dyn Local>),
    #[cfg(test)]
    Fixed(Arc<Vec<(String, String, Arc<Value>)>>),
}

/// An object that was found.
#[derive(Clone)]
pub struct Record(Arc<Value>);

impl Objects {
    /// Reads through the server's own client.
    pub fn new(local: Arc<dyn Local>) -> Objects {
        Objects { source: Source::Local(local) }
    }

    /// A fixed set of (resource, namespace, object).
    #[cfg(test)]
    pub(in crate::auth) fn fixed(objects: &[(&str, &str, Value)]) -> Objects {
        let objects = objects.iter().map(|(resource, namespace, object)| {
            ((*resource).to_owned(), (*namespace).to_owned(), Arc::new(object.clone()))
        });
        Objects { source: Source::Fixed(Arc::new(objects.collect())) }
    }

    /// Finds an object; errors count as absence, which can only refuse a credential.
    pub async fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Record> {
        if name.is_empty() {
            return None;
        }
        match &self.source {
            Source::Local(local) => {
                if let Some(object) = local.cached("", resource, namespace, name) {
                    return Some(Record(object));
                }
                local.get("", resource, namespace, name).await.ok().map(Record)
            }
            #[cfg(test)]
            Source::Fixed(objects) => objects
                .iter()
                .find(|(r, ns, object)| {
                    r == resource && ns == namespace && object["metadata"]["name"] == name
                })
                .map(|(_, _, object)| Record(object.clone())),
        }
    }
}

impl Record {
    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// `metadata.deletionTimestamp`, if set.
    pub fn deletion_timestamp(&self) -> Option<&str> {
        self.0["metadata"]["deletionTimestamp"].as_str()
    }

    /// The whole object.
    pub fn object(&self) -> &Value {
        &self.0
    }

    /// A value of a Secret's data, decoded; empty if absent.
    pub fn secret_data(&self, key: &str) -> Vec<u8> {
        use base64::Engine;
        let text = self.0["data"][key].as_str().unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
    }
}
