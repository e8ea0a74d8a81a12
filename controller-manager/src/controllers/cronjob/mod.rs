//! CronJobs: Jobs that start at set times.
//!
//! Watches CronJobs and Jobs. The key of a CronJob comes back when its next Job is due.

mod plan;

use std::sync::Arc;

use component_base::client::known::{CRON_JOBS, JOBS};
use component_base::client::{DeleteOptions, Error};
use component_base::metrics::Family;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use jiff::Timestamp;
use proto::meta::Key;
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::batch::{CronJob, Job, JobReference};
use crate::api::core::Metadata;
use crate::common::events::Event;
use crate::common::{refs, write};
use crate::context::{Controller, Subject};
use plan::Decision;

const API: &str = "batch/v1";
const KIND: &str = "CronJob";
/// Index of Jobs: namespace and name of the CronJob that made them.
const BY_CRON_JOB: &str = "cronjob";
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

static SKEW: Family = Family::histogram(
    "cronjob_controller_job_creation_skew_duration_seconds",
    "[STABLE] Time between when a cronjob is scheduled to be run, and when the corresponding job is created",
    &[],
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0],
);

struct CronJobs {
    controller: Arc<Controller>,
    cron_jobs: Store<CronJob>,
    jobs: Store<Job>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-cron-job-syncs")).unwrap_or(5);
    let queue: Queue<Key> = Queue::new("cronjob");
    let this = Arc::new(CronJobs {
        cron_jobs: controller.store(&CRON_JOBS),
        jobs: controller.store(&JOBS),
        controller: controller.clone(),
    });
    this.jobs.add_index(BY_CRON_JOB, |job| owner(job).map(|key| key.to_string()).into_iter().collect());
    let keys = queue.clone();
    this.cron_jobs.subscribe(move |change: &Change<CronJob>| {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && (&old.spec.schedule, &old.spec.time_zone) != (&new.spec.schedule, &new.spec.time_zone)
        {
            // What the new schedule would have started before now isn't missed.
            if let Some(wait) = plan::until_next(new, Timestamp::now()) {
                keys.add_after(change.key(), wait);
            }
        } else {
            keys.add(change.key());
        }
    });
    let keys = queue.clone();
    this.jobs.subscribe(move |change: &Change<Job>| {
        for job in [&change.old, &change.new].into_iter().flatten() {
            if let Some(key) = owner(job) {
                keys.add(key);
            }
        }
    });
    let own = this.clone();
    let ready = async move {
        own.cron_jobs.synced().await;
        own.jobs.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

fn owner(job: &Job) -> Option<Key> {
    let owner = job.metadata.controller_of().filter(|owner| owner.kind == KIND)?;
    Some(Key::new(&*job.metadata.namespace, &*owner.name))
}

impl CronJobs {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(cached) = self.cron_jobs.get_key(key) else { return Ok(Next::Done) };
        let mut cron_job = CronJob::clone(&cached);
        let jobs = self.jobs.by_index(BY_CRON_JOB, &key.to_string());
        for job in plan::excess(&cron_job, &jobs) {
            // A Job that can't be deleted now is tried again with the next event.
            let _ = self
                .delete(&mut cron_job, &job.metadata.namespace, &job.metadata.name, &job.metadata.uid)
                .await;
        }
        let outcome = self.follow_and_start(&mut cron_job, &jobs).await;
        if cron_job.status != cached.status {
            let status = CRON_JOBS.sub("status");
            write::update(&self.controller, &status, KIND, &cached.metadata, |object| {
                write::merge(&mut object["status"], &cron_job.status);
            })
            .await?;
        }
        outcome
    }

    fn record(&self, cron_job: &CronJob, event: &Event) {
        self.controller.record(&Subject::new(API, KIND, &cron_job.metadata), event);
    }

    /// Brings the list of active Jobs up to date, then starts what is due.
    async fn follow_and_start(&self, cron_job: &mut CronJob, jobs: &[Arc<Job>]) -> anyhow::Result<Next> {
        let client = &self.controller.client;
        let mut followed = plan::follow(cron_job, jobs);
        if !followed.unknown.is_empty() {
            // The cache of CronJobs may only be behind that of Jobs.
            let (namespace, name) = (&cron_job.metadata.namespace, &cron_job.metadata.name);
            let fresh: CronJob = client.get(&CRON_JOBS, namespace, name).await?;
            followed.unknown.retain(|job| !fresh.status.active.iter().any(|a| a.uid == job.metadata.uid));
            if fresh.metadata.resource_version != cron_job.metadata.resource_version {
                // The write at the end would be refused, and its event is on the way.
                return Ok(Next::Done);
            }
        }
        for event in followed.events {
            self.record(cron_job, &event);
        }
        for job in followed.unknown {
            let text =
                format!("Saw a job that the controller did not create or forgot: {}", job.metadata.name);
            self.record(cron_job, &Event::warning("UnexpectedJob", text));
        }
        for job in followed.missing {
            match client.get::<Metadata>(&JOBS, &job.namespace, &job.name).await {
                Err(error) if error.is_not_found() => {
                    let text = format!("Active job went missing: {}", job.name);
                    self.record(cron_job, &Event::normal("MissingJob", text));
                    cron_job.status.active.retain(|active| active.uid != job.uid);
                }
                outcome => drop(outcome?),
            }
        }
        let now = Timestamp::now();
        let (decision, events) = plan::plan(cron_job, now);
        for event in events {
            self.record(cron_job, &event);
        }
        match decision {
            Decision::Nothing => Ok(Next::Done),
            Decision::Wait(wait) => Ok(Next::After(wait)),
            Decision::Start { at, replace } => {
                if replace {
                    self.replace(cron_job).await?;
                }
                self.create(cron_job, at).await
            }
        }
    }

    async fn replace(&self, cron_job: &mut CronJob) -> anyhow::Result<()> {
        for job in cron_job.status.active.clone() {
            if let Err(error) = self.controller.client.get::<Metadata>(&JOBS, &job.namespace, &job.name).await
            {
                self.record(cron_job, &Event::warning("FailedGet", format!("Get job: {error}")));
                return Err(error.into());
            }
            self.delete(cron_job, &job.namespace, &job.name, &job.uid).await?;
        }
        Ok(())
    }

    async fn delete(
        &self,
        cron_job: &mut CronJob,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), Error> {
        let options = DeleteOptions { propagation_policy: Some("Background"), ..Default::default() };
        if let Err(error) = self.controller.client.delete(&JOBS, namespace, name, &options).await {
            self.record(cron_job, &Event::warning("FailedDelete", format!("Deleted job: {error}")));
            return Err(error);
        }
        cron_job.status.active.retain(|active| active.uid != uid);
        self.record(cron_job, &Event::normal("SuccessfulDelete", format!("Deleted job {name}")));
        Ok(())
    }

    async fn create(&self, cron_job: &mut CronJob, at: Timestamp) -> anyhow::Result<Next> {
        let client = &self.controller.client;
        let namespace = cron_job.metadata.namespace.clone();
        let name = plan::job_name(cron_job, at);
        let job = match client.create::<Metadata>(&JOBS, &namespace, &new_job(cron_job, &name, at)).await {
            Ok(job) => {
                let created = job.metadata.creation_timestamp.map_or(at, |time| time.0);
                SKEW.with(&[]).observe((created.as_second() - at.as_second()) as f64);
                self.record(cron_job, &Event::normal("SuccessfulCreate", format!("Created job {name}")));
                job
            }
            // The name holds the time: an earlier try got so far, or somebody else holds the name.
            Err(error) if error.is_already_exists() => {
                let job: Metadata = client.get(&JOBS, &namespace, &name).await?;
                let is_active = cron_job.status.active.iter().any(|active| active.uid == job.metadata.uid);
                if is_active || !job.metadata.is_controlled_by(&cron_job.metadata.uid) {
                    return Ok(Next::Done);
                }
                job
            }
            Err(error) => {
                if !error.is_namespace_terminating() {
                    let text = format!("Error creating job: {error}");
                    self.record(cron_job, &Event::warning("FailedCreate", text));
                }
                return Err(error.into());
            }
        };
        cron_job.status.active.push(JobReference {
            kind: "Job".into(),
            namespace,
            name,
            uid: job.metadata.uid,
            api_version: API.into(),
            resource_version: job.metadata.resource_version,
        });
        cron_job.status.last_schedule_time = Some(Time(at));
        Ok(plan::until_next(cron_job, Timestamp::now()).map_or(Next::Done, Next::After))
    }
}

/// The Job of one time, from the template.
fn new_job(cron_job: &CronJob, name: &str, at: Timestamp) -> Value {
    let mut template = cron_job.spec.job_template.to_value();
    let mut take = |path: &str| template.pointer_mut(path).map(Value::take).filter(|value| !value.is_null());
    let mut annotations = take("/metadata/annotations").unwrap_or_else(|| json!({}));
    annotations[SCHEDULED_AT] = json!(plan::in_zone(cron_job, at));
    json!({
        "apiVersion": API,
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": take("/metadata/labels").unwrap_or_else(|| json!({})),
            "annotations": annotations,
            "ownerReferences": [refs::controller_ref(&cron_job.metadata, API, KIND)],
        },
        "spec": take("/spec").unwrap_or_else(|| json!({})),
    })
}
