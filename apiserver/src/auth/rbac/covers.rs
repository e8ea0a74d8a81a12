//! Comparing sets of rules: does what someone holds include what they want to hand out?

use std::collections::BTreeMap;

use crate::auth::Rule;
use crate::auth::text::quoted_list;

/// The atomic parts of `wanted` that `held` does not include.
pub fn missing_rules(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(break_down).filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// Equivalent rules of at most one verb, group, resource, name or URL each. Every such part is
/// either covered by a single rule or by none, which makes the comparison exact.
fn break_down(rule: &Rule) -> Vec<Rule> {
    let one = |item: &String| vec![item.clone()];
    let mut parts = Vec::new();
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = Rule {
                    verbs: one(verb),
                    groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                } else {
                    parts.extend(
                        rule.resource_names
                            .iter()
                            .map(|name| Rule { resource_names: one(name), ..part.clone() }),
                    );
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        parts.extend(rule.verbs.iter().map(|verb| Rule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..Rule::default()
        }));
    }
    parts
}

/// Whether `held` includes `part`, which has been broken down.
fn covers(held: &Rule, part: &Rule) -> bool {
    includes(&held.verbs, &part.verbs)
        && includes(&held.groups, &part.groups)
        && part.resources.iter().all(|resource| covers_resource(&held.resources, resource))
        && part.non_resource_urls.iter().all(|url| covers_url(&held.non_resource_urls, url))
        && covers_names(&held.resource_names, &part.resource_names)
}

fn includes(held: &[String], wanted: &[String]) -> bool {
    held.iter().any(|item| item == "*") || wanted.iter().all(|item| held.contains(item))
}

fn covers_resource(held: &[String], resource: &str) -> bool {
    held.iter().any(|item| {
        item == "*"
            || item == resource
            || resource.split_once('/').is_some_and(|(_, subresource)| {
                item.strip_prefix("*/").is_some_and(|allowed| allowed == subresource)
            })
    })
}

fn covers_url(held: &[String], url: &str) -> bool {
    held.iter()
        .any(|item| item == url || (item.ends_with('*') && url.starts_with(item.trim_end_matches('*'))))
}

/// Holding every name includes any name, but never the other way round.
fn covers_names(held: &[String], wanted: &[String]) -> bool {
    held.is_empty() || (!wanted.is_empty() && wanted.iter().all(|name| held.contains(name)))
}

/// The missing parts as upstream lists them: one line per resource, verbs merged, sorted.
pub fn describe(missing: &[Rule]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut merged: BTreeMap<(String, String, Option<String>), Rule> = BTreeMap::new();
    for rule in missing {
        match (rule.groups.as_slice(), rule.resources.as_slice()) {
            ([group], [resource]) => {
                let key = (group.clone(), resource.clone(), rule.resource_names.first().cloned());
                merged
                    .entry(key)
                    .and_modify(|seen| seen.verbs.extend(rule.verbs.iter().cloned()))
                    .or_insert_with(|| rule.clone());
            }
            _ => lines.push(compact(rule)),
        }
    }
    lines.extend(merged.values().map(compact));
    lines.sort();
    lines.dedup();
    lines
}

fn compact(rule: &Rule) -> String {
    let parts: Vec<String> = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ]
    .iter()
    .filter(|(_, items)| !items.is_empty())
    .map(|(name, items)| format!("{name}:{}", quoted_list(items)))
    .collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(list: Value) -> Vec<Rule> {
        list.as_array().unwrap().iter().map(Rule::from_value).collect()
    }

    #[test]
    fn coverage() {
        let pods = json!([{ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"] }]);
        let named =
            json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"] }]);
        let logs = json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"] }]);
        let any_log = json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["*/log"] }]);
        let all = json!([{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }]);
        let urls = json!([{ "verbs": ["get"], "nonResourceURLs": ["/a/*"] }]);
        let url = json!([{ "verbs": ["get"], "nonResourceURLs": ["/a/b"] }]);
        let split = json!([
            { "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] },
            { "verbs": ["list"], "apiGroups": [""], "resources": ["pods"] },
        ]);
        for (held, wanted, covered) in [
            (&pods, &pods, true),
            (&split, &pods, true),
            (&pods, &named, true),
            (&named, &pods, false),
            (&named, &named, true),
            (&pods, &logs, false),
            (&any_log, &logs, true),
            (&logs, &any_log, false),
            (&all, &pods, true),
            (&pods, &all, false),
            (&all, &url, false),
            (&urls, &url, true),
            (&url, &urls, false),
        ] {
            let missing = missing_rules(&rules(held.clone()), &rules(wanted.clone()));
            assert_eq!(missing.is_empty(), covered, "{held} covers {wanted}");
        }
    }

    #[test]
    fn missing_rules_are_described_compactly() {
        let wanted = rules(json!([
            { "verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods"] },
            { "verbs": ["get"], "nonResourceURLs": ["/x"] },
        ]));
        assert_eq!(
            describe(&missing_rules(&[], &wanted)),
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#,
                r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list"]}"#,
                r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
            ]
        );
    }
}
