//! Which webhooks a write concerns, and as which version of its resource.

use std::sync::Arc;

use proto::labels::Selector;
use proto::status::Status;
use serde_json::Value;

use super::super::Review;
use super::super::step::find;
use super::config::{Target, Webhook};
use crate::registry::{Backing, Endpoint, Local};

/// The endpoint in whose version the webhook is to see the object; `None` if it isn't concerned.
pub(super) async fn endpoint_for(
    local: &Arc<dyn Local>,
    webhook: &Webhook,
    review: &Review,
) -> Result<Option<Arc<Endpoint>>, Status> {
    let Some(endpoint) = by_rules(local, webhook, review) else { return Ok(None) };
    if !selects_namespace(local, webhook, review).await? || !selects_object(webhook, review) {
        return Ok(None);
    }
    Ok(Some(endpoint))
}

/// Webhooks can't lock each other's configuration out.
pub(super) fn is_exempt(review: &Review) -> bool {
    review.group() == "admissionregistration.k8s.io"
}

fn by_rules(local: &Arc<dyn Local>, webhook: &Webhook, review: &Review) -> Option<Arc<Endpoint>> {
    let covers = |endpoint: &Endpoint| {
        let target = Target {
            group: &endpoint.group,
            version: &endpoint.version,
            resource: &endpoint.resource,
            subresource: &review.subresource,
            is_namespaced: !review.namespace.is_empty() && !is_namespace(review),
        };
        webhook.rules.iter().any(|rule| rule.matches(review.operation, target))
    };
    if covers(&review.endpoint) {
        return Some(review.endpoint.clone());
    }
    let Backing::Stored(group, resource) = &review.endpoint.backing else { return None };
    if !webhook.matches_equivalent {
        return None;
    }
    let registry = local.registry();
    let storage = registry.storage(group, resource)?;
    registry.endpoints_of(storage).find(|endpoint| covers(endpoint)).cloned()
}

fn is_namespace(review: &Review) -> bool {
    review.group().is_empty() && review.resource() == "namespaces"
}

async fn selects_namespace(
    local: &Arc<dyn Local>,
    webhook: &Webhook,
    review: &Review,
) -> Result<bool, Status> {
    let selector = readable(&webhook.namespace_selector, webhook, "namespaceSelector")?;
    if selector.is_empty() {
        return Ok(true);
    }
    if is_namespace(review) {
        let object = if review.object.is_null() { &*review.old } else { &review.object };
        return Ok(selector.matches(&object["metadata"]["labels"]));
    }
    if review.namespace.is_empty() {
        return Ok(true);
    }
    let namespace = find(local, "", "namespaces", "", &review.namespace).await?;
    Ok(selector.matches(&namespace["metadata"]["labels"]))
}

/// Either the new or the old object.
fn selects_object(webhook: &Webhook, review: &Review) -> bool {
    let Some(selector) = &webhook.object_selector else { return true };
    let selects = |object: &Value| object.is_object() && selector.matches(&object["metadata"]["labels"]);
    selector.is_empty() || selects(&review.object) || selects(&review.old)
}

fn readable<'a>(
    selector: &'a Option<Selector>,
    webhook: &Webhook,
    field: &str,
) -> Result<&'a Selector, Status> {
    let unreadable = || Status::internal(format!("webhook \"{}\" has an unreadable {field}", webhook.name));
    selector.as_ref().ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use super::super::super::Operation;
    use super::super::super::testing::{Cluster, review};
    use super::*;
    use serde_json::json;

    async fn concerns(extra: Value, labels: Value) -> bool {
        let namespace = json!({ "metadata": { "name": "ns", "labels": { "inject": "yes" } } });
        let local = Cluster::new(&[("", "namespaces", namespace)]);
        let mut webhook = json!({ "name": "w", "rules": [{ "operations": ["*"], "apiGroups": ["*"],
            "apiVersions": ["*"], "resources": ["pods"] }] });
        webhook.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let pod = json!({ "metadata": { "namespace": "ns", "name": "p", "labels": labels } });
        let review = review(Operation::Create, "", "pods", pod);
        endpoint_for(&local, &Webhook::parse(&webhook), &review).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn selectors() {
        let selector = |field: &str, value: &str| json!({ field: { "matchLabels": { "inject": value } } });
        assert!(concerns(json!({}), json!({})).await);
        assert!(concerns(selector("namespaceSelector", "yes"), json!({})).await);
        assert!(!concerns(selector("namespaceSelector", "no"), json!({})).await);
        assert!(concerns(selector("objectSelector", "yes"), json!({ "inject": "yes" })).await);
        assert!(!concerns(selector("objectSelector", "yes"), json!({})).await);
        assert!(!concerns(json!({ "rules": [] }), json!({})).await);
    }
}
