//! ResourceQuota: what a namespace may use in all.
//!
//! A write that uses more is charged before it is stored: the quota's status is raised in one
//! read-check-write, so that concurrent writes can't pass together what only one may. If the write
//! fails later, the quota controller finds the charge to be too high and lowers it.

use std::sync::Arc;

use jiff::Timestamp;
use proto::labels::Selector;
use proto::quota::{self as usage, Facts};
use proto::resources::{Amounts, add, amounts, display, is_pod_level};
use proto::status::Status;
use serde_json::{Value, json};

use super::step::{Row, items, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

pub(super) const RESOURCE_QUOTA: Row = Row {
    name: "ResourceQuota",
    operations: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(charge),
};

fn charge<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !concerns(review) {
            return Ok(());
        }
        let quotas =
            local.list("", "resourcequotas", &review.namespace, &Selector::everything(), false).await?;
        let now = Timestamp::now().as_second();
        for quota in quotas {
            let Some(delta) = delta(&quota, review, now)? else { continue };
            let name = text(&quota["metadata"]["name"]);
            if review.dry_run {
                charged(&quota, &delta, review)?;
                continue;
            }
            let mut change = |current: &Value| charged(current, &delta, review);
            local.update("", "resourcequotas", "status", &review.namespace, name, &mut change).await?;
        }
        Ok(())
    })
}

/// Creation of anything in a namespace, and those updates that can use more.
fn concerns(review: &Review) -> bool {
    let resource = (review.group(), review.resource());
    if review.namespace.is_empty() || usage::is_ignored(resource.0, resource.1) {
        return false;
    }
    match (review.operation, review.subresource.as_str()) {
        (Operation::Create, "") => true,
        (Operation::Update, "resize") => resource == ("", "pods"),
        (Operation::Update, "status") if resource == ("", "persistentvolumeclaims") => {
            let storage = |claim: &Value| amounts(&claim["status"]["allocatedResources"]).remove("storage");
            storage(&review.object) != storage(&review.old)
                || facts(review, &review.object) != facts(review, &review.old)
        }
        (Operation::Update, "") => match resource {
            ("", "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims") => true,
            ("", "pods") => usage::is_terminating(&review.object) != usage::is_terminating(&review.old),
            _ => false,
        },
        _ => false,
    }
}

fn facts(review: &Review, object: &Value) -> Facts {
    Facts::of(review.group(), review.resource(), object)
}

/// What the write adds to the usage that the quota counts; `None` if nothing.
fn delta(quota: &Value, review: &Review, now: i64) -> Result<Option<Amounts>, Status> {
    let (group, resource) = (review.group(), review.resource());
    let hard = amounts(&quota["status"]["hard"]);
    let counted: Vec<String> =
        hard.keys().filter(|name| usage::counts(group, resource, name)).cloned().collect();
    let matches = |object: &Value| facts(review, object).match_all(quota);
    if counted.is_empty() || !matches(&review.object) {
        return Ok(None);
    }
    let name = text(&quota["metadata"]["name"]);
    if (group, resource) == ("", "pods") {
        check_pod_specifies(&counted, &review.object)
            .map_err(|why| review.forbidden(format!("failed quota: {name}: {why}")))?;
    }
    let used = amounts(&quota["status"]["used"]);
    if counted.iter().any(|resource| !used.contains_key(resource)) {
        let why = format!("status unknown for quota: {name}, resources: {}", counted.join(","));
        return Err(review.forbidden(why));
    }
    let mut delta = usage::of_object(group, resource, &review.object, now);
    if review.operation == Operation::Update && matches(&review.old) {
        for (name, old) in usage::of_object(group, resource, &review.old, now) {
            if let Some(amount) = delta.get_mut(&name) {
                amount.sub(&old);
            }
        }
    }
    delta.retain(|name, amount| counted.contains(name) && amount.sign() > 0);
    Ok((!delta.is_empty()).then_some(delta))
}

/// Where cpu or memory is counted, every container has to say what it needs.
fn check_pod_specifies(counted: &[String], pod: &Value) -> Result<(), String> {
    let at_pod_level = ["requests", "limits"]
        .iter()
        .any(|which| amounts(&pod["spec"]["resources"][*which]).keys().any(|name| is_pod_level(name)));
    if at_pod_level {
        return Ok(());
    }
    let required = counted.iter().filter(|name| {
        let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
        matches!(bare, "cpu" | "memory")
    });
    let mut required: Vec<&String> = required.collect();
    required.sort();
    let mut missing = Vec::new();
    for name in required {
        let containers = ["containers", "initContainers"].iter().flat_map(|list| items(&pod["spec"][*list]));
        let mut without: Vec<&str> = containers
            .filter(|container| {
                let own = |which: &str| amounts(&container["resources"][which]);
                !usage::compute(&own("requests"), &own("limits")).contains_key(name)
            })
            .map(|container| text(&container["name"]))
            .collect();
        without.sort_unstable();
        without.dedup();
        if !without.is_empty() {
            missing.push(format!("{name} for: {}", without.join(",")));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("must specify {}", missing.join("; "))) }
}

/// The quota with the usage added, or a refusal if that is too much.
fn charged(quota: &Value, delta: &Amounts, review: &Review) -> Result<Value, Status> {
    let hard = amounts(&quota["status"]["hard"]);
    let mut used = amounts(&quota["status"]["used"]);
    let before = used.clone();
    let delta: Amounts = delta.iter().filter(|(name, _)| hard.contains_key(*name)).map(pair).collect();
    add(&mut used, &delta);
    let exceeds = |name: &String| used.get(name).zip(hard.get(name)).is_some_and(|(used, hard)| used > hard);
    let exceeded: Vec<&String> = delta.keys().filter(|name| exceeds(name)).collect();
    // What a volume has got can't be refused any more; it is counted.
    if !exceeded.is_empty() && review.subresource != "status" {
        let only = |list: &Amounts| {
            let masked: Amounts = list.iter().filter(|(name, _)| exceeded.contains(name)).map(pair).collect();
            display(&masked)
        };
        return Err(review.forbidden(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            text(&quota["metadata"]["name"]),
            only(&delta),
            only(&before),
            only(&hard)
        )));
    }
    let mut updated = quota.clone();
    for name in delta.keys() {
        updated["status"]["used"][name] = json!(used[name].to_string());
    }
    Ok(updated)
}

fn pair<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;

    fn quota(hard: Value, used: Value) -> Value {
        json!({ "metadata": { "namespace": "ns", "name": "q" }, "spec": { "hard": hard }, "status": { "hard": hard, "used": used } })
    }

    async fn write(
        local: &Arc<dyn Local>,
        resource: &'static str,
        spec: Value,
        old: Option<Value>,
    ) -> Result<(), String> {
        let object = |spec: Value| json!({ "metadata": { "namespace": "ns", "name": "x" }, "spec": spec });
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let mut review = review(operation, "", resource, object(spec));
        review.old = Arc::new(old.map_or(Value::Null, object));
        admit(RESOURCE_QUOTA, local, &mut review).await.map_err(|status| status.message)
    }

    fn used(local: &Arc<dyn Local>, name: &str) -> String {
        let quota = local.cached("", "resourcequotas", "ns", "q").unwrap();
        text(&quota["status"]["used"][name]).to_owned()
    }

    #[tokio::test]
    async fn usage_is_charged_until_it_is_too_much() {
        let quota =
            quota(json!({ "pods": "2", "requests.cpu": "1" }), json!({ "pods": "0", "requests.cpu": "0" }));
        let local = Cluster::holding(&[("", "resourcequotas", quota)]);
        let pod = |cpu: &str| json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] });
        assert_eq!(write(&local, "pods", pod("400m"), None).await, Ok(()));
        assert_eq!((used(&local, "pods"), used(&local, "requests.cpu")), ("1".into(), "400m".into()));
        assert_eq!(
            write(&local, "pods", pod("700m"), None).await.unwrap_err(),
            "pods \"x\" is forbidden: exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: requests.cpu=1"
        );
        assert_eq!(
            write(&local, "pods", json!({ "containers": [{ "name": "c" }] }), None).await.unwrap_err(),
            "pods \"x\" is forbidden: failed quota: q: must specify requests.cpu for: c"
        );
        assert_eq!(used(&local, "requests.cpu"), "400m");
    }

    #[tokio::test]
    async fn updates_are_charged_by_their_difference() {
        let quota = quota(json!({ "requests.storage": "3Gi" }), json!({ "requests.storage": "1Gi" }));
        let local = Cluster::holding(&[("", "resourcequotas", quota)]);
        let claim = |size: &str| json!({ "resources": { "requests": { "storage": size } } });
        assert_eq!(write(&local, "persistentvolumeclaims", claim("2Gi"), Some(claim("1Gi"))).await, Ok(()));
        assert_eq!(used(&local, "requests.storage"), "2Gi");
        assert_eq!(write(&local, "persistentvolumeclaims", claim("1Gi"), Some(claim("2Gi"))).await, Ok(()));
        assert_eq!(used(&local, "requests.storage"), "2Gi");
        assert!(write(&local, "persistentvolumeclaims", claim("4Gi"), Some(claim("2Gi"))).await.is_err());
    }

    #[tokio::test]
    async fn a_quota_without_status_admits_nothing_it_counts() {
        let unknown = quota(json!({ "configmaps": "1" }), json!({}));
        let local = Cluster::holding(&[("", "resourcequotas", unknown)]);
        let error = write(&local, "configmaps", json!({}), None).await.unwrap_err();
        assert!(error.ends_with("status unknown for quota: q, resources: configmaps"), "{error}");
        assert_eq!(write(&local, "secrets", json!({}), None).await, Ok(()));
    }
}
