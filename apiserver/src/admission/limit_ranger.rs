//! LimitRanger: default requests and limits of containers, and bounds on what pods and claims ask for.

use std::sync::Arc;

use proto::labels::Selector;
use proto::quantity::Quantity;
use proto::status::Status;
use serde_json::{Value, json};

use super::step::{Row, items, text};
use super::{Operation, Outcome, Review};
use crate::auth::text::aggregate;
use crate::registry::Local;
use proto::resources::{Amounts, amounts, of_pod};

pub(super) const LIMIT_RANGER: Row = Row {
    name: "LimitRanger",
    operations: &[Operation::Create, Operation::Update],
    mutate: Some(mutate),
    validate: Some(validate),
};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
const CONTAINER_LISTS: &[(&str, &str)] = &[("containers", "container"), ("initContainers", "init container")];
/// Above this, thousandths don't fit 64 bits.
const MAX_MILLI_VALUE: i64 = i64::MAX / 1000;

/// A pod's containers are fixed once it exists, but for a resize.
fn concerns(review: &Review) -> bool {
    let is_deleted = review.old["metadata"]["deletionTimestamp"].is_string();
    let is_update = review.operation == Operation::Update;
    let concerned = match (review.group(), review.resource(), review.subresource.as_str()) {
        ("", "pods", "") => !is_update,
        ("", "pods", "resize") => is_update,
        ("", "persistentvolumeclaims", "") => true,
        _ => false,
    };
    concerned && !is_deleted
}

async fn ranges(local: &Arc<dyn Local>, review: &Review) -> Result<Vec<Arc<Value>>, Status> {
    local.list("", "limitranges", &review.namespace, &Selector::everything(), false).await
}

fn mutate<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if concerns(review) && review.resource() == "pods" {
            for range in ranges(local, review).await? {
                set_defaults(&range, &mut review.object);
            }
        }
        Ok(())
    })
}

fn set_defaults(range: &Value, pod: &mut Value) {
    let mut notes = Vec::new();
    for (list, what) in CONTAINER_LISTS {
        for container in pod["spec"][*list].as_array_mut().into_iter().flatten() {
            for (kind, field, source) in
                [("request", "requests", "defaultRequest"), ("limit", "limits", "default")]
            {
                let set = set_container_defaults(range, container, field, source);
                if !set.is_empty() {
                    let name = text(&container["name"]);
                    notes.push(format!("{} {kind} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod["metadata"]["annotations"][ANNOTATION] = json!(note);
    }
}

/// Sets what the container leaves open; answers with the names, sorted.
fn set_container_defaults(range: &Value, container: &mut Value, field: &str, source: &str) -> Vec<String> {
    let mut set = Vec::new();
    for limit in items(&range["spec"]["limits"]).iter().filter(|limit| text(&limit["type"]) == "Container") {
        for (name, amount) in limit[source].as_object().into_iter().flatten() {
            if container["resources"][field].get(name).is_none() {
                container["resources"][field][name] = amount.clone();
                set.push(name.clone());
            }
        }
    }
    set.sort();
    set
}

fn validate<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !concerns(review) {
            return Ok(());
        }
        for range in ranges(local, review).await? {
            let mut errors = Vec::new();
            for limit in items(&range["spec"]["limits"]) {
                if review.resource() == "pods" {
                    check_pod(limit, &review.object, &mut errors);
                } else {
                    check_claim(limit, &review.object, &mut errors);
                }
            }
            if !errors.is_empty() {
                return Err(review.forbidden(aggregate(&errors)));
            }
        }
        Ok(())
    })
}

fn check_pod(limit: &Value, pod: &Value, errors: &mut Vec<String>) {
    match text(&limit["type"]) {
        "Container" => {
            for (list, _) in CONTAINER_LISTS {
                for container in items(&pod["spec"][*list]) {
                    let own = |field: &str| amounts(&container["resources"][field]);
                    check_bounds(limit, "Container", &own("requests"), &own("limits"), errors);
                }
            }
        }
        "Pod" => check_bounds(limit, "Pod", &of_pod(pod, "requests"), &of_pod(pod, "limits"), errors),
        _ => {}
    }
}

fn check_bounds(limit: &Value, what: &str, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    for (name, bound) in amounts(&limit["min"]) {
        errors.extend(check_min(what, &name, &bound, requests.get(&name), limits.get(&name)).err());
    }
    for (name, bound) in amounts(&limit["max"]) {
        errors.extend(check_max(what, &name, &bound, requests.get(&name), limits.get(&name)).err());
    }
    for (name, bound) in amounts(&limit["maxLimitRequestRatio"]) {
        errors.extend(check_ratio(what, &name, &bound, requests.get(&name), limits.get(&name)).err());
    }
}

fn check_claim(limit: &Value, claim: &Value, errors: &mut Vec<String>) {
    let what = "PersistentVolumeClaim";
    if text(&limit["type"]) != what {
        return;
    }
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    for (name, bound) in amounts(&limit["min"]) {
        errors.extend(check_min(what, &name, &bound, requests.get(&name), None).err());
    }
    for (name, bound) in amounts(&limit["max"]) {
        errors.extend(match requests.get(&name) {
            None => Some(format!("maximum {name} usage per {what} is {bound}.  No request is specified")),
            Some(request) if *request > bound => {
                Some(format!("maximum {name} usage per {what} is {bound}, but request is {request}"))
            }
            Some(_) => None,
        });
    }
}

fn check_min(
    what: &str,
    name: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Result<(), String> {
    let minimum = format!("minimum {name} usage per {what} is {bound}");
    let request = request.ok_or_else(|| format!("{minimum}.  No request is specified"))?;
    if request < bound {
        return Err(format!("{minimum}, but request is {request}"));
    }
    match limit.filter(|limit| *limit < bound) {
        Some(limit) => Err(format!("{minimum}, but limit is {limit}")),
        None => Ok(()),
    }
}

fn check_max(
    what: &str,
    name: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Result<(), String> {
    let maximum = format!("maximum {name} usage per {what} is {bound}");
    let limit = limit.ok_or_else(|| format!("{maximum}.  No limit is specified"))?;
    if limit > bound {
        return Err(format!("{maximum}, but limit is {limit}"));
    }
    match request.filter(|request| *request > bound) {
        Some(request) => Err(format!("{maximum}, but request is {request}")),
        None => Ok(()),
    }
}

fn check_ratio(
    what: &str,
    name: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Result<(), String> {
    let ratio = format!("{name} max limit to request ratio per {what} is {bound}");
    let nonzero = |amount: Option<&Quantity>| amount.filter(|amount| !amount.is_zero()).cloned();
    let request =
        nonzero(request).ok_or_else(|| format!("{ratio}, but no request is specified or request is 0"))?;
    let limit = nonzero(limit).ok_or_else(|| format!("{ratio}, but no limit is specified or limit is 0"))?;
    let exact = request.value() <= MAX_MILLI_VALUE && limit.value() <= MAX_MILLI_VALUE;
    let value = |amount: &Quantity| if exact { amount.milli_value() } else { amount.value() };
    let provided = value(&limit) as f64 / value(&request) as f64;
    let exceeds = if bound.value() <= MAX_MILLI_VALUE {
        provided * 1000.0 > bound.milli_value() as f64
    } else {
        provided > bound.value() as f64
    };
    if exceeds { Err(format!("{ratio}, but provided ratio is {provided:.6}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;

    async fn create(limit: Value, container: Value) -> Result<Value, String> {
        let range = json!({ "metadata": { "namespace": "ns", "name": "r" }, "spec": { "limits": [limit] } });
        let local = Cluster::holding(&[("", "limitranges", range)]);
        let pod =
            json!({ "metadata": { "namespace": "ns", "name": "p" }, "spec": { "containers": [container] } });
        let mut review = review(Operation::Create, "", "pods", pod);
        admit(LIMIT_RANGER, &local, &mut review).await.map_err(|status| status.message)?;
        Ok(review.object)
    }

    #[tokio::test]
    async fn defaults_are_set_and_noted() {
        let limit = json!({ "type": "Container", "default": { "cpu": "1", "memory": "1Gi" }, "defaultRequest": { "cpu": "100m" } });
        let pod =
            create(limit, json!({ "name": "c", "resources": { "limits": { "cpu": "2" } } })).await.unwrap();
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({ "limits": { "cpu": "2", "memory": "1Gi" }, "requests": { "cpu": "100m" } })
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; memory limit for container c"
        );
    }

    #[tokio::test]
    async fn bounds_are_kept() {
        let container = |request: &str, limit: &str| json!({ "name": "c", "resources": { "requests": { "cpu": request }, "limits": { "cpu": limit } } });
        for (limit, container, text) in [
            (
                json!({ "type": "Container", "min": { "cpu": "200m" } }),
                container("100m", "1"),
                "minimum cpu usage per Container is 200m, but request is 100m",
            ),
            (
                json!({ "type": "Pod", "max": { "cpu": "500m" } }),
                container("100m", "1"),
                "maximum cpu usage per Pod is 500m, but limit is 1",
            ),
            (
                json!({ "type": "Container", "max": { "memory": "1Gi" } }),
                container("1", "1"),
                "maximum memory usage per Container is 1Gi.  No limit is specified",
            ),
            (
                json!({ "type": "Container", "maxLimitRequestRatio": { "cpu": "2" } }),
                container("100m", "1"),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000",
            ),
        ] {
            let error = create(limit, container).await.unwrap_err();
            assert_eq!(error, format!("pods \"p\" is forbidden: {text}"));
        }
        let limit = json!({ "type": "Container", "min": { "cpu": "100m" }, "max": { "cpu": "1" } });
        assert!(create(limit, container("100m", "1")).await.is_ok());
    }
}
