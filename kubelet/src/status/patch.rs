//! The strategic merge patch from one status to another.

use crate::api::PodStatus;
use serde_json::{Map, Value, json};

/// Lists that merge by a key; all others are replaced as a whole.
const MERGED: &[(&str, &str)] =
    &[("conditions", "type"), ("podIPs", "ip"), ("hostIPs", "ip"), ("resourceClaimStatuses", "name")];

/// The patch, or none if nothing differs. The uid in it makes the API server refuse it for another pod
/// of the same name.
pub fn patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let of = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (old, new) = (of(old), of(new));
    let mut status = Map::new();
    for key in old.keys().chain(new.keys()) {
        let (before, after) = (old.get(key), new.get(key));
        if before == after || status.contains_key(key) {
            continue;
        }
        let after = after.cloned().unwrap_or(Value::Null);
        match (MERGED.iter().find(|(list, _)| list == key), before, &after) {
            (Some((_, merge_key)), Some(Value::Array(before)), Value::Array(after)) => {
                merge_list(&mut status, key, merge_key, before, after);
            }
            _ => {
                status.insert(key.clone(), after);
            }
        }
    }
    (!status.is_empty()).then(|| json!({ "metadata": { "uid": uid }, "status": status }))
}

fn merge_list(out: &mut Map<String, Value>, list: &str, key: &str, old: &[Value], new: &[Value]) {
    let find = |items: &[Value], id: &Value| items.iter().find(|i| &i[key] == id).cloned();
    let mut items = Vec::new();
    for item in new {
        match find(old, &item[key]) {
            Some(before) if &before == item => {}
            before => items.push(changed_fields(before, item, key)),
        }
    }
    for item in old.iter().filter(|i| find(new, &i[key]).is_none()) {
        items.push(json!({ "$patch": "delete", key: item[key] }));
    }
    let order: Vec<_> = new.iter().map(|i| json!({ key: i[key] })).collect();
    out.insert(format!("$setElementOrder/{list}"), order.into());
    if !items.is_empty() {
        out.insert(list.into(), items.into());
    }
}

/// The merge key, what changed, and null for what went.
fn changed_fields(before: Option<Value>, after: &Value, key: &str) -> Value {
    let (Some(Value::Object(before)), Value::Object(after)) = (before, after) else { return after.clone() };
    let mut out = Map::new();
    for (name, value) in after {
        if name == key || before.get(name) != Some(value) {
            out.insert(name.clone(), value.clone());
        }
    }
    for name in before.keys().filter(|n| !after.contains_key(*n)) {
        out.insert(name.clone(), Value::Null);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_differences_are_sent() {
        let old = status(json!({ "phase": "Pending", "message": "m", "conditions": [
            { "type": "A", "status": "True" },
            { "type": "B", "status": "False", "reason": "r" },
            { "type": "C", "status": "True" },
        ]}));
        let new = status(json!({ "phase": "Running", "conditions": [
            { "type": "A", "status": "True" },
            { "type": "B", "status": "True" },
        ]}));
        assert_eq!(patch("u", &old, &old), None);
        assert_eq!(
            patch("u", &old, &new).unwrap(),
            json!({ "metadata": { "uid": "u" }, "status": {
                "phase": "Running",
                "message": null,
                "$setElementOrder/conditions": [{ "type": "A" }, { "type": "B" }],
                "conditions": [
                    { "type": "B", "status": "True", "reason": null },
                    { "$patch": "delete", "type": "C" },
                ],
            }})
        );
    }
}
