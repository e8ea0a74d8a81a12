//! Values of custom resources against the JSON schema of their version, with upstream's texts.

use proto::field::{Error, Errors, Path};
use regex::Regex;
use serde_json::Value;

/// What is wrong with an object.
pub(super) fn object(object: &Value, schema: &Value) -> Errors {
    let mut errors = Errors::new();
    walk(object, schema, &Path::default(), &mut errors);
    errors
}

fn walk(value: &Value, schema: &Value, path: &Path, errors: &mut Errors) {
    let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    if value.is_null() && flag("nullable") {
        return;
    }
    let shown = || if path.is_root() { String::new() } else { path.to_string() };
    if !type_fits(value, schema) {
        let wanted = schema.get("type").and_then(Value::as_str).unwrap_or("integer or string");
        let found = type_name(value);
        let detail = format!("{} in body must be of type {wanted}: \"{found}\"", shown());
        errors.push(Error::type_invalid(path, found, detail));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let names: Vec<String> =
            allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        errors.push(Error::not_supported(path, value.clone(), &names));
    }
    let mut bad = |detail: String| {
        errors.push(Error::invalid(path, value.clone(), format!("{} in body {detail}", shown())))
    };
    match value {
        Value::Number(number) => numbers(number.as_f64().unwrap_or_default(), schema, &mut bad),
        Value::String(text) => {
            let length = text.chars().count();
            if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
                bad(format!("should be at least {min} chars long"));
            }
            if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
                && Regex::new(pattern).is_ok_and(|r| !r.is_match(text))
            {
                bad(format!("should match '{pattern}'"));
            }
            if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
                errors.push(Error::too_long(path, max));
            }
        }
        Value::Array(items) => {
            if let Some(min) = limit(schema, "minItems").filter(|min| items.len() < *min) {
                bad(format!("should have at least {min} items"));
            }
            if flag("uniqueItems") && items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
                bad("shouldn't contain duplicates".to_owned());
            }
            if let Some(max) = limit(schema, "maxItems").filter(|max| items.len() > *max) {
                errors.push(Error::too_many(path, items.len(), max));
            }
            if let Some(of) = schema.get("items") {
                items.iter().enumerate().for_each(|(i, item)| walk(item, of, &path.index(i), errors));
            }
        }
        Value::Object(fields) => {
            for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                if let Some(name) = name.as_str().filter(|name| !fields.contains_key(*name)) {
                    errors.push(Error::required(&path.child_named(name), ""));
                }
            }
            if let Some(min) = limit(schema, "minProperties").filter(|min| fields.len() < *min) {
                let detail = format!("{} in body should have at least {min} properties", shown());
                errors.push(Error::invalid(path, fields.len(), detail));
            }
            if let Some(max) = limit(schema, "maxProperties").filter(|max| fields.len() > *max) {
                errors.push(Error::too_many(path, fields.len(), max));
            }
            for (name, field) in fields {
                let known = schema.get("properties").and_then(|p| p.get(name));
                match (known, schema.get("additionalProperties")) {
                    (Some(schema), _) => walk(field, schema, &path.child_named(name), errors),
                    (None, Some(schema)) if schema.is_object() => {
                        walk(field, schema, &path.key(name), errors)
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    combined(value, schema, path, errors);
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

fn numbers(number: f64, schema: &Value, bad: &mut dyn FnMut(String)) {
    let get = |name: &str| schema.get(name).and_then(Value::as_f64);
    let exclusive = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    match (get("minimum"), exclusive("exclusiveMinimum")) {
        (Some(min), true) if number <= min => bad(format!("should be greater than {min}")),
        (Some(min), false) if number < min => bad(format!("should be greater than or equal to {min}")),
        _ => {}
    }
    match (get("maximum"), exclusive("exclusiveMaximum")) {
        (Some(max), true) if number >= max => bad(format!("should be less than {max}")),
        (Some(max), false) if number > max => bad(format!("should be less than or equal to {max}")),
        _ => {}
    }
    if let Some(factor) = get("multipleOf").filter(|f| *f > 0.0 && (number / f).fract() != 0.0) {
        bad(format!("should be a multiple of {factor}"));
    }
}

fn combined(value: &Value, schema: &Value, path: &Path, errors: &mut Errors) {
    let valid = |schema: &Value| {
        let mut found = Errors::new();
        walk(value, schema, path, &mut found);
        found.is_empty()
    };
    let list = |name: &str| schema.get(name).and_then(Value::as_array);
    let shown = if path.is_root() { String::new() } else { path.to_string() };
    let mut bad = |detail: String| errors.push(Error::invalid(path, value.clone(), detail));
    if list("anyOf").is_some_and(|any| !any.iter().any(valid)) {
        bad(format!("{shown} in body must validate at least one schema (anyOf)"));
    }
    if let Some(one) = list("oneOf") {
        let found = one.iter().filter(|s| valid(s)).count();
        if found != 1 {
            let text =
                if found == 0 { "none valid".to_owned() } else { format!("{found} valid alternatives") };
            bad(format!("{shown} in body must validate one and only one schema (oneOf). Found {text}"));
        }
    }
    if list("allOf").is_some_and(|all| !all.iter().all(valid)) {
        bad(format!("{shown} in body must validate all the schemas (allOf)"));
    }
    if schema.get("not").is_some_and(valid) {
        bad(format!("{shown} in body must not validate the schema (not)"));
    }
}

fn type_fits(value: &Value, schema: &Value) -> bool {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return value.is_i64() || value.is_u64() || value.is_string();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
        }
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_upstreams() {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
            "type": "object", "required": ["name"],
            "properties": {
                "replicas": {"type": "integer", "minimum": 1},
                "mode": {"type": "string", "enum": ["a", "b"]},
                "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            },
        }}});
        let texts = |object: Value| {
            super::object(&object, &schema).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts(json!({})), ["spec: Required value"]);
        assert_eq!(
            texts(json!({"spec": {"name": "x", "replicas": "two"}})),
            [
                "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\""
            ]
        );
        assert_eq!(
            texts(json!({"spec": {"name": "x", "replicas": 0, "mode": "c", "list": ["1", "2"]}})),
            [
                "spec.list: Too many: 2: must have at most 1 item",
                "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"",
                "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
            ]
        );
    }
}
