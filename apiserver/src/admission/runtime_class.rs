//! RuntimeClass: what a class says about overhead and scheduling becomes part of its pods.

use std::sync::Arc;

use proto::quantity::Quantity;
use proto::status::Status;
use serde_json::{Map, Value};

use super::step::{Row, find, items, text};
use super::{Operation, Outcome, Review};
use crate::auth::text::quoted;
use crate::registry::Local;

pub(super) const RUNTIME_CLASS: Row = Row {
    name: "RuntimeClass",
    operations: &[Operation::Create],
    mutate: Some(apply),
    validate: Some(check),
};

async fn class_of(local: &Arc<dyn Local>, review: &Review) -> Result<Option<Arc<Value>>, Status> {
    let Some(name) = review.object["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    match find(local, "node.k8s.io", "runtimeclasses", "", name).await {
        Ok(class) => Ok(Some(class)),
        Err(error) if error.is_not_found() => {
            Err(review.forbidden(format!("pod rejected: RuntimeClass {} not found", quoted(name))))
        }
        Err(error) => Err(error),
    }
}

fn apply<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !review.is("", "pods") {
            return Ok(());
        }
        let Some(class) = class_of(local, review).await? else { return Ok(()) };
        set_overhead(&class, &mut review.object)
            .and_then(|()| set_scheduling(&class, &mut review.object))
            .map_err(|why| review.forbidden(why))
    })
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn set_overhead(class: &Value, pod: &mut Value) -> Result<(), String> {
    let overhead = &class["overhead"];
    if !overhead.is_object() {
        return Ok(());
    }
    let given = &pod["spec"]["overhead"];
    let is_given = given.as_object().is_some_and(|given| !given.is_empty());
    if is_given && !same_quantities(given, &overhead["podFixed"]) {
        return Err(MISMATCH.to_owned());
    }
    pod["spec"]["overhead"] = overhead["podFixed"].clone();
    Ok(())
}

fn same_quantities(a: &Value, b: &Value) -> bool {
    let empty = Map::new();
    let (a, b) = (a.as_object().unwrap_or(&empty), b.as_object().unwrap_or(&empty));
    let quantity = |value: &Value| Quantity::from_json(value).ok();
    a.len() == b.len()
        && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| quantity(value) == quantity(other)))
}

fn set_scheduling(class: &Value, pod: &mut Value) -> Result<(), String> {
    let scheduling = &class["scheduling"];
    if !scheduling.is_object() {
        return Ok(());
    }
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let given = &pod["spec"]["nodeSelector"][key];
        if given.is_string() && given != value {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(given)
            ));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    let merged = merge_tolerations(items(&pod["spec"]["tolerations"]), items(&scheduling["tolerations"]));
    if !merged.is_empty() {
        pod["spec"]["tolerations"] = Value::Array(merged);
    }
    Ok(())
}

/// Both lists without those that another one includes; of equal ones the first.
fn merge_tolerations(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<&Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let is_redundant = merged.iter().any(|kept| includes(kept, toleration))
            || all[index + 1..].iter().any(|later| later != toleration && includes(later, toleration));
        if !is_redundant {
            merged.push(toleration);
        }
    }
    merged.into_iter().cloned().collect()
}

/// Whether whatever `b` tolerates, `a` tolerates too.
fn includes(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    let (key_a, operator_a) = (text(&a["key"]), text(&a["operator"]));
    let (effect_a, effect_b) = (text(&a["effect"]), text(&b["effect"]));
    let key_matches = key_a == text(&b["key"]) || (key_a.is_empty() && operator_a == "Exists");
    let effect_matches = effect_a.is_empty() || effect_a == effect_b;
    let seconds_match = if effect_a == "NoExecute" || effect_a.is_empty() {
        match (a["tolerationSeconds"].as_i64(), b["tolerationSeconds"].as_i64()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(a), Some(b)) => a >= b,
        }
    } else {
        true
    };
    let value_matches = match operator_a {
        "Exists" => true,
        "Equal" | "" => {
            matches!(text(&b["operator"]), "Equal" | "") && text(&a["value"]) == text(&b["value"])
        }
        _ => false,
    };
    key_matches && effect_matches && seconds_match && value_matches
}

fn check<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !review.is("", "pods") {
            return Ok(());
        }
        let class = class_of(local, review).await?;
        let overhead = class.as_ref().map_or(&Value::Null, |class| &class["overhead"]);
        let given = &review.object["spec"]["overhead"];
        if overhead.is_object() && !same_quantities(&overhead["podFixed"], given) {
            return Err(review.forbidden(MISMATCH));
        }
        if !overhead.is_object() && given.is_object() {
            return Err(review.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use serde_json::json;

    async fn create(spec: Value) -> Result<Value, String> {
        let class = json!({ "metadata": { "name": "kata" }, "overhead": { "podFixed": { "cpu": "250m" } },
            "scheduling": { "nodeSelector": { "kata": "yes" }, "tolerations": [{ "key": "kata", "operator": "Exists" }] } });
        let local = Cluster::holding(&[("node.k8s.io", "runtimeclasses", class)]);
        let pod = json!({ "metadata": { "namespace": "ns", "name": "p" }, "spec": spec });
        let mut review = review(Operation::Create, "", "pods", pod);
        admit(RUNTIME_CLASS, &local, &mut review).await.map_err(|status| status.message)?;
        Ok(review.object["spec"].take())
    }

    #[tokio::test]
    async fn the_class_completes_the_pod() {
        let spec = create(json!({ "runtimeClassName": "kata",
            "tolerations": [{ "key": "kata", "operator": "Exists", "effect": "NoSchedule" }] }))
        .await
        .unwrap();
        assert_eq!(spec["overhead"], json!({ "cpu": "250m" }));
        assert_eq!(spec["nodeSelector"], json!({ "kata": "yes" }));
        assert_eq!(spec["tolerations"], json!([{ "key": "kata", "operator": "Exists" }]));
    }

    #[tokio::test]
    async fn refusals() {
        for (spec, text) in [
            (json!({ "runtimeClassName": "gone" }), r#"pod rejected: RuntimeClass "gone" not found"#),
            (
                json!({ "runtimeClassName": "kata", "overhead": { "cpu": "1" } }),
                "doesn't match RuntimeClass's",
            ),
            (json!({ "overhead": { "cpu": "1" } }), "without corresponding RuntimeClass"),
            (
                json!({ "runtimeClassName": "kata", "nodeSelector": { "kata": "no" } }),
                "conflict: runtimeClass.scheduling",
            ),
        ] {
            let error = create(spec).await.unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        assert!(create(json!({ "runtimeClassName": "kata", "overhead": { "cpu": "0.25" } })).await.is_ok());
    }
}
