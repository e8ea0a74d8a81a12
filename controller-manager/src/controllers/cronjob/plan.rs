//! Which Job of a CronJob is due, which are finished, and which are too many.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proto::cron::{self, Schedule};

use crate::api::batch::{CronJob, Job, JobReference};
use crate::api::condition_is_true;
use crate::common::events::Event;

/// Added to every wait, so that a clock that is slightly behind doesn't wake up before the time.
const PADDING: SignedDuration = SignedDuration::from_millis(100);
/// More missed times than this are reported.
const MANY: i64 = 100;

/// The condition by which a Job has ended.
fn finished(job: &Job) -> Option<&str> {
    let ended = |kind: &&str| condition_is_true(&job.status.conditions, kind);
    job.status
        .conditions
        .iter()
        .map(|c| c.kind.as_str())
        .filter(|k| matches!(*k, "Complete" | "Failed"))
        .find(ended)
}

/// Finished Jobs beyond the history that is kept, oldest first.
pub(super) fn excess(cron_job: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron_job.spec;
    let limits =
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let mut excess = Vec::new();
    for (end, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let mut ended: Vec<&Arc<Job>> = jobs.iter().filter(|job| finished(job) == Some(end)).collect();
        // Those that never started go last.
        ended.sort_by_key(|job| {
            let start = job.status.start_time;
            (start.is_none(), start, job.metadata.name.clone())
        });
        let over = ended.len().saturating_sub(limit);
        excess.extend(ended.into_iter().take(over).cloned());
    }
    excess
}

/// What a look at the Jobs of a CronJob found.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) events: Vec<Event>,
    /// Running, but not listed as active.
    pub(super) unknown: Vec<Arc<Job>>,
    /// Listed as active, but not seen.
    pub(super) missing: Vec<JobReference>,
}

/// Takes the Jobs that ended off the active ones.
pub(super) fn follow(cron_job: &mut CronJob, jobs: &[Arc<Job>]) -> Followed {
    let mut found = Followed::default();
    let status = &mut cron_job.status;
    for job in jobs {
        let is_active = status.active.iter().any(|active| active.uid == job.metadata.uid);
        let Some(end) = finished(job) else {
            if !is_active {
                found.unknown.push(job.clone());
            }
            continue;
        };
        if is_active {
            status.active.retain(|active| active.uid != job.metadata.uid);
            let text = format!("Saw completed job: {}, condition: {end}", job.metadata.name);
            found.events.push(Event::normal("SawCompletedJob", text));
        }
        if end == "Complete"
            && status.last_successful_time.is_none_or(|last| job.status.completion_time > Some(last))
        {
            status.last_successful_time = job.status.completion_time;
        }
    }
    let seen = |active: &JobReference| jobs.iter().any(|job| job.metadata.uid == active.uid);
    found.missing = status.active.iter().filter(|active| !seen(active)).cloned().collect();
    found
}

/// What to do about a CronJob now.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Nothing until it changes.
    Nothing,
    Wait(Duration),
    /// The Job of this time is due; with `replace` those that still run make way.
    Start {
        at: Timestamp,
        replace: bool,
    },
}

/// Decides whether a Job is due.
pub(super) fn plan(cron_job: &CronJob, now: Timestamp) -> (Decision, Vec<Event>) {
    let mut events = Vec::new();
    let decision = decide(cron_job, now, &mut events).unwrap_or_else(|event| {
        events.push(event);
        Decision::Nothing
    });
    (decision, events)
}

fn decide(cron_job: &CronJob, now: Timestamp, events: &mut Vec<Event>) -> Result<Decision, Event> {
    let spec = &cron_job.spec;
    if cron_job.metadata.is_being_deleted() {
        return Ok(Decision::Nothing);
    }
    if let Some(zone) = &spec.time_zone {
        cron::time_zone(zone)
            .map_err(|why| Event::warning("UnknownTimeZone", format!("invalid timeZone: {zone:?}: {why}")))?;
    }
    if spec.suspend {
        return Ok(Decision::Nothing);
    }
    if spec.schedule.contains("TZ") {
        let text = format!(
            "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        events.push(Event::warning("UnsupportedSchedule", text));
    }
    let schedule = schedule(cron_job).map_err(|why| {
        Event::warning("UnparseableSchedule", format!("unparseable schedule: {:?} : {why}", spec.schedule))
    })?;
    let missed = missed(cron_job, &schedule, now, true).map_err(|why| {
        Event::warning("InvalidSchedule", format!("invalid schedule: {} : {why}", spec.schedule))
    })?;
    let wait = Ok(wait(cron_job, &schedule, now).map_or(Decision::Nothing, Decision::Wait));
    let Some(at) = missed.last else { return wait };
    if missed.number > MANY {
        let text =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        events.push(Event::warning("TooManyMissedTimes", text));
    }
    let late =
        |seconds: i64| at.saturating_add(SignedDuration::from_secs(seconds)).is_ok_and(|end| end < now);
    if spec.starting_deadline_seconds.is_some_and(late) {
        let text =
            format!("Missed scheduled time to start a job: {}", at.strftime("%a, %d %b %Y %H:%M:%S +0000"));
        events.push(Event::warning("MissSchedule", text));
        return wait;
    }
    let name = job_name(cron_job, at);
    let status = &cron_job.status;
    if status.active.iter().any(|active| active.name == name)
        || status.last_schedule_time.is_some_and(|t| t.0 == at)
    {
        return wait;
    }
    if spec.concurrency_policy == "Forbid" && !status.active.is_empty() {
        let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
        events.push(Event::normal("JobAlreadyActive", text));
        return wait;
    }
    Ok(Decision::Start { at, replace: spec.concurrency_policy == "Replace" })
}

/// The name of the Job of one time; as it holds the time, no time gets two Jobs.
pub(super) fn job_name(cron_job: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron_job.metadata.name, at.as_second() / 60)
}

/// The time as clocks of the CronJob's zone show it.
pub(super) fn in_zone(cron_job: &CronJob, at: Timestamp) -> String {
    let zone = cron_job.spec.time_zone.as_deref().and_then(|zone| cron::time_zone(zone).ok());
    match zone.map(|zone| at.to_zoned(zone)).filter(|zoned| !zoned.offset().is_zero()) {
        Some(zoned) => zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        None => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

/// How long until the next Job is due; none if the schedule has no next time.
pub(super) fn until_next(cron_job: &CronJob, now: Timestamp) -> Option<Duration> {
    wait(cron_job, &schedule(cron_job).ok()?, now)
}

fn schedule(cron_job: &CronJob) -> Result<Schedule, String> {
    let spec = &cron_job.spec;
    match spec
        .time_zone
        .as_deref()
        .filter(|zone| !spec.schedule.contains("TZ") && cron::time_zone(zone).is_ok())
    {
        Some(zone) => Schedule::parse(&format!("TZ={zone} {}", spec.schedule)),
        None => Schedule::parse(&spec.schedule),
    }
}

/// The times between the last start, or the creation, and now.
struct Missed {
    since: Timestamp,
    /// The newest of them.
    last: Option<Timestamp>,
    /// How many there are, about.
    number: i64,
}

fn missed(
    cron_job: &CronJob,
    schedule: &Schedule,
    now: Timestamp,
    with_deadline: bool,
) -> Result<Missed, String> {
    let created = cron_job.metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut since = cron_job.status.last_schedule_time.map_or(created, |time| time.0);
    if with_deadline && let Some(seconds) = cron_job.spec.starting_deadline_seconds {
        let deadline = now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(since);
        since = since.max(deadline);
    }
    const NEVER: &str = "time difference between two schedules is less than 1 second";
    let first = schedule.next(since).ok_or(NEVER)?;
    if now < first {
        return Ok(Missed { since, last: None, number: 0 });
    }
    let second = schedule.next(first).ok_or(NEVER)?;
    if now < second {
        return Ok(Missed { since, last: Some(first), number: 0 });
    }
    let period = (second.as_second() - first.as_second()).max(1);
    let number = (now.as_second() - first.as_second()) / period + 1;
    // Schedules aren't regular: from one period earlier on the times are gone through.
    let skip = SignedDuration::from_secs((number - 2).max(0).saturating_mul(period));
    let mut last = None;
    let mut time = schedule.next(first.saturating_add(skip).map_err(|e| e.to_string())?);
    while let Some(at) = time.filter(|at| *at <= now) {
        last = Some(at);
        time = schedule.next(at);
    }
    Ok(Missed { since, last, number })
}

fn wait(cron_job: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<Duration> {
    let from = match missed(cron_job, schedule, now, false) {
        Err(_) => now,
        Ok(Missed { last: Some(last), .. }) => last,
        Ok(Missed { number: 0, since, .. }) => since,
        Ok(_) => now,
    };
    let wait = schedule.next(from)?.duration_since(now) + PADDING;
    Some(wait.max(SignedDuration::ZERO).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron_job(spec: Value, status: Value) -> CronJob {
        let value = json!({
            "metadata": {"name": "hourly", "namespace": "ns", "creationTimestamp": "2016-05-19T10:00:00Z"},
            "spec": spec,
            "status": status,
        });
        serde_json::from_str(&value.to_string()).unwrap()
    }

    /// After upstream's TestControllerV2SyncCronJob.
    #[test]
    fn starts() {
        let hourly = |extra: Value| {
            let mut spec =
                json!({"schedule": "0 * * * ?", "timeZone": "Etc/UTC", "concurrencyPolicy": "Allow"});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            spec
        };
        let active = json!({"active": [{"name": "hourly-24394200", "namespace": "ns", "uid": "1"}]});
        let ran = json!({"lastScheduleTime": "2016-05-19T10:00:00Z"});
        let start = |at: &str, replace| Decision::Start { at: time(at), replace };
        let wait = |seconds: u64| Decision::Wait(Duration::from_millis(seconds * 1000 + 100));
        let at = "2016-05-19T11:00:00Z";
        let (before, just, later) = ("2016-05-19T10:55:00Z", "2016-05-19T11:00:01Z", "2016-05-19T11:01:00Z");
        for (what, spec, status, now, wanted, reasons) in [
            ("never ran, not due", hourly(json!({})), json!({}), before, wait(300), vec![]),
            ("never ran, due", hourly(json!({})), json!({}), just, start(at, false), vec![]),
            ("ran, not due", hourly(json!({})), ran.clone(), before, wait(300), vec![]),
            ("ran, due", hourly(json!({})), ran.clone(), just, start(at, false), vec![]),
            ("done", hourly(json!({})), json!({"lastScheduleTime": at}), just, wait(3599), vec![]),
            ("suspended", hourly(json!({"suspend": true})), json!({}), just, Decision::Nothing, vec![]),
            (
                "past the deadline, which hides what was missed",
                hourly(json!({"startingDeadlineSeconds": 10})),
                json!({}),
                later,
                wait(3540),
                vec![],
            ),
            (
                "forbidden",
                hourly(json!({"concurrencyPolicy": "Forbid"})),
                active.clone(),
                just,
                wait(3599),
                vec!["JobAlreadyActive"],
            ),
            (
                "replaced",
                hourly(json!({"concurrencyPolicy": "Replace"})),
                active.clone(),
                just,
                start(at, true),
                vec![],
            ),
            ("allowed", hourly(json!({})), active.clone(), just, start(at, false), vec![]),
            (
                "no schedule",
                hourly(json!({"schedule": "obvious error schedule"})),
                json!({}),
                just,
                Decision::Nothing,
                vec!["UnparseableSchedule"],
            ),
            (
                "no such zone",
                hourly(json!({"timeZone": "bad timezone"})),
                json!({}),
                just,
                Decision::Nothing,
                vec!["UnknownTimeZone"],
            ),
            (
                "no such day",
                hourly(json!({"schedule": "59 23 31 2 *"})),
                json!({}),
                just,
                Decision::Nothing,
                vec!["InvalidSchedule"],
            ),
            (
                "long forgotten",
                hourly(json!({"schedule": "* * * * *"})),
                json!({}),
                "2016-05-20T11:00:30Z",
                start("2016-05-20T11:00:00Z", false),
                vec!["TooManyMissedTimes"],
            ),
            (
                "only on weekdays",
                hourly(json!({"schedule": "30 6-16/4 * * 1-5"})),
                json!({"lastScheduleTime": "2016-05-20T14:30:00Z"}),
                "2016-05-23T07:00:00Z",
                start("2016-05-23T06:30:00Z", false),
                vec![],
            ),
        ] {
            let (decision, events) = plan(&cron_job(spec, status), time(now));
            assert_eq!(decision, wanted, "{what}");
            assert_eq!(events.iter().map(|e| e.reason).collect::<Vec<_>>(), reasons, "{what}");
        }
    }

    fn job(name: &str, end: &str, start: Option<&str>) -> Arc<Job> {
        let conditions: Vec<Value> =
            if end.is_empty() { vec![] } else { vec![json!({"type": end, "status": "True"})] };
        let value = json!({
            "metadata": {"name": name, "uid": name},
            "status": {"conditions": conditions, "startTime": start, "completionTime": start},
        });
        Arc::new(serde_json::from_str(&value.to_string()).unwrap())
    }

    #[test]
    fn history_is_kept_up_to_a_limit() {
        let limits = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0});
        let jobs = [
            job("b", "Complete", Some("2016-05-19T11:00:00Z")),
            job("a", "Complete", Some("2016-05-19T10:00:00Z")),
            job("c", "Complete", None),
            job("d", "Failed", Some("2016-05-19T10:00:00Z")),
            job("e", "", Some("2016-05-19T09:00:00Z")),
        ];
        let excess = excess(&cron_job(limits, json!({})), &jobs);
        assert_eq!(excess.iter().map(|j| j.metadata.name.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
        assert!(super::excess(&cron_job(json!({}), json!({})), &jobs).is_empty());
    }

    #[test]
    fn active_jobs_are_followed() {
        let jobs = [
            job("done", "Complete", Some("2016-05-19T10:00:00Z")),
            job("runs", "", None),
            job("stray", "", None),
        ];
        let active = ["done", "runs", "gone"].map(|name| json!({"name": name, "uid": name}));
        let mut cron_job = cron_job(json!({}), json!({"active": active}));
        let found = follow(&mut cron_job, &jobs);
        assert_eq!(found.events[0].message, "Saw completed job: done, condition: Complete");
        assert_eq!(found.unknown[0].metadata.name, "stray");
        assert_eq!(found.missing.iter().map(|j| j.name.as_str()).collect::<Vec<_>>(), ["gone"]);
        assert_eq!(cron_job.status.active.len(), 2);
        assert_eq!(cron_job.status.last_successful_time.unwrap().0, time("2016-05-19T10:00:00Z"));
    }

    #[test]
    fn the_time_is_written_in_its_zone() {
        let at = time("2016-05-19T10:00:00Z");
        assert_eq!(in_zone(&cron_job(json!({}), json!({})), at), "2016-05-19T10:00:00Z");
        let tokyo = cron_job(json!({"timeZone": "Asia/Tokyo"}), json!({}));
        assert_eq!(in_zone(&tokyo, at), "2016-05-19T19:00:00+09:00");
        assert_eq!(job_name(&tokyo, at), "hourly-24394200");
    }
}
