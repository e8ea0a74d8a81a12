//! Defaults of the group batch.

use proto::view::{at, is_empty, set_at};
use serde_json::Value;

use crate::registry::defaults::{each, fill, inside, pod_template, within};

pub(super) fn job(object: &mut Value) {
    // A job that is yet to get its selector gets its labels with it.
    let labels = at(object, &["spec", "template", "metadata", "labels"]).clone();
    let selects = !at(object, &["spec", "selector"]).is_null();
    if selects && !is_empty(&labels) && is_empty(at(object, &["metadata", "labels"])) {
        set_at(object, &["metadata", "labels"], labels);
    }
    inside(object, "spec", |spec| {
        if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
            fill(spec, "completions", 1);
        }
        fill(spec, "parallelism", 1);
        let per_index = spec.get("backoffLimitPerIndex").is_some();
        fill(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
        fill(spec, "completionMode", "NonIndexed");
        fill(spec, "suspend", false);
        let failure_policy = spec.get("podFailurePolicy").is_some();
        fill(spec, "podReplacementPolicy", if failure_policy { "Failed" } else { "TerminatingOrFailed" });
        fill(spec, "manualSelector", false);
        job_spec(spec);
    });
}

pub(super) fn cron_job(object: &mut Value) {
    inside(object, "spec", |spec| {
        fill(spec, "concurrencyPolicy", "Allow");
        fill(spec, "suspend", false);
        fill(spec, "successfulJobsHistoryLimit", 3);
        fill(spec, "failedJobsHistoryLimit", 1);
        inside(spec, "jobTemplate", |template| inside(template, "spec", job_spec));
    });
}

fn job_spec(spec: &mut Value) {
    inside(spec, "template", pod_template);
    within(spec, "podFailurePolicy", |policy| {
        each(policy, "rules", |rule| {
            each(rule, "onPodConditions", |pattern| fill(pattern, "status", "True"));
        });
    });
}
