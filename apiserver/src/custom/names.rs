//! Which names of a definition are accepted, and what its status says about it.

use std::sync::Arc;

use jiff::Timestamp;
use proto::view::{at, set_at, strs, text_at};
use serde_json::{Value, json};

use crate::engine::meta;

/// The status a definition should have: its accepted names and conditions.
pub(super) fn decide(definition: &Value, all: &[Arc<Value>]) -> Value {
    let group = text_at(definition, &["spec", "group"]);
    let own = meta::text(definition, "name");
    let others =
        || all.iter().filter(|d| text_at(d, &["spec", "group"]) == group && meta::text(d, "name") != own);
    let resources = |name: &str| {
        others().any(|d| {
            let names = at(d, &["status", "acceptedNames"]);
            text_at(names, &["plural"]) == name
                || text_at(names, &["singular"]) == name
                || strs(at(names, &["shortNames"])).contains(&name)
        })
    };
    let kinds = |name: &str| {
        others().any(|d| {
            let names = at(d, &["status", "acceptedNames"]);
            text_at(names, &["kind"]) == name || text_at(names, &["listKind"]) == name
        })
    };
    let wanted = at(definition, &["spec", "names"]);
    let before = at(definition, &["status", "acceptedNames"]);
    let mut accepted = if before.is_object() { before.clone() } else { json!({}) };
    let mut conflict: Option<(&str, String)> = None;
    let had = strs(at(&accepted, &["shortNames"])).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let short = strs(at(wanted, &["shortNames"]));
    match short.iter().find(|name| !had.iter().any(|h| h == *name) && resources(name)) {
        Some(name) => {
            conflict =
                Some(("ShortNamesConflict", format!("{} is already in use", proto::field::quote(name))));
        }
        None => set_at(&mut accepted, &["shortNames"], at(wanted, &["shortNames"]).clone()),
    }
    let fields: [(&str, &str, &dyn Fn(&str) -> bool); 4] = [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ];
    for (field, reason, taken) in fields {
        let name = text_at(wanted, &[field]);
        if text_at(&accepted, &[field]) != name && taken(name) {
            conflict = Some((reason, format!("{} is already in use", proto::field::quote(name))));
        } else {
            set_at(&mut accepted, &[field], name.into());
        }
    }
    set_at(&mut accepted, &["categories"], at(wanted, &["categories"]).clone());
    let names = match &conflict {
        Some((reason, message)) => condition(definition, "NamesAccepted", "False", reason, message),
        None => condition(definition, "NamesAccepted", "True", "NoConflicts", "no conflicts found"),
    };
    let established = find(definition, "Established").filter(|c| text_at(c, &["status"]) == "True");
    let established = match (established, conflict) {
        (Some(old), _) => old.clone(),
        (None, Some(_)) => {
            condition(definition, "Established", "False", "NotAccepted", "not all names are accepted")
        }
        (None, None) => condition(
            definition,
            "Established",
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
    };
    json!({"acceptedNames": accepted, "conditions": [names, established]})
}

/// Whether the definition is to be served.
pub(super) fn accepted(status: &Value) -> bool {
    let conditions = at(status, &["conditions"]).as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| text_at(c, &["type"]) == "Established" && text_at(c, &["status"]) == "True")
}

/// Whether the definition's status says something else.
pub(super) fn differs(definition: &Value, status: &Value) -> bool {
    with_status(definition, status) != *definition
}

/// The definition with this status; conditions of other types stay.
pub(super) fn with_status(definition: &Value, status: &Value) -> Value {
    let mut new = definition.clone();
    set_at(&mut new, &["status", "acceptedNames"], at(status, &["acceptedNames"]).clone());
    let own = at(status, &["conditions"]).as_array().cloned().unwrap_or_default();
    let mut conditions = at(definition, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    for condition in own {
        match conditions.iter_mut().find(|c| c["type"] == condition["type"]) {
            Some(old) => *old = condition,
            None => conditions.push(condition),
        }
    }
    set_at(&mut new, &["status", "conditions"], conditions.into());
    new
}

fn find<'a>(definition: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = at(definition, &["status", "conditions"]).as_array()?;
    conditions.iter().find(|c| text_at(c, &["type"]) == kind)
}

/// A condition; it keeps its time while its status stays.
fn condition(definition: &Value, kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let old = find(definition, kind).filter(|c| text_at(c, &["status"]) == status);
    let since = match old {
        Some(old) => text_at(old, &["lastTransitionTime"]).to_owned(),
        None => meta::time(Timestamp::now()),
    };
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
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

    #[test]
    fn the_first_to_have_a_name_keeps_it() {
        let first = definition("widgets", "Widget");
        let first = with_status(&first, &decide(&first, &[]));
        let status = decide(&first, &[Arc::new(first.clone())]);
        assert!(accepted(&status) && !differs(&first, &status), "deciding again changes nothing");
        let second = definition("gadgets", "Widget");
        let status = decide(&second, &[Arc::new(first)]);
        assert!(!accepted(&status));
        // As upstream, the last conflict found is the one that is told.
        assert_eq!(status["conditions"][0]["reason"], "ListKindConflict");
        assert_eq!(status["conditions"][0]["message"], "\"WidgetList\" is already in use");
    }
}
