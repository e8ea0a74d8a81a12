//! Merging an applied configuration into a live object.

use std::collections::{BTreeMap, BTreeSet};

use proto::schema::{List, Type};
use serde_json::{Map, Value};

use super::{Atom, Entries, Node, associative, entry, is_empty, item_element, items, keys};
use crate::patch::fields::Element;

/// Merges `applied` into `live`. Units are taken whole from `applied`; list items keep the live order except
/// where the applied order of common items differs.
pub fn merge(live: &Value, applied: &Value, ty: &Type) -> Result<Value, String> {
    Ok(node(Some(live), Some(applied), Node::Type(ty))?.unwrap_or_else(|| Value::Object(Map::new())))
}

fn node(live: Option<&Value>, applied: Option<&Value>, at: Node<'_>) -> Result<Option<Value>, String> {
    let whole = || applied.or(live).cloned();
    match at.atom(applied.or(live)) {
        Atom::Scalar(_) => Ok(whole()),
        Atom::List(list_of) => match associative(list_of) {
            Some(list_of) if !(is_empty(live) && is_empty(applied)) => {
                list(items(live), items(applied), list_of)
            }
            _ => Ok(whole()),
        },
        Atom::Map(entries) => {
            if entries.atomic || (is_empty(live) && is_empty(applied)) {
                return Ok(whole());
            }
            map(live, applied, &entries)
        }
    }
}

fn map(
    live: Option<&Value>,
    applied: Option<&Value>,
    entries: &Entries<'_>,
) -> Result<Option<Value>, String> {
    let mut out = Map::new();
    for name in keys(live, applied) {
        let (live, applied) = (entry(live, name), entry(applied, name));
        let merged = match entries.entry(name) {
            Some(at) => node(live, applied, at).map_err(|error| format!(".{name}{error}"))?,
            None => applied.or(live).cloned(),
        };
        if let Some(value) = merged {
            out.insert(name.clone(), value);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// The items of a list with their elements. A live list may hold duplicates; those merge with nothing.
struct Items<'a> {
    list: Vec<(Element, &'a Value)>,
    /// The item of each element; nothing where there are several.
    single: BTreeMap<Element, Option<&'a Value>>,
}

impl<'a> Items<'a> {
    fn of(items: &'a [Value], list_of: &List, duplicates: bool) -> Result<Self, String> {
        let mut list: Vec<(Element, &Value)> = Vec::with_capacity(items.len());
        let mut single: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let element =
                item_element(list_of, item).map_err(|error| format!(": element {index}: {error}"))?;
            match single.get_mut(&element) {
                Some(_) if !duplicates => return Err(format!(": duplicate entries for key {element}")),
                Some(several) => *several = None,
                None => drop(single.insert(element.clone(), Some(item))),
            }
            list.push((element, item));
        }
        Ok(Items { list, single })
    }

    fn has(&self, element: &Element) -> bool {
        self.single.contains_key(element)
    }

    /// The item of an element, if there is only one.
    fn only(&self, element: &Element) -> Option<&'a Value> {
        self.single.get(element).copied().flatten()
    }
}

fn list(live: &[Value], applied: &[Value], list_of: &List) -> Result<Option<Value>, String> {
    let (live, applied) = (Items::of(live, list_of, true)?, Items::of(applied, list_of, false)?);
    let mut shared = applied.list.iter().map(|(element, _)| element).filter(|element| live.has(element));
    let mut next_shared = shared.next();
    let mut taken: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::new();
    let mut put = |live: Option<&Value>, applied: Option<&Value>, element: &Element| -> Result<(), String> {
        let merged =
            node(live, applied, Node::Shape(&list_of.items)).map_err(|error| format!("{element}{error}"))?;
        out.extend(merged);
        Ok(())
    };
    let (mut l, mut r) = (0, 0);
    while l < live.list.len() || r < applied.list.len() {
        if let (Some((left, _)), Some((right, item))) = (live.list.get(l), applied.list.get(r)) {
            if left == right {
                taken.insert(right);
                put(live.only(left), Some(item), right)?;
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if applied.has(left) && next_shared.is_some_and(|next| next != left) {
                // A common item, but not the one whose turn it is.
                l += 1;
                continue;
            }
        }
        if let Some((left, item)) = live.list.get(l) {
            if !applied.has(left) {
                put(Some(item), None, left)?;
                l += 1;
                continue;
            }
            if taken.contains(left) {
                l += 1;
            }
        }
        if let Some((right, item)) = applied.list.get(r) {
            taken.insert(right);
            put(live.only(right), Some(item), right)?;
            r += 1;
            if next_shared == Some(right) {
                next_shared = shared.next();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}
