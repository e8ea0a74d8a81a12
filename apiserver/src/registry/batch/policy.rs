//! When a job counts as failed, and when as succeeded.

use proto::field::{Error, Errors};
use proto::view::View;

use super::indexes;
use crate::registry::checks::*;

const RULES: usize = 20;

fn bounded(list: &View, limit: usize, errors: &mut Errors) {
    if list.len() > limit {
        errors.push(Error::too_many(list.path(), list.len(), limit));
    }
}

/// One of an enumeration; absence is answered with all of it.
fn required_one_of(view: &View, values: &[&str], errors: &mut Errors) {
    if view.is_empty() {
        let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
        errors.push(view.required(format!("valid values: [{}]", quoted.join(" "))));
    } else {
        supported(view, values, errors);
    }
}

/// `podFailurePolicy` of a job's spec.
pub(super) fn failure(spec: &View, errors: &mut Errors) {
    let rules = spec.get("podFailurePolicy").get("rules");
    bounded(&rules, RULES, errors);
    let pod = spec.get("template").get("spec");
    let containers: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod.get(list).items())
        .map(|container| container.text("name"))
        .collect();
    for rule in rules.items() {
        let action = rule.get("action");
        if action.str() == "FailIndex" {
            if !spec.has("backoffLimitPerIndex") {
                errors.push(action.invalid("requires the backoffLimitPerIndex to be set"));
            }
        } else {
            required_one_of(&action, &["Count", "FailIndex", "FailJob", "Ignore"], errors);
        }
        let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, &containers, errors);
        }
        pod_conditions(&conditions, errors);
        match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => errors.push(
                rule.invalid_unshown("specifying both OnExitCodes and OnPodConditions is not supported"),
            ),
            (false, false) => errors
                .push(rule.invalid_unshown("specifying one of OnExitCodes and OnPodConditions is required")),
            _ => {}
        }
    }
}

fn exit_codes(codes: &View, containers: &[&str], errors: &mut Errors) {
    const LIMIT: usize = 255;
    let (operator, name, values) = (codes.get("operator"), codes.get("containerName"), codes.get("values"));
    required_one_of(&operator, &["In", "NotIn"], errors);
    if name.is_set() && !containers.contains(&name.str()) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(name.invalid(detail));
    }
    if values.is_empty() {
        errors.push(values.invalid("at least one value is required"));
    }
    bounded(&values, LIMIT, errors);
    let mut seen = Vec::new();
    let mut ordered = true;
    for value in values.items() {
        let code = value.i64();
        if operator.str() == "In" && code == 0 {
            errors.push(value.invalid_int("must not be 0 for the In operator"));
        }
        ordered &= seen.last().is_none_or(|last| *last <= code);
        if seen.contains(&code) {
            errors.push(value.duplicate());
        }
        seen.push(code);
    }
    if !ordered {
        errors.push(values.invalid("must be ordered"));
    }
}

fn pod_conditions(patterns: &View, errors: &mut Errors) {
    bounded(patterns, RULES, errors);
    for pattern in patterns.items() {
        qualified_name(&pattern.get("type"), errors);
        required_one_of(&pattern.get("status"), &["False", "True", "Unknown"], errors);
    }
}

/// `successPolicy` of a job's spec.
pub(super) fn success(spec: &View, errors: &mut Errors) {
    const TEXT_LIMIT: usize = 64 * 1024;
    let rules = spec.get("successPolicy").get("rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(rules.required(detail));
    }
    bounded(&rules, RULES, errors);
    let completions = spec.int("completions");
    for rule in rules.items() {
        let (count, text) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
        if !count.is_set() && !text.is_set() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(rule.required(detail));
        }
        let mut total = 0;
        if text.is_set() {
            if text.str().len() > TEXT_LIMIT {
                errors.push(Error::too_long(text.path(), TEXT_LIMIT));
            }
            match indexes::count(text.str(), completions) {
                Ok(found) => total = found,
                Err(why) => errors.push(text.invalid(format!("error parsing succeededIndexes: {why}"))),
            }
        }
        if !count.is_set() {
            continue;
        }
        nonnegative(&count, errors);
        let most = |limit: i64, what: &str| {
            count.invalid(format!("must be less than or equal to {limit} (the number of {what})"))
        };
        if count.i64() > completions {
            errors.push(most(completions, "specified completions"));
        }
        if text.is_set() && count.i64() > total {
            errors.push(most(total, "indexes in the specified succeededIndexes field"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn texts(check: fn(&View, &mut Errors), spec: Value) -> Vec<String> {
        let mut errors = Errors::new();
        check(&View::root(&spec), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn failure_policies() {
        let at = "podFailurePolicy.rules[0]";
        let cases = [
            (json!({"action": "Ignore", "onPodConditions": [{"type": "A", "status": "True"}]}), vec![]),
            (
                json!({"onPodConditions": [{"type": "A", "status": "True"}]}),
                vec![format!(
                    "{at}.action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"
                )],
            ),
            (
                json!({"action": "FailIndex"}),
                vec![
                    format!(
                        "{at}.action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"
                    ),
                    format!(
                        "{at}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
                    ),
                ],
            ),
            (
                json!({"action": "Count", "onExitCodes": {"operator": "In", "values": [3, 0, 3], "containerName": "x"}}),
                vec![
                    format!(
                        "{at}.onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template"
                    ),
                    format!(
                        "{at}.onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator"
                    ),
                    format!("{at}.onExitCodes.values[2]: Duplicate value: 3"),
                    format!("{at}.onExitCodes.values: Invalid value: [3,0,3]: must be ordered"),
                ],
            ),
        ];
        for (rule, want) in cases {
            assert_eq!(texts(failure, json!({"podFailurePolicy": {"rules": [rule]}})), want);
        }
    }

    #[test]
    fn success_policies() {
        let at = "successPolicy.rules[0]";
        let cases = [
            (json!({"succeededIndexes": "0-2", "succeededCount": 3}), vec![]),
            (
                json!({}),
                vec![format!(
                    "{at}: Required value: at least one of succeededCount or succeededIndexes must be specified"
                )],
            ),
            (
                json!({"succeededIndexes": "0-1", "succeededCount": 3}),
                vec![format!(
                    "{at}.succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"
                )],
            ),
        ];
        for (rule, want) in cases {
            assert_eq!(texts(success, json!({"completions": 5, "successPolicy": {"rules": [rule]}})), want);
        }
    }
}
