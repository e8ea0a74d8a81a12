//! What to do with a default role or binding that may already exist.
//!
//! Reconciliation only adds: permissions, subjects, labels and annotations that an administrator
//! added stay; what is missing comes back. An object whose autoupdate annotation is "false" is
//! left alone. A binding to another role is replaced, because a role reference can't be changed.

use serde_json::{Map, Value};

use super::data::AUTOUPDATE_ANNOTATION;
use crate::auth::Rule;
use crate::auth::rbac::covers::missing_rules;

/// The write that brings an object to its desired state.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Nothing is missing, or the object is protected.
    None,
    Create(Value),
    Update(Value),
    /// Delete the existing object, then create this one.
    Recreate(Value),
}

/// Plans the write for a Role or ClusterRole.
pub fn role(desired: &Value, existing: Option<&Value>) -> Action {
    let Some(existing) = existing else { return Action::Create(desired.clone()) };
    if is_protected(existing) {
        return Action::None;
    }
    let mut updated = existing.clone();
    merge_metadata(&mut updated, desired);
    add_missing_rules(&mut updated, desired);
    reconcile_aggregation(&mut updated, desired);
    update_if_changed(updated, existing)
}

/// Plans the write for a RoleBinding or ClusterRoleBinding.
pub fn binding(desired: &Value, existing: Option<&Value>) -> Action {
    let Some(existing) = existing else { return Action::Create(desired.clone()) };
    if is_protected(existing) {
        return Action::None;
    }
    if existing["roleRef"] != desired["roleRef"] {
        return Action::Recreate(desired.clone());
    }
    let mut updated = existing.clone();
    merge_metadata(&mut updated, desired);
    append_missing(&mut updated, "subjects", items(&desired["subjects"]));
    update_if_changed(updated, existing)
}

fn update_if_changed(updated: Value, existing: &Value) -> Action {
    if updated == *existing { Action::None } else { Action::Update(updated) }
}

fn is_protected(existing: &Value) -> bool {
    existing["metadata"]["annotations"][AUTOUPDATE_ANNOTATION] == "false"
}

/// Adds the desired labels and annotations that are absent; existing values win.
fn merge_metadata(updated: &mut Value, desired: &Value) {
    for field in ["annotations", "labels"] {
        for (key, value) in desired["metadata"][field].as_object().into_iter().flatten() {
            let metadata = child_object(updated, "metadata");
            let entries = metadata.entry(field).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entries) = entries {
                entries.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

fn add_missing_rules(updated: &mut Value, desired: &Value) {
    let missing = missing_rules(&rules_of(updated), &rules_of(desired));
    let missing = missing.iter().map(Rule::to_value).collect::<Vec<_>>();
    append_missing(updated, "rules", &missing);
}

fn rules_of(role: &Value) -> Vec<Rule> {
    items(&role["rules"]).iter().map(Rule::from_value).collect()
}

/// A default role that is no aggregate stops being one; an aggregate keeps extra selectors.
fn reconcile_aggregation(updated: &mut Value, desired: &Value) {
    match &desired["aggregationRule"]["clusterRoleSelectors"] {
        Value::Array(selectors) => {
            let mut rule = updated["aggregationRule"].clone();
            append_missing(&mut rule, "clusterRoleSelectors", selectors);
            if rule != updated["aggregationRule"] {
                updated["aggregationRule"] = rule;
            }
        }
        _ => {
            if let Value::Object(object) = updated {
                object.remove("aggregationRule");
            }
        }
    }
}

/// Appends the wanted items that `object[field]` does not hold yet.
fn append_missing(object: &mut Value, field: &str, wanted: &[Value]) {
    for item in wanted {
        if items(&object[field]).contains(item) {
            continue;
        }
        if !object.is_object() {
            *object = Value::Object(Map::new());
        }
        match &mut object[field] {
            Value::Array(list) => list.push(item.clone()),
            other => *other = Value::Array(vec![item.clone()]),
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn child_object<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let child = &mut object[field];
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    match child {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn desired_role() -> Value {
        json!({
            "metadata": { "name": "r", "annotations": { AUTOUPDATE_ANNOTATION: "true" }, "labels": { "l": "1" } },
            "rules": [{ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"] }],
        })
    }

    #[test]
    fn an_absent_role_is_created_and_an_equal_one_left() {
        let desired = desired_role();
        assert_eq!(role(&desired, None), Action::Create(desired.clone()));
        let mut existing = desired.clone();
        existing["metadata"]["uid"] = json!("u");
        assert_eq!(role(&desired, Some(&existing)), Action::None);
    }

    #[test]
    fn missing_permissions_come_back_and_extra_ones_stay() {
        let mut existing = desired_role();
        existing["rules"] = json!([
            { "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] },
            { "verbs": ["delete"], "apiGroups": [""], "resources": ["pods"] },
        ]);
        existing["metadata"]["labels"] = json!({ "l": "mine" });
        let Action::Update(updated) = role(&desired_role(), Some(&existing)) else {
            panic!("expected an update")
        };
        assert_eq!(updated["rules"].as_array().unwrap().len(), 3);
        assert_eq!(
            updated["rules"][2],
            json!({ "verbs": ["list"], "apiGroups": [""], "resources": ["pods"] })
        );
        assert_eq!(updated["metadata"]["labels"]["l"], "mine");
    }

    #[test]
    fn a_protected_role_is_left_alone() {
        let mut existing = desired_role();
        existing["metadata"]["annotations"][AUTOUPDATE_ANNOTATION] = json!("false");
        existing["rules"] = json!([]);
        assert_eq!(role(&desired_role(), Some(&existing)), Action::None);
    }

    #[test]
    fn a_role_that_should_not_aggregate_stops() {
        let mut existing = desired_role();
        existing["aggregationRule"] = json!({ "clusterRoleSelectors": [{}] });
        let Action::Update(updated) = role(&desired_role(), Some(&existing)) else {
            panic!("expected an update")
        };
        assert!(updated.get("aggregationRule").is_none());
    }

    #[test]
    fn bindings_gain_subjects_and_are_replaced_when_the_role_differs() {
        let group = |name: &str| json!({ "kind": "Group", "name": name });
        let desired = json!({ "roleRef": { "name": "a" }, "subjects": [group("x")] });
        let mut existing = json!({ "roleRef": { "name": "a" }, "subjects": [group("y")] });
        let Action::Update(updated) = binding(&desired, Some(&existing)) else {
            panic!("expected an update")
        };
        assert_eq!(updated["subjects"], json!([group("y"), group("x")]));
        existing["roleRef"]["name"] = json!("b");
        assert_eq!(binding(&desired, Some(&existing)), Action::Recreate(desired));
    }
}
