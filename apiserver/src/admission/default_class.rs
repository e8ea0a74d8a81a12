//! DefaultStorageClass and DefaultIngressClass: who names no class gets the default one.

use std::cmp::Reverse;
use std::sync::Arc;

use proto::labels::Selector;
use proto::status::Status;
use serde_json::{Value, json};

use super::step::{Row, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

pub(super) const DEFAULT_STORAGE_CLASS: Row = Row {
    name: "DefaultStorageClass",
    operations: &[Operation::Create],
    mutate: Some(set_storage_class),
    validate: None,
};

pub(super) const DEFAULT_INGRESS_CLASS: Row = Row {
    name: "DefaultIngressClass",
    operations: &[Operation::Create],
    mutate: Some(set_ingress_class),
    validate: None,
};

fn set_storage_class<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let annotation = "volume.beta.kubernetes.io/storage-class";
        let claim = &review.object;
        let is_given = claim["metadata"]["annotations"].get(annotation).is_some()
            || claim["spec"]["storageClassName"].is_string();
        if !review.is("", "persistentvolumeclaims") || is_given {
            return Ok(());
        }
        let annotations = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        if let Some(name) = default_of(local, "storage.k8s.io", "storageclasses", &annotations).await? {
            review.object["spec"]["storageClassName"] = json!(name);
        }
        Ok(())
    })
}

fn set_ingress_class<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let ingress = &review.object;
        let is_given = ingress["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some()
            || ingress["spec"]["ingressClassName"].is_string();
        if !review.is("networking.k8s.io", "ingresses") || is_given {
            return Ok(());
        }
        let annotations = ["ingressclass.kubernetes.io/is-default-class"];
        if let Some(name) = default_of(local, "networking.k8s.io", "ingressclasses", &annotations).await? {
            review.object["spec"]["ingressClassName"] = json!(name);
        }
        Ok(())
    })
}

/// The class marked as default: the newest, of equally old ones the first by name.
async fn default_of(
    local: &Arc<dyn Local>,
    group: &str,
    resource: &str,
    annotations: &[&str],
) -> Result<Option<String>, Status> {
    let classes = local.list(group, resource, "", &Selector::everything(), false).await?;
    let is_default = |class: &&Arc<Value>| {
        annotations.iter().any(|annotation| text(&class["metadata"]["annotations"][*annotation]) == "true")
    };
    let age = |class: &&Arc<Value>| {
        // RFC 3339 in UTC sorts as text.
        let created = text(&class["metadata"]["creationTimestamp"]).to_owned();
        (created, Reverse(text(&class["metadata"]["name"]).to_owned()))
    };
    let newest = classes.iter().filter(is_default).max_by_key(age);
    Ok(newest.map(|class| text(&class["metadata"]["name"]).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;

    fn class(name: &str, created: &str, default: &str) -> Value {
        json!({ "metadata": { "name": name, "creationTimestamp": created,
            "annotations": { "storageclass.kubernetes.io/is-default-class": default } } })
    }

    async fn claim(classes: &[Value], spec: Value) -> Value {
        let classes: Vec<_> =
            classes.iter().map(|class| ("storage.k8s.io", "storageclasses", class.clone())).collect();
        let claim = json!({ "metadata": { "namespace": "ns", "name": "c" }, "spec": spec });
        let mut review = review(Operation::Create, "", "persistentvolumeclaims", claim);
        admit(DEFAULT_STORAGE_CLASS, &Cluster::holding(&classes), &mut review).await.unwrap();
        review.object["spec"]["storageClassName"].clone()
    }

    #[tokio::test]
    async fn the_newest_default_counts() {
        let (old, new) = ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        let classes = [
            class("a", old, "true"),
            class("c", new, "true"),
            class("b", new, "true"),
            class("d", new, "false"),
        ];
        assert_eq!(claim(&classes, json!({})).await, "b");
        assert_eq!(claim(&classes, json!({ "storageClassName": "" })).await, "");
        assert_eq!(claim(&classes[3..], json!({})).await, Value::Null);
    }
}
