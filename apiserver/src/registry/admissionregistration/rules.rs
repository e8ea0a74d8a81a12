//! Which requests webhooks and policies see: rules, match conditions and selectors.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;

use super::expressions::{Expressions, Purpose};
use crate::registry::checks::*;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// Those on objects that can be changed.
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
pub(super) const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const MOST_CONDITIONS: usize = 64;

/// A rule with operations.
pub(super) fn rule(rule: &View, errors: &mut Errors) {
    let operations = rule.get("operations");
    alone(&operations, "operations", errors);
    for operation in operations.items() {
        supported(&operation, &OPERATIONS, errors);
    }
    alone(&rule.get("apiGroups"), "API groups", errors);
    let versions = rule.get("apiVersions");
    alone(&versions, "API versions", errors);
    for version in versions.items() {
        required(&version, errors);
    }
    resources(&rule.get("resources"), errors);
    if rule.has("scope") {
        supported(&rule.get("scope"), &SCOPES, errors);
    }
}

/// A list that isn't empty, in which `*` stands alone.
fn alone(list: &View, what: &str, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(list.required(""));
    }
    if list.len() > 1 && list.strs().contains(&"*") {
        errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
    }
}

fn resources(list: &View, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(list.required(""));
    }
    // Those before with any subresource, and subresources of any resource.
    let (mut any_sub, mut any_resource) = (Vec::new(), Vec::new());
    let (mut everything, mut all, mut plain) = (false, false, false);
    for item in list.items() {
        let text = item.str();
        if !required(&item, errors) {
            continue;
        }
        everything |= text == "*/*";
        all |= text == "*";
        let Some((resource, sub)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        for (known, part, shown) in
            [(&any_sub, resource, format!("{resource}/*")), (&any_resource, sub, format!("*/{sub}"))]
        {
            if known.contains(&part) {
                let detail = format!("if '{shown}' is present, must not specify {text}");
                errors.push(item.invalid_str(detail));
            }
        }
        if sub == "*" {
            any_sub.push(resource);
        }
        if resource == "*" {
            any_resource.push(sub);
        }
    }
    if list.len() > 1 && everything {
        errors.push(list.invalid("if '*/*' is present, must not specify other resources"));
    }
    if all && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(list.invalid(detail));
    }
}

/// MatchResources of a policy or a binding, which may be absent.
pub(super) fn match_resources(resources: &View, errors: &mut Errors) {
    if !resources.is_set() {
        return;
    }
    let policy = resources.get("matchPolicy");
    if policy.is_set() {
        supported(&policy, &MATCH_POLICIES, errors);
    } else {
        errors.push(policy.required(""));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = resources.get(field);
        if selector.is_set() {
            label_selector(&selector, false, errors);
        } else {
            errors.push(selector.required(""));
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.get(field).items() {
            named_rule(&rule, errors);
        }
    }
}

fn named_rule(rule: &View, errors: &mut Errors) {
    let names = rule.get("resourceNames").items();
    for (at, name) in names.iter().enumerate() {
        each(name, content::is_path_segment_name(name.str()), errors);
        if names[..at].iter().any(|other| other.str() == name.str()) {
            errors.push(name.duplicate());
        }
    }
    self::rule(rule, errors);
}

/// The rules of a mutating policy name no operation that can't change an object.
pub(super) fn only_mutating(resources: &View, errors: &mut Errors) {
    let path = resources.path().child("resourceRules").child("operations");
    for rule in resources.get("resourceRules").items() {
        for operation in rule.get("operations").items() {
            if !MUTATING_OPERATIONS.contains(&operation.str()) {
                errors.push(Error::not_supported(&path, operation.str(), &MUTATING_OPERATIONS));
            }
        }
    }
}

/// Match conditions.
pub(super) fn match_conditions(list: &View, expressions: &mut Expressions, errors: &mut Errors) {
    if list.len() > MOST_CONDITIONS {
        errors.push(Error::too_many(list.path(), list.len(), MOST_CONDITIONS));
    }
    let conditions = list.items();
    for (at, condition) in conditions.iter().enumerate() {
        let (expression, name) = (condition.get("expression"), condition.get("name"));
        if expression.str().trim().is_empty() {
            errors.push(expression.required(""));
        } else {
            expressions.compile(Purpose::MatchCondition, &expression, errors);
        }
        if !required(&name, errors) {
            continue;
        }
        qualified_name(&name, errors);
        if conditions[..at].iter().any(|other| other.text("name") == name.str()) {
            errors.push(name.duplicate());
        }
    }
}
