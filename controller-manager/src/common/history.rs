//! The revisions of a pod template: a DaemonSet's or a StatefulSet's.

use std::sync::Arc;

use serde_json::{Value, json};

use super::template::Template;
use crate::api::apps::ControllerRevision;

/// What a revision of this template holds: a patch that restores it.
pub fn snapshot(template: &Template) -> Value {
    let mut template = template.to_value();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// Which revision is current, and what must change for that.
#[derive(Debug, Default)]
pub struct History {
    /// The revision of the current template; none yet if it must be made.
    pub current: Option<Arc<ControllerRevision>>,
    /// The number that the current revision is to have.
    pub number: i64,
    /// Other revisions with the same content.
    pub duplicates: Vec<Arc<ControllerRevision>>,
    /// Oldest first.
    pub old: Vec<Arc<ControllerRevision>>,
}

/// Sorts the revisions of an owner with this template.
pub fn sort(template: &Template, revisions: &[Arc<ControllerRevision>]) -> History {
    let wanted = without_nulls(snapshot(template));
    let (mut same, mut old): (Vec<_>, Vec<_>) =
        revisions.iter().cloned().partition(|r| without_nulls(r.data.to_value()) == wanted);
    old.sort_by_key(|r| r.revision);
    same.sort_by_key(|r| r.revision);
    let current = same.pop();
    let next = old.last().map_or(0, |r| r.revision).max(0) + 1;
    let number = current.as_ref().map_or(next, |r| r.revision.max(next));
    History { current, number, duplicates: same, old }
}

/// The template that a revision restores.
pub fn template_of(revision: &ControllerRevision) -> Value {
    let mut data = revision.data.to_value();
    let mut template = data.pointer_mut("/spec/template").map(Value::take).unwrap_or_default();
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    template
}

fn without_nulls(mut value: Value) -> Value {
    fn prune(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, v| !v.is_null());
                map.values_mut().for_each(prune);
            }
            Value::Array(items) => items.iter_mut().for_each(prune),
            _ => {}
        }
    }
    prune(&mut value);
    value
}
