//! Lists of type set and map: their items are unique.

use proto::field::{Error, Errors, Path};
use serde_json::{Map, Value};

use super::Schema;

/// What is wrong with the sets and maps in a value.
pub(crate) fn sets_and_maps(path: &Path, value: &Value, schema: &Schema) -> Errors {
    let mut errors = Errors::new();
    walk(path, value, schema, &mut errors);
    errors
}

fn walk(path: &Path, value: &Value, schema: &Schema, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if let Some(property) = schema.properties.get(name) {
                    walk(&path.child_named(name), field, property, errors);
                }
                if let Some(more) = schema.additional() {
                    walk(&path.key(name), field, more, errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type() {
                "set" => {
                    let repeated = repeated(items.iter());
                    errors.extend(
                        repeated.into_iter().map(|i| Error::duplicate(&path.index(i), items[i].clone())),
                    );
                }
                "map" => map(path, items, schema, errors),
                _ => {}
            }
            if let Some(of) = schema.item() {
                items.iter().enumerate().for_each(|(i, item)| walk(&path.index(i), item, of, errors));
            }
        }
        _ => {}
    }
}

fn map(path: &Path, items: &[Value], schema: &Schema, errors: &mut Errors) {
    if let Some(i) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(Error::invalid(&path.index(i), items[i].clone(), detail));
        return;
    }
    let keys: Vec<Value> = items.iter().map(|item| key(item, schema).into()).collect();
    let repeated = repeated(keys.iter());
    errors.extend(repeated.into_iter().map(|i| Error::duplicate(&path.index(i), keys[i].clone())));
}

/// The key fields of an item that are there.
fn key(item: &Value, schema: &Schema) -> Map<String, Value> {
    let names = schema.list_map_keys.iter();
    names.filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect()
}

/// The positions of items that occur for the second time.
fn repeated<'a>(items: impl Iterator<Item = &'a Value>) -> Vec<usize> {
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    let mut found = Vec::new();
    for (i, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            found.push(i);
        }
    }
    found
}

/// The old item that has the keys of this one.
pub(super) fn correlated<'a>(schema: &Schema, item: &Value, before: &'a [Value]) -> Option<&'a Value> {
    let scalar = |v: &Value| !matches!(v, Value::Null | Value::Array(_) | Value::Object(_));
    let keys = &schema.list_map_keys;
    if keys.is_empty() || !keys.iter().all(|name| item.get(name).is_some_and(scalar)) {
        return None;
    }
    before.iter().find(|old| keys.iter().all(|name| old.get(name) == item.get(name)))
}
