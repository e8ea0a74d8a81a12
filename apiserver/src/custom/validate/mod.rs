//! Values of custom resources against their schema, with the texts of upstream's validator.
//!
//! With an old object, errors of values that did not change are forgiven: what was accepted once stays acceptable. A value
//! correlates with an old one by its field or key, in lists of type map by the keys of its item.

mod lists;
mod resources;
mod scalars;

use proto::field::{Error, Errors, Path};
use serde_json::Value;

use super::schema::{Format, Number, Schema, SchemaOrBool, pattern};

pub(super) use lists::sets_and_maps;
pub(super) use resources::{accessor_error, embedded};

/// What is wrong with a value. Errors stand below `path`; texts name the fields from the value on.
pub(super) fn value(path: &Path, value: &Value, schema: &Schema) -> Errors {
    fields(path, check(value, schema, &At::root(None)))
}

/// The same for a change of `old`.
pub(super) fn update(path: &Path, value: &Value, old: &Value, schema: &Schema) -> Errors {
    fields(path, check(value, schema, &At::root(Some(old))))
}

/// One thing that is wrong, before it becomes an error of a field.
struct Fault {
    kind: Kind,
    /// Where, from the value on; `None` for faults without a place of their own.
    name: Option<String>,
    value: Value,
    text: String,
}

enum Kind {
    Required,
    NotSupported(Vec<String>),
    TooLong(i64),
    TooMany(i64),
    Type,
    Other,
}

/// The outcome of checking one value against one schema.
#[derive(Default)]
struct Outcome {
    faults: Vec<Fault>,
    /// How many checks were made: of several alternatives that fail, the one with the most tells why.
    checks: usize,
}

impl Outcome {
    fn add(&mut self, fault: Fault) {
        if !self.faults.iter().any(|own| own.text == fault.text) {
            self.faults.push(fault);
        }
    }

    fn merge(&mut self, other: Outcome) {
        other.faults.into_iter().for_each(|fault| self.add(fault));
        self.checks += other.checks;
    }

    fn step(&mut self, other: Outcome) {
        self.merge(other);
        self.checks += 1;
    }

    fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Where a check is, and the old value it correlates with.
struct At<'a> {
    /// `spec.list[0]`; empty at the root.
    path: String,
    old: Option<&'a Value>,
}

impl<'a> At<'a> {
    fn root(old: Option<&'a Value>) -> Self {
        At { path: String::new(), old }
    }

    fn fault(&self, kind: Kind, value: Value, text: String) -> Fault {
        Fault { kind, name: Some(self.path.clone()), value, text }
    }

    /// A fault whose text begins with the place.
    fn body(&self, value: impl Into<Value>, detail: impl std::fmt::Display) -> Fault {
        self.fault(Kind::Other, value.into(), format!("{} in body {detail}", self.path))
    }

    fn wrong_type(&self, wanted: &str, found: &str) -> Fault {
        let text = format!("{} in body must be of type {wanted}: {}", self.path, proto::field::quote(found));
        self.fault(Kind::Type, found.into(), text)
    }
}

/// A fault that belongs to no field.
fn general(text: String) -> Fault {
    Fault { kind: Kind::Other, name: None, value: "".into(), text }
}

fn fields(path: &Path, outcome: Outcome) -> Errors {
    let make = |fault: Fault| {
        let at = match fault.name.as_deref().map(|name| name.trim_start_matches('.')) {
            None | Some("") => path.clone(),
            Some(name) => path.child_named(name),
        };
        match fault.kind {
            Kind::Required => Error::required(&at, ""),
            Kind::NotSupported(values) => Error::not_supported(&at, fault.value, &values),
            Kind::TooLong(max) => Error::too_long(&at, usize::try_from(max).unwrap_or_default()),
            Kind::TooMany(max) => {
                let count = |n: i64| usize::try_from(n).unwrap_or_default();
                Error::too_many(&at, count(fault.value.as_i64().unwrap_or_default()), count(max))
            }
            Kind::Type => Error::type_invalid(&at, fault.value, fault.text),
            Kind::Other => Error::invalid(&at, fault.value, fault.text),
        }
    };
    outcome.faults.into_iter().map(make).collect()
}

/// Checks a value; faults of an unchanged one are forgiven.
fn check(value: &Value, schema: &Schema, at: &At) -> Outcome {
    let mut outcome = check_strictly(value, schema, at);
    if !outcome.is_valid() && at.old.is_some_and(|old| unchanged(value, old, schema)) {
        outcome.faults.clear();
    }
    outcome
}

/// Whether a value equals the old one it correlates with: items of lists of type map are compared with the old items of the same
/// keys, whatever their order.
fn unchanged(value: &Value, old: &Value, schema: &Schema) -> bool {
    if value == old {
        return true;
    }
    match (value, old) {
        (Value::Array(new), Value::Array(before)) => {
            let (true, Some(of)) = (schema.list_type() == "map" && new.len() == before.len(), schema.item())
            else {
                return false;
            };
            new.iter().all(|item| {
                lists::correlated(schema, item, before).is_some_and(|old| unchanged(item, old, of))
            })
        }
        (Value::Object(new), Value::Object(before)) => {
            new.len() == before.len()
                && new.iter().all(|(name, value)| {
                    let of = schema.properties.get(name).or_else(|| schema.additional());
                    match (of, before.get(name)) {
                        (Some(of), Some(old)) => unchanged(value, old, of),
                        _ => false,
                    }
                })
        }
        _ => false,
    }
}

fn check_strictly(value: &Value, schema: &Schema, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    let typed = !schema.ty.is_empty() || schema.int_or_string || scalars::format(schema).is_some();
    if value.is_null() {
        if typed && (!schema.ty.is_empty() || schema.int_or_string) && !schema.nullable {
            outcome.add(at.wrong_type(type_names(schema), "null"));
        }
        outcome.merge(scalars::one_of_values(value, schema, at));
        return outcome;
    }
    if typed {
        outcome.step(scalars::type_of(value, schema, at));
    }
    outcome.step(combinations(value, schema, at));
    match value {
        Value::String(text) => {
            outcome.step(scalars::string(text, schema, at));
            if let Some((name, format)) = scalars::format(schema).and_then(|f| Some((f, Format::of(f)?))) {
                let mut found = Outcome::default();
                if !format.matches(text) {
                    found.add(at.wrong_type(name, text));
                }
                outcome.step(found);
            }
        }
        Value::Number(number) => outcome.step(scalars::number(number, schema, at)),
        Value::Array(items) => outcome.step(list(items, schema, at)),
        _ => {}
    }
    outcome.step(scalars::one_of_values(value, schema, at));
    if let Value::Object(_) = value {
        outcome.step(object(value, schema, at));
    }
    outcome.checks += 1;
    outcome
}

/// The types a value may have, as texts name them.
fn type_names(schema: &Schema) -> &str {
    if schema.int_or_string { "integer,string" } else { &schema.ty }
}

fn list(items: &[Value], schema: &Schema, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(of) = schema.item() {
        let before = at.old.and_then(Value::as_array).filter(|_| schema.list_type() == "map");
        for (i, item) in items.iter().enumerate() {
            let old = before.and_then(|before| lists::correlated(schema, item, before));
            outcome.merge(check(item, of, &At { path: format!("{}[{i}]", at.path), old }));
        }
    }
    let size = items.len() as i64;
    if let Some(min) = schema.min_items.filter(|min| size < *min) {
        outcome.add(at.body(size, format_args!("should have at least {min} items")));
    }
    if let Some(max) = schema.max_items.filter(|max| size > *max) {
        let text = format!("{} in body should have at most {max} items", at.path);
        outcome.add(at.fault(Kind::TooMany(max), size.into(), text));
    }
    if schema.unique_items && items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
        outcome.add(at.body("", "shouldn't contain duplicates"));
    }
    outcome.checks += 1;
    outcome
}

fn object(value: &Value, schema: &Schema, at: &At) -> Outcome {
    let mut outcome = Outcome::default();
    let Value::Object(values) = value else { return outcome };
    let size = values.len() as i64;
    if let Some(min) = schema.min_properties.filter(|min| size < *min) {
        outcome.add(at.body(size, format_args!("should have at least {min} properties")));
    }
    if let Some(max) = schema.max_properties.filter(|max| size > *max) {
        let text = format!("{} in body should have at most {max} properties", at.path);
        outcome.add(at.fault(Kind::TooMany(max), size.into(), text));
    }
    let old = |name: &str| match at.path.is_empty() && matches!(name, "apiVersion" | "kind") {
        // What they say is the request's affair: they never count as unchanged.
        true => None,
        false => at.old.and_then(|old| old.get(name)),
    };
    match &schema.additional_properties {
        Some(SchemaOrBool::Bool(false)) => {
            for name in values.keys().filter(|name| !schema.properties.contains_key(*name)) {
                let text = format!("{}.{name} in body is a forbidden property", at.path);
                outcome.add(at.fault(Kind::Other, name.as_str().into(), text));
            }
        }
        Some(SchemaOrBool::Schema(more)) => {
            for (name, field) in values.iter().filter(|(name, _)| !schema.properties.contains_key(*name)) {
                let below = At { path: format!("{}.{name}", at.path), old: old(name) };
                outcome.merge(check(field, more, &below));
            }
        }
        _ => {}
    }
    for (name, property) in &schema.properties {
        let Some(field) = values.get(name) else { continue };
        let path = if at.path.is_empty() { name.clone() } else { format!("{}.{name}", at.path) };
        outcome.merge(check(field, property, &At { path, old: old(name) }));
    }
    for name in schema.required.iter().filter(|name| !values.contains_key(*name)) {
        let path = format!("{}.{name}", at.path);
        let text = format!("{path} in body is required");
        outcome.add(Fault { kind: Kind::Required, name: Some(path), value: Value::Null, text });
    }
    outcome
}

/// anyOf, oneOf, allOf and not. Below them nothing correlates with an old value.
fn combinations(value: &Value, schema: &Schema, at: &At) -> Outcome {
    let alone = At { path: at.path.clone(), old: None };
    let place = proto::field::quote(&at.path);
    let mut outcome = Outcome::default();
    if !schema.any_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut good = None;
        for part in &schema.any_of {
            let found = check_strictly(value, part, &alone);
            if found.is_valid() {
                good = Some(found);
                break;
            }
            if best.as_ref().is_none_or(|best| found.checks > best.checks) {
                best = Some(found);
            }
        }
        if good.is_none() {
            outcome.add(general(format!("{place} must validate at least one schema (anyOf)")));
        }
        outcome.merge(good.or(best).unwrap_or_default());
    }
    if !schema.one_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut good = None;
        let mut count = 0;
        for part in &schema.one_of {
            let found = check_strictly(value, part, &alone);
            if found.is_valid() {
                count += 1;
                best = None;
                good.get_or_insert(found);
            } else if count == 0 && best.as_ref().is_none_or(|best| found.checks > best.checks) {
                best = Some(found);
            }
        }
        if count == 1 {
            outcome.merge(good.unwrap_or_default());
        } else {
            let why = if count == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {count} valid alternatives")
            };
            let text = format!("{place} must validate one and only one schema (oneOf). {why}");
            outcome.add(general(text));
            outcome.merge(best.unwrap_or_default());
        }
    }
    if !schema.all_of.is_empty() {
        let mut count = 0;
        for part in &schema.all_of {
            let found = check_strictly(value, part, &alone);
            count += usize::from(found.is_valid());
            outcome.merge(found);
        }
        if count != schema.all_of.len() {
            let why = if count == 0 { ". None validated" } else { "" };
            outcome.add(general(format!("{place} must validate all the schemas (allOf){why}")));
        }
    }
    if let Some(part) = &schema.not
        && check_strictly(value, part, &alone).is_valid()
    {
        outcome.add(general(format!("{place} must not validate the schema (not)")));
    }
    outcome.checks += 1;
    outcome
}

/// Whether a text matches a pattern; compiled expressions are kept.
fn matches(pattern: &str, text: &str) -> Result<bool, String> {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    use parking_lot::Mutex;
    use regex::Regex;

    /// More than the patterns in use; beyond it they are compiled anew.
    const KEPT: usize = 4096;
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let known = COMPILED.lock().get(pattern).cloned();
    let compiled = match known {
        Some(compiled) => compiled,
        None => {
            let compiled = pattern::compile(pattern)?;
            let mut all = COMPILED.lock();
            if all.len() >= KEPT {
                all.clear();
            }
            all.insert(pattern.to_owned(), compiled.clone());
            compiled
        }
    };
    Ok(compiled.is_match(text))
}

#[cfg(test)]
mod tests;
