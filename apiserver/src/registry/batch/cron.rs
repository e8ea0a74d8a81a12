//! Cron jobs.

use proto::field::Errors;
use proto::view::{View, at, text_at};
use serde_json::Value;

use super::{job, schedule};
use crate::registry::checks::*;
use crate::registry::core::pod::of_template;
use crate::registry::{Hooks, strategy};

/// Hooks of CronJobs.
pub(super) fn hooks() -> Hooks {
    Hooks {
        validate: |_, new| {
            // Jobs are named after their cron job and the time.
            const LIMIT: usize = 52;
            let mut errors = validate(new, &Value::Null);
            let name = View::root(new).get("metadata").get("name");
            if name.str().len() > LIMIT {
                errors.push(name.invalid_str(format!("must be no more than {LIMIT} characters")));
            }
            errors
        },
        validate_update: |_, new, old| validate(new, old),
        warnings: |ctx, new| {
            let mut warnings = strategy::pod_name_warning(ctx, new);
            warnings.extend(job::spec_warnings(&job_spec(new)));
            warnings
        },
        warnings_update: |_, new, old| {
            let mut warnings = Vec::new();
            if strategy::generation_changes(new, old) {
                warnings.extend(job::spec_warnings(&job_spec(new)));
            }
            if text_at(new, &["spec", "schedule"]).contains("TZ") {
                warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
            }
            warnings
        },
        ..strategy::with_generation()
    }
}

fn job_spec(cron_job: &Value) -> View<'_> {
    View::root(cron_job).get("spec").get("jobTemplate").get("spec")
}

fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (spec, old_spec) = (View::root(new).get("spec"), View::root(old).get("spec"));
    let (text, zone) = (spec.get("schedule"), spec.get("timeZone"));
    if required(&text, &mut errors) {
        if let Err(why) = schedule::check(text.str()) {
            errors.push(text.invalid(why));
        }
        if text.str().contains("TZ") {
            // Old ones may still have it.
            if !old_spec.text("schedule").contains("TZ") {
                errors.push(text.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
            } else if zone.is_set() {
                errors.push(text.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule"));
            }
        }
    }
    nonnegative(&spec.get("startingDeadlineSeconds"), &mut errors);
    if zone.is_set() && zone.value() != old_spec.raw("timeZone") {
        time_zone(&zone, &mut errors);
    }
    required_supported(&spec.get("concurrencyPolicy"), &["Allow", "Forbid", "Replace"], &mut errors);
    let job = job_spec(new);
    let options = of_template(at(old, &["spec", "jobTemplate", "spec", "template"]));
    job::validate_spec(&job, &options, &mut errors);
    if job.has("selector") {
        errors.push(job.get("selector").invalid("`selector` will be auto-generated"));
    }
    if job.flag("manualSelector") {
        errors.push(job.get("manualSelector").not_supported(&["nil", "false"]));
    }
    for limit in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        nonnegative(&spec.get(limit), &mut errors);
    }
    errors
}

fn time_zone(zone: &View, errors: &mut Errors) {
    const PART_LIMIT: usize = 14;
    let name = zone.str();
    if name.is_empty() {
        errors.push(zone.invalid("timeZone must be nil or non-empty string"));
        return;
    }
    let good = |part: &str| {
        let shaped = |c: u8| c.is_ascii_alphanumeric() || b".-_+".contains(&c);
        (1..=PART_LIMIT).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(shaped)
    };
    if !name.split('/').all(good) {
        errors.push(zone.invalid(format!("unknown time zone {name}")));
        return;
    }
    if name.eq_ignore_ascii_case("local") {
        errors.push(
            zone.invalid(
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            ),
        );
    }
    if !schedule::is_zone(name) {
        errors.push(zone.invalid(format!("unknown time zone {name}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(spec: Value, old: Value) -> Vec<String> {
        let with_template = |mut spec: Value| {
            if spec.is_null() {
                return Value::Null;
            }
            spec["jobTemplate"] = json!({"spec": {"template": {"spec": {
                "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never",
            }}}});
            let mut object = json!({"spec": spec});
            crate::registry::batch::defaults::cron_job(&mut object);
            object
        };
        let errors = validate(&with_template(spec), &with_template(old));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn schedules_and_zones() {
        let every = "* * * * *";
        assert_eq!(texts(json!({"schedule": every, "timeZone": "Europe/Berlin"}), Value::Null), [""; 0]);
        assert_eq!(texts(json!({}), Value::Null), ["spec.schedule: Required value"]);
        assert_eq!(
            texts(json!({"schedule": every, "timeZone": "europe/berlin"}), Value::Null),
            ["spec.timeZone: Invalid value: \"europe/berlin\": unknown time zone europe/berlin"]
        );
        let old = json!({"schedule": "TZ=UTC * * * * *"});
        assert_eq!(texts(old.clone(), old.clone()), [""; 0]);
        assert_eq!(
            texts(old, Value::Null),
            [
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            ]
        );
    }
}
