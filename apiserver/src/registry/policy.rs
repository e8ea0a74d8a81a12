//! The group policy: how many pods may be disrupted at once.

use proto::field::Errors;
use proto::view::View;
use serde_json::Value;

use super::apps::validation::{at_most_all, number_or_percent};
use super::checks::*;
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "policy";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "poddisruptionbudgets", "PodDisruptionBudget")
        .short(&["pdb"])
        .hooks(Hooks {
            validate: |_, new| validate(new, &Value::Null),
            // Upstream leaves metadata to what holds for all objects.
            validate_name: strategy::path_segment_name,
            validate_update: |_, new, old| validate(new, old),
            allow_unconditional_update: false,
            ..strategy::with_generation()
        })
        .status(Hooks {
            validate_update: |_, new, _| validate_status(new),
            allow_unconditional_update: false,
            ..strategy::status()
        })
        .any_finalizers()
        .install(builder, enabled);
}

fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(new).get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_set() && most.is_set() {
        errors.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for bound in [least, most] {
        if bound.is_set() {
            number_or_percent(&bound, &mut errors);
            at_most_all(&bound, &mut errors);
        }
    }
    let lenient = bad_label_selector(&View::root(old).get("spec").get("selector"));
    label_selector(&spec.get("selector"), lenient, &mut errors);
    let policy = spec.get("unhealthyPodEvictionPolicy");
    if policy.is_set() {
        supported(&policy, &["AlwaysAllow", "IfHealthyBudget"], &mut errors);
    }
    errors
}

fn validate_status(new: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    conditions(&status.get("conditions"), &mut errors);
    for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        nonnegative(&status.get(count), &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bounds() {
        let texts = |spec: Value| {
            let errors = validate(&json!({"spec": spec}), &Value::Null);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(texts(json!({"minAvailable": "100%"})), none);
        assert_eq!(
            texts(json!({"maxUnavailable": "101%"})),
            ["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"]
        );
        assert_eq!(
            texts(json!({"unhealthyPodEvictionPolicy": "x"})),
            [
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"x\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\""
            ]
        );
    }
}
