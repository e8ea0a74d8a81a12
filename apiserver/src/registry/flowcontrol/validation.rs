//! What is wrong with a FlowSchema or a PriorityLevelConfiguration.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::{Map, Value};

use crate::bootstrap::flow_control::mandatory;
use crate::registry::checks::*;

const HIGHEST_PRECEDENCE: i64 = 10_000;
const MOST_QUEUES: i64 = 10_000_000;
/// Bits of the hash that deals hands of queues.
const HASH_BITS: i64 = 60;
const EXEMPT: &str = "exempt";
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Annotation of a version that is served no more.
const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

/// A FlowSchema.
pub(super) fn flow_schema(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(object);
    let name = view.get("metadata").text("name");
    let spec = view.get("spec");
    schema_spec(name, &spec, &mut errors);
    if let Some(fixed) = mandatory("FlowSchema", name)
        && fixed["spec"] != *spec.value()
    {
        errors.push(spec.invalid(format!("spec of '{name}' must equal the fixed value")));
    }
    errors.extend(status(object));
    errors
}

fn schema_spec(name: &str, spec: &View, errors: &mut Errors) {
    let precedence = spec.get("matchingPrecedence");
    if precedence.i64() <= 0 {
        errors.push(precedence.invalid_int("must be a positive value"));
    }
    if precedence.i64() > HIGHEST_PRECEDENCE {
        errors.push(precedence.invalid_int(format!("must not be greater than {HIGHEST_PRECEDENCE}")));
    }
    if precedence.i64() == 1 && name != EXEMPT {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(precedence.invalid_int(detail));
    }
    let method = spec.get("distinguisherMethod");
    let kind = method.get("type");
    if method.is_set() && !matches!(kind.str(), "ByNamespace" | "ByUser") {
        let shown = serde_json::json!({"Type": kind.str()});
        errors.push(Error::not_supported(kind.path(), shown, &["ByNamespace", "ByUser"]));
    }
    let level = spec.get("priorityLevelConfiguration").get("name");
    if level.is_empty() {
        errors.push(level.required("must reference a priority level"));
    } else {
        dns_subdomain(&level, errors);
    }
    for rule in spec.get("rules").items() {
        policy_rules(&rule, errors);
    }
}

fn policy_rules(rule: &View, errors: &mut Errors) {
    let subjects = rule.get("subjects");
    if subjects.is_empty() {
        errors.push(subjects.required("subjects must contain at least one value"));
    }
    for subject in subjects.items() {
        self::subject(&subject, errors);
    }
    let (resources, urls) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(rule.required(detail));
    }
    for rule in resources.items() {
        resource_rule(&rule, errors);
    }
    for rule in urls.items() {
        url_rule(&rule, errors);
    }
}

fn subject(subject: &View, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] =
        [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = subject.get("kind");
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind.str()) else {
        errors.push(kind.not_supported(&["Group", "ServiceAccount", "User"]));
        return;
    };
    named_subject(&subject.get(own), kind.str(), own, errors);
    for (other, field) in KINDS.iter().filter(|(_, field)| field != own) {
        let view = subject.get(field);
        if view.is_set() {
            errors.push(view.forbidden(format!("{field} is forbidden when subject kind is not '{other}'")));
        }
    }
}

fn named_subject(view: &View, kind: &str, field: &str, errors: &mut Errors) {
    if !view.is_set() {
        errors.push(view.required(format!("{field} is required when subject kind is '{kind}'")));
        return;
    }
    let name = view.get("name");
    let is_account = kind == "ServiceAccount";
    if required(&name, errors) && is_account && name.str() != "*" {
        dns_subdomain(&name, errors);
    }
    if is_account {
        let namespace = view.get("namespace");
        if namespace.is_empty() {
            errors.push(namespace.required("must specify namespace for service account"));
        } else {
            dns_label(&namespace, errors);
        }
    }
}

/// Whether `*` is in a list; it must be alone there.
fn wildcard(list: &View, what: &str, errors: &mut Errors) -> bool {
    let has = list.strs().contains(&"*");
    if has && list.len() > 1 {
        errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
    }
    has
}

fn verbs(rule: &View, errors: &mut Errors) {
    let verbs = rule.get("verbs");
    if verbs.is_empty() {
        errors.push(verbs.required("verbs must contain at least one value"));
    } else if !wildcard(&verbs, "verbs", errors) && !verbs.strs().iter().all(|verb| VERBS.contains(verb)) {
        errors.push(verbs.not_supported(&VERBS));
    }
}

fn url_rule(rule: &View, errors: &mut Errors) {
    verbs(rule, errors);
    let urls = rule.get("nonResourceURLs");
    if urls.is_empty() {
        errors.push(urls.required("nonResourceURLs must contain at least one value"));
    } else if !wildcard(&urls, "non-resource URLs", errors) {
        for url in urls.items() {
            if let Some(problem) = url_problem(url.str()) {
                errors.push(url.invalid_str(problem));
            }
        }
    }
}

/// What is wrong with a path that may end with `/*`.
fn url_problem(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || stars == 1 && !path.ends_with("/*") => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

fn resource_rule(rule: &View, errors: &mut Errors) {
    verbs(rule, errors);
    for (field, one, many) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let list = rule.get(field);
        if list.is_empty() {
            errors.push(list.required(format!("resource rules must supply at least one {one}")));
        } else {
            wildcard(&list, many, errors);
        }
    }
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && !rule.flag("clusterScope") {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(namespaces.required(detail));
    } else if !wildcard(&namespaces, "namespaces", errors) {
        for namespace in namespaces.items() {
            let messages = content::is_dns1123_label(namespace.str()).into_iter();
            let intro = "each member of this list must be '*' or a DNS-1123 label; ";
            each(&namespace, messages.map(|message| format!("{intro}{message}")).collect(), errors);
        }
    }
}

/// The status of either kind.
pub(super) fn status(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut seen = Vec::new();
    for condition in View::root(object).get("status").get("conditions").items() {
        let kind = condition.get("type");
        if seen.contains(&kind.str()) {
            errors.push(kind.duplicate());
        }
        seen.push(kind.str());
        required(&kind, &mut errors);
    }
    errors
}

/// A PriorityLevelConfiguration.
pub(super) fn priority_level(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(object);
    let metadata = view.get("metadata");
    let name = metadata.text("name");
    let annotations = metadata.get("annotations");
    if annotations.has(PRESERVE_ZERO) {
        errors.push(annotations.forbidden(format!("annotation '{PRESERVE_ZERO}' is forbidden")));
    }
    let spec = view.get("spec");
    level_spec(name, &spec, &mut errors);
    if let Some(fixed) = mandatory("PriorityLevelConfiguration", name) {
        // How much the exempt level lends is the administrator's to say.
        let rest = |spec: &Value| {
            let mut rest: Map<String, Value> = spec.as_object().cloned().unwrap_or_default();
            if name == EXEMPT {
                rest.remove("exempt");
            }
            rest
        };
        if rest(spec.value()) != rest(&fixed["spec"]) {
            let what = if name == EXEMPT { " except the 'spec.exempt' field" } else { "" };
            errors.push(spec.invalid(format!("spec of '{name}'{what} must equal the fixed value")));
        }
    }
    errors.extend(status(object));
    errors
}

fn level_spec(name: &str, spec: &View, errors: &mut Errors) {
    let kind = spec.get("type");
    if (name == EXEMPT) != (kind.str() == "Exempt") {
        errors.push(kind.invalid_str("must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    let (limited, exempt) = (spec.get("limited"), spec.get("exempt"));
    match kind.str() {
        "Exempt" => {
            if limited.is_set() {
                errors.push(limited.forbidden("must be nil if the type is not Limited"));
            }
            shares(&exempt, errors);
            lendable(&exempt, errors);
        }
        "Limited" => {
            if exempt.is_set() {
                errors.push(exempt.forbidden("must be nil if the type is Limited"));
            }
            if !limited.is_set() {
                errors.push(limited.required("must not be empty when type is Limited"));
                return;
            }
            shares(&limited, errors);
            limit_response(&limited.get("limitResponse"), errors);
            lendable(&limited, errors);
            let borrowing = limited.get("borrowingLimitPercent");
            if borrowing.i64() < 0 {
                errors.push(borrowing.invalid_int("if specified, must be a non-negative integer"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exempt", "Limited"])),
    }
}

fn shares(level: &View, errors: &mut Errors) {
    let shares = level.get("nominalConcurrencyShares");
    if shares.i64() < 0 {
        errors.push(shares.invalid_int("must be a non-negative integer"));
    }
}

fn lendable(level: &View, errors: &mut Errors) {
    let percent = level.get("lendablePercent");
    each_int(&percent, content::is_in_range(percent.i64(), 0, 100), errors);
}

fn limit_response(response: &View, errors: &mut Errors) {
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.str() {
        "Reject" => {
            if queuing.is_set() {
                let detail = "must be nil if limited.limitResponse.type is not Limited";
                errors.push(queuing.forbidden(detail));
            }
        }
        "Queue" => {
            if queuing.is_set() {
                self::queuing(&queuing, errors);
            } else {
                let detail = "must not be empty if limited.limitResponse.type is Limited";
                errors.push(queuing.required(detail));
            }
        }
        _ => errors.push(kind.not_supported(&["Queue", "Reject"])),
    }
}

fn queuing(queuing: &View, errors: &mut Errors) {
    let positive = |view: &View, errors: &mut Errors| {
        if view.i64() <= 0 {
            errors.push(view.invalid_int("must be positive"));
        }
        view.i64() > 0
    };
    positive(&queuing.get("queueLengthLimit"), errors);
    let (queues, hand) = (queuing.get("queues"), queuing.get("handSize"));
    if positive(&queues, errors) && queues.i64() > MOST_QUEUES {
        errors.push(queues.invalid_int(format!("must not be greater than {MOST_QUEUES}")));
    }
    let count = queues.i64();
    if !positive(&hand, errors) {
    } else if hand.i64() > count {
        errors.push(hand.invalid_int(format!("should not be greater than queues ({count})")));
    } else if entropy_bits(count, hand.i64()) > HASH_BITS {
        errors.push(hand.invalid_int(format!(
            "required entropy bits of deckSize {count} and handSize {} should not be greater than {HASH_BITS}",
            hand.i64()
        )));
    }
}

/// Bits of a hash that a hand of this size takes from a deck of that.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::flow_control;
    use serde_json::json;

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn schema(name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut object = json!({"metadata": {"name": name}, "spec": {
            "matchingPrecedence": 50,
            "priorityLevelConfiguration": {"name": "system-bar"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
                "nonResourceRules": [{"nonResourceURLs": ["/a/*"], "verbs": ["get"]}],
            }],
        }});
        change(&mut object["spec"]);
        object
    }

    #[test]
    fn default_objects_are_valid() {
        for object in flow_control::flow_schemas() {
            assert_eq!(texts(flow_schema(&object)), Vec::<String>::new(), "{object}");
        }
        for object in flow_control::priority_levels() {
            assert_eq!(texts(priority_level(&object)), Vec::<String>::new(), "{object}");
        }
    }

    #[test]
    fn schemas_are_checked() {
        let rule = |rule: Value| move |spec: &mut Value| spec["rules"][0]["resourceRules"] = json!([rule]);
        type Change = Box<dyn Fn(&mut Value)>;
        let cases: Vec<(Change, &str)> = vec![
            (
                Box::new(|spec| spec["matchingPrecedence"] = json!(10001)),
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
            ),
            (
                Box::new(|spec| spec["matchingPrecedence"] = json!(1)),
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            ),
            (
                Box::new(|spec| spec["priorityLevelConfiguration"] = json!({})),
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ),
            (
                Box::new(|spec| spec["rules"][0]["subjects"] = json!([{"kind": "FooKind"}])),
                "spec.rules[0].subjects[0].kind: Unsupported value: \"FooKind\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
            ),
            (
                Box::new(|spec| {
                    spec["rules"][0]["subjects"] =
                        json!([{"kind": "User", "user": {"name": "a"}, "group": {"name": "b"}}]);
                }),
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ),
            (
                Box::new(|spec| spec["rules"][0]["nonResourceRules"][0]["nonResourceURLs"] = json!(["/a*"])),
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a*\": wildcard can only do suffix matching",
            ),
            (
                Box::new(rule(json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"]}))),
                "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            ),
            (
                Box::new(rule(
                    json!({"verbs": ["feed"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true}),
                )),
                "spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"feed\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            ),
        ];
        for (change, want) in cases {
            assert_eq!(texts(flow_schema(&schema("foo", change))), [want]);
        }
        let errors = texts(flow_schema(&schema("catch-all", |_| {})));
        assert!(errors[0].ends_with("spec of 'catch-all' must equal the fixed value"), "{errors:?}");
    }

    #[test]
    fn levels_are_checked() {
        let limited = |queuing: Value| {
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 100, "limitResponse": {"type": "Queue", "queuing": queuing},
            }})
        };
        let cases = [
            (limited(json!({"queues": 64, "handSize": 6, "queueLengthLimit": 50})), vec![]),
            (
                limited(json!({"queues": 512, "handSize": 8, "queueLengthLimit": 50})),
                vec![
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
                ],
            ),
            (
                limited(json!({"queues": 4, "handSize": 8, "queueLengthLimit": -1})),
                vec![
                    "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)",
                ],
            ),
            (
                json!({"type": "Exempt"}),
                vec![
                    "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
                ],
            ),
            (
                json!({"type": "Limited", "exempt": {}}),
                vec![
                    "spec.exempt: Forbidden: must be nil if the type is Limited",
                    "spec.limited: Required value: must not be empty when type is Limited",
                ],
            ),
            (
                json!({"type": "Limited", "limited": {
                    "lendablePercent": 101, "borrowingLimitPercent": -1, "limitResponse": {"type": "Reject"},
                }}),
                vec![
                    "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                    "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
                ],
            ),
        ];
        for (spec, want) in cases {
            let object = json!({"metadata": {"name": "foo"}, "spec": spec});
            assert_eq!(texts(priority_level(&object)), want, "{object}");
        }
        let exempt = json!({"metadata": {"name": "exempt"}, "spec": {
            "type": "Exempt", "exempt": {"nominalConcurrencyShares": 5, "lendablePercent": 50}}});
        assert_eq!(texts(priority_level(&exempt)), Vec::<String>::new());
    }
}
