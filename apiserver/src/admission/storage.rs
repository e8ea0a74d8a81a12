//! StorageObjectInUseProtection and PersistentVolumeClaimResize.

use std::sync::Arc;

use proto::quantity::Quantity;
use serde_json::{Value, json};

use super::step::{Row, find, items, push, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

/// Volumes and claims outlive their use.
pub(super) const STORAGE_OBJECT_IN_USE_PROTECTION: Row = Row {
    name: "StorageObjectInUseProtection",
    operations: &[Operation::Create],
    mutate: Some(add_finalizer),
    validate: None,
};

/// Claims grow only where their class allows it.
pub(super) const PERSISTENT_VOLUME_CLAIM_RESIZE: Row = Row {
    name: "PersistentVolumeClaimResize",
    operations: &[Operation::Update],
    mutate: None,
    validate: Some(check_resize),
};

fn add_finalizer<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let finalizer = match (review.group(), review.resource()) {
            ("", "persistentvolumes") => "kubernetes.io/pv-protection",
            ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
            ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
            _ => return Ok(()),
        };
        let is_there = items(&review.object["metadata"]["finalizers"]).iter().any(|f| text(f) == finalizer);
        if review.subresource.is_empty() && !is_there {
            push(&mut review.object["metadata"], "finalizers", json!(finalizer));
        }
        Ok(())
    })
}

fn check_resize<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !review.is("", "persistentvolumeclaims") {
            return Ok(());
        }
        let size = |claim: &Value| {
            Quantity::from_json(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or_default()
        };
        let (new, old) = (&review.object, &*review.old);
        if size(new) <= size(old) {
            return Ok(());
        }
        if text(&old["status"]["phase"]) != "Bound" {
            return Err(review.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let (class, old_class) = (class_of(new), class_of(old));
        let allowed = !class.is_empty()
            && class == old_class
            && find(local, "storage.k8s.io", "storageclasses", "", class)
                .await
                .is_ok_and(|class| class["allowVolumeExpansion"] == true);
        if allowed {
            return Ok(());
        }
        Err(review.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
             resize",
        ))
    })
}

fn class_of(claim: &Value) -> &str {
    let annotation = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    annotation.as_str().unwrap_or_else(|| text(&claim["spec"]["storageClassName"]))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;

    #[tokio::test]
    async fn claims_get_a_finalizer_once() {
        let claim = json!({ "metadata": { "name": "c", "finalizers": ["x"] } });
        let mut review = review(Operation::Create, "", "persistentvolumeclaims", claim);
        let local = Cluster::holding(&[]);
        admit(STORAGE_OBJECT_IN_USE_PROTECTION, &local, &mut review).await.unwrap();
        admit(STORAGE_OBJECT_IN_USE_PROTECTION, &local, &mut review).await.unwrap();
        assert_eq!(review.object["metadata"]["finalizers"], json!(["x", "kubernetes.io/pvc-protection"]));
    }

    async fn resize(from: &str, to: &str, class: &str, phase: &str) -> bool {
        let local = Cluster::holding(&[
            (
                "storage.k8s.io",
                "storageclasses",
                json!({ "metadata": { "name": "grows" }, "allowVolumeExpansion": true }),
            ),
            ("storage.k8s.io", "storageclasses", json!({ "metadata": { "name": "fixed" } })),
        ]);
        let claim = |size: &str| {
            json!({ "metadata": { "name": "c" }, "status": { "phase": phase },
            "spec": { "storageClassName": class, "resources": { "requests": { "storage": size } } } })
        };
        let mut review = review(Operation::Update, "", "persistentvolumeclaims", claim(to));
        review.old = Arc::new(claim(from));
        admit(PERSISTENT_VOLUME_CLAIM_RESIZE, &local, &mut review).await.is_ok()
    }

    #[tokio::test]
    async fn only_some_claims_grow() {
        assert!(resize("1Gi", "2Gi", "grows", "Bound").await);
        assert!(!resize("1Gi", "2Gi", "fixed", "Bound").await);
        assert!(!resize("1Gi", "2Gi", "grows", "Pending").await);
        assert!(!resize("1Gi", "2Gi", "gone", "Bound").await);
        assert!(resize("1Gi", "1024Mi", "fixed", "Bound").await);
    }
}
