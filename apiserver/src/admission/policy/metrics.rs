//! What policies made of writes, counted under upstream's names.

use std::time::Duration;

use component_base::metrics::Family;

const BOUNDS: &[f64] = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];
const OF_VALIDATION: &[&str] = &["enforcement_action", "error_type", "policy", "policy_binding"];
const OF_MUTATION: &[&str] = &["error_type", "policy", "policy_binding"];

static VALIDATIONS: Family = Family::counter(
    "apiserver_validating_admission_policy_check_total",
    "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
    OF_VALIDATION,
);
static VALIDATION_TIMES: Family = Family::histogram(
    "apiserver_validating_admission_policy_check_duration_seconds",
    "[BETA] Validation admission latency for individual validation expressions in seconds, labeled by policy and further including binding and enforcement action taken.",
    OF_VALIDATION,
    BOUNDS,
);
static MUTATIONS: Family = Family::counter(
    "apiserver_mutating_admission_policy_check_total",
    "[ALPHA] Mutation admission policy check total, labeled by policy and further identified by binding.",
    OF_MUTATION,
);
static MUTATION_TIMES: Family = Family::histogram(
    "apiserver_mutating_admission_policy_check_duration_seconds",
    "[ALPHA] Mutation admission latency for individual mutation expressions in seconds, labeled by policy and binding.",
    OF_MUTATION,
    BOUNDS,
);

/// The type of an error, by its text. A rule that isn't met is one as well.
fn error_type(message: &str) -> &'static str {
    if message.starts_with("compilation") {
        "compile_error"
    } else if message.starts_with("validation failed due to running out of cost budget") {
        "out_of_budget"
    } else {
        "invalid_error"
    }
}

/// A validation of a policy and binding said no or failed, and this was done about it: `allow`, `audit`, `deny` or `warn`.
pub(super) fn validated((policy, binding): (&str, &str), message: &str, action: &str, elapsed: Duration) {
    let labels = [action, error_type(message), policy, binding];
    VALIDATIONS.with(&labels).inc();
    VALIDATION_TIMES.with(&labels).observe_duration(elapsed);
}

/// A mutation of a policy and binding was made, or failed.
pub(super) fn mutated((policy, binding): (&str, &str), error: Option<&str>, elapsed: Duration) {
    let labels = [error.map_or("no_error", error_type), policy, binding];
    MUTATIONS.with(&labels).inc();
    MUTATION_TIMES.with(&labels).observe_duration(elapsed);
}
