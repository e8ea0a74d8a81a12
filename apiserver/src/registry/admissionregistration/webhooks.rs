//! What is wrong with a webhook configuration of either kind.

use proto::content;
use proto::field::Errors;
use proto::view::View;
use serde_json::Value;

use super::expressions::Expressions;
use super::rules;
use crate::registry::callback;
use crate::registry::checks::*;

/// Versions of AdmissionReview that the server before this one understands too.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SELECTORS: [&str; 2] = ["namespaceSelector", "objectSelector"];

/// What is demanded; an old object that falls short of something may go on to do so.
struct Demands {
    match_conditions: bool,
    no_side_effects: bool,
    known_review_version: bool,
    unique_names: bool,
    label_values: bool,
}

impl Demands {
    fn new(new: &Value, old: &Value) -> Self {
        if old.is_null() {
            return Demands {
                match_conditions: true,
                no_side_effects: true,
                known_review_version: true,
                unique_names: true,
                label_values: true,
            };
        }
        let before = View::root(old).get("webhooks").items();
        let after = View::root(new).get("webhooks").items();
        let names: Vec<&str> = before.iter().map(|webhook| webhook.text("name")).collect();
        let same_conditions = after.len() == before.len()
            && after.iter().zip(&before).all(|(a, b)| a.raw("matchConditions") == b.raw("matchConditions"));
        let knows_version = |webhook: &View| {
            let versions = webhook.texts("admissionReviewVersions");
            versions.is_empty() || versions.iter().any(|version| REVIEW_VERSIONS.contains(version))
        };
        let selectors_are_good = |webhook: &View| {
            let mut errors = Errors::new();
            for selector in SELECTORS {
                label_selector(&webhook.get(selector), false, &mut errors);
            }
            errors.is_empty()
        };
        Demands {
            match_conditions: !same_conditions,
            no_side_effects: before
                .iter()
                .all(|webhook| NO_SIDE_EFFECTS.contains(&webhook.text("sideEffects"))),
            known_review_version: before.iter().all(knows_version),
            unique_names: names.iter().enumerate().all(|(at, name)| !names[..at].contains(name)),
            label_values: before.iter().all(selectors_are_good),
        }
    }
}

/// A configuration; `old` is null if it is new.
pub(super) fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let demands = Demands::new(new, old);
    let mut expressions = Expressions::new(false);
    for webhook in View::root(old).get("webhooks").items() {
        expressions.keep_conditions(webhook.raw("matchConditions"));
    }
    let webhooks = View::root(new).get("webhooks").items();
    for (at, hook) in webhooks.iter().enumerate() {
        webhook(hook, &demands, &mut expressions, &mut errors);
        review_versions(&hook.get("admissionReviewVersions"), &demands, &mut errors);
        let name = hook.get("name");
        let taken = webhooks[..at].iter().any(|other| other.text("name") == name.str());
        if demands.unique_names && !name.is_empty() && taken {
            errors.push(name.duplicate());
        }
    }
    errors
}

fn webhook(webhook: &View, demands: &Demands, expressions: &mut Expressions, errors: &mut Errors) {
    let name = webhook.get("name");
    errors.extend(content::is_fully_qualified_name(name.path(), name.str()));
    for rule in webhook.get("rules").items() {
        rules::rule(&rule, errors);
    }
    let optional = |field: &'static str, values: &[&str], errors: &mut Errors| {
        let view = webhook.get(field);
        if view.is_set() {
            supported(&view, values, errors);
        }
    };
    optional("failurePolicy", &rules::FAILURE_POLICIES, errors);
    optional("matchPolicy", &rules::MATCH_POLICIES, errors);
    let allowed = if demands.no_side_effects { &NO_SIDE_EFFECTS[..] } else { &SIDE_EFFECTS[..] };
    let effects = webhook.get("sideEffects");
    if effects.is_set() {
        supported(&effects, allowed, errors);
    } else {
        errors.push(effects.required(format!("must specify one of {}", allowed.join(", "))));
    }
    let timeout = webhook.get("timeoutSeconds");
    if timeout.is_set() && !(1..=30).contains(&timeout.i64()) {
        errors.push(timeout.invalid_int("the timeout value must be between 1 and 30 seconds"));
    }
    for selector in SELECTORS {
        label_selector(&webhook.get(selector), !demands.label_values, errors);
    }
    // Only mutating webhooks have one.
    optional("reinvocationPolicy", &rules::REINVOCATION_POLICIES, errors);
    callback::client_config(&webhook.get("clientConfig"), errors);
    if demands.match_conditions {
        rules::match_conditions(&webhook.get("matchConditions"), expressions, errors);
    }
}

fn review_versions(list: &View, demands: &Demands, errors: &mut Errors) {
    let known = REVIEW_VERSIONS.join(", ");
    if list.is_empty() {
        errors.push(list.required(format!("must specify one of {known}")));
        return;
    }
    let versions = list.strs();
    for (at, version) in list.items().iter().enumerate() {
        if versions[..at].contains(&version.str()) {
            errors.push(version.invalid_str("duplicate version"));
            continue;
        }
        each(version, content::is_dns1035_label(version.str()), errors);
    }
    let accepted = versions.iter().any(|version| REVIEW_VERSIONS.contains(version));
    if demands.known_review_version && !accepted {
        errors.push(list.invalid(format!("must include at least one of {known}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn configuration(change: impl FnOnce(&mut Value)) -> Value {
        let mut webhook = json!({
            "name": "webhook.k8s.io",
            "clientConfig": {"url": "https://example.com"},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["CREATE"], "apiGroups": ["a"], "apiVersions": ["a"], "resources": ["a"]}],
        });
        change(&mut webhook);
        json!({"metadata": {"name": "config"}, "webhooks": [webhook]})
    }

    fn texts(new: &Value, old: &Value) -> Vec<String> {
        validate(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn webhooks_are_checked() {
        type Change = Box<dyn Fn(&mut Value)>;
        let rule = |field: &'static str, value: Value| -> Change {
            Box::new(move |webhook: &mut Value| webhook["rules"][0][field] = value.clone())
        };
        let set = |field: &'static str, value: Value| -> Change {
            Box::new(move |webhook: &mut Value| webhook[field] = value.clone())
        };
        let cases: Vec<(Change, &str)> = vec![
            (
                set("name", json!("webhook")),
                "webhooks[0].name: Invalid value: \"webhook\": should be a domain with at least three segments separated by dots",
            ),
            (
                set("admissionReviewVersions", json!(["v1", "invalidVersion"])),
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"invalidVersion\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            ),
            (
                set("admissionReviewVersions", json!(["v1", "v1"])),
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
            ),
            (
                set("admissionReviewVersions", json!(["v2"])),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ),
            (
                set("admissionReviewVersions", json!([])),
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ),
            (
                set("sideEffects", json!("Some")),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                set("sideEffects", Value::Null),
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                set("timeoutSeconds", json!(31)),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (
                set("failurePolicy", json!("other")),
                "webhooks[0].failurePolicy: Unsupported value: \"other\": supported values: \"Fail\", \"Ignore\"",
            ),
            (
                rule("operations", json!(["CREATE", "*"])),
                "webhooks[0].rules[0].operations: Invalid value: [\"CREATE\",\"*\"]: if '*' is present, must not specify other operations",
            ),
            (
                rule("operations", json!(["PATCH"])),
                "webhooks[0].rules[0].operations[0]: Unsupported value: \"PATCH\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            ),
            (
                rule("apiGroups", json!(["a", "*"])),
                "webhooks[0].rules[0].apiGroups: Invalid value: [\"a\",\"*\"]: if '*' is present, must not specify other API groups",
            ),
            (rule("apiVersions", json!(["a", ""])), "webhooks[0].rules[0].apiVersions[1]: Required value"),
            (
                rule("resources", json!(["*/*", "a"])),
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"a\"]: if '*/*' is present, must not specify other resources",
            ),
            (
                rule("resources", json!(["*", "a"])),
                "webhooks[0].rules[0].resources: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other resources without subresources",
            ),
            (
                rule("resources", json!(["a/*", "a/x"])),
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/x\": if 'a/*' is present, must not specify a/x",
            ),
            (
                rule("resources", json!(["*/a", "x/a"])),
                "webhooks[0].rules[0].resources[1]: Invalid value: \"x/a\": if '*/a' is present, must not specify x/a",
            ),
            (
                rule("scope", json!("Other")),
                "webhooks[0].rules[0].scope: Unsupported value: \"Other\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ),
            (
                set("matchConditions", json!([{"name": "a", "expression": " "}])),
                "webhooks[0].matchConditions[0].expression: Required value",
            ),
            (
                set(
                    "matchConditions",
                    json!([{"name": "a", "expression": "true"}, {"name": "a", "expression": "true"}]),
                ),
                "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"",
            ),
        ];
        assert!(texts(&configuration(|_| {}), &Value::Null).is_empty());
        for (change, want) in cases {
            assert_eq!(texts(&configuration(change), &Value::Null), [want]);
        }
    }

    #[test]
    fn what_was_wrong_may_stay_so() {
        for (field, value) in [
            ("sideEffects", json!("Unknown")),
            ("admissionReviewVersions", json!(["v0"])),
            (
                "namespaceSelector",
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}),
            ),
            ("matchConditions", json!([{"name": "a", "expression": ""}])),
        ] {
            let wrong = configuration(|webhook| webhook[field] = value.clone());
            let good = configuration(|_| {});
            assert_eq!(texts(&wrong, &wrong), Vec::<String>::new(), "{field}");
            assert_eq!(texts(&wrong, &good).len(), 1, "{field}");
        }
        let webhook = configuration(|_| {})["webhooks"][0].clone();
        let twice = json!({"webhooks": [webhook, webhook]});
        assert_eq!(texts(&twice, &Value::Null), ["webhooks[1].name: Duplicate value: \"webhook.k8s.io\""]);
        assert!(texts(&twice, &twice).is_empty());
    }
}
