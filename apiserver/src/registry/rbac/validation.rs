//! What is wrong with roles and bindings.

use proto::field::{Error, Errors, Path};
use proto::labels::Selector;
use proto::view::View;
use serde_json::Value;

use super::GROUP;
use crate::registry::checks::*;

/// A Role.
pub(super) fn role(new: &Value) -> Errors {
    let mut errors = Errors::new();
    rules(new, true, &mut errors);
    errors
}

/// A ClusterRole; `old` is null if it is new.
pub(super) fn cluster_role(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    rules(new, false, &mut errors);
    let aggregation = View::root(new).get("aggregationRule");
    if !aggregation.is_set() {
        return errors;
    }
    let list = aggregation.get("clusterRoleSelectors");
    if list.is_empty() {
        errors.push(list.required("at least one clusterRoleSelector required if aggregationRule is non-nil"));
    }
    let old = View::root(old).get("aggregationRule").get("clusterRoleSelectors").items();
    let lenient = old.iter().any(bad_label_selector);
    for selector in list.items() {
        label_selector(&selector, lenient, &mut errors);
        if Selector::from_label_selector(selector.value()).is_err() {
            // Upstream shows what parsing gave: nothing.
            errors.push(Error::invalid_as(selector.path(), "null", "invalid label selector."));
        }
    }
    errors
}

fn rules(role: &Value, namespaced: bool, errors: &mut Errors) {
    for rule in View::root(role).get("rules").items() {
        policy_rule(&rule, namespaced, errors);
    }
}

fn policy_rule(rule: &View, namespaced: bool, errors: &mut Errors) {
    if rule.get("verbs").is_empty() {
        errors.push(rule.get("verbs").required("verbs must contain at least one value"));
    }
    let (groups, resources, urls) =
        (rule.get("apiGroups"), rule.get("resources"), rule.get("nonResourceURLs"));
    if !urls.is_empty() {
        if namespaced {
            errors.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(urls.invalid(detail));
        }
        return;
    }
    if groups.is_empty() {
        errors.push(groups.required("resource rules must supply at least one api group"));
    }
    if resources.is_empty() {
        errors.push(resources.required("resource rules must supply at least one resource"));
    }
}

/// A binding, in a namespace or of the cluster; `old` is null if it is new.
pub(super) fn binding(new: &Value, old: &Value, namespaced: bool) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let role = view.get("roleRef");
    supported(&role.get("apiGroup"), &[GROUP], &mut errors);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    supported(&role.get("kind"), kinds, &mut errors);
    required_path_segment(&role.get("name"), &mut errors);
    for item in view.get("subjects").items() {
        subject(&item, namespaced, &mut errors);
    }
    if !old.is_null() && old["roleRef"] != *role.value() {
        errors.push(Error::invalid(&Path::new("roleRef"), role.value().clone(), "cannot change roleRef"));
    }
    errors
}

fn subject(subject: &View, namespaced: bool, errors: &mut Errors) {
    let (name, group, kind) = (subject.get("name"), subject.get("apiGroup"), subject.get("kind"));
    let named = required(&name, errors);
    match kind.str() {
        "ServiceAccount" => {
            if named {
                dns_subdomain(&name, errors);
            }
            supported(&group, &[""], errors);
            if !namespaced {
                required(&subject.get("namespace"), errors);
            }
        }
        "User" | "Group" => {
            supported(&group, &[GROUP], errors);
        }
        _ => {
            supported(&kind, &["ServiceAccount", "User", "Group"], errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules() {
        assert_eq!(
            texts(role(&json!({"rules": [{"nonResourceURLs": ["/a"], "verbs": ["get"]}]}))),
            [
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: namespaced rules cannot apply to non-resource URLs"
            ]
        );
        assert_eq!(
            texts(cluster_role(&json!({"rules": [{}], "aggregationRule": {}}), &Value::Null)),
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
            ]
        );
    }

    #[test]
    fn bindings() {
        let good = json!({
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "a:b"},
            "subjects": [{"kind": "User", "apiGroup": GROUP, "name": "u"}],
        });
        assert!(binding(&good, &good, false).is_empty());
        let mut other = good.clone();
        other["roleRef"]["name"] = json!("c");
        other["subjects"] = json!([{"kind": "ServiceAccount", "name": "A", "apiGroup": "x"}]);
        let found: Vec<String> = texts(binding(&other, &good, false))
            .into_iter()
            .map(|text| text.split(": ").take(2).collect::<Vec<_>>().join(": "))
            .collect();
        assert_eq!(
            found,
            [
                "subjects[0].name: Invalid value",
                "subjects[0].apiGroup: Unsupported value",
                "subjects[0].namespace: Required value",
                "roleRef: Invalid value",
            ]
        );
    }
}
