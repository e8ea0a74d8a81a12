//! Priority: a pod's priority is the one of its class.

use std::sync::Arc;

use proto::labels::Selector;
use proto::status::Status;
use serde_json::{Value, json};

use super::step::{Row, find, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

pub(super) const PRIORITY: Row = Row {
    name: "Priority",
    operations: &[Operation::Create, Operation::Update],
    mutate: Some(resolve),
    validate: Some(check_class),
};

const GROUP: &str = "scheduling.k8s.io";

fn resolve<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !review.is("", "pods") {
            return Ok(());
        }
        if review.operation == Operation::Update {
            keep_resolved(&mut review.object, &review.old);
            return Ok(());
        }
        let class_name = text(&review.object["spec"]["priorityClassName"]).to_owned();
        let class = if class_name.is_empty() {
            default_class(local).await?
        } else {
            Some(class_named(local, review, &class_name).await?)
        };
        apply(&mut review.object, class.as_deref()).map_err(|why| review.forbidden(why))
    })
}

/// Clients that don't know the resolved fields may leave them out of an update.
fn keep_resolved(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}

async fn class_named(local: &Arc<dyn Local>, review: &Review, name: &str) -> Result<Arc<Value>, Status> {
    // The system's own classes exist before anyone can look them up.
    if let Some((_, value, _)) =
        crate::bootstrap::SYSTEM_PRIORITY_CLASSES.iter().find(|(system, ..)| *system == name)
    {
        let class = json!({ "metadata": { "name": name }, "value": value, "preemptionPolicy": "PreemptLowerPriority" });
        return Ok(Arc::new(class));
    }
    find(local, GROUP, "priorityclasses", "", name).await.map_err(|error| {
        if error.is_not_found() {
            review.forbidden(format!("no PriorityClass with name {name} was found"))
        } else {
            error
        }
    })
}

/// The class marked as global default; of several, the one of least value.
async fn default_class(local: &Arc<dyn Local>) -> Result<Option<Arc<Value>>, Status> {
    let classes = local.list(GROUP, "priorityclasses", "", &Selector::everything(), false).await?;
    let defaults = classes.into_iter().filter(|class| class["globalDefault"] == true);
    Ok(defaults.min_by_key(|class| class["value"].as_i64().unwrap_or_default()))
}

fn apply(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let (name, value, policy) = match class {
        None => ("", 0, "PreemptLowerPriority"),
        Some(class) => (
            text(&class["metadata"]["name"]),
            class["value"].as_i64().unwrap_or_default(),
            text(&class["preemptionPolicy"]),
        ),
    };
    let spec = &mut pod["spec"];
    if !name.is_empty() {
        spec["priorityClassName"] = json!(name);
    }
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        ));
    }
    spec["priority"] = json!(value);
    if policy.is_empty() {
        return Ok(());
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        ));
    }
    spec["preemptionPolicy"] = json!(policy);
    Ok(())
}

fn check_class<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !review.is(GROUP, "priorityclasses") || review.object["globalDefault"] != true {
            return Ok(());
        }
        let Some(current) = default_class(local).await? else { return Ok(()) };
        let name = text(&current["metadata"]["name"]);
        if review.operation == Operation::Create || name != text(&review.object["metadata"]["name"]) {
            return Err(review.forbidden(format!(
                "PriorityClass {name} is already marked as default. Only one default can exist"
            )));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;

    async fn create(classes: &[Value], spec: Value) -> Result<Value, String> {
        let classes: Vec<_> = classes.iter().map(|class| (GROUP, "priorityclasses", class.clone())).collect();
        let pod = json!({ "metadata": { "namespace": "ns", "name": "p" }, "spec": spec });
        let mut review = review(Operation::Create, "", "pods", pod);
        admit(PRIORITY, &Cluster::holding(&classes), &mut review).await.map_err(|status| status.message)?;
        Ok(review.object["spec"].take())
    }

    fn class(name: &str, value: i64, default: bool) -> Value {
        json!({ "metadata": { "name": name }, "value": value, "globalDefault": default, "preemptionPolicy": "Never" })
    }

    #[tokio::test]
    async fn the_class_decides() {
        let none = create(&[], json!({})).await.unwrap();
        assert_eq!(none, json!({ "priority": 0, "preemptionPolicy": "PreemptLowerPriority" }));
        let classes = [class("a", 5, true), class("b", 9, false)];
        let default = create(&classes, json!({})).await.unwrap();
        assert_eq!(default, json!({ "priorityClassName": "a", "priority": 5, "preemptionPolicy": "Never" }));
        let named = create(&classes, json!({ "priorityClassName": "b" })).await.unwrap();
        assert_eq!(named["priority"], 9);
        let system = create(&[], json!({ "priorityClassName": "system-node-critical" })).await.unwrap();
        assert_eq!(system["priority"], 2_000_001_000);
        for (spec, text) in [
            (json!({ "priorityClassName": "gone" }), "no PriorityClass with name gone was found"),
            (json!({ "priority": 7 }), "the integer value of priority (7) must not be provided in pod spec"),
            (json!({ "preemptionPolicy": "PreemptLowerPriority" }), "the string value of PreemptionPolicy"),
        ] {
            let error = create(&classes, spec).await.unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn there_is_one_default_class() {
        let local = Cluster::holding(&[(GROUP, "priorityclasses", class("a", 5, true))]);
        let mut second = review(Operation::Create, GROUP, "priorityclasses", class("b", 6, true));
        assert!(admit(PRIORITY, &local, &mut second).await.is_err());
        let mut same = review(Operation::Update, GROUP, "priorityclasses", class("a", 5, true));
        assert!(admit(PRIORITY, &local, &mut same).await.is_ok());
    }
}
