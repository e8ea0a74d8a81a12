//! The `workqueue_*` families.

use std::sync::Once;

use parking_lot::Mutex;

use super::Handle;
use crate::metrics::{Family, Type, collect_with, exponential};

const TIMES: &[f64] = &exponential::<10>(10e-9, 10.0);

static DEPTH: Family = Family::gauge("workqueue_depth", "[BETA] Current depth of workqueue", &["name"]);
static ADDS: Family =
    Family::counter("workqueue_adds_total", "[BETA] Total number of adds handled by workqueue", &["name"]);
static QUEUE_TIME: Family = Family::histogram(
    "workqueue_queue_duration_seconds",
    "[BETA] How long in seconds an item stays in workqueue before being requested.",
    &["name"],
    TIMES,
);
static WORK_TIME: Family = Family::histogram(
    "workqueue_work_duration_seconds",
    "[BETA] How long in seconds processing an item from workqueue takes.",
    &["name"],
    TIMES,
);
static RETRIES: Family = Family::counter(
    "workqueue_retries_total",
    "[BETA] Total number of retries handled by workqueue",
    &["name"],
);

/// The series of one queue.
pub(super) struct Metrics {
    pub(super) depth: Handle,
    pub(super) adds: Handle,
    pub(super) queue_time: Handle,
    pub(super) work_time: Handle,
    pub(super) retries: Handle,
}

impl Metrics {
    pub(super) fn new(name: &str) -> Self {
        Self {
            depth: DEPTH.with(&[name]),
            adds: ADDS.with(&[name]),
            queue_time: QUEUE_TIME.with(&[name]),
            work_time: WORK_TIME.with(&[name]),
            retries: RETRIES.with(&[name]),
        }
    }
}

/// Reads the sum and the maximum of the ages of a queue's running work; none once the queue is gone.
type Unfinished = Box<dyn Fn() -> Option<(f64, f64)> + Send + Sync>;

static QUEUES: Mutex<Vec<(String, Unfinished)>> = Mutex::new(Vec::new());

/// Shows the running work of a queue when scraped.
pub(super) fn watch_unfinished(name: &str, read: impl Fn() -> Option<(f64, f64)> + Send + Sync + 'static) {
    static COLLECTOR: Once = Once::new();
    QUEUES.lock().push((name.to_owned(), Box::new(read)));
    COLLECTOR.call_once(|| {
        collect_with(|out| {
            let ages: Vec<_> = QUEUES.lock().iter().filter_map(|(name, read)| Some((name.clone(), read()?))).collect();
            let families = [
                ("workqueue_unfinished_work_seconds", "[BETA] How many seconds of work has done that is in progress and hasn't been observed by work_duration."),
                ("workqueue_longest_running_processor_seconds", "[BETA] How many seconds has the longest running processor for workqueue been running."),
            ];
            for (i, (family, help)) in families.into_iter().enumerate() {
                out.head(family, help, Type::Gauge);
                for (name, (sum, max)) in &ages {
                    out.sample(family, &[("name", name)], if i == 0 { *sum } else { *max });
                }
            }
        });
    });
}
