//! What the status of a definition says: which names are accepted, and the conditions that follow.

use jiff::Timestamp;
use proto::field::{Errors, Path, aggregate, quote};
use proto::view::{at, set_at, strs, text_at};
use serde_json::{Map, Value, json};

use super::definition::{approval, certificates};
use super::schema::{Schema, structural};
use super::version;
use crate::engine::meta;

/// A condition to be.
struct Wanted {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// The definition with the status it should have, given the accepted names of the others of its group.
pub(super) fn decide(definition: &Value, others: &[&Value]) -> Value {
    let mut new = definition.clone();
    let wanted = at(definition, &["spec", "names"]);
    if at(definition, &["status", "acceptedNames"]) != wanted {
        let (accepted, condition) = names(definition, others);
        set_at(&mut new, &["status", "acceptedNames"], accepted);
        set(&mut new, condition);
    }
    if !is_true(&new, "Established") {
        let condition = established(&new);
        set(&mut new, condition);
    }
    match structure(definition) {
        Some(condition) => set(&mut new, condition),
        None => remove(&mut new, "NonStructuralSchema"),
    }
    if let Some(condition) = conformant(definition) {
        set(&mut new, condition);
    }
    new
}

/// Whether the definition is to be served.
pub(super) fn is_served(definition: &Value) -> bool {
    is_true(definition, "NamesAccepted") || is_true(definition, "Established")
}

/// Whether a condition holds.
pub(super) fn is_true(definition: &Value, kind: &str) -> bool {
    find(definition, kind).is_some_and(|c| text_at(c, &["status"]) == "True")
}

fn find<'a>(definition: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = at(definition, &["status", "conditions"]).as_array()?;
    conditions.iter().find(|c| text_at(c, &["type"]) == kind)
}

/// Sets a condition; it keeps its time while its status stays.
fn set(definition: &mut Value, wanted: Wanted) {
    set_condition(definition, wanted.kind, wanted.status, wanted.reason, &wanted.message);
}

/// Sets a condition by its parts.
pub(super) fn set_condition(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let old = find(definition, kind).filter(|c| text_at(c, &["status"]) == status);
    let since = old.map(|c| text_at(c, &["lastTransitionTime"]).to_owned()).filter(|since| !since.is_empty());
    let since = since.unwrap_or_else(|| meta::time(Timestamp::now()));
    let mut condition = find(definition, kind).cloned().unwrap_or_else(|| json!({"type": kind}));
    for (field, value) in
        [("status", status), ("reason", reason), ("message", message), ("lastTransitionTime", &since)]
    {
        condition[field] = value.into();
    }
    let mut conditions = at(definition, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
    set_at(definition, &["status", "conditions"], conditions.into());
}

fn remove(definition: &mut Value, kind: &str) {
    if find(definition, kind).is_some()
        && let Some(conditions) = definition.pointer_mut("/status/conditions").and_then(Value::as_array_mut)
    {
        conditions.retain(|c| c["type"] != kind);
    }
}

/// The names that no other definition of the group has, and whether those are all that are wanted.
fn names(definition: &Value, others: &[&Value]) -> (Value, Wanted) {
    let resource_taken = |name: &str| {
        others.iter().any(|names| {
            text_at(names, &["plural"]) == name
                || text_at(names, &["singular"]) == name
                || strs(at(names, &["shortNames"])).contains(&name)
        })
    };
    let kind_taken = |name: &str| {
        others.iter().any(|names| text_at(names, &["kind"]) == name || text_at(names, &["listKind"]) == name)
    };
    let wanted = at(definition, &["spec", "names"]);
    let before = at(definition, &["status", "acceptedNames"]);
    let mut accepted = before.as_object().cloned().unwrap_or_else(Map::new);
    let mut conflict: Option<(&'static str, String)> = None;
    let in_use = |name: &str| format!("{} is already in use", quote(name));
    // The last conflict found is the one that is told.
    let fields: [(&str, &'static str, bool); 5] = [
        ("plural", "PluralConflict", true),
        ("singular", "SingularConflict", true),
        ("shortNames", "ShortNamesConflict", true),
        ("kind", "KindConflict", false),
        ("listKind", "ListKindConflict", false),
    ];
    for (field, reason, is_resource) in fields {
        let wish = at(wanted, &[field]);
        let taken: Vec<&str> = match field {
            "shortNames" => {
                let had = strs(at(before, &[field]));
                strs(wish).into_iter().filter(|name| !had.contains(name) && resource_taken(name)).collect()
            }
            _ => {
                let name = wish.as_str().unwrap_or_default();
                let taken = if is_resource { resource_taken(name) } else { kind_taken(name) };
                if taken && text_at(before, &[field]) != name { vec![name] } else { Vec::new() }
            }
        };
        match taken.as_slice() {
            [] if wish.is_null() => drop(accepted.remove(field)),
            [] => drop(accepted.insert(field.to_owned(), wish.clone())),
            [one] => conflict = Some((reason, in_use(one))),
            many => {
                let texts: Vec<String> = many.iter().map(|name| in_use(name)).collect();
                conflict = Some((reason, format!("[{}]", texts.join(", "))));
            }
        }
    }
    match at(wanted, &["categories"]) {
        Value::Null => drop(accepted.remove("categories")),
        categories => drop(accepted.insert("categories".to_owned(), categories.clone())),
    }
    let condition = match conflict {
        Some((reason, message)) => Wanted { kind: "NamesAccepted", status: "False", reason, message },
        None => Wanted {
            kind: "NamesAccepted",
            status: "True",
            reason: "NoConflicts",
            message: "no conflicts found".to_owned(),
        },
    };
    (Value::Object(accepted), condition)
}

fn established(definition: &Value) -> Wanted {
    let (status, reason, message) = if !is_true(definition, "NamesAccepted") {
        ("False", "NotAccepted", "not all names are accepted")
    } else if certificates::of_definition(definition).is_err() {
        ("False", "InvalidCABundle", "The conversion webhook CABundle is invalid")
    } else {
        ("True", "InitialNamesAccepted", "the initial names have been accepted")
    };
    Wanted { kind: "Established", status, reason, message: message.to_owned() }
}

/// What old definitions have that new ones may not.
fn structure(definition: &Value) -> Option<Wanted> {
    let mut errors = Errors::new();
    let spec = Path::new("spec");
    if at(definition, &["spec", "preserveUnknownFields"]) == &Value::Bool(true) {
        let path = spec.child("preserveUnknownFields");
        errors.push(proto::field::Error::invalid(&path, true, "must be false"));
    }
    let wanted = |status, reason, message| Wanted { kind: "NonStructuralSchema", status, reason, message };
    for (i, version) in version::all(definition).enumerate() {
        let declared = at(version, &["schema", "openAPIV3Schema"]);
        if !declared.is_object() {
            continue;
        }
        let schema = Schema::parse(declared);
        if let Some(why) = structural::unsupported(&schema) {
            let name = text_at(version, &["name"]);
            let message = format!("failed to check validation schema for version {name}: {why}");
            return Some(wanted("Unknown", "StructuralError", message));
        }
        let path = spec.child("versions").index(i).child("schema").child("openAPIV3Schema");
        errors.extend(structural::validate(&path, &schema));
    }
    (!errors.is_empty()).then(|| wanted("True", "Violations", aggregate(&errors)))
}

/// Whether a definition in one of the community's groups was approved.
fn conformant(definition: &Value) -> Option<Wanted> {
    let (state, message) = approval::of(definition)?;
    let (status, reason) = match state {
        approval::State::Approved => ("True", "ApprovedAnnotation"),
        approval::State::Bypassed => ("False", "UnapprovedAnnotation"),
        approval::State::Missing => ("False", "MissingAnnotation"),
        approval::State::Invalid => ("False", "InvalidAnnotation"),
    };
    Some(Wanted { kind: "KubernetesAPIApprovalPolicyConformant", status, reason, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str) -> Value {
        json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")}},
        })
    }

    fn reason<'a>(definition: &'a Value, kind: &str) -> (&'a str, &'a str) {
        let condition = find(definition, kind).unwrap_or(&Value::Null);
        (text_at(condition, &["reason"]), text_at(condition, &["message"]))
    }

    #[test]
    fn the_first_to_have_a_name_keeps_it() {
        let first = definition("widgets", "Widget");
        let first = decide(&first, &[]);
        assert!(is_true(&first, "Established") && is_served(&first));
        assert_eq!(decide(&first, &[]), first, "deciding again changes nothing");
        let mut second = definition("gadgets", "Widget");
        second["spec"]["names"]["shortNames"] = json!(["widgets", "widget"]);
        let second = decide(&second, &[at(&first, &["status", "acceptedNames"])]);
        assert!(!is_served(&second));
        assert_eq!(
            reason(&second, "NamesAccepted"),
            ("ListKindConflict", "\"WidgetList\" is already in use")
        );
        assert_eq!(reason(&second, "Established").0, "NotAccepted");
        assert_eq!(second["status"]["acceptedNames"], json!({"plural": "gadgets"}));
        // Once the other is gone, the names are free.
        assert!(is_true(&decide(&second, &[]), "Established"));
    }

    #[test]
    fn old_schemas_are_told_about() {
        let mut old = definition("widgets", "Widget");
        old["spec"]["preserveUnknownFields"] = true.into();
        old["spec"]["versions"] = json!([{"name": "v1", "schema": {"openAPIV3Schema": {"properties": {}}}}]);
        let new = decide(&old, &[]);
        assert_eq!(
            reason(&new, "NonStructuralSchema"),
            (
                "Violations",
                "[spec.preserveUnknownFields: Invalid value: true: must be false, spec.versions[0].schema.openAPIV3Schema.type: Required value: must not be empty at the root]"
            )
        );
        let mut fixed = new;
        fixed["spec"]["preserveUnknownFields"] = false.into();
        fixed["spec"]["versions"] = json!([]);
        assert!(find(&decide(&fixed, &[]), "NonStructuralSchema").is_none());
    }

    #[test]
    fn the_communitys_groups_need_approval() {
        let mut ours = definition("widgets", "Widget");
        ours["spec"]["group"] = "widgets.k8s.io".into();
        assert_eq!(
            reason(&decide(&ours, &[]), "KubernetesAPIApprovalPolicyConformant").0,
            "MissingAnnotation"
        );
        ours["metadata"]["annotations"] =
            json!({"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"});
        assert_eq!(
            reason(&decide(&ours, &[]), "KubernetesAPIApprovalPolicyConformant"),
            ("ApprovedAnnotation", "approved in https://github.com/kubernetes/kubernetes/pull/1")
        );
    }

    #[test]
    fn a_bad_certificate_holds_a_definition_back() {
        let mut webhook = definition("widgets", "Widget");
        webhook["spec"]["conversion"] =
            json!({"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "Zm9v"}}});
        assert_eq!(reason(&decide(&webhook, &[]), "Established").0, "InvalidCABundle");
    }
}
