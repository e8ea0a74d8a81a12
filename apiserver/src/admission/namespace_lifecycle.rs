//! NamespaceLifecycle: objects live in namespaces that exist and aren't going away.

use std::sync::Arc;

use proto::status::{Cause, Status};

use super::step::{Row, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

pub(super) const NAMESPACE_LIFECYCLE: Row = Row {
    name: "NamespaceLifecycle",
    operations: &[Operation::Create, Operation::Update, Operation::Delete],
    mutate: Some(check),
    validate: None,
};

/// Namespaces that may not be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

fn check<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let is_namespace = review.group().is_empty() && review.resource() == "namespaces";
        if is_namespace && review.operation == Operation::Delete && IMMORTAL.contains(&review.name.as_str()) {
            return Err(review.forbidden("this namespace may not be deleted"));
        }
        let is_access_review = review.group() == "authorization.k8s.io";
        let is_exempt = is_namespace || is_access_review || review.namespace.is_empty();
        if is_exempt || review.operation == Operation::Delete {
            return Ok(());
        }
        // The cache may not know yet that a namespace began to go: what is created in between is found by the
        // namespace's own deletion, which lists until nothing is left.
        let namespace = match local.cached("", "namespaces", "", &review.namespace) {
            Some(namespace) => namespace,
            None => local.get("", "namespaces", "", &review.namespace).await?,
        };
        let is_terminating = text(&namespace["status"]["phase"]) == "Terminating";
        if is_terminating && review.operation == Operation::Create {
            return Err(terminating(review));
        }
        Ok(())
    })
}

fn terminating(review: &Review) -> Status {
    let namespace = &review.namespace;
    let mut status = review.forbidden(format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    ));
    let mut details = status.details.take().unwrap_or_default();
    details.causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    status.details = Some(details);
    status
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use serde_json::{Value, json};

    async fn ask(operation: Operation, resource: &'static str, object: Value) -> Result<(), Status> {
        let namespace =
            |name: &str, phase: &str| json!({ "metadata": { "name": name }, "status": { "phase": phase } });
        let local = Cluster::holding(&[
            ("", "namespaces", namespace("here", "Active")),
            ("", "namespaces", namespace("going", "Terminating")),
        ]);
        admit(NAMESPACE_LIFECYCLE, &local, &mut review(operation, "", resource, object)).await
    }

    #[tokio::test]
    async fn namespaces_must_exist_and_stay() {
        let pod = |namespace: &str| json!({ "metadata": { "namespace": namespace, "name": "p" } });
        assert!(ask(Operation::Create, "pods", pod("here")).await.is_ok());
        let error = ask(Operation::Create, "pods", pod("nowhere")).await.unwrap_err();
        assert_eq!(error.message, r#"namespaces "nowhere" not found"#);
        let error = ask(Operation::Create, "pods", pod("going")).await.unwrap_err();
        assert_eq!(
            error.message,
            "pods \"p\" is forbidden: unable to create new content in namespace going because it is being terminated"
        );
        assert_eq!(error.details.unwrap().causes.len(), 1);
        assert!(ask(Operation::Update, "pods", pod("going")).await.is_ok());
        assert!(ask(Operation::Delete, "pods", pod("nowhere")).await.is_ok());
    }

    #[tokio::test]
    async fn system_namespaces_stay() {
        let namespace = |name: &str| json!({ "metadata": { "name": name } });
        let error = ask(Operation::Delete, "namespaces", namespace("kube-system")).await.unwrap_err();
        assert_eq!(
            error.message,
            r#"namespaces "kube-system" is forbidden: this namespace may not be deleted"#
        );
        assert!(ask(Operation::Delete, "namespaces", namespace("kube-node-lease")).await.is_ok());
    }
}
