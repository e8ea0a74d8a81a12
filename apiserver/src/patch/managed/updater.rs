//! How ownership moves: the rules of updates and of applied configurations.

use std::collections::BTreeMap;

use proto::schema::Type;
use serde_json::Value;

use super::entries::{Entry, Key, Managers, Operation};
use super::{Conflicts, Error, Request};
use crate::patch::fields::{Set, compare_values};
use crate::patch::typed::{self, Comparison};

/// Takes removed and changed fields from their owners. Returns the managers and what the update itself set.
pub(super) fn update(old: &Value, new: &Value, managers: Managers, request: &Request<'_>) -> (Managers, Set) {
    let managers = reconciled(managers, old, request);
    let (managers, comparison, _) = moved(old, new, managers, None, request);
    let changed = comparison.into_changed();
    let changed = match request.reset {
        Some(reset) => changed.recursive_difference(reset),
        None => changed,
    };
    (managers, changed)
}

/// Merges a configuration. Returns the new object, or `None` if nothing changed, and the managers.
pub(super) fn apply(
    live: &Value,
    config: &Value,
    managers: Managers,
    force: bool,
    request: &Request<'_>,
) -> Result<(Option<Value>, Managers), Error> {
    let own = request.key(request.manager, Operation::Apply);
    let mut managers = reconciled(managers, live, request);
    let merged = typed::merge(live, config, request.ty)
        .map_err(|error| Error::Internal(format!("failed to merge config: {error}")))?;
    let last = managers.0.get(&own).cloned();
    let mut set = typed::collect(config, request.ty);
    if let Some(reset) = request.reset {
        set = set.recursive_difference(reset);
    }
    let time = last.as_ref().and_then(|last| last.time.clone());
    managers.0.insert(own.clone(), Entry { api_version: request.api_version.to_owned(), time, set });
    let new = match last {
        Some(last) if !last.set.is_empty() => pruned(merged, &managers, &last, request),
        _ => merged,
    };
    let (managers, _, conflicts) = moved(live, &new, managers, Some(&own), request);
    if !force && !conflicts.is_empty() {
        return Err(Error::Conflict(conflicts));
    }
    let changed = compare_values(live, &new).is_ne();
    Ok((changed.then_some(new), managers))
}

/// Calls `with` on an object in a version; `None` if there is no such version.
fn versioned<R>(
    object: &Value,
    version: &str,
    request: &Request<'_>,
    with: impl FnOnce(&Value, &Type) -> R,
) -> Option<R> {
    if version == request.api_version {
        return Some(with(object, request.ty));
    }
    let (object, ty) = request.versions.convert(object, version)?;
    Some(with(&object, &ty))
}

/// Takes the fields that differ between two objects from their owners, except from `own`. The fields of versions
/// that no longer exist are forgotten.
fn moved(
    old: &Value,
    new: &Value,
    managers: Managers,
    own: Option<&Key>,
    request: &Request<'_>,
) -> (Managers, Comparison, Conflicts) {
    let mut comparisons: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
    let compare = |version: &str| -> Option<Comparison> {
        let comparison = if version == request.api_version {
            typed::compare(old, new, request.ty)
        } else {
            let (old, ty) = request.versions.convert(old, version)?;
            let (new, _) = request.versions.convert(new, version)?;
            typed::compare(&old, &new, &ty)
        };
        Some(match request.reset {
            Some(reset) => comparison.exclude(reset),
            None => comparison,
        })
    };
    let mut conflicts = Conflicts::default();
    let mut result = Managers::default();
    for (key, mut entry) in managers.0 {
        if own == Some(&key) {
            result.0.insert(key, entry);
            continue;
        }
        let version = entry.api_version.clone();
        let Some(comparison) = comparisons.entry(version).or_insert_with_key(|version| compare(version))
        else {
            continue;
        };
        let taken = entry.set.intersection(&comparison.changed());
        if !taken.is_empty() {
            conflicts.add(&key, &taken);
        }
        entry.set = entry.set.difference(&taken).difference(&comparison.removed);
        result.0.insert(key, entry);
    }
    result.0.retain(|_, entry| !entry.set.is_empty());
    let comparison = comparisons.remove(request.api_version).unwrap_or_else(|| compare(request.api_version));
    let comparison = comparison.unwrap_or_default();
    (result, comparison, conflicts)
}

fn reconciled(mut managers: Managers, live: &Value, request: &Request<'_>) -> Managers {
    managers.0.retain(|_, entry| {
        let known = versioned(live, &entry.api_version, request, |_, ty| typed::reconcile(&entry.set, ty));
        match known {
            Some(Some(set)) => entry.set = set,
            Some(None) => {}
            // Fields of a version that is gone.
            None => return false,
        }
        true
    });
    managers
}

/// Removes what the manager applied last time and doesn't apply now, unless someone else owns it.
fn pruned(merged: Value, managers: &Managers, last: &Entry, request: &Request<'_>) -> Value {
    if last.api_version != request.api_version {
        // The set is in another version: prune there and come back.
        let Some((converted, ty)) = request.versions.convert(&merged, &last.api_version) else {
            return merged;
        };
        let pruned = prune_in(&converted, &ty, managers, last, request);
        return match request.versions.convert(&pruned, request.api_version) {
            Some((back, _)) => back,
            None => merged,
        };
    }
    prune_in(&merged, request.ty, managers, last, request)
}

fn prune_in(merged: &Value, ty: &Type, managers: &Managers, last: &Entry, request: &Request<'_>) -> Value {
    let last_set = last.set.with_named_fields(ty);
    let mut pruned = typed::remove(merged, &last_set, ty);
    let mut owned: BTreeMap<&str, Set> = BTreeMap::new();
    for entry in managers.0.values() {
        let set = owned.entry(&entry.api_version).or_default();
        *set = set.union(&entry.set);
    }
    // What anyone owns comes back, first in the version at hand.
    if let Some(set) = owned.remove(last.api_version.as_str()) {
        pruned = with_owned(merged, &pruned, &set, ty);
    }
    for (version, set) in owned {
        let there = request.versions.convert(merged, version);
        let pruned_there = request.versions.convert(&pruned, version);
        let (Some((merged_there, ty_there)), Some((pruned_there, _))) = (there, pruned_there) else {
            continue;
        };
        let kept = with_owned(&merged_there, &pruned_there, &set, &ty_there);
        if let Some((back, _)) = request.versions.convert(&kept, &last.api_version) {
            pruned = back;
        }
    }
    // What the manager never applied comes back too.
    let pruned_set = typed::collect(&pruned, ty).with_named_fields(ty);
    let merged_set = typed::collect(merged, ty).with_named_fields(ty);
    typed::remove(merged, &merged_set.difference(&pruned_set).intersection(&last_set), ty)
}

fn with_owned(merged: &Value, pruned: &Value, owned: &Set, ty: &Type) -> Value {
    let merged_set = typed::collect(merged, ty).with_named_fields(ty);
    let keep = typed::collect(pruned, ty).with_named_fields(ty).union(&owned.with_named_fields(ty));
    typed::remove(merged, &merged_set.difference(&keep), ty)
}
