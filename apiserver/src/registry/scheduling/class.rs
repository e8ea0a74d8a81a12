//! What is wrong with a PriorityClass.

use proto::field::{Error, Errors, Path};
use proto::view::View;
use serde_json::Value;

use crate::registry::checks::{immutable, supported};
use crate::registry::columns::Table;

/// The highest value that is not the system's.
const HIGHEST: i64 = 1_000_000_000;
const RESERVED: &str = "system-";
/// The system's own classes with their values.
const SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2 * HIGHEST + 1000), ("system-cluster-critical", 2 * HIGHEST)];

/// The columns of PriorityClasses.
pub(super) const COLUMNS: Table = (
    &[
        ("Value", "integer", 0),
        ("Global-Default", "boolean", 0),
        ("Age", "string", 0),
        ("PreemptionPolicy", "string", 0),
    ],
    |object| {
        vec![
            object.number(&["value"]),
            Value::from(object.at(&["globalDefault"]).as_bool().unwrap_or_default()),
            object.age(),
            object.text_or(&["preemptionPolicy"], ""),
        ]
    },
);

/// A new PriorityClass.
pub(super) fn validate(new: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let (name, value) = (view.get("metadata").text("name"), view.get("value"));
    if name.starts_with(RESERVED) {
        if let Err(why) = is_system(name, value.i64(), view.flag("globalDefault")) {
            let path = Path::new("metadata").child("name");
            let detail = format!(
                "priority class names with '{RESERVED}' prefix are reserved for system use only. error: {why}"
            );
            errors.push(Error::forbidden(&path, detail));
        }
    } else if value.i64() > HIGHEST {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        errors.push(value.forbidden(detail));
    }
    let policy = view.get("preemptionPolicy");
    if policy.is_set() {
        if policy.is_empty() {
            errors.push(policy.required(""));
        } else {
            supported(&policy, &["PreemptLowerPriority", "Never"], &mut errors);
        }
    }
    errors
}

fn is_system(name: &str, value: i64, global_default: bool) -> Result<(), String> {
    match SYSTEM.iter().find(|(known, _)| *known == name) {
        None => Err(format!("{name} is not a known system priority class")),
        Some((_, known)) if *known != value => Err(format!("value of {name} PriorityClass must be {known}")),
        Some(_) if global_default => Err(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => Ok(()),
    }
}

/// A change of a PriorityClass.
pub(super) fn validate_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (View::root(new), View::root(old));
    if new.int("value") != old.int("value") {
        errors.push(new.get("value").forbidden("may not be changed in an update."));
    }
    immutable(&new.get("preemptionPolicy"), &old.get("preemptionPolicy"), &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn classes_are_checked() {
        let cases = [
            (json!({"metadata": {"name": "tier1"}, "value": 100}), vec![]),
            (json!({"metadata": {"name": "system-node-critical"}, "value": 2000001000}), vec![]),
            (
                json!({"metadata": {"name": "system-node-critical"}, "value": 5}),
                vec![
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000",
                ],
            ),
            (
                json!({"metadata": {"name": "system-node-critical"}, "value": 2000001000, "globalDefault": true}),
                vec![
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: globalDefault of system-node-critical PriorityClass must be false",
                ],
            ),
            (
                json!({"metadata": {"name": "system-mine"}, "value": 1}),
                vec![
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class",
                ],
            ),
            (
                json!({"metadata": {"name": "big"}, "value": 1000000001, "preemptionPolicy": "Sometimes"}),
                vec![
                    "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
                    "preemptionPolicy: Unsupported value: \"Sometimes\": supported values: \"PreemptLowerPriority\", \"Never\"",
                ],
            ),
        ];
        for (object, want) in cases {
            assert_eq!(texts(validate(&object)), want, "{object}");
        }
    }

    #[test]
    fn value_and_policy_stay() {
        let old = json!({"value": 100, "preemptionPolicy": "Never"});
        let new = json!({"value": 200, "preemptionPolicy": "PreemptLowerPriority"});
        assert_eq!(
            texts(validate_update(&new, &old)),
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"PreemptLowerPriority\": field is immutable",
            ]
        );
    }
}
