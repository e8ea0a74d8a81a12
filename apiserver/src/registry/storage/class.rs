//! Classes of storage: storage classes and classes of volume attributes.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use crate::registry::checks::*;
use crate::registry::{Hooks, warnings};

/// Hooks of StorageClasses.
pub(super) fn storage_class() -> Hooks {
    Hooks {
        validate: |_, new| validate(new),
        validate_update: |_, new, old| {
            let mut errors = validate(new);
            let (new, old) = (View::root(new), View::root(old));
            immutable(&new.get("parameters"), &old.get("parameters"), &mut errors);
            immutable_str(&new.get("provisioner"), &old.get("provisioner"), &mut errors);
            for field in ["reclaimPolicy", "volumeBindingMode"] {
                immutable(&new.get(field), &old.get(field), &mut errors);
            }
            errors
        },
        warnings: |_, new| deprecated_labels(new),
        warnings_update: |_, new, _| deprecated_labels(new),
        return_deleted: true,
        ..Hooks::default()
    }
}

fn deprecated_labels(class: &Value) -> Vec<String> {
    let terms = View::root(class).get("allowedTopologies").items();
    let keys = terms.iter().flat_map(|term| term.get("matchLabelExpressions").items());
    keys.map(|expression| expression.get("key"))
        .filter_map(|key| warnings::node_label(key.str()).map(|message| format!("{}: {message}", key.path())))
        .collect()
}

fn validate(class: &Value) -> Errors {
    let mut errors = Errors::new();
    let class = View::root(class);
    provisioner(&class.get("provisioner"), &mut errors);
    parameters(&class.get("parameters"), true, &mut errors);
    let policy = class.get("reclaimPolicy");
    if !policy.is_empty() {
        supported(&policy, &["Delete", "Retain"], &mut errors);
    }
    let mode = class.get("volumeBindingMode");
    if mode.is_set() {
        supported(&mode, &["Immediate", "WaitForFirstConsumer"], &mut errors);
    } else {
        errors.push(mode.required(""));
    }
    topologies(&class.get("allowedTopologies"), &mut errors);
    errors
}

/// The name of what provides volumes, in any case.
fn provisioner(name: &View, errors: &mut Errors) {
    if required(name, errors) {
        let lower = name.str().to_lowercase();
        each_at(name.path(), &lower, content::is_qualified_name(&lower), errors);
    }
}

fn parameters(map: &View, may_be_empty: bool, errors: &mut Errors) {
    const COUNT: usize = 512;
    const SIZE: usize = 256 * 1024;
    if map.len() > COUNT {
        errors.push(Error::too_long(map.path(), COUNT));
        return;
    }
    let entries = map.entries();
    if entries.iter().any(|(key, _)| key.is_empty()) {
        errors.push(Error::invalid(map.path(), "", "field can not be empty."));
    }
    if entries.iter().map(|(key, value)| key.len() + value.str().len()).sum::<usize>() > SIZE {
        errors.push(Error::too_long(map.path(), SIZE));
    }
    if !may_be_empty && entries.is_empty() {
        errors.push(map.required("must contain at least one key/value pair"));
    }
}

fn topologies(terms: &View, errors: &mut Errors) {
    // Upstream's list of terms seen starts with as many empty ones: an empty term is always a duplicate.
    let mut seen: Vec<Vec<(&str, Vec<&str>)>> = vec![Vec::new(); terms.len()];
    for term in terms.items() {
        let list = term.get("matchLabelExpressions");
        let mut expressions: Vec<(&str, Vec<&str>)> = Vec::new();
        for expression in list.items() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            required(&values, errors);
            let mut sorted: Vec<&str> = Vec::new();
            for value in values.items() {
                if sorted.contains(&value.str()) {
                    errors.push(value.duplicate());
                }
                sorted.push(value.str());
            }
            label_name(&key, errors);
            sorted.sort_unstable();
            sorted.dedup();
            match expressions.iter_mut().find(|(known, _)| *known == key.str()) {
                Some((_, known)) => {
                    errors.push(Error::duplicate(key.path(), key.str()));
                    *known = sorted;
                }
                None => expressions.push((key.str(), sorted)),
            }
        }
        expressions.sort_unstable();
        for _ in seen.iter().filter(|other| **other == expressions) {
            errors.push(Error::duplicate(list.path(), ""));
        }
        seen.push(expressions);
    }
}

/// Hooks of VolumeAttributesClasses.
pub(super) fn attributes_class() -> Hooks {
    Hooks {
        validate: |_, new| validate_attributes(new),
        validate_update: |_, new, old| {
            let mut errors = Errors::new();
            for field in ["driverName", "parameters"] {
                let view = View::root(new).get(field);
                if view.value() != View::root(old).raw(field) {
                    errors.push(view.forbidden(format!("updates to {field} are forbidden.")));
                }
            }
            errors.extend(validate_attributes(new));
            errors
        },
        return_deleted: true,
        ..Hooks::default()
    }
}

fn validate_attributes(class: &Value) -> Errors {
    let mut errors = Errors::new();
    let class = View::root(class);
    provisioner(&class.get("driverName"), &mut errors);
    parameters(&class.get("parameters"), false, &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(class: Value) -> Vec<String> {
        validate(&class).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn classes() {
        let mode = "Immediate";
        let none: [&str; 0] = [];
        assert_eq!(texts(json!({"provisioner": "A.b/C", "volumeBindingMode": mode})), none);
        assert_eq!(
            texts(json!({"reclaimPolicy": "Recycle"})),
            [
                "provisioner: Required value",
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                "volumeBindingMode: Required value",
            ]
        );
        let term = json!({"matchLabelExpressions": [{"key": "k", "values": ["a"]}]});
        assert_eq!(
            texts(json!({"provisioner": "p", "volumeBindingMode": mode, "allowedTopologies": [term, term]})),
            ["allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\""]
        );
    }

    #[test]
    fn attributes_need_parameters() {
        let errors = validate_attributes(&json!({"driverName": "d"}));
        assert_eq!(
            errors[0].to_string(),
            "parameters: Required value: must contain at least one key/value pair"
        );
    }
}
