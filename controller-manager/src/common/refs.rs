//! Owner references, and the patches that set and drop them.

use std::sync::Arc;

use component_base::watch::{Object, Store};
use proto::meta::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

/// A reference that makes `owner` the managing controller.
pub fn controller_ref(owner: &ObjectMeta, api_version: &str, kind: &str) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The controller of an object, if it is of this kind and the one that is there.
pub fn controller_in<T: Object>(store: &Store<T>, metadata: &ObjectMeta, kind: &str) -> Option<Arc<T>> {
    let owner = metadata.controller_of().filter(|owner| owner.kind == kind)?;
    let found = store.get(&metadata.namespace, &owner.name)?;
    (*found.uid() == *owner.uid).then_some(found)
}

/// A strategic merge patch by which `owner` adopts the object with this uid.
pub fn adopt_patch(owner: &OwnerReference, uid: &str) -> Value {
    json!({"metadata": {"ownerReferences": [owner], "uid": uid}})
}

/// A strategic merge patch that drops the reference to `owner` from the object with this uid.
pub fn release_patch(owner_uid: &str, uid: &str) -> Value {
    json!({"metadata": {
        "ownerReferences": [{"$patch": "delete", "uid": owner_uid}],
        "uid": uid,
    }})
}
