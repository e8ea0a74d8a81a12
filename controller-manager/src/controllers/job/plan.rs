//! The next steps of a Job, and its counts.
//!
//! Every pod is counted once. Its finalizer holds it until its end is in the status, first by uid as
//! *uncounted*; once the finalizer is seen gone, the uid becomes part of a count. So no pod is lost or
//! counted twice, whatever fails in between.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proto::time::Time;

use super::failures::{self, Verdict};
use super::indexes;
use crate::api::batch::{Job, JobStatus};
use crate::api::core::Pod;
use crate::api::{Condition, condition_is_true, find_condition};
use crate::common::events::Event;
use crate::common::pods::{self, Ranked};
use crate::common::seconds_between;

/// Holds a pod until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The most uids in a status.
const MAX_UNCOUNTED: usize = 500;
/// The most pods created or deleted in one go.
const MAX_AT_ONCE: usize = 500;

/// What the planner knows.
pub(super) struct View<'a> {
    pub(super) job: &'a Job,
    pub(super) pods: &'a [Arc<Pod>],
    /// Whether the pods that were asked for have been seen.
    pub(super) up_to_date: bool,
    pub(super) on_failure: bool,
    /// Whether the namespace is going away, so that no pod can be created: none must be kept for its successor.
    pub(super) closing: bool,
    pub(super) now: Time,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to create, with their indexes if the Job is indexed.
    pub(super) create: Vec<Option<i32>>,
    /// How often the indexes of these pods failed before, where that matters: what counted, and what was ignored.
    pub(super) failures: HashMap<i32, (i32, i32)>,
    /// Names of pods to delete.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Whether deleted pods are let go uncounted.
    pub(super) release_deleted: bool,
    /// Written before the finalizers go.
    pub(super) status: JobStatus,
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) events: Vec<Event>,
    pub(super) again_after: Option<Duration>,
}

impl Plan {
    fn again(&mut self, seconds: i64) {
        let wait = Duration::from_secs(u64::try_from(seconds.max(1)).unwrap_or(1));
        self.again_after = Some(self.again_after.map_or(wait, |a| a.min(wait)));
    }
}

/// Whether the Job has ended, for good or ill.
pub(super) fn is_finished(job: &Job) -> bool {
    ["Complete", "Failed"].iter().any(|kind| condition_is_true(&job.status.conditions, kind))
}

fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode == "Indexed"
}

fn is_held(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|f| f == FINALIZER)
}

fn replaces_only_failed(job: &Job) -> bool {
    job.spec.pod_replacement_policy == "Failed" || job.spec.pod_failure_policy.is_some()
}

/// A pod that is on its way out counts as failed, unless only those that have failed are replaced.
fn has_failed(job: &Job, pod: &Pod) -> bool {
    let leaving = pod.metadata.is_being_deleted() && pod.status.phase != "Succeeded";
    pod.status.phase == "Failed" || (leaving && !replaces_only_failed(job))
}

fn condition(kind: &str, reason: &str, message: &str, now: Time) -> Condition {
    Condition { last_probe_time: Some(now), ..Condition::new(kind, "True", reason, message, now) }
}

/// One pass over a Job; its parts fill the plan in order.
struct Pass<'a> {
    view: &'a View<'a>,
    job: &'a Job,
    plan: Plan,
    active: Vec<Arc<Pod>>,
    terminating: usize,
    /// Indexes that have succeeded, according to the status and to the pods.
    done: BTreeSet<i32>,
    /// Indexes that have failed for good, if each has a limit of its own.
    given_up: Option<BTreeSet<i32>>,
    /// The last failed pod of each index that will be tried again. It keeps its finalizer until then, as it knows how often
    /// the index failed.
    to_replace: HashMap<i32, Arc<Pod>>,
    succeeded: i32,
    failed: i32,
    /// Why the Job ends, if it does: the condition that announces it.
    end: Option<Condition>,
}

/// Decides what to do for one unfinished Job.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut pass = Pass::new(view);
    pass.find_end();
    pass.manage();
    pass.count();
    pass.finish();
    pass.plan
}

impl<'a> Pass<'a> {
    fn new(view: &'a View<'a>) -> Self {
        let job = view.job;
        let mut plan = Plan { status: job.status.clone(), ..Default::default() };
        if plan.status.start_time.is_none() && !job.spec.suspend {
            plan.status.start_time = Some(view.now);
        }
        let mut pass = Pass {
            view,
            job,
            plan,
            active: view.pods.iter().filter(|p| pods::is_active(p)).cloned().collect(),
            terminating: view.pods.iter().filter(|p| pods::is_terminating(p)).count(),
            done: BTreeSet::new(),
            given_up: None,
            to_replace: HashMap::new(),
            succeeded: 0,
            failed: 0,
            end: None,
        };
        pass.tally();
        pass
    }

    fn completions(&self) -> i32 {
        self.job.spec.completions.unwrap_or(i32::MAX)
    }

    /// Pods that have ended and aren't in the status yet.
    fn new_pods(&self, noted: &'a [String], test: impl Fn(&Pod) -> bool) -> Vec<&'a Arc<Pod>> {
        let known: HashSet<&String> = noted.iter().collect();
        let valid = |p: &Pod| !is_indexed(self.job) || indexes::of(p).is_some_and(|i| i < self.completions());
        let all = self.view.pods.iter();
        all.filter(|p| is_held(p) && !known.contains(&p.metadata.uid) && valid(p) && test(p)).collect()
    }

    fn tally(&mut self) {
        let (job, noted) = (self.job, &self.job.status.uncounted_terminated_pods);
        let succeeded = self.new_pods(&noted.succeeded, |p| p.status.phase == "Succeeded");
        let failed = self.new_pods(&noted.failed, |p| has_failed(job, p));
        let counted = failed.iter().filter(|p| failures::judge(job, p) != Verdict::Ignore).count();
        self.succeeded = job.status.succeeded + (succeeded.len() + noted.succeeded.len()) as i32;
        self.failed = job.status.failed + (counted + noted.failed.len()) as i32;
        if is_indexed(job) {
            self.done = indexes::parse(&job.status.completed_indexes, self.completions());
            self.done.extend(succeeded.iter().filter_map(|p| indexes::of(p)));
            self.succeeded = self.done.len() as i32;
            if job.spec.backoff_limit_per_index.is_some() {
                self.tally_failed_indexes(&failed);
            }
        }
    }

    fn tally_failed_indexes(&mut self, failed: &[&Arc<Pod>]) {
        let (job, now) = (self.job, self.view.now);
        let mut given_up =
            indexes::parse(job.status.failed_indexes.as_deref().unwrap_or_default(), self.completions());
        given_up
            .extend(failed.iter().filter(|p| failures::fails_index(job, p)).filter_map(|p| indexes::of(p)));
        let running: HashSet<i32> = self.active.iter().filter_map(|p| indexes::of(p)).collect();
        for pod in failed {
            let Some(index) = indexes::of(pod) else { continue };
            if self.done.contains(&index) || given_up.contains(&index) || running.contains(&index) {
                continue;
            }
            let known = self.to_replace.get(&index);
            if known.is_none_or(|known| failures::progress(known, now) <= failures::progress(pod, now)) {
                self.to_replace.insert(index, Arc::clone(pod));
            }
        }
        self.given_up = Some(given_up);
    }

    /// Whether enough indexes have succeeded, or too many failed.
    fn find_end_by_index(&mut self) {
        let (job, now) = (self.job, self.view.now);
        let failed = self.given_up.as_ref().map_or(0, BTreeSet::len) as i32;
        let target = |reason, message: &str| Some(condition("FailureTarget", reason, message, now));
        if job.spec.max_failed_indexes.is_some_and(|max| failed > max) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            self.end = target("MaxFailedIndexesExceeded", message);
        } else if failed > 0 && failed.saturating_add(self.succeeded) >= self.completions() {
            self.end = target("FailedIndexes", "Job has failed indexes");
        } else if let Some(rule) = self.met_rule() {
            let message = format!("Matched rules at index {rule}");
            self.end = Some(condition("SuccessCriteriaMet", "SuccessPolicy", &message, now));
        }
    }

    /// The first rule of the success policy that holds.
    fn met_rule(&self) -> Option<usize> {
        let policy = self.job.spec.success_policy.as_ref().filter(|_| !self.done.is_empty())?;
        policy.rules.iter().position(|rule| match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = indexes::parse(text, self.completions());
                let there = wanted.intersection(&self.done).count();
                let enough = |count: i32| usize::try_from(count).is_ok_and(|count| there >= count);
                !wanted.is_empty() && (there == wanted.len() || rule.succeeded_count.is_some_and(enough))
            }
            None => rule.succeeded_count.is_some_and(|count| self.succeeded >= count),
        })
    }

    /// Finds out whether the Job is at its end.
    fn find_end(&mut self) {
        let (job, now) = (self.job, self.view.now);
        let announced =
            |kind: &str| find_condition(&job.status.conditions, kind).filter(|c| c.is_true()).cloned();
        let policy = || {
            let failed = self.view.pods.iter().filter(|p| has_failed(job, p));
            failed.into_iter().find_map(|p| match failures::judge(job, p) {
                Verdict::FailJob(why) => Some(condition("FailureTarget", "PodFailurePolicy", &why, now)),
                _ => None,
            })
        };
        self.end = announced("SuccessCriteriaMet").or_else(|| announced("FailureTarget")).or_else(policy);
        if self.end.is_some() {
            return;
        }
        let limit = job.spec.backoff_limit.unwrap_or(6);
        if self.failed > limit || (self.view.on_failure && self.restarts() >= limit.max(1)) {
            let message = "Job has reached the specified backoff limit";
            self.end = Some(condition("FailureTarget", "BackoffLimitExceeded", message, now));
        } else if let (Some(limit), Some(start), false) =
            (job.spec.active_deadline_seconds, self.plan.status.start_time, job.spec.suspend)
        {
            let left = limit - seconds_between(start, now);
            if left <= 0 {
                let message = "Job was active longer than specified deadline";
                self.end = Some(condition("FailureTarget", "DeadlineExceeded", message, now));
            } else {
                self.plan.again(left);
            }
        }
        if self.end.is_none() && is_indexed(job) {
            self.find_end_by_index();
        }
    }

    fn restarts(&self) -> i32 {
        let running = |p: &&Arc<Pod>| matches!(p.status.phase.as_str(), "Running" | "Pending");
        let statuses = self
            .view
            .pods
            .iter()
            .filter(running)
            .flat_map(|p| p.status.container_statuses.iter().chain(&p.status.init_container_statuses));
        statuses.map(|c| c.restart_count).sum()
    }

    /// Creates and deletes pods.
    fn manage(&mut self) {
        if self.end.is_some() {
            // The end is only enacted when nothing runs any more.
            self.delete(self.active.clone(), false);
            if !self.view.up_to_date {
                self.end = None;
            }
            return;
        }
        if !self.view.up_to_date || self.job.metadata.is_being_deleted() {
            return;
        }
        if self.job.spec.suspend {
            self.delete(self.active.clone(), true);
        } else {
            self.scale();
        }
        let complete = match self.job.spec.completions {
            None => self.succeeded > 0 && self.active.is_empty(),
            Some(wanted) => self.succeeded >= wanted && self.active.is_empty(),
        };
        if complete && self.plan.create.is_empty() {
            let message = "Reached expected number of succeeded pods";
            self.end = Some(condition("SuccessCriteriaMet", "CompletionsReached", message, self.view.now));
        } else {
            self.note_suspension();
        }
    }

    fn delete(&mut self, pods: Vec<Arc<Pod>>, release: bool) {
        let gone: HashSet<String> = pods.iter().map(|p| p.metadata.uid.clone()).collect();
        self.active.retain(|p| !gone.contains(&p.metadata.uid));
        self.terminating += pods.len();
        self.plan.release_deleted = release;
        self.plan.delete = pods;
    }

    fn wanted_active(&self) -> usize {
        let parallelism = self.job.spec.parallelism.unwrap_or(1);
        let wanted = match self.job.spec.completions {
            None if self.succeeded > 0 => self.active.len() as i32,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).min(parallelism),
        };
        usize::try_from(wanted).unwrap_or(0)
    }

    fn scale(&mut self) {
        let wanted = self.wanted_active();
        let excess = self.removable(self.active.len().saturating_sub(wanted));
        if !excess.is_empty() {
            self.delete(excess, true);
            return;
        }
        let leaving = if replaces_only_failed(self.job) { self.terminating } else { 0 };
        let missing = wanted.saturating_sub(leaving + self.active.len()).min(MAX_AT_ONCE);
        if missing == 0 || self.view.closing {
            return;
        }
        let ended = |phase: &'static str| {
            self.view.pods.iter().map(Arc::as_ref).filter(move |p| p.status.phase == phase)
        };
        let each_index = self.given_up.is_some();
        let wait = failures::delay(ended("Succeeded"), ended("Failed"), self.view.now);
        if wait > 0 && !each_index {
            self.plan.again(wait);
            return;
        }
        if !is_indexed(self.job) {
            self.plan.create = vec![None; missing];
            return;
        }
        let mut taken: HashSet<i32> = self.active.iter().filter_map(|p| indexes::of(p)).collect();
        if replaces_only_failed(self.job) {
            let leaving = self.view.pods.iter().filter(|p| pods::is_terminating(p));
            taken.extend(leaving.filter_map(|p| indexes::of(p)));
        }
        taken.extend(self.given_up.iter().flatten());
        let open = |i: &i32| !taken.contains(i) && !self.done.contains(i);
        let next: Vec<i32> = (0..self.completions()).filter(open).take(missing).collect();
        self.create_indexes(&next);
    }

    /// Creates pods of these indexes. Where each index has a limit of its own, each also has its own delay.
    fn create_indexes(&mut self, next: &[i32]) {
        let mut least = None;
        for index in next {
            if let Some(last) = self.to_replace.get(index) {
                let wait = failures::index_delay(last, self.view.now);
                if wait > 0 {
                    least = Some(least.map_or(wait, |other: i64| other.min(wait)));
                    continue;
                }
                self.plan.failures.insert(*index, failures::up_to(self.job, last));
            } else if self.given_up.is_some() {
                self.plan.failures.insert(*index, (0, 0));
            }
            self.plan.create.push(Some(*index));
        }
        if let Some(wait) = least {
            self.plan.again(wait);
        }
    }

    /// Pods to delete: those with an index that another has, or that is out of range, and as many more.
    fn removable(&self, at_least: usize) -> Vec<Arc<Pod>> {
        let mut ranked: Vec<Ranked<'_>> = self.active.iter().map(|pod| Ranked { pod, rank: 0 }).collect();
        ranked.sort_by(|a, b| pods::deletion_order(a, b, self.view.now));
        let names: Vec<&str> = ranked.iter().map(|r| r.pod.metadata.uid.as_str()).collect();
        let mut seen: HashSet<i32> = HashSet::new();
        let mut remove: Vec<&str> = Vec::new();
        if is_indexed(self.job) {
            for ranked in ranked.iter().rev() {
                let index = indexes::of(ranked.pod).filter(|i| *i < self.completions());
                if !index.is_some_and(|i| seen.insert(i)) {
                    remove.push(&ranked.pod.metadata.uid);
                }
            }
        }
        let more = at_least.saturating_sub(remove.len());
        let rest: Vec<&str> = names.into_iter().filter(|n| !remove.contains(n)).take(more).collect();
        remove.extend(rest);
        remove.truncate(MAX_AT_ONCE);
        let all = self.active.iter();
        all.filter(|p| remove.contains(&p.metadata.uid.as_str())).cloned().collect()
    }

    fn note_suspension(&mut self) {
        let (now, conditions) = (self.view.now, &mut self.plan.status.conditions);
        let (status, reason, message) = if self.job.spec.suspend {
            ("True", "JobSuspended", "Job suspended")
        } else {
            ("False", "JobResumed", "Job resumed")
        };
        let new = Condition { status: status.into(), ..condition("Suspended", reason, message, now) };
        match conditions.iter_mut().find(|c| c.kind == "Suspended") {
            Some(current) if current.status == status => return,
            Some(current) => *current = new,
            None if self.job.spec.suspend => conditions.push(new),
            None => return,
        }
        let (event, start) = if self.job.spec.suspend { ("Suspended", None) } else { ("Resumed", Some(now)) };
        self.plan.status.start_time = start;
        self.plan.events.push(Event::normal(event, message));
    }

    /// Moves ended pods into the status: first by uid, then, when their finalizers are gone, as numbers.
    fn count(&mut self) {
        let held: HashSet<&str> =
            self.view.pods.iter().filter(|p| is_held(p)).map(|p| p.metadata.uid.as_str()).collect();
        let completions = self.completions();
        let status = &mut self.plan.status;
        let settle = |noted: &mut Vec<String>, count: &mut i32| {
            let before = noted.len();
            noted.retain(|uid| held.contains(uid.as_str()));
            *count += (before - noted.len()) as i32;
        };
        let noted = &mut status.uncounted_terminated_pods;
        settle(&mut noted.succeeded, &mut status.succeeded);
        settle(&mut noted.failed, &mut status.failed);
        let failing = self.end.as_ref().is_some_and(|c| c.kind == "FailureTarget");
        let mut noted_indexes = indexes::parse(&status.completed_indexes, completions);
        for pod in self.view.pods.iter().filter(|p| is_held(p)) {
            let noted = &mut self.plan.status.uncounted_terminated_pods;
            if noted.succeeded.len() + noted.failed.len() >= MAX_UNCOUNTED {
                break;
            }
            let (uid, succeeded) = (&pod.metadata.uid, pod.status.phase == "Succeeded");
            let failed = has_failed(self.job, pod);
            let any_end = self.end.is_some() || self.job.metadata.is_being_deleted();
            let kept = !any_end && !self.view.closing;
            if !(succeeded || failed || any_end) {
                continue;
            }
            let last = indexes::of(pod).and_then(|index| self.to_replace.get(&index));
            if !succeeded && kept && last.is_some_and(|last| last.metadata.uid == *uid) {
                continue;
            }
            self.plan.release.push(pod.clone());
            let index = indexes::of(pod).filter(|i| *i < completions);
            if succeeded && !noted.failed.contains(uid) {
                match index.filter(|_| is_indexed(self.job)) {
                    Some(index) => drop(noted_indexes.insert(index)),
                    None if is_indexed(self.job) || noted.succeeded.contains(uid) => {}
                    None => noted.succeeded.push(uid.clone()),
                }
            } else if failed || failing {
                let counts = failures::judge(self.job, pod) != Verdict::Ignore;
                let valid = !is_indexed(self.job) || index.is_some();
                if counts && valid && !noted.failed.contains(uid) {
                    noted.failed.push(uid.clone());
                }
            }
        }
        if is_indexed(self.job) {
            self.plan.status.completed_indexes = indexes::print(&noted_indexes);
            self.plan.status.succeeded = noted_indexes.len() as i32;
        }
        if let Some(given_up) = &self.given_up {
            self.plan.status.failed_indexes = Some(indexes::print(given_up));
        }
        let ready = self.active.iter().filter(|p| pods::is_ready(p)).count() as i32;
        self.plan.status.active = (self.active.len() + self.plan.create.len()) as i32;
        self.plan.status.ready = Some(ready);
        self.plan.status.terminating = Some(self.terminating as i32);
    }

    /// Announces the end; enacts it once all pods are gone and counted.
    fn finish(&mut self) {
        let Some(end) = self.end.take() else { return };
        let now = self.view.now;
        let status = &mut self.plan.status;
        if !condition_is_true(&status.conditions, &end.kind) {
            status.conditions.push(end.clone());
        }
        let noted = &status.uncounted_terminated_pods;
        let counted = noted.succeeded.is_empty() && noted.failed.is_empty();
        let active_gone = self.plan.delete.is_empty() && self.active.is_empty();
        if !counted || self.terminating > 0 || !active_gone {
            return;
        }
        if end.kind == "SuccessCriteriaMet" {
            status.conditions.push(condition("Complete", &end.reason, &end.message, now));
            status.completion_time = Some(now);
            self.plan.events.push(Event::normal("Completed", "Job completed"));
        } else {
            status.conditions.push(condition("Failed", &end.reason, &end.message, now));
            let reason = match end.reason.as_str() {
                "PodFailurePolicy" => "PodFailurePolicy",
                "DeadlineExceeded" => "DeadlineExceeded",
                "MaxFailedIndexesExceeded" => "MaxFailedIndexesExceeded",
                "FailedIndexes" => "FailedIndexes",
                _ => "BackoffLimitExceeded",
            };
            self.plan.events.push(Event::warning(reason, end.message));
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
