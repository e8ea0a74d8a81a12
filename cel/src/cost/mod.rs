//! What expressions cost: at most, found from the expression alone, and in fact, counted while it is evaluated.
//!
//! A unit is about 50 ns. The numbers decide which rules the API accepts, so they are upstream's to the unit.

pub mod estimate;
pub(crate) mod runtime;
pub(crate) mod work;

pub use estimate::{CostEstimate, NoSizes, SizeEstimate, Sizes, estimate};

/// What one evaluation of an expression may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all evaluations for one custom resource or policy binding may cost.
pub const RUNTIME_BUDGET: i64 = 10_000_000;
/// What all match conditions of one webhook or policy binding may cost.
pub const MATCH_CONDITIONS_BUDGET: i64 = 2_500_000;

pub(crate) const STRING_FACTOR: f64 = 0.1;
pub(crate) const REGEX_FACTOR: f64 = 0.25;
pub(crate) const LIST_COST: u64 = 10;
pub(crate) const MAP_COST: u64 = 30;
pub(crate) const STRUCT_COST: u64 = 40;
/// Two checks of authorization are all that fits in one evaluation.
pub(crate) const AUTHORIZATION_COST: u64 = 350_000;
/// The longest pattern of a named format.
pub(crate) const FORMAT_PATTERN_MAX: f64 = 128.0;
pub(crate) const FORMAT_SIZE_MAX: u64 = 64;

/// A number times a factor, rounded up.
pub(crate) fn scaled(number: u64, factor: f64) -> u64 {
    let product = (number as f64 * factor).ceil();
    if product >= u64::MAX as f64 { u64::MAX } else { product as u64 }
}

/// Whether each call of a function costs one unit, whatever its arguments.
pub(crate) fn costs_one(function: &str) -> bool {
    matches!(
        function,
        "serviceAccount"
            | "path"
            | "group"
            | "resource"
            | "subresource"
            | "namespace"
            | "name"
            | "allowed"
            | "reason"
            | "error"
            | "errored"
            | "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery"
    )
}

/// Whether a signature compares values, which costs what going through the smaller one does.
pub(crate) fn compares(overload: &str) -> bool {
    matches!(
        overload,
        "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals"
    )
}

/// How much each pair of elements costs where a list is compared with itself.
pub(crate) fn pair_factor(of_texts: bool) -> f64 {
    if of_texts { 2.0 + STRING_FACTOR } else { 2.0 }
}
