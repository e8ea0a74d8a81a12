//! What calls cost in fact.

use super::{
    AUTHORIZATION_COST, LIST_COST, REGEX_FACTOR, STRING_FACTOR, STRUCT_COST, compares, costs_one,
    pair_factor, scaled,
};
use crate::library::format;
use crate::value::Value;

fn text(size: u64) -> u64 {
    scaled(size, STRING_FACTOR)
}

/// The cost of a call. Some costs need the size of the result; without one there is no answer for those.
pub(crate) fn call_cost(
    function: &str,
    overload: &str,
    args: &[Value<'_>],
    result: Option<u64>,
) -> Option<u64> {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    let pattern = |subject: f64, pattern: u64| {
        let subject = (subject * STRING_FACTOR).ceil() as u64;
        subject.saturating_mul(scaled(pattern, REGEX_FACTOR))
    };
    let allocated = |factor: f64, size: u64| ((size as f64 * factor) as u64).saturating_add(1 + LIST_COST);
    match overload {
        "list_slice" | "list_reverse" => return Some(allocated(1.0, result?)),
        "lists_range" => {
            let count = match args.first() {
                Some(Value::Int(count)) => u64::try_from(*count).unwrap_or(0),
                _ => 0,
            };
            return Some(allocated(1.0, count));
        }
        "list_flatten" => return Some(allocated(1.0, size(0))),
        "list_flatten_int" => {
            let depth = if let Some(Value::Int(depth)) = args.get(1) { *depth as f64 } else { 1.0 };
            return Some(allocated(depth, size(0)));
        }
        "list_distinct" => return Some(self_compare(args.first())),
        "list_sets_contains_list" | "list_sets_intersects_list" => {
            return Some(1u64.saturating_add(size(0).saturating_mul(size(1))));
        }
        "list_sets_equivalent_list" => {
            return Some(1u64.saturating_add(size(0).saturating_mul(size(1)).saturating_mul(2)));
        }
        _ if overload.starts_with("list_") && overload.ends_with("_sort") => {
            return Some(self_compare(args.first()));
        }
        _ if overload.ends_with("_sortByAssociatedKeys") => return Some(self_compare(args.get(1))),
        _ => {}
    }
    let by_function = match function {
        "check" => Some(AUTHORIZATION_COST),
        function if costs_one(function) => Some(1),
        "fieldSelector" | "labelSelector" if args.len() >= 2 => {
            let length = size(1);
            let requirements = scaled(scaled(length, 0.5), (LIST_COST + STRUCT_COST) as f64);
            Some(LIST_COST.saturating_add(text(length)).saturating_add(requirements))
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            Some(args.first().map_or(0, traversal))
        }
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => Some(text(size(0))),
        "replace" | "split" | "ip.isCanonical" => Some(scaled(size(0), 2.0 * STRING_FACTOR)),
        "join" => Some(scaled(result?, 2.0 * STRING_FACTOR)),
        "find" | "findAll" if args.len() >= 2 => Some(pattern(1.0 + size(0) as f64, size(1))),
        "ip" if overload == "cidr_ip" => Some(1),
        "ip" => Some(text(size(0))),
        "containsIP" | "containsCIDR" if args.len() >= 2 => {
            let mut cost = text(2 * size(0));
            if function == "containsCIDR" {
                cost += text(size(0)) + 1;
            }
            if overload.ends_with("_string") {
                cost += text(size(1));
            }
            Some(cost)
        }
        "validate" if args.len() >= 2 => {
            format::pattern_size(&args[0]).map(|of| pattern(1.0 + size(1) as f64, of))
        }
        "_==_" if args.len() == 2 => match &args[0] {
            Value::Opaque(_) => Some(1),
            _ => None,
        },
        _ => None,
    };
    if by_function.is_some() {
        return by_function;
    }
    Some(match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => text(size(0)),
        "in_list" => size(1),
        overload if compares(overload) => text(sized(args.first()).min(sized(args.get(1)))),
        "add_string" | "add_bytes" => text(size(0).saturating_add(size(1))),
        "matches_string" => pattern(1.0 + size(0) as f64, size(1)),
        "contains_string" => text(size(0)).saturating_mul(text(size(1))),
        _ => 1,
    })
}

/// The size as equality sees it: optional values count as what they hold.
fn sized(value: Option<&Value<'_>>) -> u64 {
    match value {
        Some(Value::Optional(Some(of))) => sized(Some(of)),
        Some(value) => value.size(),
        None => 1,
    }
}

fn self_compare(list: Option<&Value<'_>>) -> u64 {
    let Some(Value::List(list)) = list else { return 1 };
    let factor = pair_factor(matches!(list.get(0), Some(Ok(Value::String(_) | Value::Bytes(_)))));
    let size = list.len() as u64;
    ((size.saturating_mul(size) as f64 * factor) as u64).saturating_add(1 + LIST_COST)
}

/// The cost of going through all of a value once.
fn traversal(value: &Value<'_>) -> u64 {
    let mut left = 4_000_000u64;
    traverse(value, &mut left)
}

fn traverse(value: &Value<'_>, left: &mut u64) -> u64 {
    *left = left.saturating_sub(1);
    if *left == 0 {
        return u64::from(u32::MAX);
    }
    match value {
        Value::String(text) => (text.len() as f64 * STRING_FACTOR) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * STRING_FACTOR) as u64,
        Value::List(list) => {
            list.iter().map(|item| item.map_or(1, |item| traverse(&item, left))).fold(0, u64::saturating_add)
        }
        Value::Map(map) => map
            .entries()
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| traverse(key, left).saturating_add(traverse(value, left)))
            .fold(0, u64::saturating_add),
        _ => 1,
    }
}
