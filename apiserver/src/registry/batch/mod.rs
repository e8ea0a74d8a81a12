//! The group batch: jobs and cron jobs.

mod defaults;

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "batch";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "cronjobs", "CronJob")
        .short(&["cj"])
        .category("all")
        .default(defaults::cron_job)
        .hooks(Hooks { warnings: strategy::pod_name_warning, ..strategy::with_generation() })
        .status(strategy::status())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "jobs", "Job")
        .category("all")
        .default(defaults::job)
        .selectable_by("status.successful", |job| {
            proto::view::int_at(job, &["status", "succeeded"]).to_string()
        })
        .hooks(Hooks { orphan_dependents: true, ..strategy::with_generation() })
        .status(strategy::status())
        .install(builder, enabled);
}
