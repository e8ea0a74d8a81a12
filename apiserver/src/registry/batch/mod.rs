//! The group batch: jobs and cron jobs.

mod cron;
mod defaults;
mod indexes;
mod job;
mod policy;
mod schedule;
mod status;

use proto::view::int_at;

use super::Builder;
use super::kind::{Enabled, Kind};

const GROUP: &str = "batch";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "cronjobs", "CronJob")
        .short(&["cj"])
        .category("all")
        .default(defaults::cron_job)
        .hooks(cron::hooks())
        .status(super::strategy::status())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "jobs", "Job")
        .category("all")
        .default(defaults::job)
        .selectable_by("status.successful", &["status.succeeded"], |job| {
            int_at(job, &["status", "succeeded"]).to_string()
        })
        .hooks(job::hooks())
        .status(status::hooks())
        .install(builder, enabled);
}
