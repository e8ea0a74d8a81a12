//! The scheduler's metrics, by upstream's names.

use component_base::metrics::Family;

/// Attempts by result: `scheduled`, `unschedulable`, `error`.
pub(crate) static ATTEMPTS: Family = Family::counter(
    "scheduler_schedule_attempts_total",
    "[STABLE] Number of attempts to schedule pods, by the result.",
    &["result", "profile"],
);
/// Attempts including binding.
pub(crate) static ATTEMPT_DURATION: Family = Family::histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding).",
    &["result", "profile"],
    LATENCY,
);
/// Attempts without binding.
pub(crate) static ALGORITHM_DURATION: Family = Family::histogram(
    "scheduler_scheduling_algorithm_duration_seconds",
    "[ALPHA] Scheduling algorithm latency in seconds.",
    &[],
    LATENCY,
);
/// From first seen to bound.
pub(crate) static SLI_DURATION: Family = Family::histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "[BETA] End-to-end latency for a pod being scheduled, from its first entry into the queue.",
    &["attempts"],
    SLI,
);
/// How many attempts a pod took.
pub(crate) static POD_ATTEMPTS: Family = Family::histogram(
    "scheduler_pod_scheduling_attempts",
    "[STABLE] Number of attempts to successfully schedule a pod.",
    &[],
    &[1.0, 2.0, 4.0, 8.0, 16.0],
);
/// Waiting pods by queue.
pub(crate) static PENDING: Family =
    Family::gauge("scheduler_pending_pods", "[STABLE] Number of pending pods, by the queue.", &["queue"]);
/// Pods that entered a queue, by event.
pub(crate) static QUEUE_INCOMING: Family = Family::counter(
    "scheduler_queue_incoming_pods_total",
    "[STABLE] Number of pods added to scheduling queues by event and queue type.",
    &["queue", "event"],
);
/// Pods turned down, by plugin.
pub(crate) static UNSCHEDULABLE_PODS: Family = Family::counter(
    "scheduler_unschedulable_pods",
    "[ALPHA] The number of unschedulable pods broken down by plugin name.",
    &["plugin", "profile"],
);
/// Preemption attempts.
pub(crate) static PREEMPTION_ATTEMPTS: Family = Family::counter(
    "scheduler_preemption_attempts_total",
    "[STABLE] Total preemption attempts in the cluster till now.",
    &[],
);
/// Pods removed per preemption.
pub(crate) static PREEMPTION_VICTIMS: Family = Family::histogram(
    "scheduler_preemption_victims",
    "[STABLE] Number of selected preemption victims.",
    &[],
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
);
/// Nodes and pods known.
pub(crate) static CACHE_SIZE: Family = Family::gauge(
    "scheduler_cache_size",
    "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
    &["type"],
);

const LATENCY: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
const SLI: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
    655.36, 1310.72, 2621.44, 5242.88,
];
