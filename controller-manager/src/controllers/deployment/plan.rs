//! What a Deployment needs next.
//!
//! The planner works on a model: a copy of the ReplicaSets, in which each decided write takes effect at
//! once, so that one pass decides everything a sync would do. Writes to one ReplicaSet are merged, and
//! the status is written once, at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::time::Time;
use serde_json::{Value, json};

use super::model::*;
use crate::api::apps::{Deployment, DeploymentStatus, ReplicaSet};
use crate::api::{Condition, find_condition, remove_condition, set_condition};
use crate::common::events::Event;
use crate::common::hash::template_hash;
use crate::common::template::{POD_TEMPLATE_HASH, Template, remove_hash_label};
use crate::common::{refs, seconds_between};

/// What the planner knows.
pub(super) struct View<'a> {
    pub(super) deployment: &'a Deployment,
    /// The ReplicaSets that it controls.
    pub(super) replica_sets: Vec<Arc<ReplicaSet>>,
    /// For each pod that may still run: the uid of its ReplicaSet.
    pub(super) running_pods: Vec<String>,
    pub(super) now: Time,
}

/// A ReplicaSet to make.
#[derive(Debug, PartialEq)]
pub(super) struct Create {
    pub(super) name: String,
    pub(super) replicas: i32,
    pub(super) object: Value,
}

/// Changes one ReplicaSet as it was seen: fields left out stay.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Update {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) replicas: Option<i32>,
    pub(super) min_ready_seconds: Option<i32>,
    pub(super) events: Vec<Event>,
}

/// Ends a request to roll back.
#[derive(Debug, PartialEq)]
pub(super) struct Rollback {
    /// The template and annotations to take over from an older revision.
    pub(super) to: Option<(Value, BTreeMap<String, String>)>,
    pub(super) event: Event,
}

/// The writes, in the order in which they are done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) events: Vec<Event>,
    pub(super) create: Option<Create>,
    pub(super) updates: Vec<Update>,
    /// Names and uids of ReplicaSets beyond the history limit.
    pub(super) deletes: Vec<(String, String)>,
    pub(super) rollback: Option<Rollback>,
    pub(super) status: Option<DeploymentStatus>,
    /// The revision annotation, written together with the status.
    pub(super) revision: Option<String>,
    /// When to look again, for the progress deadline.
    pub(super) again_after: Option<Duration>,
}

/// Decides what to do for one Deployment.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let d = view.deployment;
    if d.spec.selector.is_everything() {
        return selects_everything(d);
    }
    let mut model = Model::new(view);
    if d.metadata.deletion_timestamp.is_some() {
        model.find_new(false);
        model.finish(false);
        return model.plan;
    }
    model.check_paused();
    if d.spec.paused {
        model.sync();
    } else if d.metadata.annotations.get(ROLLBACK_TO).is_some_and(|v| v.parse::<i64>().is_ok()) {
        model.rollback();
    } else if model.is_scaling() {
        model.sync();
    } else if is_rolling(d) {
        model.roll();
    } else {
        model.recreate();
    }
    model.plan
}

fn selects_everything(d: &Deployment) -> Plan {
    let mut plan = Plan::default();
    plan.events.push(Event::warning(
        "SelectingAll",
        "This deployment is selecting all pods. A non-empty selector is required.",
    ));
    if d.status.observed_generation < d.metadata.generation {
        plan.status =
            Some(DeploymentStatus { observed_generation: d.metadata.generation, ..d.status.clone() });
    }
    plan
}

/// The status after a ReplicaSet could not be created.
pub(super) fn create_failed(d: &Deployment, message: &str, now: Time) -> Option<DeploymentStatus> {
    has_progress_deadline(d).then(|| {
        let mut status = d.status.clone();
        let condition = condition("Progressing", "False", "ReplicaSetCreateError", message, now);
        set_condition(&mut status.conditions, condition, true);
        status
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Time) -> Condition {
    Condition { last_update_time: Some(now), ..Condition::new(kind, status, reason, message, now) }
}

/// The Deployment and its ReplicaSets as they will be.
struct Model<'a> {
    view: &'a View<'a>,
    d: &'a Deployment,
    /// The ReplicaSet with the Deployment's own template.
    new: Option<ReplicaSet>,
    old: Vec<ReplicaSet>,
    conditions: Vec<Condition>,
    revision: Option<String>,
    plan: Plan,
}

impl<'a> Model<'a> {
    fn new(view: &'a View<'a>) -> Self {
        let d = view.deployment;
        let mut old: Vec<ReplicaSet> = view.replica_sets.iter().map(|rs| ReplicaSet::clone(rs)).collect();
        old.sort_by(by_age);
        let new = old
            .iter()
            .position(|rs| rs.spec.template.same_ignoring_hash(&d.spec.template))
            .map(|index| old.remove(index));
        Model {
            view,
            d,
            new,
            old,
            conditions: d.status.conditions.clone(),
            revision: None,
            plan: Plan::default(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let condition = condition(kind, status, reason, message, self.view.now);
        set_condition(&mut self.conditions, condition, true);
    }

    /// The write that changes one ReplicaSet; there is at most one.
    fn update_of(&mut self, rs: &ReplicaSet) -> &mut Update {
        let updates = &mut self.plan.updates;
        let found = updates.iter().position(|u| u.name == rs.metadata.name);
        let index = found.unwrap_or_else(|| {
            updates.push(Update {
                name: rs.metadata.name.clone(),
                uid: rs.metadata.uid.clone(),
                resource_version: rs.metadata.resource_version.clone(),
                ..Default::default()
            });
            updates.len() - 1
        });
        &mut updates[index]
    }

    /// Brings revision and annotations of the current ReplicaSet up to date, and makes the ReplicaSet
    /// where it is missing and wanted.
    fn find_new(&mut self, create: bool) {
        let new_revision = max_revision(&self.old) + 1;
        match self.new.take() {
            Some(rs) => self.adjust_new(rs, new_revision),
            None if create => self.create_new(new_revision),
            None => {}
        }
    }

    fn adjust_new(&mut self, before: ReplicaSet, new_revision: i64) {
        let mut rs = before.clone();
        let annotated = set_new_annotations(self.d, &mut rs, new_revision, true);
        let min_ready = self.d.spec.min_ready_seconds;
        let min_ready_changed = rs.spec.min_ready_seconds != min_ready;
        if annotated || min_ready_changed {
            rs.spec.min_ready_seconds = min_ready;
            let annotations = changed_annotations(&before, &rs);
            let update = self.update_of(&rs);
            update.annotations.extend(annotations);
            update.min_ready_seconds = min_ready_changed.then_some(min_ready);
        }
        let revision = rs.metadata.annotations.get(REVISION).cloned().unwrap_or_default();
        self.set_revision(revision);
        if has_progress_deadline(self.d) && find_condition(&self.conditions, "Progressing").is_none() {
            let message = format!("Found new replica set \"{}\"", rs.metadata.name);
            self.set_condition("Progressing", "True", "FoundNewReplicaSet", &message);
        }
        self.new = Some(rs);
    }

    fn set_revision(&mut self, revision: String) {
        if self.d.metadata.annotations.get(REVISION) != Some(&revision) {
            self.revision = Some(revision);
        }
    }

    fn create_new(&mut self, new_revision: i64) {
        let d = self.d;
        let mut template = d.spec.template.to_value();
        let hash = template_hash(&template, d.status.collision_count);
        let mut labels = d.spec.template.labels();
        labels.insert(POD_TEMPLATE_HASH.into(), hash.clone());
        template["metadata"]["labels"] = json!(labels);
        let mut selector = d.spec.selector.clone();
        selector.match_labels.insert(POD_TEMPLATE_HASH.into(), hash.clone());

        let mut rs = ReplicaSet::default();
        rs.metadata.name = name_with_hash(&d.metadata.name, &hash);
        rs.spec.min_ready_seconds = d.spec.min_ready_seconds;
        rs.spec.selector = selector;
        rs.spec.template = Template::new(&template);
        let size = new_size(d, spec_replicas(&self.old), 0);
        rs.spec.replicas = Some(size);
        set_new_annotations(d, &mut rs, new_revision, false);

        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": rs.metadata.name,
                "namespace": d.metadata.namespace,
                "labels": labels,
                "annotations": rs.metadata.annotations,
                "ownerReferences": [refs::controller_ref(&d.metadata, "apps/v1", "Deployment")],
            },
            "spec": {
                "replicas": size,
                "minReadySeconds": rs.spec.min_ready_seconds,
                "selector": rs.spec.selector,
                "template": template,
            },
        });
        let name = rs.metadata.name.clone();
        self.plan.create = Some(Create { name: name.clone(), replicas: size, object });
        self.set_revision(new_revision.to_string());
        if has_progress_deadline(d) {
            let message = format!("Created new replica set \"{name}\"");
            self.set_condition("Progressing", "True", "NewReplicaSetCreated", &message);
        }
        self.new = Some(rs);
    }

    /// Notes pausing and resuming, so that the time between doesn't count against the deadline.
    fn check_paused(&mut self) {
        if !has_progress_deadline(self.d) {
            return;
        }
        let reason = find_condition(&self.conditions, "Progressing").map(|c| c.reason.clone());
        if reason.as_deref() == Some("ProgressDeadlineExceeded") {
            return;
        }
        let noted = reason.as_deref() == Some("DeploymentPaused");
        match (self.d.spec.paused, noted) {
            (true, false) => {
                self.set_condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
            }
            (false, true) => {
                self.set_condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")
            }
            _ => {}
        }
    }

    /// Whether the Deployment's size changed since a running ReplicaSet was last sized.
    fn is_scaling(&mut self) -> bool {
        let d = self.d;
        self.all()
            .filter(|rs| replicas(rs) > 0)
            .filter_map(|rs| size_annotation(rs, DESIRED_REPLICAS))
            .any(|size| size != desired(d))
    }

    /// Scales without rolling: for a paused Deployment, or one whose size was changed.
    fn sync(&mut self) {
        self.find_new(false);
        self.scale();
        if self.d.spec.paused && !self.d.metadata.annotations.contains_key(ROLLBACK_TO) {
            self.clean_up();
        }
        self.finish(false);
    }

    fn scale(&mut self) {
        let d = self.d;
        let active = self.all().filter(|rs| replicas(rs) > 0).count();
        if active <= 1 {
            // The one that has pods, or else the newest.
            let newest = self.old.iter().max_by(|a, b| by_age(a, b));
            let target = self
                .all()
                .find(|rs| replicas(rs) > 0)
                .or(self.new.as_ref())
                .or(newest)
                .map(|rs| rs.metadata.name.clone());
            if let Some(name) = target {
                self.scale_to(&name, desired(d), false);
            }
            return;
        }
        if self.new.as_ref().is_some_and(|rs| is_saturated(d, rs)) {
            for name in self.active_old() {
                self.scale_to(&name, 0, false);
            }
            return;
        }
        if is_rolling(d) {
            self.scale_proportionally();
        }
    }

    fn active_old(&self) -> Vec<String> {
        let active = self.old.iter().filter(|rs| replicas(rs) > 0);
        active.map(|rs| rs.metadata.name.clone()).collect()
    }

    fn scale_proportionally(&mut self) {
        let d = self.d;
        let mut all: Vec<ReplicaSet> = self.all().filter(|rs| replicas(rs) > 0).cloned().collect();
        let allowed = if desired(d) > 0 { desired(d) + max_surge(d) } else { 0 };
        let to_add = allowed - spec_replicas(&all);
        // Largest first; among equals the newest gains first, the oldest loses first.
        all.sort_by(|a, b| {
            let age = if to_add > 0 { by_age(b, a) } else { by_age(a, b) };
            replicas(b).cmp(&replicas(a)).then(age)
        });
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(all.len());
        for rs in &all {
            let part = proportion(rs, d, to_add, added);
            sizes.push(replicas(rs) + part);
            added += part;
        }
        if let Some(first) = sizes.first_mut().filter(|_| to_add != 0) {
            *first = (*first + to_add - added).max(0);
        }
        for (rs, size) in all.iter().zip(sizes) {
            self.scale_to(&rs.metadata.name, size, true);
        }
    }

    /// Sizes one ReplicaSet; says whether its size changes. With `annotate` the recorded Deployment
    /// size is refreshed even if the size stays.
    fn scale_to(&mut self, name: &str, size: i32, annotate: bool) -> bool {
        let d = self.d;
        let Some(rs) = self.old.iter_mut().chain(&mut self.new).find(|r| r.metadata.name == name) else {
            return false;
        };
        let from = replicas(rs);
        if !annotate && from == size {
            return false;
        }
        let before = rs.clone();
        let annotated = set_size_annotations(d, rs);
        if from == size && !annotated {
            return false;
        }
        rs.spec.replicas = Some(size);
        let rs = rs.clone();
        let annotations = changed_annotations(&before, &rs);
        let update = self.update_of(&rs);
        update.annotations.extend(annotations);
        if from == size {
            return false;
        }
        update.replicas = Some(size);
        let direction = if from < size { "up" } else { "down" };
        update.events.push(Event::normal(
            "ScalingReplicaSet",
            format!("Scaled {direction} replica set {name} from {from} to {size}"),
        ));
        true
    }

    fn roll(&mut self) {
        self.find_new(true);
        if !self.grow_new() && !self.shrink_old() && self.was_complete() {
            self.clean_up();
        }
        self.finish(true);
    }

    fn was_complete(&self) -> bool {
        is_complete(self.d, &self.d.status)
    }

    fn grow_new(&mut self) -> bool {
        let Some(rs) = &self.new else { return false };
        let (name, current) = (rs.metadata.name.clone(), replicas(rs));
        let size = if current > desired(self.d) {
            desired(self.d)
        } else if current == desired(self.d) {
            return false;
        } else {
            new_size(self.d, spec_replicas(self.all()), current)
        };
        self.scale_to(&name, size, false)
    }

    /// Takes pods from old ReplicaSets: first those that don't work anyway, then as many as may be
    /// missing.
    fn shrink_old(&mut self) -> bool {
        let d = self.d;
        if spec_replicas(&self.old) == 0 {
            return false;
        }
        let Some(new) = &self.new else { return false };
        let min_available = desired(d) - max_unavailable(d);
        let new_unavailable = replicas(new) - new.status.available_replicas;
        let max_down = spec_replicas(self.all()) - min_available - new_unavailable;
        if max_down <= 0 {
            return false;
        }
        self.old.sort_by(by_age);
        let unhealthy = self.shrink(max_down, |rs| replicas(rs) - rs.status.available_replicas);
        let available: i32 = self.all().map(|rs| rs.status.available_replicas).sum();
        let healthy = self.shrink(available - min_available, replicas);
        unhealthy + healthy > 0
    }

    /// Takes up to `budget` pods from the old ReplicaSets, oldest first, from each at most `spare`.
    fn shrink(&mut self, budget: i32, spare: fn(&ReplicaSet) -> i32) -> i32 {
        let mut taken = 0;
        for name in self.active_old() {
            let Some(rs) = self.old.iter().find(|rs| rs.metadata.name == name) else { continue };
            let count = spare(rs).min(budget - taken);
            let size = replicas(rs) - count;
            if count > 0 {
                self.scale_to(&name, size, false);
                taken += count;
            }
        }
        taken
    }

    fn recreate(&mut self) {
        self.find_new(false);
        let mut scaled = false;
        for name in self.active_old() {
            scaled |= self.scale_to(&name, 0, false);
        }
        if scaled || self.old_pods_running() {
            return self.finish(true);
        }
        if self.new.is_none() {
            self.find_new(true);
        }
        if let Some(name) = self.new.as_ref().map(|rs| rs.metadata.name.clone()) {
            self.scale_to(&name, desired(self.d), false);
        }
        if self.was_complete() {
            self.clean_up();
        }
        self.finish(true);
    }

    fn old_pods_running(&self) -> bool {
        let new = self.new.as_ref().map(|rs| rs.metadata.uid.as_str());
        self.old.iter().any(|rs| rs.status.replicas > 0)
            || self.view.running_pods.iter().any(|uid| Some(uid.as_str()) != new)
    }

    fn rollback(&mut self) {
        self.find_new(true);
        let wanted = self.d.metadata.annotations.get(ROLLBACK_TO).and_then(|v| v.parse().ok());
        let (wanted, missing) = match wanted {
            None | Some(0) => (last_revision(self.all()), "Unable to find last revision."),
            Some(n) => (n, "Unable to find the revision to rollback to."),
        };
        let found = self.all().find(|rs| wanted != 0 && revision(rs) == Some(wanted));
        let name = &self.d.metadata.name;
        let rollback = match found {
            None => {
                Rollback { to: None, event: Event::warning("DeploymentRollbackRevisionNotFound", missing) }
            }
            Some(rs) if rs.spec.template.same_ignoring_hash(&self.d.spec.template) => Rollback {
                to: None,
                event: Event::warning(
                    "DeploymentRollbackTemplateUnchanged",
                    format!(
                        "The rollback revision contains the same template as current deployment \"{name}\""
                    ),
                ),
            },
            Some(rs) => {
                let mut template = rs.spec.template.to_value();
                remove_hash_label(&mut template);
                let own = self.d.metadata.annotations.iter().filter(|(k, _)| is_own_annotation(k));
                let copied = rs.metadata.annotations.iter().filter(|(k, _)| !is_own_annotation(k));
                let annotations = own.chain(copied).map(|(k, v)| (k.clone(), v.clone())).collect();
                Rollback {
                    to: Some((template, annotations)),
                    event: Event::normal(
                        "DeploymentRollback",
                        format!("Rolled back deployment \"{name}\" to revision {wanted}"),
                    ),
                }
            }
        };
        self.plan.rollback = Some(rollback);
    }

    /// Deletes the oldest ReplicaSets beyond the history limit, if they are empty.
    fn clean_up(&mut self) {
        let Some(limit) = self.d.spec.revision_history_limit.filter(|l| *l != i32::MAX) else {
            return;
        };
        let alive = |rs: &&ReplicaSet| rs.metadata.deletion_timestamp.is_none();
        let mut candidates: Vec<&ReplicaSet> = self.old.iter().filter(alive).collect();
        let excess = candidates.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        candidates.sort_by(|a, b| match (revision(a), revision(b)) {
            (Some(x), Some(y)) if x != y => x.cmp(&y),
            _ => by_age(a, b),
        });
        self.plan.deletes = candidates
            .into_iter()
            .take(excess)
            .filter(|rs| rs.status.replicas == 0 && replicas(rs) == 0)
            .filter(|rs| rs.metadata.generation <= rs.status.observed_generation)
            .map(|rs| (rs.metadata.name.clone(), rs.metadata.uid.clone()))
            .collect();
    }

    fn status(&mut self) -> DeploymentStatus {
        let d = self.d;
        let sum = |f: fn(&ReplicaSet) -> i32| self.all().map(f).sum::<i32>();
        let available = sum(|rs| rs.status.available_replicas);
        let status = DeploymentStatus {
            observed_generation: d.metadata.generation,
            replicas: sum(|rs| rs.status.replicas),
            updated_replicas: self.new.as_ref().map_or(0, |rs| rs.status.replicas),
            ready_replicas: sum(|rs| rs.status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (spec_replicas(self.all()) - available).max(0),
            terminating_replicas: terminating(self.all()),
            collision_count: d.status.collision_count,
            conditions: Vec::new(),
        };
        if available >= desired(d) - max_unavailable(d) {
            self.set_condition(
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            );
        } else {
            self.set_condition(
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            );
        }
        status
    }

    /// Writes the status if anything in it changed; while `rolling`, judges progress too.
    fn finish(&mut self, rolling: bool) {
        let mut status = self.status();
        if rolling {
            self.judge_progress(&status);
            self.copy_failure();
        }
        status.conditions = self.conditions.clone();
        if status != self.d.status || self.revision.is_some() {
            self.plan.status = Some(status);
            self.plan.revision = self.revision.take();
        } else if rolling {
            self.plan.again_after = self.deadline_check(&status);
        }
    }

    fn judge_progress(&mut self, status: &DeploymentStatus) {
        let d = self.d;
        if !has_progress_deadline(d) {
            remove_condition(&mut self.conditions, "Progressing");
            return;
        }
        let current = find_condition(&self.conditions, "Progressing").cloned();
        let settled = current.as_ref().is_some_and(|c| c.reason == "NewReplicaSetAvailable");
        if settled && status.replicas == status.updated_replicas {
            return;
        }
        let subject = match &self.new {
            Some(rs) => format!("ReplicaSet \"{}\"", rs.metadata.name),
            None => format!("Deployment \"{}\"", d.metadata.name),
        };
        let judged = DeploymentStatus { conditions: self.conditions.clone(), ..status.clone() };
        if is_complete(d, status) {
            let message = format!("{subject} has successfully progressed.");
            self.set_condition("Progressing", "True", "NewReplicaSetAvailable", &message);
        } else if is_progressing(&d.status, status) {
            let message = format!("{subject} is progressing.");
            let now = self.view.now;
            let mut new = condition("Progressing", "True", "ReplicaSetUpdated", &message, now);
            // Each step of progress restarts the clock of the deadline.
            if let Some(current) = current.filter(Condition::is_true) {
                new.last_transition_time = current.last_transition_time;
            }
            remove_condition(&mut self.conditions, "Progressing");
            self.conditions.push(new);
        } else if has_timed_out(d, &judged, self.view.now) {
            let message = format!("{subject} has timed out progressing.");
            self.set_condition("Progressing", "False", "ProgressDeadlineExceeded", &message);
        }
    }

    /// A ReplicaSet that can't make pods makes the Deployment fail likewise.
    fn copy_failure(&mut self) {
        let failure = self
            .new
            .iter()
            .chain(&self.old)
            .find_map(|rs| find_condition(&rs.status.conditions, "ReplicaFailure"))
            .cloned();
        match failure {
            Some(mut failure) => {
                failure.last_update_time = failure.last_transition_time;
                set_condition(&mut self.conditions, failure, true);
            }
            None => {
                remove_condition(&mut self.conditions, "ReplicaFailure");
            }
        }
    }

    /// A stuck rollout brings no event, so the deadline needs a look of its own.
    fn deadline_check(&self, status: &DeploymentStatus) -> Option<Duration> {
        let limit = self.d.spec.progress_deadline_seconds.filter(|s| *s != i32::MAX)?;
        let current = find_condition(&self.d.status.conditions, "Progressing")?;
        if is_complete(self.d, status) || current.reason == "ProgressDeadlineExceeded" {
            return None;
        }
        let passed = seconds_between(current.last_update_time?, self.view.now);
        let left = u64::try_from(i64::from(limit) - passed).unwrap_or(0);
        Some(Duration::from_secs(left + 1))
    }
}

/// Pods of a Deployment's ReplicaSets that are being deleted; nothing while one doesn't say.
fn terminating<'a>(all: impl Iterator<Item = &'a ReplicaSet>) -> Option<i32> {
    let mut total = 0;
    for rs in all {
        match rs.status.terminating_replicas {
            Some(count) => total += count,
            None if rs.status.observed_generation == 0 => {}
            None => return None,
        }
    }
    Some(total)
}

fn changed_annotations(before: &ReplicaSet, after: &ReplicaSet) -> BTreeMap<String, String> {
    let changed = |(k, v): &(&String, &String)| before.metadata.annotations.get(*k) != Some(*v);
    after.metadata.annotations.iter().filter(changed).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn name_with_hash(name: &str, hash: &str) -> String {
    let room = 253 - 1 - hash.len();
    let name = name.get(..room).unwrap_or(name);
    format!("{name}-{hash}")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
