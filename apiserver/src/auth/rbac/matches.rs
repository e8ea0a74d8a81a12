//! Whether one rule allows one request.

use crate::auth::{Attributes, Rule};

/// Whether the rule allows the request.
pub fn rule_allows(rule: &Rule, request: &Attributes) -> bool {
    if !contains_or_star(&rule.verbs, &request.verb) {
        return false;
    }
    if request.resource_request {
        contains_or_star(&rule.groups, &request.group)
            && resource_matches(rule, &request.resource, &request.subresource)
            && name_matches(rule, &request.name)
    } else {
        rule.non_resource_urls.iter().any(|pattern| url_matches(pattern, &request.path))
    }
}

fn contains_or_star(set: &[String], wanted: &str) -> bool {
    set.iter().any(|item| item == "*" || item == wanted)
}

fn resource_matches(rule: &Rule, resource: &str, subresource: &str) -> bool {
    rule.resources.iter().any(|allowed| {
        if allowed == "*" {
            return true;
        }
        match allowed.split_once('/') {
            None => subresource.is_empty() && allowed == resource,
            Some((parent, child)) => {
                !subresource.is_empty() && child == subresource && (parent == "*" || parent == resource)
            }
        }
    })
}

fn name_matches(rule: &Rule, name: &str) -> bool {
    rule.resource_names.is_empty() || rule.resource_names.iter().any(|allowed| allowed == name)
}

fn url_matches(pattern: &str, path: &str) -> bool {
    pattern == "*"
        || pattern == path
        || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(verb: &str, group: &str, resource: &str, sub: &str, name: &str) -> Attributes {
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: sub.into(),
            name: name.into(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn resource_rules() {
        let allows =
            |rule: serde_json::Value, request: &Attributes| rule_allows(&Rule::from_value(&rule), request);
        let pods = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] });
        assert!(allows(pods.clone(), &resource("get", "", "pods", "", "x")));
        assert!(!allows(pods.clone(), &resource("list", "", "pods", "", "")));
        assert!(!allows(pods.clone(), &resource("get", "apps", "pods", "", "x")));
        assert!(!allows(pods, &resource("get", "", "pods", "log", "x")));

        let logs = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*/log"] });
        assert!(allows(logs.clone(), &resource("get", "", "pods", "log", "x")));
        assert!(!allows(logs, &resource("get", "", "pods", "", "x")));

        let star = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] });
        assert!(allows(star, &resource("delete", "x.io", "widgets", "status", "x")));

        let named = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["secrets"],
            "resourceNames": ["a"] });
        assert!(allows(named.clone(), &resource("get", "", "secrets", "", "a")));
        assert!(!allows(named.clone(), &resource("get", "", "secrets", "", "b")));
        assert!(!allows(named, &resource("get", "", "secrets", "", "")));
    }

    #[test]
    fn url_rules_never_allow_resources_and_the_other_way_round() {
        let urls = Rule::from_value(&json!({ "verbs": ["get"], "nonResourceURLs": ["/healthz/*"] }));
        let path = |path: &str| Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() };
        assert!(rule_allows(&urls, &path("/healthz/etcd")));
        assert!(!rule_allows(&urls, &path("/healthz")));
        assert!(!rule_allows(&urls, &resource("get", "", "pods", "", "")));
        let all = Rule::from_value(&json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }));
        assert!(!rule_allows(&all, &path("/metrics")));
    }
}
