//! Definitions of custom resources as objects of their own: what writes do to them, and what is demanded of them.

pub(super) mod approval;
pub(super) mod certificates;
mod conversion;
mod defaults;
mod field_path;
mod rules;
mod schema;
mod spec;
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use proto::field::{Error, Errors, Path};
use proto::view::{at, set_at, strs, text_at};
use serde_json::{Value, json};

use self::rules::Rules;
use self::spec::Spec;
use super::version;
use super::{FINALIZER, conditions};
use crate::engine::meta;
use crate::registry::{Ctx, Hooks};

const IMMUTABLE: &str = "field is immutable";

/// Hooks of the definitions, and of their subresource status.
pub(crate) fn hooks() -> (Hooks, Hooks) {
    let main = Hooks {
        prepare_create: |_, new| {
            set_at(new, &["status"], json!({"storedVersions": []}));
            keep_stored_versions(new);
            meta::set(new, "generation", 1);
        },
        prepare_update: |_, new, old| {
            set_at(new, &["status"], at(old, &["status"]).clone());
            if at(new, &["spec"]) != at(old, &["spec"]) {
                meta::raise_generation(new, meta::generation(old));
            }
            keep_stored_versions(new);
        },
        validate: |_, new| with_rules(validate(new), new, None),
        validate_update: |_, new, old| with_rules(validate_update(new, old), new, Some(old)),
        warnings: |_, new| format_warnings(new, &[]),
        warnings_update: |_, new, old| format_warnings(new, &unrecognized_formats(old)),
        may_delete: Some(meta::is_deleting),
        begin_delete: Some(begin_deletion),
        reset_fields: &[&["status"]],
        allow_unconditional_update: false,
        ..Hooks::default()
    };
    let status = Hooks {
        prepare_update: |_, new, old| set_at(new, &["spec"], at(old, &["spec"]).clone()),
        validate_update: |_, new, _| accepted_names(new),
        reset_fields: &[&["spec"]],
        allow_unconditional_update: false,
        ..Hooks::default()
    };
    (main, status)
}

/// Adds the storage version to those that objects may be stored in.
fn keep_stored_versions(definition: &mut Value) {
    let Some(stored) = version::all(definition).find(|v| v["storage"] == true) else { return };
    let name = text_at(stored, &["name"]).to_owned();
    let mut versions = at(definition, &["status", "storedVersions"]).as_array().cloned().unwrap_or_default();
    if !versions.iter().any(|version| *version == name) {
        versions.push(name.into());
    }
    set_at(definition, &["status", "storedVersions"], versions.into());
}

/// The first step of a definition's deletion: it stays until its objects are gone.
fn begin_deletion(_: &Ctx, definition: &mut Value) {
    let mut finalizers: Vec<Value> = meta::finalizers(definition).into_iter().map(Value::from).collect();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    meta::set(definition, "finalizers", finalizers);
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    conditions::set_condition(definition, "Terminating", "True", "InstanceDeletionPending", message);
}

fn unrecognized_formats(definition: &Value) -> Vec<String> {
    Spec::of(definition).schemas().flat_map(schema::unrecognized_formats).collect()
}

fn format_warnings(definition: &Value, before: &[String]) -> Vec<String> {
    let new = unrecognized_formats(definition).into_iter().filter(|format| !before.contains(format));
    new.map(|format| format!("unrecognized format {}", proto::field::quote(&format))).collect()
}

/// Adds what is wrong with the rules of schemas, which must be sound for that.
fn with_rules(mut errors: Errors, new: &Value, old: Option<&Value>) -> Errors {
    if errors.is_empty() {
        errors = super::rules::check(new, old);
    }
    errors
}

/// What is wrong with a new definition, beyond its metadata.
fn validate(definition: &Value) -> Errors {
    let mut errors = name(definition);
    let spec = Spec::of(definition);
    errors.extend(spec.validate(&Path::new("spec"), &mut Rules::for_create()));
    errors.extend(accepted_names(definition));
    errors.extend(stored_versions(definition));
    errors.extend(approval::validate(definition, None));
    errors.extend(preserve_unknown_fields(definition, None));
    errors
}

/// What is wrong with a change of a definition.
fn validate_update(new: &Value, old: &Value) -> Errors {
    let (spec, old_spec) = (Spec::of(new), Spec::of(old));
    let mut rules = Rules::for_update(&spec, &old_spec, old);
    let immutable_names = rules.require_immutable_names;
    let path = Path::new("spec");
    let mut errors = spec.validate(&path, &mut rules);
    let mut immutable = |fields: &[&'static str]| {
        let full: Vec<&str> = std::iter::once("spec").chain(fields.iter().copied()).collect();
        let (value, before) = (at(new, &full), at(old, &full));
        if value != before {
            let at = fields.iter().fold(path.clone(), |path, field| path.child(field));
            errors.push(Error::invalid(&at, value.clone(), IMMUTABLE));
        }
    };
    if immutable_names {
        immutable(&["scope"]);
        immutable(&["names", "kind"]);
    }
    immutable(&["group"]);
    immutable(&["names", "plural"]);
    errors.extend(accepted_names(new));
    errors.extend(stored_versions(new));
    errors.extend(approval::validate(new, Some(old)));
    errors.extend(preserve_unknown_fields(new, Some(old)));
    errors
}

/// The name is made of the resource's.
fn name(definition: &Value) -> Errors {
    let name = meta::text(definition, "name");
    let (plural, group) =
        (text_at(definition, &["spec", "names", "plural"]), text_at(definition, &["spec", "group"]));
    if name.is_empty() || name == format!("{plural}.{group}") {
        return Errors::new();
    }
    let path = Path::new("metadata").child("name");
    vec![Error::invalid(&path, name, "must be spec.names.plural+\".\"+spec.group")]
}

fn accepted_names(definition: &Value) -> Errors {
    let path = Path::new("status").child("acceptedNames");
    spec::names(at(definition, &["status", "acceptedNames"]), &path)
}

fn stored_versions(definition: &Value) -> Errors {
    let path = Path::new("status").child("storedVersions");
    let shown = at(definition, &["status", "storedVersions"]);
    let stored = strs(shown);
    if stored.is_empty() {
        let detail = "must have at least one stored version";
        return vec![Error::invalid(&path, shown.clone(), detail)];
    }
    let mut errors = Errors::new();
    let names: Vec<&str> = version::all(definition).map(|v| text_at(v, &["name"])).collect();
    for version in version::all(definition).filter(|v| v["storage"] == true) {
        let name = text_at(version, &["name"]);
        if !stored.contains(&name) {
            let detail = format!("must have the storage version {name}");
            errors.push(Error::invalid(&path, shown.clone(), detail));
        }
    }
    for (i, version) in stored.iter().enumerate().filter(|(_, version)| !names.contains(version)) {
        let detail = format!(
            "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
        );
        errors.push(Error::invalid(&path.index(i), *version, detail));
    }
    errors
}

fn preserve_unknown_fields(new: &Value, old: Option<&Value>) -> Errors {
    let preserves =
        |definition: &Value| at(definition, &["spec", "preserveUnknownFields"]) == &Value::Bool(true);
    if !preserves(new) || old.is_some_and(preserves) {
        return Errors::new();
    }
    let path = Path::new("spec").child("preserveUnknownFields");
    let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    vec![Error::invalid(&path, true, detail)]
}

/// The defaults of definitions.
pub(crate) fn set_defaults(definition: &mut Value) {
    let kind = text_at(definition, &["spec", "names", "kind"]).to_owned();
    let names: &mut dyn FnMut(&str, String) = &mut |field, value| {
        if text_at(definition, &["spec", "names", field]).is_empty() && !value.is_empty() {
            set_at(definition, &["spec", "names", field], value.into());
        }
    };
    names("singular", kind.to_lowercase());
    if !kind.is_empty() {
        names("listKind", format!("{kind}List"));
    }
    if at(definition, &["spec", "conversion"]).is_null() {
        set_at(definition, &["spec", "conversion"], json!({"strategy": "None"}));
    }
    let port = ["spec", "conversion", "webhook", "clientConfig", "service", "port"];
    if at(definition, &port[..5]).is_object() && at(definition, &port).is_null() {
        set_at(definition, &port, 443.into());
    }
    if at(definition, &["status", "storedVersions"]).as_array().is_none_or(Vec::is_empty) {
        let stored = version::all(definition).find(|v| v["storage"] == true);
        if let Some(name) = stored.map(|v| text_at(v, &["name"]).to_owned()) {
            set_at(definition, &["status", "storedVersions"], json!([name]));
        }
    }
}
