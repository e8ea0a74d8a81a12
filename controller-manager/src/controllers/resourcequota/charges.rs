//! What one object is charged with: all that is kept of pods, services and claims here.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use proto::meta::nullable;
use proto::quantity::Quantity;
use proto::quota::{self, Facts};
use serde::Deserialize;
use serde_json::Value;

use crate::api::core::OwnedMeta;

/// What an object uses, and what scopes ask about it.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) metadata: OwnedMeta,
    /// As long as it is charged in full.
    pub(super) usage: Box<[(Arc<str>, Quantity)]>,
    /// What it uses afterwards: its place in storage.
    pub(super) rest: Box<[(Arc<str>, Quantity)]>,
    /// The last second of Unix time in which it is charged in full.
    pub(super) until: Option<i64>,
    pub(super) facts: Facts,
}

component_base::object!(Charge);

/// Makes a charge of an object's JSON.
pub(super) type Project = fn(&[u8]) -> Result<Charge, serde_json::Error>;

/// How objects of a kind are charged, if that is for more than their number.
pub(super) fn projection(group: &str, resource: &str) -> Option<Project> {
    Some(match (group, resource) {
        ("", "pods") => |bytes| charge("", "pods", bytes),
        ("", "services") => |bytes| charge("", "services", bytes),
        ("", "persistentvolumeclaims") => |bytes| charge("", "persistentvolumeclaims", bytes),
        ("resource.k8s.io", "resourceclaims") => |bytes| charge("resource.k8s.io", "resourceclaims", bytes),
        _ => return None,
    })
}

fn charge(group: &str, resource: &str, bytes: &[u8]) -> Result<Charge, serde_json::Error> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(deserialize_with = "nullable")]
        metadata: OwnedMeta,
    }
    let head: Head = serde_json::from_slice(bytes)?;
    let object: Value = serde_json::from_slice(bytes)?;
    let until = if resource == "pods" { quota::charged_until(&object) } else { None };
    let usage = |now| -> Box<[(Arc<str>, Quantity)]> {
        let usage = quota::of_object(group, resource, &object, now);
        usage.into_iter().map(|(name, amount)| (intern(&name), amount)).collect()
    };
    Ok(Charge {
        metadata: head.metadata,
        usage: usage(i64::MIN),
        rest: if until.is_some() { usage(i64::MAX) } else { Box::default() },
        until,
        facts: Facts::of(group, resource, &object),
    })
}

/// One copy of each resource name: there are few names and many objects.
fn intern(name: &str) -> Arc<str> {
    static NAMES: LazyLock<Mutex<HashSet<Arc<str>>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return known.clone();
    }
    let name: Arc<str> = name.into();
    names.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_should_be_gone_keeps_its_place_only() {
        let pod = serde_json::json!({
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1",
                "deletionTimestamp": "1970-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30,
            },
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
        });
        let charge = projection("", "pods").unwrap()(pod.to_string().as_bytes()).unwrap();
        assert_eq!(charge.until, Some(90));
        let names =
            |list: &[(Arc<str>, Quantity)]| list.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&charge.usage), ["count/pods", "cpu", "pods", "requests.cpu"]);
        assert_eq!(names(&charge.rest), ["count/pods"]);
    }
}
