//! PodSecurity: what pods may do in a namespace, by the level its labels ask for.
//!
//! `enforce` refuses pods; `warn` and `audit` also look at what makes pods, so that a Deployment
//! whose pods would be refused says so when it is written.

mod checks;
mod levels;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::labels::Selector;
use proto::status::Status;
use serde_json::Value;

use self::checks::{Violation, evaluate};
use self::levels::{Level, LevelVersion, Policy, policy_of};
use super::step::{Row, find, items, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

pub(super) const POD_SECURITY: Row = Row {
    name: "PodSecurity",
    operations: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(check),
};

/// Existing pods that are looked at when a namespace becomes stricter, at most.
const MAX_PODS: usize = 3000;
const IGNORED_SUBRESOURCES: &[&str] =
    &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

fn check<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        match (review.group(), review.resource()) {
            ("", "namespaces") if review.subresource.is_empty() => check_namespace(local, review).await,
            ("", "pods") if !IGNORED_SUBRESOURCES.contains(&review.subresource.as_str()) => {
                check_pod(local, review).await
            }
            (group, resource) if review.subresource.is_empty() => match template_path(group, resource) {
                Some(path) => warn_about_template(local, review, path).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    })
}

/// Where the kinds that make pods keep the pod they make.
fn template_path(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "podtemplates") => Some("/template"),
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

async fn check_pod(local: &Arc<dyn Local>, review: &mut Review) -> Result<(), Status> {
    if review.operation == Operation::Update && !is_significant(&review.object, &review.old) {
        return Ok(());
    }
    let (policy, _) = policy_for(local, review).await?;
    let (metadata, spec) = (&review.object["metadata"], &review.object["spec"]);
    let violations = evaluate(policy.enforce, metadata, spec);
    let refusal = (!violations.is_empty()).then(|| {
        let details = Violation::details(&violations);
        review.forbidden(format!("violates PodSecurity \"{}\": {details}", policy.enforce))
    });
    let (warning, audit) = others(&policy, metadata, spec);
    review
        .annotations
        .push(("pod-security.kubernetes.io/enforce-policy".to_owned(), policy.enforce.to_string()));
    note_audit(review, audit);
    match refusal {
        Some(refusal) => Err(refusal),
        None => {
            review.warnings.extend(warning);
            Ok(())
        }
    }
}

/// Only what containers run can change in a way that matters.
fn is_significant(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value, list: &str| -> Vec<(String, String)> {
        let containers = items(&pod["spec"][list]).iter();
        containers.map(|c| (text(&c["name"]).to_owned(), text(&c["image"]).to_owned())).collect()
    };
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .any(|list| images(new, list) != images(old, list))
}

async fn warn_about_template(local: &Arc<dyn Local>, review: &mut Review, path: &str) -> Result<(), Status> {
    let Some(template) = review.object.pointer(path).filter(|template| template.is_object()) else {
        return Ok(());
    };
    let (policy, _) = policy_for(local, review).await?;
    let (warning, audit) = others(&policy, &template["metadata"], &template["spec"]);
    note_audit(review, audit);
    review.warnings.extend(warning);
    Ok(())
}

async fn policy_for(
    local: &Arc<dyn Local>,
    review: &Review,
) -> Result<(Policy, proto::field::Errors), Status> {
    let name = &review.namespace;
    let namespace = find(local, "", "namespaces", "", name).await;
    let namespace =
        namespace.map_err(|_| Status::internal(format!("failed to lookup namespace \"{name}\"")))?;
    Ok(policy_of(&namespace))
}

/// What the modes warn and audit say.
fn others(policy: &Policy, metadata: &Value, spec: &Value) -> (Option<String>, Option<String>) {
    let say = |wanted: LevelVersion| {
        let violations = evaluate(wanted, metadata, spec);
        let say = || format!("would violate PodSecurity \"{wanted}\": {}", Violation::details(&violations));
        (!violations.is_empty()).then(say)
    };
    (say(policy.warn), say(policy.audit))
}

fn note_audit(review: &mut Review, audit: Option<String>) {
    let key = "pod-security.kubernetes.io/audit-violations";
    review.annotations.extend(audit.map(|text| (key.to_owned(), text)));
}

async fn check_namespace(local: &Arc<dyn Local>, review: &mut Review) -> Result<(), Status> {
    let (new, errors) = policy_of(&review.object);
    let (old, old_errors) = policy_of(&review.old);
    let is_create = review.operation == Operation::Create;
    if !errors.is_empty() && (is_create || errors != old_errors) {
        let name = text(&review.object["metadata"]["name"]);
        return Err(Status::invalid("", "Namespace", name, &errors));
    }
    let is_stricter = new.enforce != old.enforce
        && new.enforce.level != Level::Privileged
        && (new.enforce.version != old.enforce.version || new.enforce.level > old.enforce.level);
    if !is_create && is_stricter {
        let name = text(&review.object["metadata"]["name"]).to_owned();
        let pods = local.list("", "pods", &name, &Selector::everything(), false).await;
        review.warnings.extend(match pods {
            Ok(pods) => warn_about_pods(&name, new.enforce, &pods),
            Err(_) => vec!["failed to list pods while checking new PodSecurity enforce level".to_owned()],
        });
    }
    Ok(())
}

/// Existing pods stay, but whoever makes the namespace stricter should know.
fn warn_about_pods(namespace: &str, enforce: LevelVersion, pods: &[Arc<Value>]) -> Vec<String> {
    let mut by_reasons: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for pod in one_per_controller_first(pods).into_iter().take(MAX_PODS) {
        let violations = evaluate(enforce, &pod["metadata"], &pod["spec"]);
        if !violations.is_empty() {
            let names = by_reasons.entry(Violation::reasons(&violations)).or_default();
            names.insert(text(&pod["metadata"]["name"]));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > MAX_PODS {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {} existing pods",
            pods.len()
        ));
    }
    if !by_reasons.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut details: Vec<String> = by_reasons
        .iter()
        .map(|(reasons, names)| {
            let first = names.first().copied().unwrap_or_default();
            match names.len() {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                count => format!("{first} (and {} other pods): {reasons}", count - 1),
            }
        })
        .collect();
    details.sort();
    warnings.extend(details);
    warnings
}

/// Pods of the same controller are alike: the first of each comes before the others.
fn one_per_controller_first(pods: &[Arc<Value>]) -> Vec<&Value> {
    let mut seen = BTreeSet::new();
    let (first, rest): (Vec<&Value>, Vec<&Value>) = pods.iter().map(|pod| &**pod).partition(|pod| {
        let owners = items(&pod["metadata"]["ownerReferences"]).iter();
        let controller = owners.into_iter().find(|owner| owner["controller"] == true);
        controller.is_none_or(|controller| seen.insert(text(&controller["uid"]).to_owned()))
    });
    first.into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use serde_json::json;

    fn namespace(labels: Value) -> Value {
        json!({ "metadata": { "name": "ns", "labels": labels } })
    }

    async fn write(
        labels: Value,
        group: &'static str,
        resource: &'static str,
        object: Value,
    ) -> (Result<(), String>, Vec<String>) {
        let local = Cluster::holding(&[("", "namespaces", namespace(labels))]);
        let mut review = review(Operation::Create, group, resource, object);
        let result = admit(POD_SECURITY, &local, &mut review).await.map_err(|status| status.message);
        (result, review.warnings)
    }

    fn pod(spec: Value) -> Value {
        json!({ "metadata": { "namespace": "ns", "name": "p" }, "spec": spec })
    }

    #[tokio::test]
    async fn pods_are_refused_or_warned_about() {
        let host = json!({ "hostNetwork": true, "containers": [] });
        let enforce = json!({ "pod-security.kubernetes.io/enforce": "baseline" });
        let warn = json!({ "pod-security.kubernetes.io/warn": "baseline" });
        let (result, warnings) = write(enforce.clone(), "", "pods", pod(host.clone())).await;
        assert_eq!(
            result.unwrap_err(),
            "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
        );
        assert!(warnings.is_empty());
        let (result, warnings) = write(warn, "", "pods", pod(host.clone())).await;
        assert_eq!(result, Ok(()));
        assert_eq!(
            warnings,
            ["would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"]
        );
        let deployment = json!({ "metadata": { "namespace": "ns", "name": "d" }, "spec": { "template": { "spec": host } } });
        let (result, warnings) = write(enforce, "apps", "deployments", deployment.clone()).await;
        assert_eq!((result, warnings.len()), (Ok(()), 1));
        let (result, warnings) = write(json!({}), "apps", "deployments", deployment).await;
        assert_eq!((result, warnings.len()), (Ok(()), 0));
    }

    #[tokio::test]
    async fn namespaces() {
        let bad = namespace(json!({ "pod-security.kubernetes.io/enforce": "strict" }));
        let (result, _) = write(json!({}), "", "namespaces", bad).await;
        assert_eq!(
            result.unwrap_err(),
            "Namespace \"ns\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
        );
        let host = |name: &str| json!({ "metadata": { "namespace": "ns", "name": name }, "spec": { "hostNetwork": true } });
        let local = Cluster::holding(&[("", "pods", host("b")), ("", "pods", host("a"))]);
        let stricter = namespace(json!({ "pod-security.kubernetes.io/enforce": "baseline" }));
        let mut review = review(Operation::Update, "", "namespaces", stricter);
        review.old = Arc::new(namespace(json!({})));
        admit(POD_SECURITY, &local, &mut review).await.unwrap();
        assert_eq!(
            review.warnings,
            [
                "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 1 other pod): host namespaces",
            ]
        );
    }
}
