//! Which writes a webhook, policy or binding concerns, and as which version of their resource it is to see them.

use std::sync::Arc;

use proto::labels::Selector;
use proto::status::Status;
use serde_json::Value;

use super::Review;
use super::step::{find, items, text};
use crate::registry::{Backing, Endpoint, Local};

/// Operations on resources, of all objects or those of some names.
#[derive(Clone, Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

impl Rule {
    fn parse(rule: &Value) -> Rule {
        let list = |field: &str| items(&rule[field]).iter().map(|item| text(item).to_owned()).collect();
        Rule {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources"),
            scope: text(&rule["scope"]).to_owned(),
            names: list("resourceNames"),
        }
    }

    /// Whether the rule covers a write, seen as one to this endpoint.
    fn covers(&self, review: &Review, endpoint: &Endpoint) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let is_namespaced = !review.namespace.is_empty() && !is_namespace(review);
        let scope = match self.scope.as_str() {
            "Namespaced" => is_namespaced,
            "Cluster" => !is_namespaced,
            _ => true,
        };
        let resource = self.resources.iter().any(|pattern| {
            let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
            (resource == "*" || resource == &*endpoint.resource)
                && (subresource == "*" || subresource == review.subresource)
        });
        scope
            && resource
            && has(&self.operations, review.operation.as_str())
            && has(&self.groups, &endpoint.group)
            && has(&self.versions, &endpoint.version)
            && (self.names.is_empty() || self.names.contains(&review.name))
    }
}

/// Rules and selectors.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    /// Rules of which one must cover the write; `None`: any write.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    matches_equivalent: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

impl Matching {
    /// The rules and selectors of a webhook.
    pub(super) fn of_webhook(webhook: &Value) -> Matching {
        Matching::new(webhook, Some(&webhook["rules"]), text(&webhook["matchPolicy"]) != "Exact")
    }

    /// MatchResources of a policy or binding.
    pub(super) fn of_policy(resources: &Value) -> Matching {
        let rules = Some(&resources["resourceRules"]).filter(|rules| !items(rules).is_empty());
        Matching::new(resources, rules, text(&resources["matchPolicy"]) == "Equivalent")
    }

    fn new(from: &Value, rules: Option<&Value>, matches_equivalent: bool) -> Matching {
        let parse = |rules: &Value| items(rules).iter().map(Rule::parse).collect();
        let selector = |field: &str| match &from[field] {
            Value::Null => Ok(Selector::everything()),
            selector => Selector::from_label_selector(selector).map_err(|error| error.to_string()),
        };
        Matching {
            rules: rules.map(parse),
            excluded: parse(&from["excludeResourceRules"]),
            matches_equivalent,
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The endpoint in whose version the object is to be seen, if the write is concerned.
    ///
    /// A selector that can't be read is an error of those writes only that nothing else rules out.
    pub(super) async fn endpoint(
        &self,
        local: &Arc<dyn Local>,
        review: &Review,
    ) -> Result<Option<Arc<Endpoint>>, Status> {
        let namespaces = match &self.namespaces {
            Ok(selector) => selects_namespace(local, selector, review).await,
            Err(error) => Err(Status::internal(error)),
        };
        let objects = match &self.objects {
            Ok(selector) => Ok(selects_object(selector, review)),
            Err(error) => Err(Status::internal(error)),
        };
        if matches!(namespaces, Ok(false)) || matches!(objects, Ok(false)) {
            return Ok(None);
        }
        if self.covering(&self.excluded, local, review).is_some() {
            return Ok(None);
        }
        let endpoint = match &self.rules {
            None => Some(review.endpoint.clone()),
            Some(rules) => self.covering(rules, local, review),
        };
        if endpoint.is_some() {
            namespaces.and(objects)?;
        }
        Ok(endpoint)
    }

    fn covering(&self, rules: &[Rule], local: &Arc<dyn Local>, review: &Review) -> Option<Arc<Endpoint>> {
        let covers = |endpoint: &Endpoint| rules.iter().any(|rule| rule.covers(review, endpoint));
        if covers(&review.endpoint) {
            return Some(review.endpoint.clone());
        }
        let Backing::Stored(group, resource) = &review.endpoint.backing else { return None };
        if !self.matches_equivalent || rules.is_empty() {
            return None;
        }
        let registry = local.registry();
        let storage = registry.storage(group, resource)?;
        registry.endpoints_of(storage).find(|endpoint| covers(endpoint)).cloned()
    }
}

/// Whether a write is one of a namespace itself.
pub(super) fn is_namespace(review: &Review) -> bool {
    review.group().is_empty() && review.resource() == "namespaces"
}

async fn selects_namespace(
    local: &Arc<dyn Local>,
    selector: &Selector,
    review: &Review,
) -> Result<bool, Status> {
    if selector.is_empty() {
        return Ok(true);
    }
    if is_namespace(review) {
        let object = if review.object.is_null() { &*review.old } else { &review.object };
        return Ok(selector.matches(&object["metadata"]["labels"]));
    }
    if review.namespace.is_empty() {
        return Ok(true);
    }
    let namespace = find(local, "", "namespaces", "", &review.namespace).await?;
    Ok(selector.matches(&namespace["metadata"]["labels"]))
}

/// Whether the new or the old object is selected.
fn selects_object(selector: &Selector, review: &Review) -> bool {
    let selects = |object: &Value| object.is_object() && selector.matches(&object["metadata"]["labels"]);
    selector.is_empty() || selects(&review.object) || selects(&review.old)
}

#[cfg(test)]
mod tests {
    use super::super::Operation;
    use super::super::testing::{Cluster, review};
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_cover_operations_resources_scopes_and_names() {
        let rule = |scope: &str, resources: &[&str]| {
            json!({ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": resources, "scope": scope })
        };
        let named = |name: &str| {
            let mut rule = rule("*", &["pods"]);
            rule["resourceNames"] = json!([name]);
            rule
        };
        for (rule, operation, resource, expected) in [
            (rule("*", &["pods"]), Operation::Create, "pods", true),
            (rule("*", &["pods"]), Operation::Update, "pods", false),
            (rule("*", &["pods"]), Operation::Create, "pods/status", false),
            (rule("*", &["pods/*"]), Operation::Create, "pods/status", true),
            (rule("*", &["*"]), Operation::Create, "pods/status", false),
            (rule("*", &["*/*"]), Operation::Create, "pods/status", true),
            (rule("Cluster", &["*"]), Operation::Create, "pods", false),
            (rule("Cluster", &["*"]), Operation::Create, "nodes", true),
            (rule("Namespaced", &["*"]), Operation::Create, "nodes", false),
            (named("x"), Operation::Create, "pods", true),
            (named("y"), Operation::Create, "pods", false),
        ] {
            let namespace = if resource == "nodes" { "" } else { "ns" };
            let object = json!({ "metadata": { "name": "x", "namespace": namespace } });
            let review = review(operation, "", resource, object);
            let covers = Rule::parse(&rule).covers(&review, &review.endpoint);
            assert_eq!(covers, expected, "{rule} {resource}");
        }
    }

    async fn concerns(matching: Matching, labels: Value) -> Result<bool, String> {
        let namespace = json!({ "metadata": { "name": "ns", "labels": { "inject": "yes" } } });
        let local = Cluster::holding(&[("", "namespaces", namespace)]);
        let pod = json!({ "metadata": { "namespace": "ns", "name": "p", "labels": labels } });
        let review = review(Operation::Create, "", "pods", pod);
        let endpoint = matching.endpoint(&local, &review).await;
        endpoint.map(|endpoint| endpoint.is_some()).map_err(|status| status.message)
    }

    fn rules(resources: &[&str]) -> Value {
        json!([{ "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources }])
    }

    #[tokio::test]
    async fn webhooks_match_by_rules_and_selectors() {
        let webhook = |extra: Value| {
            let mut webhook = json!({ "name": "w", "rules": rules(&["pods"]) });
            webhook.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            Matching::of_webhook(&webhook)
        };
        let selector =
            |field: &str, value: &str| webhook(json!({ field: { "matchLabels": { "inject": value } } }));
        assert_eq!(concerns(webhook(json!({})), json!({})).await, Ok(true));
        assert_eq!(concerns(selector("namespaceSelector", "yes"), json!({})).await, Ok(true));
        assert_eq!(concerns(selector("namespaceSelector", "no"), json!({})).await, Ok(false));
        assert_eq!(concerns(selector("objectSelector", "yes"), json!({ "inject": "yes" })).await, Ok(true));
        assert_eq!(concerns(selector("objectSelector", "yes"), json!({})).await, Ok(false));
        assert_eq!(concerns(webhook(json!({ "rules": [] })), json!({})).await, Ok(false));
    }

    #[tokio::test]
    async fn policies_without_rules_match_all_but_what_is_excluded() {
        assert_eq!(concerns(Matching::of_policy(&json!({})), json!({})).await, Ok(true));
        let excluding = json!({ "excludeResourceRules": rules(&["pods"]) });
        assert_eq!(concerns(Matching::of_policy(&excluding), json!({})).await, Ok(false));
        // A selector that nobody can read counts only where all else matches.
        let broken = json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] });
        for (resources, expected) in [(["pods"], None), (["nodes"], Some(false))] {
            let matching = json!({ "resourceRules": rules(&resources), "objectSelector": broken });
            assert_eq!(concerns(Matching::of_policy(&matching), json!({})).await.ok(), expected);
        }
    }
}
