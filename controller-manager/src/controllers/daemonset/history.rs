//! The revisions of a DaemonSet's template.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::template::REVISION_HASH;
use crate::api::apps::{ControllerRevision, DaemonSet};
use crate::api::core::Pod;
use crate::common::template::Template;

/// What a revision of this template holds: a patch that restores it.
pub(super) fn snapshot(template: &Template) -> Value {
    let mut template = template.to_value();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// Which revision is current, and what must change for that.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The revision of the current template; none yet if it must be made.
    pub(super) current: Option<Arc<ControllerRevision>>,
    /// The number that the current revision is to have.
    pub(super) number: i64,
    /// Other revisions with the same content.
    pub(super) duplicates: Vec<Arc<ControllerRevision>>,
    /// Oldest first.
    pub(super) old: Vec<Arc<ControllerRevision>>,
}

/// Sorts the DaemonSet's revisions.
pub(super) fn sort(ds: &DaemonSet, revisions: &[Arc<ControllerRevision>]) -> History {
    let wanted = without_nulls(snapshot(&ds.spec.template));
    let (mut same, mut old): (Vec<_>, Vec<_>) =
        revisions.iter().cloned().partition(|r| without_nulls(r.data.to_value()) == wanted);
    old.sort_by_key(|r| r.revision);
    same.sort_by_key(|r| r.revision);
    let current = same.pop();
    let next = old.last().map_or(0, |r| r.revision).max(0) + 1;
    let number = current.as_ref().map_or(next, |r| r.revision.max(next));
    History { current, number, duplicates: same, old }
}

/// The old revisions to delete: those beyond the limit that no pod runs, oldest first.
pub(super) fn beyond_limit<'a>(
    ds: &DaemonSet,
    old: &'a [Arc<ControllerRevision>],
    pods: &[Arc<Pod>],
) -> Vec<&'a ControllerRevision> {
    let limit = usize::try_from(ds.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let live: HashSet<&String> = pods.iter().filter_map(|p| p.metadata.labels.get(REVISION_HASH)).collect();
    let is_live =
        |r: &ControllerRevision| r.metadata.labels.get(REVISION_HASH).is_some_and(|hash| live.contains(hash));
    let dead = old.iter().map(Arc::as_ref).filter(|r| !is_live(r));
    dead.take(old.len().saturating_sub(limit)).collect()
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
