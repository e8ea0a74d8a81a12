//! Namespaces: they go only when everything in them is gone.

use proto::field::{Error, Errors, Path};
use proto::view::{View, at, set_at, strs, text_at};
use serde_json::{Value, json};

use super::kind;
use crate::registry::checks::{qualified_name, standard_finalizer};
use crate::registry::defaults::{fill, inside};
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Hooks, Subresource, Verbs, strategy};

const FINALIZER: &str = "kubernetes";

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    let mut finalize = Subresource::object(
        "finalize",
        Hooks {
            prepare_update: |_, new, old| strategy::keep(new, old, &["status"]),
            validate_name: strategy::label_name,
            validate_update: |_, new, _| {
                let mut errors = Errors::new();
                for finalizer in View::root(new).get("spec").get("finalizers").items() {
                    finalizer_name(&finalizer, &mut errors);
                }
                errors
            },
            reset_fields: &[&["status"]],
            ..Hooks::default()
        },
    );
    finalize.verbs = Verbs::UPDATE;
    kind("namespaces", "Namespace")
        .cluster()
        .short(&["ns"])
        .verbs(Verbs::ALL.without(Verbs::DELETE_COLLECTION))
        .selectable(&["status.phase"])
        .default(|object| {
            let name = text_at(object, &["metadata", "name"]).to_owned();
            if !name.is_empty() {
                set_at(object, &["metadata", "labels", "kubernetes.io/metadata.name"], Value::from(name));
            }
            inside(object, "status", |status| fill(status, "phase", "Active"));
        })
        .hooks(hooks())
        .subresource(finalize)
        .status(Hooks {
            validate_name: strategy::label_name,
            validate_update: |_, new, _| validate_status(new),
            ..strategy::status()
        })
        .install(builder, enabled);
}

fn hooks() -> Hooks {
    Hooks {
        prepare_create: |_, new| {
            set_at(new, &["status"], json!({"phase": "Active"}));
            let mut finalizers: Vec<Value> =
                at(new, &["spec", "finalizers"]).as_array().cloned().unwrap_or_default();
            if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
                finalizers.push(Value::from(FINALIZER));
            }
            set_at(new, &["spec", "finalizers"], Value::from(finalizers));
        },
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["spec", "finalizers"]);
            strategy::keep(new, old, &["status"]);
        },
        canonicalize: |new| {
            let name = Value::from(text_at(new, &["metadata", "name"]));
            set_at(new, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
        },
        validate: |_, new| validate(new),
        validate_update: |_, new, _| validate(new),
        validate_name: strategy::label_name,
        may_delete: Some(|namespace| strs(at(namespace, &["spec", "finalizers"])).is_empty()),
        begin_delete: Some(|_, namespace| {
            set_at(namespace, &["status", "phase"], Value::from("Terminating"));
            // It goes when it is empty, however long that takes.
            set_at(namespace, &["metadata", "deletionGracePeriodSeconds"], Value::Null);
        }),
        return_deleted: true,
        reset_fields: &[&["status"]],
        ..Hooks::default()
    }
}

fn finalizer_name(finalizer: &View, errors: &mut Errors) {
    qualified_name(finalizer, errors);
    standard_finalizer(finalizer, errors);
}

fn validate(namespace: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(namespace);
    let list = view.get("spec").get("finalizers");
    for finalizer in list.items() {
        finalizer_name(&finalizer.with_path(list.path().clone()), &mut errors);
    }
    errors
}

fn validate_status(namespace: &Value) -> Errors {
    let phase = text_at(namespace, &["status", "phase"]);
    let deleted = !at(namespace, &["metadata", "deletionTimestamp"]).is_null();
    let (wanted, state) = if deleted { ("Terminating", "not empty") } else { ("Active", "empty") };
    if phase == wanted {
        return Errors::new();
    }
    let path = Path::new("status").child("Phase");
    let detail = format!("may only be '{wanted}' if `deletionTimestamp` is {state}");
    vec![Error::invalid(&path, phase, detail)]
}
