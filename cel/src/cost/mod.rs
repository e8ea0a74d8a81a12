//! What expressions cost: at most, found from the expression alone, and in fact, counted while it is evaluated.
//!
//! A unit is about 50 ns. The numbers decide which rules the API accepts, so they are upstream's to the unit.

pub mod estimate;
pub(crate) mod runtime;

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
