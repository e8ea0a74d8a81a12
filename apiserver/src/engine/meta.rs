//! Object metadata: what the server fills in, and what it demands of every kind alike.

use jiff::Timestamp;
use proto::content;
use proto::field::{Error, Errors, Path};
use proto::status::Status;
use proto::time::Time;
use proto::view::{View, remove_at, set_at, strs, text_at};
use rand::RngExt;
use serde_json::Value;

use crate::registry::{Hooks, standard_finalizer};

/// Finalizer that makes the garbage collector orphan dependents.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// Finalizer that makes the garbage collector delete dependents first.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

const IMMUTABLE: &str = "field is immutable";
const MAX_ANNOTATIONS: usize = 256 << 10;
const MAX_GENERATED_BASE: usize = 58;
const RANDOM_LENGTH: usize = 5;
const RANDOM_CHARACTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A string of metadata, empty when absent.
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    text_at(object, &["metadata", name])
}

/// A field of metadata.
pub fn get<'a>(object: &'a Value, name: &str) -> &'a Value {
    proto::view::at(object, &["metadata", name])
}

/// Sets a field of metadata; null removes it.
pub fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    match value.into() {
        Value::Null => {
            remove_at(object, &["metadata", name]);
        }
        value => set_at(object, &["metadata", name], value),
    }
}

/// Copies a field of metadata, absence included.
pub fn copy(to: &mut Value, from: &Value, name: &str) {
    set(to, name, get(from, name).clone());
}

/// The finalizers.
pub fn finalizers(object: &Value) -> Vec<&str> {
    strs(get(object, "finalizers"))
}

/// Whether deletion has begun.
pub fn is_deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// Counts a change: one above the generation that `old` has. Like upstream's it wraps, for an object that etcd holds may have
/// any.
pub fn raise_generation(object: &mut Value, old: i64) {
    set(object, "generation", old.wrapping_add(1));
}

/// How often the object's wish changed; 0 where nothing counts it.
pub fn generation(object: &Value) -> i64 {
    get(object, "generation").as_i64().unwrap_or(0)
}

/// The revision in `metadata.resourceVersion`, 0 if there is none.
pub fn revision(object: &Value) -> Result<i64, Status> {
    // Upstream's answer to this mistake has no reason.
    parse_revision(text(object, "resourceVersion")).map_err(|e| Status::failure(500, "", e.to_string()))
}

/// Parses a resource version; empty is 0.
pub fn parse_revision(text: &str) -> Result<i64, NotARevision> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| {
        let range = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        NotARevision {
            text: text.to_owned(),
            why: if range { "value out of range" } else { "invalid syntax" },
        }
    })
}

/// A resource version that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("strconv.ParseUint: parsing {}: {why}", proto::field::quote(text))]
pub struct NotARevision {
    text: String,
    why: &'static str,
}

impl NotARevision {
    /// The error as a field's, which is how options tell it.
    pub fn of_option(&self) -> String {
        format!("resourceVersion: Invalid value: {}: {self}", proto::field::quote(&self.text))
    }
}

/// A time as metadata has it.
pub fn time(at: Timestamp) -> String {
    Time(at).to_string()
}

/// A name from a prefix.
pub fn generate_name(prefix: &str) -> String {
    let mut name: String = prefix.chars().take(MAX_GENERATED_BASE).collect();
    let mut random = rand::rng();
    name.extend(
        (0..RANDOM_LENGTH)
            .map(|_| char::from(RANDOM_CHARACTERS[random.random_range(0..RANDOM_CHARACTERS.len())])),
    );
    name
}

/// Fills in what only the server sets on a new object.
pub fn fill(object: &mut Value, now: Timestamp) {
    wipe(object);
    set(object, "creationTimestamp", time(now));
    set(object, "uid", uuid::Uuid::new_v4().to_string());
}

/// Drops what a client can't set on a new object.
pub fn wipe(object: &mut Value) {
    for name in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        set(object, name, Value::Null);
    }
}

/// Makes the object's namespace the request's, or says that they differ.
pub fn match_namespace(object: &mut Value, namespace: &str) -> Result<(), Status> {
    let own = text(object, "namespace");
    if own == namespace {
        Ok(())
    } else if own.is_empty() || namespace.is_empty() {
        set(object, "namespace", if namespace.is_empty() { Value::Null } else { namespace.into() });
        Ok(())
    } else {
        Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ))
    }
}

/// What is wrong with the metadata of any object.
pub fn validate(object: &Value, namespaced: bool, hooks: &Hooks) -> Errors {
    let view = View::root(object).get("metadata");
    let mut errors = Errors::new();
    let generate = view.get("generateName");
    if generate.is_set() {
        errors.extend((hooks.validate_name)(generate.str(), true).into_iter().map(|m| generate.invalid(m)));
    }
    let name = view.get("name");
    if name.str().is_empty() {
        errors.push(name.required("name or generateName is required"));
    } else {
        errors.extend((hooks.validate_name)(name.str(), false).into_iter().map(|m| name.invalid(m)));
    }
    let namespace = view.get("namespace");
    match (namespaced, namespace.str().is_empty()) {
        (true, true) => errors.push(namespace.required("")),
        (true, false) => {
            let messages = content::is_dns1123_label(namespace.str());
            errors.extend(messages.into_iter().map(|m| namespace.invalid(m)));
        }
        (false, false) => errors.push(namespace.forbidden("not allowed on this type")),
        (false, true) => {}
    }
    if view.int("generation") < 0 {
        errors.push(view.get("generation").invalid("must be greater than or equal to 0"));
    }
    common(&view, &mut errors);
    validate_finalizers(&view.get("finalizers"), &mut errors);
    if hooks.standard_finalizers {
        view.get("finalizers")
            .items()
            .iter()
            .for_each(|finalizer| standard_finalizer(finalizer, &mut errors));
    }
    errors
}

/// What is wrong with a change of any object's metadata.
pub fn validate_update(new: &Value, old: &Value) -> Errors {
    let (new, old) = (View::root(new).get("metadata"), View::root(old).get("metadata"));
    let mut errors = Errors::new();
    if old.has("deletionTimestamp") {
        let before = old.get("finalizers").strs();
        let view = new.get("finalizers");
        let before: std::collections::HashSet<_> = before.into_iter().collect();
        let mut extra: Vec<_> = view.strs().into_iter().filter(|f| !before.contains(f)).collect();
        extra.sort_unstable();
        if !extra.is_empty() {
            let list = extra.iter().map(|f| proto::field::quote(f)).collect::<Vec<_>>().join(", ");
            errors.push(view.forbidden(format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
            )));
        }
    }
    if new.text("resourceVersion").is_empty() {
        errors.push(new.get("resourceVersion").invalid("must be specified for an update"));
    }
    if new.int("generation") < old.int("generation") {
        errors.push(new.get("generation").invalid("must not be decremented"));
    }
    for name in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let view = new.get(name);
        if view.value() != old.raw(name) {
            errors.push(view.invalid(IMMUTABLE));
        }
    }
    common(&new, &mut errors);
    errors
}

fn common(view: &View, errors: &mut Errors) {
    let labels = view.get("labels");
    for (key, value) in labels.entries() {
        errors.extend(
            content::is_qualified_name(key).into_iter().map(|m| Error::invalid(labels.path(), key, m)),
        );
        let messages = content::is_label_value(value.str());
        errors.extend(messages.into_iter().map(|m| Error::invalid(labels.path(), value.str(), m)));
    }
    let annotations = view.get("annotations");
    let mut size = 0;
    for (key, value) in annotations.entries() {
        size += key.len() + value.str().len();
        let messages = content::is_qualified_name(&key.to_lowercase());
        errors.extend(messages.into_iter().map(|m| Error::invalid(annotations.path(), key, m)));
    }
    if size > MAX_ANNOTATIONS {
        errors.push(Error::too_long(annotations.path(), MAX_ANNOTATIONS));
    }
    owner_references(&view.get("ownerReferences"), errors);
    managed_fields(&view.get("managedFields"), errors);
}

fn owner_references(references: &View, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    // Upstream reports these without an index.
    let at = |name: &'static str| references.path().child(name);
    for reference in references.items() {
        let required =
            |name, detail| reference.text(name).is_empty().then(|| Error::invalid(&at(name), "", detail));
        errors.extend(required("apiVersion", "version must not be empty"));
        for name in ["kind", "name", "uid"] {
            errors.extend(required(name, "must not be empty"));
        }
        if reference.text("apiVersion") == "v1" && reference.text("kind") == "Event" {
            errors.push(Error::invalid(
                references.path(),
                reference.value().clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if reference.flag("controller") {
            let this = format!("{}/{}", reference.text("kind"), reference.text("name"));
            match &controller {
                Some(first) => errors.push(references.invalid(format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                ))),
                None => controller = Some(this),
            }
        }
    }
}

fn validate_finalizers(finalizers: &View, errors: &mut Errors) {
    let list = finalizers.strs();
    for finalizer in &list {
        let messages = content::is_qualified_name(finalizer);
        errors.extend(messages.into_iter().map(|m| Error::invalid(finalizers.path(), *finalizer, m)));
    }
    if list.contains(&FINALIZER_ORPHAN) && list.contains(&FINALIZER_FOREGROUND) {
        errors.push(
            finalizers.invalid(format!(
                "finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set"
            )),
        );
    }
}

fn managed_fields(entries: &View, errors: &mut Errors) {
    for entry in entries.items() {
        if !matches!(entry.text("operation"), "Apply" | "Update") {
            errors.push(entry.get("operation").invalid("must be `Apply` or `Update`"));
        }
        if !matches!(entry.text("fieldsType"), "" | "FieldsV1") {
            errors.push(entry.get("fieldsType").invalid("must be `FieldsV1`"));
        }
        validate_manager(entry.text("manager"), entry.get("manager").path(), errors);
    }
}

/// What is wrong with the name of a field manager.
pub fn validate_manager(manager: &str, path: &Path, errors: &mut Errors) {
    if manager.len() > 128 {
        errors.push(Error::too_long(path, 128));
    }
    for (i, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {i})", c as u32);
        errors.push(Error::invalid(path, manager, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_generated_as_upstream() {
        let name = generate_name(&"a".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(name[58..].bytes().all(|b| RANDOM_CHARACTERS.contains(&b)));
    }

    #[test]
    fn metadata_is_checked() {
        let object = json!({"metadata": {"name": "A", "labels": {"a b": "c"}, "finalizers": ["orphan", "foregroundDeletion"]}});
        let errors = validate(&object, true, &Hooks::default());
        let fields: Vec<_> = errors.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(fields, ["metadata.name", "metadata.namespace", "metadata.labels", "metadata.finalizers"]);
    }

    #[test]
    fn what_may_not_change_is_checked() {
        let old =
            json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "deletionTimestamp": "t"}});
        let mut new = old.clone();
        assert!(validate_update(&new, &old).is_empty());
        set(&mut new, "uid", "2");
        set(&mut new, "finalizers", json!(["x/y"]));
        let texts: Vec<_> = validate_update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x/y\"}",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }
}
