//! Which objects an owner controls: those that refer to it and match its selector. Matching orphans
//! are adopted, others are released.

use std::sync::Arc;

use component_base::client::{Patch, Resource};
use proto::labels::Selector;
use proto::meta::{ObjectMeta, OwnerReference};
use serde_json::Value;

use super::refs;
use crate::context::Controller;

/// An object as claims see it.
pub trait Claimable {
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;
}

macro_rules! claimable {
    ($($kind:ty),*) => {
        $(impl Claimable for $kind {
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
        })*
    };
}
claimable!(crate::api::core::Pod, crate::api::apps::ReplicaSet, crate::api::apps::ControllerRevision);

/// Objects by what is to be done about them.
#[derive(Debug)]
pub struct Claims<T> {
    /// Already controlled, and matching.
    pub owned: Vec<Arc<T>>,
    /// Matching orphans.
    pub adopt: Vec<Arc<T>>,
    /// Controlled, but no longer matching.
    pub release: Vec<Arc<T>>,
}

/// Sorts objects of the owner's namespace.
pub fn sort<T: Claimable>(
    owner: &ObjectMeta,
    selector: &Selector,
    objects: impl IntoIterator<Item = Arc<T>>,
) -> Claims<T> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in objects {
        let metadata = object.metadata();
        let matches = selector.matches_map(&metadata.labels);
        match metadata.controller_of() {
            Some(controller) if controller.uid != owner.uid => {}
            Some(_) if matches => claims.owned.push(object),
            Some(_) if owner.is_being_deleted() => {}
            Some(_) => claims.release.push(object),
            None if !matches || owner.is_being_deleted() || metadata.is_being_deleted() => {}
            None => claims.adopt.push(object),
        }
    }
    claims
}

/// Who claims, and what.
pub struct Claimant<'a> {
    pub controller: &'a Controller,
    /// The resource of the claimed objects.
    pub objects: &'a Resource,
    /// The resource of the owner.
    pub owners: &'a Resource,
    pub owner: &'a ObjectMeta,
    /// The reference that claimed objects carry.
    pub reference: OwnerReference,
}

impl Claimant<'_> {
    /// Adopts and releases; what remains is the owner's. An owner that is being deleted must not adopt,
    /// so that is looked up afresh before the first adoption.
    pub async fn claim<T: Claimable>(&self, claims: Claims<T>) -> anyhow::Result<Vec<Arc<T>>> {
        let mut owned = claims.owned;
        let mut checked = false;
        for object in claims.adopt {
            if !checked {
                self.check_owner().await?;
                checked = true;
            }
            let patch = refs::adopt_patch(&self.reference, &object.metadata().uid);
            if self.patch(object.metadata(), &patch).await? {
                owned.push(object);
            }
        }
        for object in claims.release {
            let patch = refs::release_patch(&self.owner.uid, &object.metadata().uid);
            self.patch(object.metadata(), &patch).await?;
        }
        Ok(owned)
    }

    async fn check_owner(&self) -> anyhow::Result<()> {
        let (namespace, name) = (&self.owner.namespace, &self.owner.name);
        let client = &self.controller.client;
        let fresh: crate::api::core::Metadata = client.get(self.owners, namespace, name).await?;
        let fresh = fresh.metadata;
        if fresh.uid != self.owner.uid {
            anyhow::bail!(
                "original {} {namespace}/{name} is gone: got uid {}, wanted {}",
                self.reference.kind,
                fresh.uid,
                self.owner.uid
            );
        }
        if let Some(time) = fresh.deletion_timestamp {
            anyhow::bail!("{namespace}/{name} has just been deleted at {time}");
        }
        Ok(())
    }

    /// Says whether the object was still there.
    async fn patch(&self, object: &ObjectMeta, patch: &Value) -> anyhow::Result<bool> {
        let client = &self.controller.client;
        let outcome: Result<Value, _> =
            client.patch(self.objects, &object.namespace, &object.name, Patch::Strategic, patch).await;
        match outcome {
            Ok(_) => Ok(true),
            // Another object took the name meanwhile, or none is left.
            Err(e) if e.is_not_found() || e.code() == 422 => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::core::Pod;
    use serde_json::json;

    fn pod(name: &str, label: &str, owner: Option<&str>, deleted: bool) -> Arc<Pod> {
        let owners: Vec<Value> = owner.iter().map(|uid| json!({"uid": uid, "controller": true})).collect();
        let mut value =
            json!({"metadata": {"name": name, "labels": {"app": label}, "ownerReferences": owners}});
        if deleted {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn sorting() {
        let owner = ObjectMeta { uid: "me".into(), ..Default::default() };
        let selector = Selector::parse("app=web").unwrap();
        let pods = [
            pod("owned", "web", Some("me"), false),
            pod("foreign", "web", Some("you"), false),
            pod("orphan", "web", None, false),
            pod("dying-orphan", "web", None, true),
            pod("stray", "db", Some("me"), false),
            pod("other", "db", None, false),
        ];
        let names =
            |pods: &[Arc<Pod>]| -> Vec<String> { pods.iter().map(|p| p.metadata.name.clone()).collect() };
        let claims = sort(&owner, &selector, pods.clone());
        assert_eq!(names(&claims.owned), ["owned"]);
        assert_eq!(names(&claims.adopt), ["orphan"]);
        assert_eq!(names(&claims.release), ["stray"]);
        let dying = ObjectMeta { deletion_timestamp: Some(proto::time::Time::now()), ..owner };
        let claims = sort(&dying, &selector, pods);
        assert!(claims.adopt.is_empty() && claims.release.is_empty());
    }
}
