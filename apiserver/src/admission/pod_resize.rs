//! PodResizeValidator: a running pod grows only as far as its node could hold it.

use std::sync::Arc;

use proto::quantity::Quantity;
use proto::status::{Cause, Status};
use serde_json::Value;

use super::step::{Row, find, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;
use proto::resources::{amounts, of_pod};

pub(super) const POD_RESIZE_VALIDATOR: Row =
    Row { name: "PodResizeValidator", operations: &[Operation::Update], mutate: None, validate: Some(check) };

fn check<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let is_resize =
            review.group().is_empty() && review.resource() == "pods" && review.subresource == "resize";
        let name = text(&review.object["spec"]["nodeName"]);
        let unchanged = review.object["spec"] == review.old["spec"];
        if !is_resize || name.is_empty() || unchanged {
            return Ok(());
        }
        let node = find(local, "", "nodes", "", name).await.map_err(|error| {
            let why = match error.is_not_found() {
                true => format!("node \"{name}\" not found"),
                false => format!("failed to get node \"{name}\": {}", error.message),
            };
            review.forbidden(why)
        })?;
        let system = node["metadata"]["labels"]["kubernetes.io/os"].as_str().unwrap_or("linux");
        if system != "linux" {
            let why = format!("pod resize is only supported on linux nodes, node \"{name}\" is \"{system}\"");
            return Err(refusal(review, &why, "UnsupportedPlatform"));
        }
        fits(&review.object, &node).map_err(|why| refusal(review, &why, "NodeCapacity"))
    })
}

fn refusal(review: &Review, why: &str, reason: &'static str) -> Status {
    let mut status = review.forbidden(why);
    let mut details = status.details.take().unwrap_or_default();
    details.causes.push(Cause { reason: reason.into(), message: String::new(), field: String::new() });
    status.details = Some(details);
    status
}

fn fits(pod: &Value, node: &Value) -> Result<(), String> {
    let requests = of_pod(pod, "requests");
    let allocatable = amounts(&node["status"]["allocatable"]);
    let mut exceeded = Vec::new();
    for (resource, shown) in
        [("cpu", Quantity::milli_value as fn(&Quantity) -> i64), ("memory", Quantity::value)]
    {
        let requested = requests.get(resource).cloned().unwrap_or_default();
        let available = allocatable.get(resource).cloned().unwrap_or_default();
        if requested > available {
            let (requested, available) = (shown(&requested), shown(&available));
            exceeded.push(format!("{resource}, requested: {requested}, allocatable: {available}"));
        }
    }
    if exceeded.is_empty() {
        return Ok(());
    }
    Err(format!("node didn't have enough allocatable resources: {}", exceeded.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use serde_json::json;

    async fn resize(cpu: &str, labels: Value) -> Result<(), String> {
        let node = json!({ "metadata": { "name": "n", "labels": labels },
            "status": { "allocatable": { "cpu": "2", "memory": "1Gi" } } });
        let local = Cluster::holding(&[("", "nodes", node)]);
        let pod = |cpu: &str| {
            json!({ "metadata": { "namespace": "ns", "name": "p" }, "spec": { "nodeName": "n",
            "containers": [{ "resources": { "requests": { "cpu": cpu } } }] } })
        };
        let mut review = review(Operation::Update, "", "pods/resize", pod(cpu));
        review.old = Arc::new(pod("1"));
        admit(POD_RESIZE_VALIDATOR, &local, &mut review).await.map_err(|status| status.message)
    }

    #[tokio::test]
    async fn pods_grow_within_their_node() {
        assert_eq!(resize("2", json!({})).await, Ok(()));
        assert_eq!(
            resize("3", json!({})).await.unwrap_err(),
            "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000"
        );
        let error = resize("2", json!({ "kubernetes.io/os": "windows" })).await.unwrap_err();
        assert!(error.contains("only supported on linux nodes"), "{error}");
    }
}
