//! Arithmetic over a Deployment and its ReplicaSets.

use proto::time::Time;

use crate::api::apps::{Deployment, DeploymentStatus, ReplicaSet};
use crate::api::find_condition;
use crate::common::{intstr, seconds_between};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const REVISION_HISTORY_CHARS: usize = 2000;

pub(super) fn desired(d: &Deployment) -> i32 {
    d.spec.replicas.unwrap_or(1)
}

pub(super) fn replicas(rs: &ReplicaSet) -> i32 {
    rs.spec.replicas.unwrap_or(1)
}

pub(super) fn is_rolling(d: &Deployment) -> bool {
    d.spec.strategy.kind == "RollingUpdate"
}

pub(super) fn has_progress_deadline(d: &Deployment) -> bool {
    d.spec.progress_deadline_seconds.is_some_and(|s| s != i32::MAX)
}

/// Surge and unavailability in pods. Both zero would never move on, so one pod may then be missing.
fn fenceposts(d: &Deployment) -> (i32, i32) {
    let rolling = d.spec.strategy.rolling_update.as_ref();
    let total = desired(d);
    let surge = intstr::scaled(rolling.and_then(|r| r.max_surge.as_ref()), total, true);
    let unavailable = intstr::scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), total, false);
    match (surge, unavailable) {
        (Ok(0), Ok(0)) => (0, 1),
        (Ok(surge), Ok(unavailable)) => (surge, unavailable),
        _ => (0, 0),
    }
}

pub(super) fn max_surge(d: &Deployment) -> i32 {
    if is_rolling(d) { fenceposts(d).0 } else { 0 }
}

pub(super) fn max_unavailable(d: &Deployment) -> i32 {
    if !is_rolling(d) || desired(d) == 0 {
        return 0;
    }
    fenceposts(d).1.min(desired(d))
}

/// Pods all ReplicaSets are asked to have.
pub(super) fn spec_replicas<'a>(all: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    all.into_iter().map(replicas).sum()
}

/// Sorts oldest first; the name decides between equals.
pub(super) fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    let key = |rs: &ReplicaSet| rs.metadata.creation_timestamp;
    key(a).cmp(&key(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// The revision a ReplicaSet carries: 0 without one, nothing when it isn't a number.
pub(super) fn revision(rs: &ReplicaSet) -> Option<i64> {
    match rs.metadata.annotations.get(REVISION) {
        None => Some(0),
        Some(text) => text.parse().ok(),
    }
}

pub(super) fn max_revision<'a>(all: impl IntoIterator<Item = &'a ReplicaSet>) -> i64 {
    all.into_iter().filter_map(revision).max().unwrap_or(0).max(0)
}

/// The revision before the newest; 0 if there is none.
pub(super) fn last_revision<'a>(all: impl IntoIterator<Item = &'a ReplicaSet>) -> i64 {
    let (mut max, mut second) = (0, 0);
    for v in all.into_iter().filter_map(revision) {
        if v >= max {
            second = max;
            max = v;
        } else if v > second {
            second = v;
        }
    }
    second
}

/// Annotations that belong to one object and are not handed on between Deployment and ReplicaSet.
pub(super) fn is_own_annotation(key: &str) -> bool {
    [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO].contains(&key)
}

fn set(rs: &mut ReplicaSet, key: &str, value: String) -> bool {
    let changed = rs.metadata.annotations.get(key) != Some(&value);
    rs.metadata.annotations.insert(key.into(), value);
    changed
}

/// Records the size the Deployment has now, for proportional scaling later.
pub(super) fn set_size_annotations(d: &Deployment, rs: &mut ReplicaSet) -> bool {
    let desired_changed = set(rs, DESIRED_REPLICAS, desired(d).to_string());
    let max_changed = set(rs, MAX_REPLICAS, (desired(d) + max_surge(d)).to_string());
    desired_changed || max_changed
}

/// Brings the current ReplicaSet's annotations up to date: the Deployment's own, and the revision,
/// with the revisions it had before.
pub(super) fn set_new_annotations(
    d: &Deployment,
    rs: &mut ReplicaSet,
    new_revision: i64,
    exists: bool,
) -> bool {
    let mut changed = false;
    for (key, value) in &d.metadata.annotations {
        if !is_own_annotation(key) {
            changed |= set(rs, key, value.clone());
        }
    }
    let old = rs.metadata.annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return false,
        },
    };
    if old_number < new_revision {
        changed |= set(rs, REVISION, new_revision.to_string());
        if let Some(old) = old {
            append_history(rs, &old);
        }
    }
    if !exists {
        changed |= set_size_annotations(d, rs);
    }
    changed
}

fn append_history(rs: &mut ReplicaSet, old: &str) {
    let history = rs.metadata.annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
    let mut items: Vec<&str> = history.split(',').collect();
    if items.first().is_none_or(|first| first.is_empty()) {
        set(rs, REVISION_HISTORY, old.to_string());
        return;
    }
    let mut length = history.len() + old.len() + 1;
    while length > REVISION_HISTORY_CHARS && !items.is_empty() {
        length -= items.remove(0).len() + 1;
    }
    if length <= REVISION_HISTORY_CHARS {
        items.push(old);
        let joined = items.join(",");
        set(rs, REVISION_HISTORY, joined);
    }
}

/// A size that an annotation records.
pub(super) fn size_annotation(rs: &ReplicaSet, key: &str) -> Option<i32> {
    let number: i32 = rs.metadata.annotations.get(key)?.parse().ok()?;
    (number >= 0).then_some(number)
}

/// How far the size of a ReplicaSet moves when the whole Deployment is scaled by `to_add`, of which
/// `added` are dealt out already.
pub(super) fn proportion(rs: &ReplicaSet, d: &Deployment, to_add: i32, added: i32) -> i32 {
    if replicas(rs) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(rs, d);
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(rs: &ReplicaSet, d: &Deployment) -> i32 {
    if desired(d) == 0 {
        return -replicas(rs);
    }
    let max_now = desired(d) + max_surge(d);
    let max_before = match size_annotation(rs, MAX_REPLICAS) {
        None | Some(0) => d.status.replicas,
        Some(max) => max,
    };
    if max_before == 0 {
        return 0;
    }
    let size = f64::from(replicas(rs)) * f64::from(max_now) / f64::from(max_before);
    size.round() as i32 - replicas(rs)
}

/// The size the current ReplicaSet may have now.
pub(super) fn new_size(d: &Deployment, total: i32, current: i32) -> i32 {
    if !is_rolling(d) {
        return desired(d);
    }
    let rolling = d.spec.strategy.rolling_update.as_ref();
    let surge = intstr::scaled(rolling.and_then(|r| r.max_surge.as_ref()), desired(d), true).unwrap_or(0);
    let max_total = desired(d) + surge;
    if total >= max_total {
        return current;
    }
    current + (max_total - total).min(desired(d) - current)
}

pub(super) fn is_saturated(d: &Deployment, rs: &ReplicaSet) -> bool {
    replicas(rs) == desired(d)
        && size_annotation(rs, DESIRED_REPLICAS) == Some(desired(d))
        && rs.status.available_replicas == desired(d)
}

pub(super) fn is_complete(d: &Deployment, status: &DeploymentStatus) -> bool {
    status.updated_replicas == desired(d)
        && status.replicas == desired(d)
        && status.available_replicas == desired(d)
        && status.observed_generation >= d.metadata.generation
}

pub(super) fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

pub(super) fn has_timed_out(d: &Deployment, status: &DeploymentStatus, now: Time) -> bool {
    if !has_progress_deadline(d) {
        return false;
    }
    let Some(condition) = find_condition(&status.conditions, "Progressing") else {
        return false;
    };
    match condition.reason.as_str() {
        "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => condition.last_update_time.is_some_and(|from| {
            let limit = i64::from(d.spec.progress_deadline_seconds.unwrap_or(0));
            seconds_between(from, now) > limit
        }),
    }
}
