//! The JSON schema of a version: what may be said in it, and what must go together.

use proto::field::{Error, Errors, Path};

use super::rules::Rules;
use super::{defaults, field_path};
use crate::custom::schema::{Items, Rule, Schema, SchemaOrBool, SchemaOrNames, structural};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// What a root schema may have beside a status subresource, named as upstream's internal struct has it.
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";

/// What is wrong with `validation` (one version's, or that of all).
pub(super) fn validate(path: &Path, schema: &Schema, has_status: bool, rules: &Rules) -> Errors {
    let mut errors = Errors::new();
    let at = path.child("openAPIV3Schema");
    if has_status {
        beside_status(path, schema, &mut errors);
    }
    if schema.nullable {
        let at = path.child("openAPIV3Schema.nullable");
        errors.push(Error::forbidden(&at, "nullable cannot be true at the root"));
    }
    let mut unsupported = None;
    if rules.require_structural {
        unsupported = structural::unsupported(schema);
        if unsupported.is_none() {
            let mut found = structural::validate(&at, schema);
            if found.is_empty() {
                found = defaults::validate(&at, schema, rules.require_pruned_defaults);
            }
            errors.append(&mut found);
        }
    }
    let context = Context { rules, defaults: Ok(()), inside_meta: false };
    walk(&at, schema, &context, true, &mut errors);
    // It mostly is told better by what the walk found.
    if errors.is_empty()
        && let Some(text) = unsupported
    {
        errors.push(Error::invalid(&at, "", text));
    }
    errors
}

fn beside_status(path: &Path, schema: &Schema, errors: &mut Errors) {
    let first = !schema.id.is_empty() || !schema.schema_url.is_empty() || schema.reference.is_some();
    let rest = schema.nullable
        || schema.default.is_some()
        || !schema.values.is_empty()
        || schema.max_properties.is_some()
        || schema.min_properties.is_some()
        || !schema.all_of.is_empty()
        || !schema.one_of.is_empty()
        || !schema.any_of.is_empty()
        || schema.not.is_some()
        || schema.additional_properties.is_some()
        || !schema.pattern_properties.is_empty()
        || schema.dependencies.is_some()
        || schema.additional_items.is_some()
        || !schema.definitions.is_empty()
        || schema.embedded_resource
        || schema.int_or_string
        || !schema.list_map_keys.is_empty()
        || schema.list_type.is_some()
        || schema.map_type.is_some();
    if !first && !schema.ty.is_empty() && schema.ty != "object" {
        let at = path.child("openAPIV3Schema.type");
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(&at, schema.ty.as_str(), detail));
    } else if first || rest {
        let detail = format!(
            "only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        let shown = serde_json::to_value(schema).unwrap_or_default();
        errors.push(Error::invalid(&path.child("openAPIV3Schema"), shown, detail));
    }
}

/// What holds where the walk is.
#[derive(Clone)]
struct Context<'a> {
    rules: &'a Rules,
    /// Whether defaults are permitted, or why not.
    defaults: Result<(), String>,
    inside_meta: bool,
}

fn walk(path: &Path, schema: &Schema, context: &Context<'_>, is_root: bool, errors: &mut Errors) {
    own(path, schema, context, errors);
    if schema.unique_items {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), detail));
    }
    if let Some(more) = &schema.additional_properties {
        let at = path.child("additionalProperties");
        if !schema.properties.is_empty() && *more != SchemaOrBool::Bool(true) {
            errors.push(Error::forbidden(&at, "additionalProperties and properties are mutual exclusive"));
        }
        if let SchemaOrBool::Schema(more) = more {
            let mut context = context.clone();
            if context.inside_meta {
                context.defaults = Err("inside additionalProperties applying to object metadata".to_owned());
            }
            walk(&at, more, &context, false, errors);
        }
    }
    for (name, property) in &schema.properties {
        let mut context = context.clone();
        let is_meta = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        if (is_root || schema.embedded_resource) && is_meta {
            context.inside_meta = true;
            if is_root {
                context.defaults = Err(format!("in top-level {name}"));
            }
        }
        walk(&path.child("properties").key(name), property, &context, false, errors);
    }
    let mut below = |path: Path, schema: &Schema| walk(&path, schema, context, false, errors);
    if let Some(not) = &schema.not {
        below(path.child("not"), not);
    }
    for (name, parts) in [("allOf", &schema.all_of), ("oneOf", &schema.one_of), ("anyOf", &schema.any_of)] {
        parts.iter().enumerate().for_each(|(i, part)| below(path.child(name).index(i), part));
    }
    for (name, part) in &schema.definitions {
        below(path.child("definitions").key(name), part);
    }
    match &schema.items {
        Some(Items::All(items)) => below(path.child("items"), items),
        Some(Items::Each(list)) => {
            list.iter().enumerate().for_each(|(i, part)| below(path.child("items").index(i), part));
        }
        None => {}
    }
    for (name, dependency) in schema.dependencies.iter().flatten() {
        if let SchemaOrNames::Schema(part) = dependency {
            below(path.child("dependencies").key(name), part);
        }
    }
    extensions(path, schema, context.rules, errors);
    for (i, rule) in schema.validations.iter().enumerate() {
        validation_rule(&path.child("x-kubernetes-validations").index(i), rule, schema, errors);
    }
}

/// What one schema may not have.
fn own(path: &Path, schema: &Schema, context: &Context<'_>, errors: &mut Errors) {
    if context.rules.require_valid_types && !schema.ty.is_empty() && !TYPES.contains(&schema.ty.as_str()) {
        errors.push(Error::not_supported(&path.child("type"), schema.ty.as_str(), &TYPES));
    }
    if schema.default.is_some()
        && let Err(reason) = &context.defaults
    {
        errors.push(Error::forbidden(&path.child("default"), format!("must not be set {reason}")));
    }
    let refused: [(&'static str, bool); 6] = [
        ("id", !schema.id.is_empty()),
        ("additionalItems", schema.additional_items.is_some()),
        ("patternProperties", !schema.pattern_properties.is_empty()),
        ("definitions", !schema.definitions.is_empty()),
        ("dependencies", schema.dependencies.is_some()),
        ("$ref", schema.reference.is_some()),
    ];
    for (name, present) in refused {
        if present {
            errors.push(Error::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    if schema.ty == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(Error::forbidden(&path.child("type"), detail));
    }
    if matches!(&schema.items, Some(Items::Each(list)) if !list.is_empty()) {
        errors.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if context.inside_meta && schema.embedded_resource {
        let at = path.child("x-kubernetes-embedded-resource");
        errors.push(Error::forbidden(&at, "must not be used inside of resource meta"));
    }
}

/// Wants `type` to be what an extension needs.
fn needs_type(path: &Path, schema: &Schema, ty: &str, extension: &str, errors: &mut Errors) {
    let detail = format!("must be {ty} if {extension} is specified");
    errors.push(match schema.ty.as_str() {
        "" => Error::required(&path.child("type"), detail),
        other => Error::invalid(&path.child("type"), other, detail),
    });
}

fn extensions(path: &Path, schema: &Schema, rules: &Rules, errors: &mut Errors) {
    if schema.preserve_unknown_fields == Some(false) {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&at, false, "must be true or undefined"));
    }
    if let Some(map_type) = &schema.map_type {
        if schema.ty != "object" {
            needs_type(path, schema, "object", "x-kubernetes-map-type", errors);
        }
        if !matches!(map_type.as_str(), "atomic" | "granular") {
            let at = path.child("x-kubernetes-map-type");
            errors.push(Error::not_supported(&at, map_type.as_str(), &["atomic", "granular"]));
        }
    }
    let at_list_type = path.child("x-kubernetes-list-type");
    let list_type = schema.list_type.as_deref();
    if list_type.is_some() && schema.ty != "array" {
        needs_type(path, schema, "array", "x-kubernetes-list-type", errors);
    } else if rules.require_atomic_sets
        && list_type == Some("set")
        && let Some((name, shown)) = schema.item().and_then(not_atomic)
    {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        errors.push(Error::invalid(&path.child("items").child(name), shown, detail));
    }
    if let Some(other) = list_type.filter(|ty| !matches!(*ty, "atomic" | "set" | "map")) {
        errors.push(Error::not_supported(&at_list_type, other, &["atomic", "set", "map"]));
    }
    if !schema.list_map_keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => errors.push(Error::required(&at_list_type, detail)),
            Some("map") => {}
            Some(other) => errors.push(Error::invalid(&at_list_type, other, detail)),
        }
    }
    if list_type == Some("map") {
        map_list(path, schema, errors);
    }
    if rules.require_map_keys {
        errors.extend(keys_of_items(path, schema));
    }
}

/// What makes items of a set not atomic: the extension, and its value (upstream shows the list type in both cases).
pub(super) fn not_atomic(item: &Schema) -> Option<(&'static str, serde_json::Value)> {
    let shown = item.list_type.clone().map_or(serde_json::Value::Null, Into::into);
    match item.ty.as_str() {
        "array" if item.list_type() != "atomic" => Some(("x-kubernetes-list-type", shown)),
        "object" if item.map_type.as_deref() != Some("atomic") => Some(("x-kubernetes-map-type", shown)),
        _ => None,
    }
}

fn map_list(path: &Path, schema: &Schema, errors: &mut Errors) {
    let at_keys = path.child("x-kubernetes-list-map-keys");
    let at_items = path.child("items");
    if schema.list_map_keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(Error::required(&at_keys, detail));
    }
    let items = match &schema.items {
        None => {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            errors.push(Error::required(&at_items, detail));
            return;
        }
        Some(Items::Each(list)) => {
            let shown = serde_json::to_value(list).unwrap_or_default();
            let detail = "must only have a single schema if x-kubernetes-list-type is map";
            errors.push(Error::invalid(&at_items, shown, detail));
            return;
        }
        Some(Items::All(items)) => items,
    };
    if items.ty != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&at_items.child("type"), items.ty.as_str(), detail));
        return;
    }
    let keys = serde_json::Value::from(schema.list_map_keys.clone());
    for (i, key) in schema.list_map_keys.iter().enumerate() {
        match items.properties.get(key) {
            Some(property) if matches!(property.ty.as_str(), "array" | "object") => {
                let at = at_items.child("properties").key(key).child("type");
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(Error::invalid(&at, items.ty.as_str(), detail));
            }
            Some(_) => {}
            None => errors.push(Error::invalid(
                &at_keys,
                keys.clone(),
                "entries must all be names of item properties",
            )),
        }
        if schema.list_map_keys[..i].contains(key) {
            errors.push(Error::invalid(&at_keys, keys.clone(), "must not contain duplicate entries"));
        }
    }
}

/// Items of sets and maps are never null, and have all keys.
pub(super) fn keys_of_items(path: &Path, schema: &Schema) -> Errors {
    let mut errors = Errors::new();
    let (Some(items), Some(list_type)) = (schema.item(), schema.list_type.as_deref()) else { return errors };
    if !matches!(list_type, "set" | "map") {
        return errors;
    }
    let at = path.child("items");
    if items.nullable {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&at.child("nullable"), detail));
    }
    if list_type == "map" {
        for key in &schema.list_map_keys {
            let Some(property) = items.properties.get(key) else { continue };
            let at = at.child("properties").key(key);
            if !items.required.contains(key) && property.default.is_none() {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                errors.push(Error::required(&at.child("default"), detail));
            }
            if property.nullable {
                let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                errors.push(Error::forbidden(&at.child("nullable"), detail));
            }
        }
    }
    errors
}

/// What is wrong with a rule's texts; its expressions are checked by their compiler.
fn validation_rule(path: &Path, rule: &Rule, schema: &Schema, errors: &mut Errors) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let (expression, message) = (rule.rule.trim(), rule.message.trim());
    let at_message = path.child("message");
    if expression.is_empty() {
        errors.push(Error::required(&path.child("rule"), "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        errors.push(Error::invalid(&at_message, rule.message.as_str(), "must be non-empty if specified"));
    } else if breaks(message) {
        errors.push(Error::invalid(&at_message, rule.message.as_str(), "must not contain line breaks"));
    } else if breaks(expression) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(Error::required(&at_message, detail));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(Error::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
        errors.push(Error::not_supported(&path.child("reason"), reason, &REASONS));
    }
    let at_path = path.child("fieldPath");
    let field = rule.field_path.as_str();
    if !field.is_empty() && field.trim().is_empty() {
        errors.push(Error::invalid(&at_path, field, "must be non-empty if specified"));
    }
    if breaks(field) {
        errors.push(Error::invalid(&at_path, field, "must not contain line breaks"));
    }
    let leads =
        || structural::unsupported(schema).is_some() || field_path::follow(field, schema, true).is_ok();
    if !field.is_empty() && !leads() {
        errors.push(Error::invalid(&at_path, field, "must be a valid path"));
    }
}

/// Formats in a schema that are not checked: for warnings.
pub(super) fn unrecognized_formats(schema: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    schema.any(&mut |schema| {
        if !schema.format.is_empty()
            && !crate::custom::schema::format_is_supported(&schema.format, &schema.ty)
        {
            found.push(schema.format.clone());
        }
        false
    });
    found
}
