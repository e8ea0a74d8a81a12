//! The status of jobs. Since jobs may have controllers other than Kubernetes' own (`managedBy`), what clients rely on
//! is enforced (KEP 4368). A rule looks only at what this change touches, so that a status that was wrong before can
//! still be changed elsewhere.

use jiff::Timestamp;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use super::indexes;
use super::job::is_indexed;
use crate::registry::checks::*;
use crate::registry::{Hooks, strategy};

/// Hooks of the subresource `status`.
pub(super) fn hooks() -> Hooks {
    Hooks { validate_update: |_, new, old| validate(new, old), ..strategy::status() }
}

fn condition(job: &View, kind: &str, status: &str) -> bool {
    let conditions = job.get("status").get("conditions").items();
    conditions.iter().any(|condition| condition.text("type") == kind && condition.text("status") == status)
}

fn is(job: &View, kind: &str) -> bool {
    condition(job, kind, "True")
}

fn is_finished(job: &View) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

/// Whether a job has started pods and isn't known to have stopped them.
pub(super) fn has_pods(job: &Value) -> bool {
    let job = View::root(job);
    let status = job.get("status");
    let stopped = !status.has("startTime") || is(&job, "Suspended");
    !stopped || status.int("active") != 0
}

/// A job, and what it was.
struct Change<'a> {
    new: View<'a>,
    old: View<'a>,
    status: View<'a>,
    before: View<'a>,
}

impl Change<'_> {
    /// Whether a field of the status is another one.
    fn changes(&self, field: &str) -> bool {
        self.status.raw(field) != self.before.raw(field)
    }

    /// Whether a condition comes or goes.
    fn turns(&self, kind: &str) -> bool {
        is(&self.new, kind) != is(&self.old, kind)
    }

    fn conditions(&self, detail: impl Into<String>) -> Error {
        self.status.get("conditions").invalid_unshown(detail)
    }
}

fn validate(new: &Value, old: &Value) -> Errors {
    let (new, old) = (View::root(new), View::root(old));
    let change = Change { status: new.get("status"), before: old.get("status"), new, old };
    let mut errors = Errors::new();
    counts(&change.status, &mut errors);
    conditions(&change, &mut errors);
    finished(&change, &mut errors);
    index_texts(&change, &mut errors);
    finished_more(&change, &mut errors);
    success(&change, &mut errors);
    transitions(&change, &mut errors);
    errors
}

fn counts(status: &View, errors: &mut Errors) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        nonnegative(&status.get(field), errors);
    }
    let mut seen = Vec::new();
    for list in ["succeeded", "failed"] {
        for uid in status.get("uncountedTerminatedPods").get(list).items() {
            if uid.is_empty() {
                errors.push(uid.invalid("must not be empty"));
            } else if seen.contains(&uid.str()) {
                errors.push(uid.duplicate());
            } else {
                seen.push(uid.str());
            }
        }
    }
}

fn time(view: &View) -> Option<Timestamp> {
    view.str().parse().ok()
}

fn conditions(change: &Change, errors: &mut Errors) {
    let job = &change.new;
    let complete = is(job, "Complete");
    let completes = change.turns("Complete");
    let (start, end) = (change.status.get("startTime"), change.status.get("completionTime"));
    let ends = change.changes("completionTime");
    if (completes || change.turns("Failed")) && complete && is(job, "Failed") {
        errors.push(change.conditions("cannot set Complete=True and Failed=true conditions"));
    }
    if (completes || change.turns("FailureTarget")) && complete && is(job, "FailureTarget") {
        errors.push(change.conditions("cannot set Complete=True and FailureTarget=true conditions"));
    }
    if (completes || ends) && end.is_set() && !complete {
        errors.push(end.invalid("cannot set completionTime when there is no Complete=True condition"));
    }
    if (completes || ends) && !end.is_set() && complete {
        errors.push(end.required("completionTime is required for Complete jobs"));
    }
    if (change.changes("startTime") || ends)
        && let (Some(start), Some(finish)) = (time(&start), time(&end))
        && finish < start
    {
        errors.push(end.invalid("must be equal to or after `startTime`"));
    }
    let fails = change.turns("Failed") || change.changes("failedIndexes");
    if fails && is(job, "Failed") && !is(job, "FailureTarget") {
        errors.push(
            change.conditions("cannot set Failed=True condition without the FailureTarget=true condition"),
        );
    }
    if (completes || change.turns("SuccessCriteriaMet")) && complete && !is(job, "SuccessCriteriaMet") {
        errors.push(
            change.conditions(
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
        );
    }
}

fn finished(change: &Change, errors: &mut Errors) {
    let spec = change.new.get("spec");
    let done = is_finished(&change.new);
    let finishes = done != is_finished(&change.old);
    if !done {
        return;
    }
    let (active, start, uncounted) = (
        change.status.get("active"),
        change.status.get("startTime"),
        change.status.get("uncountedTerminatedPods"),
    );
    if (finishes || change.changes("active")) && active.i64() > 0 {
        errors.push(active.invalid("active>0 is invalid for finished job"));
    }
    let never_runs = spec.flag("suspend") && spec.raw("completions").as_i64() == Some(0);
    if (finishes || change.changes("startTime")) && !never_runs && !start.is_set() {
        errors.push(start.required("startTime is required for finished job"));
    }
    if (finishes || change.changes("uncountedTerminatedPods"))
        && (!uncounted.get("failed").is_empty() || !uncounted.get("succeeded").is_empty())
    {
        errors.push(uncounted.invalid("must be empty for finished job"));
    }
}

fn index_texts(change: &Change, errors: &mut Errors) {
    let spec = change.new.get("spec");
    let completions = spec.raw("completions").as_i64();
    let per_index = spec.has("backoffLimitPerIndex");
    let (completed, failed) = (change.status.get("completedIndexes"), change.status.get("failedIndexes"));
    let (completed_changes, failed_changes) =
        (change.changes("completedIndexes"), change.changes("failedIndexes"));
    let parsed = |view: &View, name: &str, errors: &mut Errors| {
        if let Some(Err(why)) = completions.map(|most| indexes::count(view.str(), most)) {
            errors.push(view.invalid_str(format!("error parsing {name}: {why}")));
        }
    };
    if completed_changes {
        parsed(&completed, "completedIndexes", errors);
    }
    if failed_changes && per_index && failed.is_set() {
        parsed(&failed, "failedIndexes", errors);
    }
    if completed_changes && !completed.is_empty() && !is_indexed(&spec) {
        errors.push(
            completed.invalid("cannot set non-empty completedIndexes when non-indexed completion mode"),
        );
    }
    if failed_changes && !per_index && failed.is_set() {
        errors.push(failed.invalid("cannot set non-null failedIndexes when backoffLimitPerIndex is null"));
    }
    if (completed_changes || failed_changes)
        && failed.is_set()
        && let Some(Err(why)) = completions.map(|most| indexes::overlap(completed.str(), failed.str(), most))
    {
        errors.push(failed.invalid(why));
    }
}

fn finished_more(change: &Change, errors: &mut Errors) {
    let done = is_finished(&change.new);
    let finishes = done != is_finished(&change.old);
    let (terminating, ready) = (change.status.get("terminating"), change.status.get("ready"));
    if (finishes || change.changes("terminating")) && done && terminating.i64() > 0 {
        errors.push(terminating.invalid("terminating>0 is invalid for finished job"));
    }
    if (change.changes("ready") || change.changes("active")) && ready.i64() > change.status.int("active") {
        errors.push(ready.invalid("cannot set more ready pods than active"));
    }
}

fn success(change: &Change, errors: &mut Errors) {
    let job = &change.new;
    if is(job, "SuccessCriteriaMet") {
        for (kind, shown) in [("Failed", "Failed"), ("FailureTarget", "FailureTarget")] {
            if is(job, kind) {
                let detail = format!("cannot set SuccessCriteriaMet=True and {shown}=true conditions");
                errors.push(change.conditions(detail));
            }
        }
    } else if job.get("spec").has("successPolicy") && is(job, "Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(change.conditions(detail));
    }
}

fn transitions(change: &Change, errors: &mut Errors) {
    let (new, old) = (&change.new, &change.old);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is(old, kind) && !is(new, kind) {
            errors.push(change.conditions(format!("cannot disable the terminal {kind}=True condition")));
        }
    }
    let spec = new.get("spec");
    // The number of indexes may shrink, and with it what succeeded.
    let elastic = is_indexed(&spec) && spec.raw("completions") == spec.raw("parallelism");
    for (counter, may_shrink) in [("failed", false), ("succeeded", elastic)] {
        let count = change.status.get(counter);
        if !may_shrink && count.i64() < change.before.int(counter) {
            errors.push(count.invalid_int(format!("cannot decrease the {counter} counter")));
        }
    }
    let (start, end) = (change.status.get("startTime"), change.status.get("completionTime"));
    if end.is_set() && change.before.has("completionTime") && change.changes("completionTime") {
        errors.push(end.invalid(IMMUTABLE));
    }
    let resumes = is(old, "Suspended") && condition(new, "Suspended", "False");
    if change.changes("startTime") && !resumes && change.before.has("startTime") && !spec.flag("suspend") {
        errors.push(start.invalid("field is immutable for unsuspended job once set"));
    }
    if is(old, "SuccessCriteriaMet") && !is(new, "SuccessCriteriaMet") {
        errors.push(change.conditions("cannot disable the SuccessCriteriaMet=True condition"));
    }
    if is(old, "Complete") && !is(old, "SuccessCriteriaMet") && is(new, "SuccessCriteriaMet") {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(change.conditions(detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(spec: Value, new: Value, old: Value) -> Vec<String> {
        let job = |status: Value| json!({"spec": spec, "status": status});
        validate(&job(new), &job(old)).iter().map(ToString::to_string).collect()
    }

    fn with(kinds: &[&str]) -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    }

    #[test]
    fn ends() {
        let time = "2020-01-01T00:00:00Z";
        let done = json!({
            "startTime": time, "completionTime": time, "succeeded": 1,
            "conditions": with(&["SuccessCriteriaMet", "Complete"]),
        });
        let running = json!({"startTime": time, "active": 1});
        assert_eq!(texts(json!({}), done.clone(), running.clone()), [""; 0]);
        assert_eq!(
            texts(json!({}), json!({"startTime": time, "conditions": with(&["Failed"])}), running.clone()),
            [
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"
            ]
        );
        let mut early = done.clone();
        early["completionTime"] = json!("2019-01-01T00:00:00Z");
        assert_eq!(
            texts(json!({}), early, running),
            [
                "status.completionTime: Invalid value: \"2019-01-01T00:00:00Z\": must be equal to or after `startTime`"
            ]
        );
        assert_eq!(
            texts(json!({}), json!({"startTime": time, "succeeded": 1}), done),
            [
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            ]
        );
    }

    #[test]
    fn what_was_wrong_before_does_not_stop_other_changes() {
        let wrong = json!({"ready": 2, "active": 1});
        let mut new = wrong.clone();
        new["failed"] = json!(1);
        assert_eq!(texts(json!({}), new, wrong.clone()), [""; 0]);
        assert_eq!(
            texts(json!({}), wrong, json!({})),
            ["status.ready: Invalid value: 2: cannot set more ready pods than active"]
        );
    }

    #[test]
    fn indexes_are_within_completions() {
        let spec = json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1});
        assert_eq!(
            texts(spec.clone(), json!({"completedIndexes": "0-1", "failedIndexes": "1,4"}), json!({})),
            [
                "status.failedIndexes: Invalid value: \"1,4\": error parsing failedIndexes: too large index: \"4\"",
                "status.failedIndexes: Invalid value: \"1,4\": failedIndexes and completedIndexes overlap at index: 1",
            ]
        );
    }
}
