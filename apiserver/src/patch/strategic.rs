//! Strategic merge patches: merge patches that merge lists by key where the schema says so, with directives.

use std::collections::{HashMap, HashSet};

use proto::schema::{Field, Flags, Shape, Type};
use proto::{go, json};
use serde_json::{Map, Value};

use super::{Error, Patched};

mod order;

use order::{arrange, key_value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// How Go names the type of a map.
const MAP: &str = "map[string]interface {}";

type Object = Map<String, Value>;
type Result<T> = std::result::Result<T, Error>;

/// Applies a strategic merge patch to a printed tree of a built-in type.
pub fn strategic_merge_patch(current: &Value, patch: &[u8], ty: &Type) -> Result<Patched> {
    let decoded = json::decode_any(patch).map_err(|error| Error::BadRequest(error.to_string()))?;
    let patch = match decoded.value {
        Value::Object(patch) => patch,
        Value::Null => Object::new(),
        other => {
            let found = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            return Err(Error::BadRequest(format!(
                "json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )));
        }
    };
    let original = current.as_object().cloned().unwrap_or_default();
    let merged = merge_map(original, patch, Place::Struct(ty))?;
    Ok(Patched { value: Value::Object(merged), strict: decoded.strict })
}

/// Where a merge is in the schema.
#[derive(Clone, Copy)]
enum Place<'a> {
    Struct(&'a Type),
    /// A map, a struct with a form of its own, or nothing known.
    Other(&'static str),
}

/// How a list or map is merged.
struct Rule<'a> {
    below: Place<'a>,
    merge: bool,
    replace: bool,
    key: &'a str,
}

impl<'a> Place<'a> {
    fn field(self, name: &str) -> Result<&'a Field> {
        match self {
            Place::Struct(ty) => ty.field(name).ok_or_else(|| {
                Error::Internal(format!(
                    "unable to find api field in struct {} for the json field {name:?}",
                    ty.name
                ))
            }),
            Place::Other(kind) => Err(Error::Internal(format!(
                "merging an object in json but data type is not struct, instead is: {kind}"
            ))),
        }
    }

    fn rule(self, name: &str) -> Result<Rule<'a>> {
        let field = self.field(name)?;
        let shape = match &field.shape {
            Shape::List(list) => &list.items,
            shape => shape,
        };
        let below = match shape {
            Shape::Struct(ty) | Shape::SchemaOrBool(ty) | Shape::SchemaOrArray(ty) => Place::Struct(ty),
            Shape::Map(_) => Place::Other("map"),
            _ => Place::Other("struct"),
        };
        let has = |flag| field.flags.has(flag);
        let key = field.merge_key().unwrap_or_default();
        Ok(Rule { below, merge: has(Flags::PATCH_MERGE), replace: has(Flags::PATCH_REPLACE), key })
    }
}

fn merge_map(mut original: Object, mut patch: Object, at: Place<'_>) -> Result<Object> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown(&directive.clone(), &Value::Object(patch))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, at)?;
    for (name, value) in patch {
        let (name, deletes) = match name.strip_prefix(DELETE_FROM) {
            Some(rest) => (rest.strip_prefix('/').ok_or_else(|| bad("primitive list"))?.to_owned(), true),
            None => (name, false),
        };
        if value.is_null() {
            original.remove(&name);
            continue;
        }
        let merged = match (original.remove(&name), value) {
            (Some(Value::Object(original)), Value::Object(patch)) => {
                let rule = at.rule(&name)?;
                if rule.replace {
                    Some(Value::Object(patch))
                } else {
                    Some(Value::Object(merge_map(original, patch, rule.below)?))
                }
            }
            (Some(Value::Array(original)), Value::Array(patch)) => {
                Some(Value::Array(merge_list(original, patch, &at.rule(&name)?, deletes)?))
            }
            // A list to delete from that isn't there, or is no list.
            (original, _) if deletes => original,
            (_, value) => without_directives(value, true),
        };
        if let Some(merged) = merged {
            original.insert(name, merged);
        }
    }
    Ok(original)
}

fn bad(what: &str) -> Error {
    Error::BadRequest(format!("invalid patch format of {what}"))
}

/// A map with a directive that is none.
fn unknown(directive: &Value, map: &Value) -> Error {
    Error::Internal(format!("unknown patch type: {} in map: {}", go::string(directive), go::text(map)))
}

/// `$retainKeys`: the fields it doesn't list go.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(bad("retainKeys")) };
    let listed = |name: &str| keys.iter().any(|key| key == name);
    for (name, value) in patch.iter() {
        let exempt = value.is_null() || name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
        if !exempt && !listed(name) {
            return Err(bad("retainKeys"));
        }
    }
    original.retain(|name, _| listed(name));
    Ok(())
}

/// `$setElementOrder/<list>`: merges the list and puts it into that order.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, at: Place<'_>) -> Result<()> {
    let directives: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => return Err(wrong_type("[]interface {}", &other.unwrap_or_default())),
        };
        let name =
            directive[SET_ORDER.len()..].strip_prefix('/').ok_or_else(|| bad("setElementOrder list"))?;
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_type("[]interface {}", &other)),
        };
        // A null in the patch deletes the list, as without the directive.
        if patch.get(name).is_some_and(Value::is_null) {
            continue;
        }
        // A printed list may be null.
        let live = list(original.remove(name).filter(|value| !value.is_null()))?;
        let wanted = list(patch.remove(name))?;
        let rule = at.rule(name)?;
        check_order(wanted.as_deref().unwrap_or_default(), &order, rule.key)?;
        let server_order = live.clone().unwrap_or_default();
        let lists = [&*server_order, wanted.as_deref().unwrap_or_default()];
        let filled = element_type(lists)?.is_some();
        let merged = match (live, wanted) {
            (None, None) => continue,
            (Some(live), None) => live,
            (None, Some(wanted)) => match without_directives(Value::Array(wanted), false) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            (Some(live), Some(wanted)) => merge_list(live, wanted, &rule, false)?,
        };
        if !filled {
            return Err(Error::Internal("no elements in any of the given slices".to_owned()));
        }
        original.insert(name.to_owned(), Value::Array(arrange(merged, &order, &server_order, rule.key)?));
    }
    Ok(())
}

fn wrong_type(expected: &str, found: &Value) -> Error {
    // What has no type is printed as text.
    let found = if found.is_null() { "%!s(<nil>)" } else { go::type_of(found) };
    Error::Internal(format!("expected a {expected}, but received a {found}"))
}

/// Checks that the items of a patch stand in the order that its directive gives.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<()> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        let wanted = key_value(item, key)?;
        loop {
            let Some(next) = rest.next() else {
                return Err(Error::Internal(format!(
                    "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                    go::list(patch),
                    go::list(order)
                )));
            };
            if key_value(next, key)? == wanted {
                break;
            }
        }
    }
    Ok(())
}

fn merge_list(original: Vec<Value>, patch: Vec<Value>, rule: &Rule<'_>, deletes: bool) -> Result<Vec<Value>> {
    if !rule.merge && !deletes {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let server_order = original.clone();
    if element_type([&original, &patch])? != Some(MAP) {
        if deletes {
            let gone: HashSet<String> = patch.iter().map(Value::to_string).collect();
            return Ok(original.into_iter().filter(|item| !gone.contains(&item.to_string())).collect());
        }
        let mut seen = HashSet::new();
        let all = original.into_iter().chain(patch.iter().cloned());
        let merged = all.filter(|item| seen.insert(item.to_string())).collect();
        return arrange(merged, &patch, &server_order, "");
    }
    if rule.key.is_empty() {
        let name = match rule.below {
            Place::Struct(ty) => ty.name.as_ref(),
            Place::Other(kind) => kind,
        };
        return Err(Error::Internal(format!("cannot merge lists without merge key for {name}")));
    }
    let (mut merged, patch) = list_directives(original, patch, rule.key)?;
    let mut places = HashMap::new();
    for (i, item) in merged.iter().enumerate() {
        if let Some(value) = item.get(rule.key) {
            places.entry(value.to_string()).or_insert(i);
        }
    }
    for item in &patch {
        let wanted = key_value(item, rule.key)?.to_string();
        let Value::Object(item) = item.clone() else { continue };
        match places.get(&wanted).and_then(|i| merged.get_mut(*i)) {
            Some(Value::Object(other)) => *other = merge_map(std::mem::take(other), item, rule.below)?,
            _ => {
                places.insert(wanted, merged.len());
                merged.push(Value::Object(item));
            }
        }
    }
    arrange(merged, &patch, &server_order, rule.key)
}

/// The type that all items of lists have, which is no list.
fn element_type(lists: [&[Value]; 2]) -> Result<Option<&'static str>> {
    let mut first = None;
    for item in lists.into_iter().flatten() {
        let own = go::type_of(item);
        match first {
            None if item.is_array() => {
                return Err(Error::Unprocessable("lists of lists are not supported".to_owned()));
            }
            None => first = Some(own),
            Some(first) if first != own => {
                let lists = lists.map(go::list).join(" ");
                return Err(Error::Internal(format!("list element types are not identical: [{lists}]")));
            }
            Some(_) => {}
        }
    }
    Ok(first)
}

/// Carries out `$patch: delete` and `$patch: replace` of items; returns the original and the other items.
fn list_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::new();
    let mut gone = HashSet::new();
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                gone.insert(key_value(&item, key)?.to_string());
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(Error::Internal("merging lists cannot yet be specified in the patch".to_owned()));
            }
            _ => return Err(unknown(directive, &item)),
        }
    }
    if !gone.is_empty() {
        original.retain(|other| !other.get(key).is_some_and(|value| gone.contains(&value.to_string())));
    }
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

/// A new value without the maps that are directives, and if asked without nulls in maps.
fn without_directives(value: Value, drop_nulls: bool) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let entries = map.into_iter().filter(|(_, value)| !(drop_nulls && value.is_null()));
            let kept =
                entries.filter_map(|(name, value)| Some((name, without_directives(value, drop_nulls)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(
            items.into_iter().filter_map(|item| without_directives(item, drop_nulls)).collect(),
        )),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests;
