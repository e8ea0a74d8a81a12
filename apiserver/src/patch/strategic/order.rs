//! The order of merged lists: what the patch orders, among what only the server has.

use std::collections::HashMap;

use proto::go;
use serde_json::Value;

use super::{Error, Result};

/// The value that identifies an item: its merge key's, or the item itself if there is no merge key.
pub(super) fn key_value<'a>(item: &'a Value, key: &str) -> Result<&'a Value> {
    if key.is_empty() {
        return Ok(item);
    }
    match item {
        Value::Object(map) => map.get(key).ok_or_else(|| {
            Error::Internal(format!("map: {} does not contain declared merge key: {key}", go::text(item)))
        }),
        other => Err(super::wrong_type(super::MAP, other)),
    }
}

/// Orders `items`: those in `order` as they stand there, the others as they stand in `server_order`. Where both
/// kinds meet, the server's order decides if it has both, else the ordered one comes first.
pub(super) fn arrange(
    items: Vec<Value>,
    order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Result<Vec<Value>> {
    let places = |list: &[Value]| -> Result<HashMap<String, usize>> {
        let mut places = HashMap::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            places.entry(key_value(item, key)?.to_string()).or_insert(i);
        }
        Ok(places)
    };
    let (order, server_order) = (places(order)?, places(server_order)?);
    let at = |places: &HashMap<String, usize>, item: &Value| -> Option<usize> {
        places.get(&key_value(item, key).ok()?.to_string()).copied()
    };
    for item in &items {
        key_value(item, key)?;
    }
    let (mut ordered, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| at(&order, item).is_some());
    ordered.sort_by_cached_key(|item| at(&order, item));
    others.sort_by_cached_key(|item| at(&server_order, item).unwrap_or(usize::MAX));

    let mut result = Vec::with_capacity(ordered.len() + others.len());
    let (mut ordered, mut others) = (ordered.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let take_other = match (others.peek(), ordered.peek()) {
            (None, None) => return Ok(result),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(item)) => match (at(&server_order, other), at(&server_order, item)) {
                (Some(other), Some(item)) => other < item,
                _ => false,
            },
        };
        result.extend(if take_other { others.next() } else { ordered.next() });
    }
}
