//! Binding a pod to a node: the one way its `spec.nodeName` gets set.

use futures::future::BoxFuture;
use proto::field::{Error, Errors, aggregate};
use proto::status::Status;
use proto::view::{View, at, set_at, text_at};
use serde_json::{Value, json};

use super::strategy::set_condition;
use crate::engine::meta;
use crate::registry::Ctx;
use crate::registry::checks;

/// Takes a Binding.
pub(super) fn create(ctx: &Ctx, binding: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        let name = text_at(&binding, &["metadata", "name"]).to_owned();
        if !ctx.name.is_empty() && ctx.name != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let errors = validate(&View::root(&binding));
        if !errors.is_empty() {
            return Err(Status::failure(500, "", aggregate(&errors)));
        }
        let now = meta::time(ctx.now);
        let mut change = |pod: &Value| {
            preconditions(&binding, pod)
                .and_then(|()| bound(pod, &binding, &now))
                .map_err(|why| Status::conflict("", "pods/binding", &name, why))
        };
        if ctx.dry_run {
            let pod = ctx.local.get("", "pods", &ctx.namespace, &name).await?;
            change(&pod)?;
        } else {
            ctx.local.update("", "pods", "binding", &ctx.namespace, &name, &mut change).await?;
        }
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    })
}

fn validate(binding: &View) -> Errors {
    let mut errors = Errors::new();
    let kind = binding.get("target").get("kind");
    if !matches!(kind.str(), "" | "Node") {
        errors.push(Error::not_supported(kind.path(), kind.str(), &["Node", "<empty>"]));
    }
    checks::required(&binding.get("target").get("name"), &mut errors);
    errors
}

fn preconditions(binding: &Value, pod: &Value) -> Result<(), String> {
    for (field, name) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let path = ["metadata", field];
        let (wanted, found) = (text_at(binding, &path), text_at(pod, &path));
        if !wanted.is_empty() && wanted != found {
            return Err(format!(
                "Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}"
            ));
        }
    }
    Ok(())
}

fn bound(pod: &Value, binding: &Value, now: &str) -> Result<Value, String> {
    let name = text_at(pod, &["metadata", "name"]);
    let node = text_at(pod, &["spec", "nodeName"]);
    if !at(pod, &["metadata", "deletionTimestamp"]).is_null() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node {}", proto::field::quote(node)));
    }
    if !at(pod, &["spec", "schedulingGates"]).is_null() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    set_at(&mut pod, &["spec", "nodeName"], at(binding, &["target", "name"]).clone());
    set_at(&mut pod, &["status", "nominatedNodeName"], Value::Null);
    for field in ["annotations", "labels"] {
        for (key, value) in at(binding, &["metadata", field]).as_object().into_iter().flatten() {
            set_at(&mut pod, &["metadata", field, key], value.clone());
        }
    }
    let mut status = at(&pod, &["status"]).clone();
    if status.is_null() {
        status = json!({});
    }
    set_condition(&mut status, json!({"type": "PodScheduled", "status": "True"}), now);
    set_at(&mut pod, &["status"], status);
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_once() {
        let binding = json!({"metadata": {"annotations": {"k": "v"}}, "target": {"name": "n1"}});
        let pod = bound(&json!({"metadata": {"name": "p"}, "spec": {}}), &binding, "now").expect("bound");
        assert_eq!(pod["spec"]["nodeName"], "n1");
        assert_eq!(pod["metadata"]["annotations"]["k"], "v");
        assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
        let again = bound(&pod, &binding, "now");
        assert_eq!(again.unwrap_err(), "pod p is already assigned to node \"n1\"");
    }
}
