//! SelfSubjectRulesReview: what the caller may do in a namespace.

use futures::future::BoxFuture;
use proto::status::Status;
use serde_json::{Value, json};

use super::text;
use crate::auth::{Rule, Rules};
use crate::registry::Ctx;

pub(super) fn self_subject_rules_review(ctx: &Ctx, review: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        let namespace = text(&review["spec"]["namespace"]);
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let found = ctx.local.services().authorizer.rules(&ctx.user, namespace).await;
        Ok(json!({
            "apiVersion": review["apiVersion"],
            "kind": review["kind"],
            "metadata": {},
            "spec": {},
            "status": status(&found),
        }))
    })
}

fn status(found: &Rules) -> Value {
    let resource_rules: Vec<Value> =
        found.rules.iter().filter(|rule| !rule.resources.is_empty()).map(resource_rule).collect();
    let url_rules: Vec<Value> = found
        .rules
        .iter()
        .filter(|rule| !rule.non_resource_urls.is_empty())
        .map(|rule| json!({ "verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls }))
        .collect();
    let mut status = json!({
        "resourceRules": resource_rules,
        "nonResourceRules": url_rules,
        "incomplete": found.incomplete,
    });
    if !found.error.is_empty() {
        status["evaluationError"] = json!(found.error);
    }
    status
}

fn resource_rule(rule: &Rule) -> Value {
    let mut value = json!({ "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources });
    if !rule.resource_names.is_empty() {
        value["resourceNames"] = json!(rule.resource_names);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_split_by_what_they_are_about() {
        let rule = |resources: &[&str], urls: &[&str]| Rule {
            verbs: vec!["get".into()],
            resources: resources.iter().map(|r| (*r).into()).collect(),
            non_resource_urls: urls.iter().map(|u| (*u).into()).collect(),
            ..Rule::default()
        };
        let found = Rules { rules: vec![rule(&["pods"], &[]), rule(&[], &["/healthz"])], ..Rules::default() };
        let status = status(&found);
        assert_eq!(status["resourceRules"].as_array().unwrap().len(), 1);
        assert_eq!(status["nonResourceRules"][0]["nonResourceURLs"], json!(["/healthz"]));
    }
}
