//! Evicting a pod: deletion that asks the pod's disruption budget first.

use std::sync::Arc;

use futures::future::BoxFuture;
use proto::labels::Selector;
use proto::status::{Cause, Status};
use proto::view::{View, at, int_at, object_at, set_at, text_at};
use serde_json::{Value, json};

use super::strategy::set_condition;
use crate::engine::meta;
use crate::registry::Ctx;

/// How often a write that met another one is tried again.
const TRIES: usize = 20;
/// Above this the disruption controller is taken to have stopped confirming evictions.
const MAX_DISRUPTED_PODS: usize = 2000;
const VIOLATION: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Takes an Eviction.
pub(super) fn create(ctx: &Ctx, eviction: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        if ctx.name != text_at(&eviction, &["metadata", "name"]) {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let options = delete_options(ctx, &eviction)?;
        let fixed_version = !at(&options, &["preconditions", "resourceVersion"]).is_null();
        let mut pod;
        let mut tries = 0;
        loop {
            pod = ctx.local.get("", "pods", &ctx.namespace, &ctx.name).await?;
            if !ignores_budget(&pod) {
                break;
            }
            // A pending pod may start meanwhile; then the budget does matter.
            let at_version = must_not_change(&pod) && !fixed_version;
            let options = if at_version { at_pod_version(&options, &pod) } else { options.clone() };
            match delete(ctx, options).await {
                Err(error) if error.is_conflict() && !fixed_version && tries < TRIES => tries += 1,
                done => return done.map(|()| success()),
            }
        }
        let options = match budget(ctx, &pod).await? {
            None => options,
            Some(budget) if unhealthy_may_go(&pod, &budget) => {
                let name = text_at(&budget, &["metadata", "name"]).to_owned();
                return match delete(ctx, at_pod_version(&options, &pod)).await {
                    Err(error) if error.is_conflict() && !fixed_version => Err(still_processed(&name)),
                    done => done.map(|()| success()),
                };
            }
            Some(budget) => {
                decrement(ctx, &budget).await?;
                options
            }
        };
        delete(ctx, options).await.map(|()| success())
    })
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

fn delete_options(ctx: &Ctx, eviction: &Value) -> Result<Value, Status> {
    let mut options = at(eviction, &["deleteOptions"]).clone();
    if options.is_null() {
        options = json!({});
    }
    let inner = at(&options, &["dryRun"]).clone();
    let outer = at(&ctx.options, &["dryRun"]).clone();
    if inner.is_null() {
        set_at(&mut options, &["dryRun"], outer);
    } else if !outer.is_null() && outer != inner {
        let message = format!("Non-matching dry-run options in request and content: {outer} and {inner}");
        return Err(Status::failure(500, "", message));
    }
    Ok(options)
}

fn at_pod_version(options: &Value, pod: &Value) -> Value {
    let mut options = options.clone();
    let version = at(pod, &["metadata", "resourceVersion"]).clone();
    set_at(&mut options, &["preconditions", "resourceVersion"], version);
    options
}

fn is_ending(pod: &Value) -> bool {
    let phase = text_at(pod, &["status", "phase"]);
    matches!(phase, "Succeeded" | "Failed") || !at(pod, &["metadata", "deletionTimestamp"]).is_null()
}

fn ignores_budget(pod: &Value) -> bool {
    is_ending(pod) || text_at(pod, &["status", "phase"]) == "Pending"
}

fn must_not_change(pod: &Value) -> bool {
    !is_ending(pod)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = View::root(pod).get("status").get("conditions").items();
    conditions.iter().any(|condition| condition.text("type") == "Ready" && condition.text("status") == "True")
}

/// The one budget whose selector has the pod.
async fn budget(ctx: &Ctx, pod: &Value) -> Result<Option<Arc<Value>>, Status> {
    let all = Selector::everything();
    let budgets = ctx.local.list("policy", "poddisruptionbudgets", &ctx.namespace, &all, true).await?;
    let labels = at(pod, &["metadata", "labels"]);
    let mut matching = budgets.into_iter().filter(|budget| {
        let selector = at(budget, &["spec", "selector"]);
        Selector::from_label_selector(selector).is_ok_and(|selector| selector.matches(labels))
    });
    match (matching.next(), matching.next()) {
        (_, Some(_)) => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            Err(Status::failure(500, "", message))
        }
        (one, None) => Ok(one),
    }
}

/// A pod that is not ready counts for nothing, if its budget is met without it or says so.
fn unhealthy_may_go(pod: &Value, budget: &Value) -> bool {
    let healthy = int_at(budget, &["status", "currentHealthy"]);
    let desired = int_at(budget, &["status", "desiredHealthy"]);
    let always = text_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    !is_ready(pod) && (always || (healthy >= desired && desired > 0))
}

fn still_processed(budget: &str) -> Status {
    let message = format!("The disruption budget {budget} is still being processed by the server.");
    too_many_requests(10, message)
}

fn too_many_requests(retry_after: i32, cause: String) -> Status {
    let mut status = Status::too_many_requests(VIOLATION, retry_after);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "DisruptionBudget".into(),
            message: cause,
            field: String::new(),
        });
    }
    status
}

async fn decrement(ctx: &Ctx, budget: &Value) -> Result<(), Status> {
    let now = meta::time(ctx.now);
    let mut change = |budget: &Value| spent(budget, &ctx.name, &now);
    if ctx.dry_run {
        return change(budget).map(|_| ());
    }
    let name = text_at(budget, &["metadata", "name"]);
    let group = "policy";
    ctx.local
        .update(group, "poddisruptionbudgets", "status", &ctx.namespace, name, &mut change)
        .await
        .map(|_| ())
}

/// The budget with one disruption less to allow, or why it allows none.
fn spent(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let name = text_at(budget, &["metadata", "name"]);
    let allowed = int_at(budget, &["status", "disruptionsAllowed"]);
    let forbidden = |why: &str| Status::forbidden("policy", "poddisruptionbudget", name, why);
    if int_at(budget, &["status", "observedGeneration"]) < int_at(budget, &["metadata", "generation"]) {
        return Err(still_processed(name));
    }
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let disrupted = View::root(budget).get("status").get("disruptedPods").len();
    if disrupted > MAX_DISRUPTED_PODS {
        return Err(forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        return Err(too_many_requests(0, exhausted(budget, name)));
    }
    let mut budget = budget.clone();
    set_at(&mut budget, &["status", "disruptionsAllowed"], Value::from(allowed - 1));
    set_at(&mut budget, &["status", "disruptedPods", pod], Value::from(now));
    if allowed == 1 {
        let generation = at(&budget, &["status", "observedGeneration"]).clone();
        let mut condition = json!({
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "InsufficientPods",
        });
        set_at(&mut condition, &["observedGeneration"], generation);
        if object_at(&mut budget, &["status"]).is_some()
            && let Some(status) = budget.get_mut("status")
        {
            set_condition(status, condition, now);
        }
    }
    Ok(budget)
}

fn exhausted(budget: &Value, name: &str) -> String {
    let conditions = View::root(budget).get("status").get("conditions").items();
    let blocked = conditions.iter().find(|condition| {
        condition.text("type") == "DisruptionAllowed"
            && condition.text("status") == "False"
            && condition.has("message")
    });
    let healthy = int_at(budget, &["status", "currentHealthy"]);
    let desired = int_at(budget, &["status", "desiredHealthy"]);
    let (reason, message) =
        blocked.map(|condition| (condition.text("reason"), condition.text("message"))).unwrap_or_default();
    if reason == "SyncFailed" {
        format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        )
    } else if healthy <= desired {
        format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
    } else if blocked.is_some() {
        format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    }
}

/// Notes in the pod why it goes, then deletes it.
async fn delete(ctx: &Ctx, mut options: Value) -> Result<(), Status> {
    let dry_run = !at(&options, &["dryRun"]).is_null();
    if !dry_run {
        let now = meta::time(ctx.now);
        let mut change = |pod: &Value| {
            check_preconditions(&options, pod)?;
            let mut pod = pod.clone();
            let condition = json!({
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            });
            if object_at(&mut pod, &["status"]).is_some()
                && let Some(status) = pod.get_mut("status")
            {
                set_condition(status, condition, &now);
            }
            Ok(pod)
        };
        let pod = ctx.local.update("", "pods", "status", &ctx.namespace, &ctx.name, &mut change).await?;
        if !at(&options, &["preconditions", "resourceVersion"]).is_null() {
            options = at_pod_version(&options, &pod);
        }
    }
    ctx.local.delete("", "pods", &ctx.namespace, &ctx.name, options).await
}

fn check_preconditions(options: &Value, pod: &Value) -> Result<(), Status> {
    let checks = [
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ];
    for (field, name, guess) in checks {
        let wanted = text_at(options, &["preconditions", field]);
        let found = text_at(pod, &["metadata", field]);
        if !wanted.is_empty() && wanted != found {
            let why = format!(
                "the {name} in the precondition ({wanted}) does not match the {name} in record ({found}). {guess}"
            );
            return Err(Status::conflict("", "Pod", text_at(pod, &["metadata", "name"]), why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_down_to_nothing() {
        let budget = json!({"metadata": {"name": "b"}, "status": {"disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 2}});
        let spent_once = spent(&budget, "p", "t").expect("allowed");
        assert_eq!(spent_once["status"]["disruptedPods"], json!({"p": "t"}));
        assert_eq!(spent_once["status"]["conditions"][0]["reason"], "InsufficientPods");
        let refused = spent(
            &json!({"metadata": {"name": "b"}, "status": {"desiredHealthy": 2, "currentHealthy": 2}}),
            "p",
            "t",
        );
        let refused = refused.expect_err("nothing left");
        assert_eq!(refused.code, 429);
        assert_eq!(
            refused.details.expect("details").causes[0].message,
            "The disruption budget b needs 2 healthy pods and has 2 currently"
        );
    }
}
