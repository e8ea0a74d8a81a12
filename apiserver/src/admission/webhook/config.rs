//! Webhook configurations, read once when they change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use proto::labels::Selector;
use serde_json::Value;

use super::super::Operation;
use super::super::expression::Conditions;
use super::super::step::{items, text};
use crate::webhook::Remote;

/// Which operations on which resources a webhook wants to see.
#[derive(Clone, Debug)]
pub(in crate::admission) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// A resource as rules see it.
#[derive(Clone, Copy)]
pub(in crate::admission) struct Target<'a> {
    pub(in crate::admission) group: &'a str,
    pub(in crate::admission) version: &'a str,
    pub(in crate::admission) resource: &'a str,
    pub(in crate::admission) subresource: &'a str,
    pub(in crate::admission) is_namespaced: bool,
}

impl Rule {
    pub(in crate::admission) fn parse(rule: &Value) -> Rule {
        let list = |field: &str| items(&rule[field]).iter().map(|item| text(item).to_owned()).collect();
        Rule {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources"),
            scope: text(&rule["scope"]).to_owned(),
        }
    }

    /// Whether the rule covers this operation on this target.
    pub(in crate::admission) fn matches(&self, operation: Operation, target: Target<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let scope = match self.scope.as_str() {
            "Namespaced" => target.is_namespaced,
            "Cluster" => !target.is_namespaced,
            _ => true,
        };
        let resource = self.resources.iter().any(|pattern| {
            let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
            (resource == "*" || resource == target.resource)
                && (subresource == "*" || subresource == target.subresource)
        });
        scope
            && resource
            && has(&self.operations, operation.as_str())
            && has(&self.groups, target.group)
            && has(&self.versions, target.version)
    }
}

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) remote: Remote,
    pub(super) rules: Vec<Rule>,
    pub(super) fails_open: bool,
    pub(super) matches_equivalent: bool,
    /// `None`: a selector that can't be read, which matches nothing less than everything.
    pub(super) namespace_selector: Option<Selector>,
    pub(super) object_selector: Option<Selector>,
    pub(super) match_conditions: Arc<Conditions>,
    pub(super) allows_dry_run: bool,
    pub(super) review_versions: Vec<String>,
    pub(super) is_reinvoked: bool,
}

impl Webhook {
    pub(super) fn parse(webhook: &Value) -> Webhook {
        let selector = |field: &str| match &webhook[field] {
            Value::Null => Some(Selector::everything()),
            selector => Selector::from_label_selector(selector).ok(),
        };
        let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(10);
        let timeout = Duration::from_secs(seconds.clamp(1, 30));
        let versions = items(&webhook["admissionReviewVersions"]).iter();
        Webhook {
            name: text(&webhook["name"]).to_owned(),
            remote: Remote::parse(&webhook["clientConfig"], timeout, true),
            rules: items(&webhook["rules"]).iter().map(Rule::parse).collect(),
            fails_open: text(&webhook["failurePolicy"]) == "Ignore",
            matches_equivalent: text(&webhook["matchPolicy"]) != "Exact",
            namespace_selector: selector("namespaceSelector"),
            object_selector: selector("objectSelector"),
            match_conditions: Arc::new(Conditions::of_webhook(&webhook["matchConditions"])),
            allows_dry_run: matches!(text(&webhook["sideEffects"]), "None" | "NoneOnDryRun"),
            review_versions: versions.map(|version| text(version).to_owned()).collect(),
            is_reinvoked: text(&webhook["reinvocationPolicy"]) == "IfNeeded",
        }
    }
}

/// The webhooks of all configurations of a kind, ordered by configuration and position.
#[derive(Default)]
pub(super) struct Configurations {
    by_name: RwLock<BTreeMap<String, Vec<Arc<Webhook>>>>,
}

impl Configurations {
    /// Applies a change of one configuration.
    pub(super) fn apply(&self, old: Option<&Value>, new: Option<&Value>) {
        let name = |object: &Value| text(&object["metadata"]["name"]).to_owned();
        let mut by_name = self.by_name.write();
        if let Some(old) = old {
            by_name.remove(&name(old));
        }
        if let Some(new) = new {
            let webhooks = items(&new["webhooks"]).iter().map(|webhook| Arc::new(Webhook::parse(webhook)));
            by_name.insert(name(new), webhooks.collect());
        }
    }

    /// All webhooks.
    pub(super) fn all(&self) -> Vec<Arc<Webhook>> {
        self.by_name.read().values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules() {
        let rule = |scope: &str, resources: &[&str]| {
            Rule::parse(&json!({ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": resources, "scope": scope }))
        };
        let target = |resource: &'static str, subresource: &'static str| Target {
            group: "",
            version: "v1",
            resource,
            subresource,
            is_namespaced: resource != "nodes",
        };
        for (rule, operation, target, expected) in [
            (rule("*", &["pods"]), Operation::Create, target("pods", ""), true),
            (rule("*", &["pods"]), Operation::Update, target("pods", ""), false),
            (rule("*", &["pods"]), Operation::Create, target("pods", "status"), false),
            (rule("*", &["pods/*"]), Operation::Create, target("pods", "status"), true),
            (rule("*", &["*"]), Operation::Create, target("pods", "status"), false),
            (rule("*", &["*/*"]), Operation::Create, target("pods", "status"), true),
            (rule("Cluster", &["*"]), Operation::Create, target("pods", ""), false),
            (rule("Cluster", &["*"]), Operation::Create, target("nodes", ""), true),
            (rule("Namespaced", &["*"]), Operation::Create, target("nodes", ""), false),
        ] {
            assert_eq!(rule.matches(operation, target), expected, "{rule:?} {}", target.resource);
        }
    }

    #[test]
    fn configurations_follow_changes_in_order() {
        let configurations = Configurations::default();
        let object = |name: &str, hooks: &[&str]| {
            let hooks: Vec<Value> = hooks.iter().map(|name| json!({ "name": name })).collect();
            json!({ "metadata": { "name": name }, "webhooks": hooks })
        };
        configurations.apply(None, Some(&object("b", &["b1", "b2"])));
        configurations.apply(None, Some(&object("a", &["a1"])));
        let names = || configurations.all().iter().map(|hook| hook.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(), ["a1", "b1", "b2"]);
        configurations.apply(Some(&object("b", &[])), Some(&object("b", &["b3"])));
        assert_eq!(names(), ["a1", "b3"]);
        configurations.apply(Some(&object("a", &[])), None);
        assert_eq!(names(), ["b3"]);
    }
}
