//! Metrics under upstream's names. Series of the hot path are looked up once per schema.

use std::sync::Arc;

use component_base::metrics::{Family, Series};

use super::demand::Demand;
use super::level::Limits;
use super::schema::Schema;

const SECONDS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const LENGTHS: &[f64] = &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SEATS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
const LEVEL: &[&str] = &["priority_level"];
const BOTH: &[&str] = &["priority_level", "flow_schema"];

static REJECTED: Family = Family::counter(
    "apiserver_flowcontrol_rejected_requests_total",
    "Number of requests rejected by API Priority and Fairness subsystem",
    &["priority_level", "flow_schema", "reason"],
);
static DISPATCHED: Family = Family::counter(
    "apiserver_flowcontrol_dispatched_requests_total",
    "Number of requests executed by API Priority and Fairness subsystem",
    BOTH,
);
static QUEUED_REQUESTS: Family = Family::gauge(
    "apiserver_flowcontrol_current_inqueue_requests",
    "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
    BOTH,
);
static QUEUED_SEATS: Family = Family::gauge(
    "apiserver_flowcontrol_current_inqueue_seats",
    "Number of seats currently pending in queues of the API Priority and Fairness subsystem",
    BOTH,
);
static QUEUE_LENGTH: Family = Family::histogram(
    "apiserver_flowcontrol_request_queue_length_after_enqueue",
    "Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued",
    BOTH,
    LENGTHS,
);
static EXECUTING_REQUESTS: Family = Family::gauge(
    "apiserver_flowcontrol_current_executing_requests",
    "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
    BOTH,
);
static EXECUTING_SEATS: Family = Family::gauge(
    "apiserver_flowcontrol_current_executing_seats",
    "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
    BOTH,
);
static WAITED: Family = Family::histogram(
    "apiserver_flowcontrol_request_wait_duration_seconds",
    "Length of time a request spent waiting in its queue",
    &["priority_level", "flow_schema", "execute"],
    SECONDS,
);
static EXECUTED: Family = Family::histogram(
    "apiserver_flowcontrol_request_execution_seconds",
    "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem",
    &["priority_level", "flow_schema", "type"],
    SECONDS,
);
static ESTIMATED: Family = Family::histogram(
    "apiserver_flowcontrol_work_estimated_seats",
    "Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness",
    BOTH,
    SEATS,
);
static NO_ROOM: Family = Family::counter(
    "apiserver_flowcontrol_request_dispatch_no_accommodation_total",
    "Number of times a dispatch attempt resulted in a non accommodation due to lack of available seats",
    BOTH,
);
static NOMINAL: Family = Family::gauge(
    "apiserver_flowcontrol_nominal_limit_seats",
    "Nominal number of execution seats configured for each priority level",
    LEVEL,
);
static LOWER: Family = Family::gauge(
    "apiserver_flowcontrol_lower_limit_seats",
    "Configured lower bound on number of execution seats available to each priority level",
    LEVEL,
);
static UPPER: Family = Family::gauge(
    "apiserver_flowcontrol_upper_limit_seats",
    "Configured upper bound on number of execution seats available to each priority level",
    LEVEL,
);
static CURRENT: Family = Family::gauge(
    "apiserver_flowcontrol_current_limit_seats",
    "current derived number of execution seats available to each priority level",
    LEVEL,
);
static DEMAND_MOST: Family = Family::gauge(
    "apiserver_flowcontrol_demand_seats_high_watermark",
    "High watermark, over last adjustment period, of demand_seats",
    LEVEL,
);
static DEMAND_AVERAGE: Family = Family::gauge(
    "apiserver_flowcontrol_demand_seats_average",
    "Time-weighted average, over last adjustment period, of demand_seats",
    LEVEL,
);
static DEMAND_DEVIATION: Family = Family::gauge(
    "apiserver_flowcontrol_demand_seats_stdev",
    "Time-weighted standard deviation, over last adjustment period, of demand_seats",
    LEVEL,
);
static DEMAND_SMOOTHED: Family =
    Family::gauge("apiserver_flowcontrol_demand_seats_smoothed", "Smoothed seat demands", LEVEL);
static TARGET: Family = Family::gauge("apiserver_flowcontrol_target_seats", "Seat allocation targets", LEVEL);
/// The fraction that unbound levels get.
pub(super) static FAIR: Family = Family::gauge(
    "apiserver_flowcontrol_seat_fair_frac",
    "Fair fraction of server's concurrency to allocate to each priority level that can use it",
    &[],
);

/// The series of one schema.
pub(super) struct Metrics {
    pub(super) dispatched: Arc<Series>,
    pub(super) queued_requests: Arc<Series>,
    pub(super) queued_seats: Arc<Series>,
    pub(super) queue_length: Arc<Series>,
    pub(super) executing_requests: Arc<Series>,
    pub(super) executing_seats: Arc<Series>,
    pub(super) executed: Arc<Series>,
    pub(super) estimated: Arc<Series>,
    pub(super) no_room: Arc<Series>,
    waited: [Arc<Series>; 2],
}

impl Metrics {
    pub(super) fn new(level: &str, schema: &str) -> Self {
        let both = [level, schema];
        Metrics {
            dispatched: DISPATCHED.with(&both),
            queued_requests: QUEUED_REQUESTS.with(&both),
            queued_seats: QUEUED_SEATS.with(&both),
            queue_length: QUEUE_LENGTH.with(&both),
            executing_requests: EXECUTING_REQUESTS.with(&both),
            executing_seats: EXECUTING_SEATS.with(&both),
            executed: EXECUTED.with(&[level, schema, "regular"]),
            estimated: ESTIMATED.with(&both),
            no_room: NO_ROOM.with(&both),
            waited: ["false", "true"].map(|execute| WAITED.with(&[level, schema, execute])),
        }
    }

    /// Counts a wait; those who never wait have none.
    pub(super) fn waited(&self, executed: bool, seconds: f64, is_exempt: bool) {
        if !is_exempt {
            self.waited[usize::from(executed)].observe(seconds);
        }
    }
}

/// Counts a request that was sent away.
pub(super) fn rejected(schema: &Schema, reason: &str) {
    REJECTED.with(&[&schema.level.name, &schema.name, reason]).inc();
}

/// Tells a level's limits.
pub(super) fn limits(level: &str, limits: &Limits) {
    for (family, seats) in [(&NOMINAL, limits.nominal), (&LOWER, limits.least), (&UPPER, limits.most)] {
        family.with(&[level]).set(seats as f64);
    }
}

/// Tells what a level wanted and got.
pub(super) fn adjusted(level: &str, demand: &Demand, target: f64, current: usize) {
    for (family, value) in [
        (&DEMAND_MOST, demand.most as f64),
        (&DEMAND_AVERAGE, demand.average),
        (&DEMAND_DEVIATION, demand.deviation),
        (&DEMAND_SMOOTHED, demand.smoothed),
        (&TARGET, target),
        (&CURRENT, current as f64),
    ] {
        family.with(&[level]).set(value);
    }
}
