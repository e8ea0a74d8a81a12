//! What is particular about a kind, as plain functions.

use futures::future::BoxFuture;
use proto::field::Errors;
use proto::status::Status;
use serde_json::Value;

use super::Ctx;

/// Takes a body and answers with an object.
pub type Create = for<'a> fn(&'a Ctx, Value) -> BoxFuture<'a, Result<Value, Status>>;

/// Makes the object of a name, or all objects if it is empty.
pub type Compute = for<'a> fn(&'a Ctx, &'a str) -> BoxFuture<'a, Result<Vec<Value>, Status>>;

/// Validates what only the server's objects and authorizers can tell: `(ctx, new, old)`, old is null for a new object.
pub type Ask = for<'a> fn(&'a Ctx, &'a Value, &'a Value) -> BoxFuture<'a, Errors>;

/// Allocates what a write needs (addresses, ports) and fills it in; the engine settles the reservation after the transaction.
pub type Begin = for<'a> fn(
    &'a Ctx,
    &'a mut Value,
    Option<&'a Value>,
) -> BoxFuture<'a, Result<Box<dyn Reservation>, Status>>;

/// Allocations of a write under way. Dropping one settles nothing: call one of the two.
pub trait Reservation: Send {
    /// The write is stored: release what the old object no longer needs.
    fn commit(self: Box<Self>) -> BoxFuture<'static, ()>;
    /// The write failed or was a dry run: release what was allocated.
    fn revert(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// A kind's hooks. All work on the hub version.
#[derive(Clone)]
pub struct Hooks {
    /// Before validation of a new object: drop what clients may not set (status), set what the server owns.
    pub prepare_create: fn(&Ctx, &mut Value),
    /// The same for a change: `(ctx, new, old)`. Restore what this request may not change; raise `metadata.generation`.
    pub prepare_update: fn(&Ctx, &mut Value, &Value),
    /// Validates a new object. ObjectMeta is the engine's, with `name` as the rule for names.
    pub validate: fn(&Ctx, &Value) -> Errors,
    /// Validates a change: `(ctx, new, old)`.
    pub validate_update: fn(&Ctx, &Value, &Value) -> Errors,
    /// More validation, if the two above found nothing.
    pub ask: Option<Ask>,
    /// What is wrong with a name (`prefix`: of a generateName); texts of `proto::content`.
    pub validate_name: fn(name: &str, prefix: bool) -> Vec<String>,
    /// Texts for Warning headers on create.
    pub warnings: fn(&Ctx, &Value) -> Vec<String>,
    /// Texts for Warning headers on update: `(ctx, new, old)`.
    pub warnings_update: fn(&Ctx, &Value, &Value) -> Vec<String>,
    /// Normal form, after validation.
    pub canonicalize: fn(&mut Value),
    /// Computed fields of every object read.
    pub decorate: Option<fn(&mut Value)>,
    /// Allocations.
    pub begin: Option<Begin>,
    /// Whether deletion waits: sets the grace period in the options (`DeleteOptions.gracePeriodSeconds`) and answers whether it is
    /// graceful. `None`: deletion is immediate.
    pub graceful_delete: Option<fn(&Ctx, &Value, &mut Value) -> bool>,
    /// Whether the object may go now that it has no finalizers and no grace left, beyond the engine's rules (a Namespace's
    /// `spec.finalizers`).
    pub may_delete: Option<fn(&Value) -> bool>,
    /// Called once deletion began, on the object about to be stored with its deletionTimestamp (a Namespace turns Terminating).
    pub begin_delete: Option<fn(&Ctx, &mut Value)>,
    /// After the object is gone: release allocations.
    pub after_delete: Option<for<'a> fn(&'a Ctx, &'a Value) -> BoxFuture<'a, ()>>,
    /// Whether finalizers without a domain must be those that Kubernetes knows.
    pub standard_finalizers: bool,
    /// Paths that appliers of this (sub)resource never own, for managedFields: `["status"]`.
    pub reset_fields: &'static [&'static [&'static str]],
    /// PUT creates what is not there.
    pub allow_create_on_update: bool,
    /// PUT without a resourceVersion overwrites.
    pub allow_unconditional_update: bool,
    /// What garbage collection of dependents defaults to when a delete does not say: whether they are orphaned.
    pub orphan_dependents: bool,
    /// Text for a Warning header of deletions that don't say what becomes of dependents.
    pub delete_warning: Option<&'static str>,
    /// Field of the `DELETE` response: whether to answer with the deleted object instead of a Status.
    pub return_deleted: bool,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks {
            prepare_create: |_, _| {},
            prepare_update: |_, _, _| {},
            validate: |_, _| Errors::new(),
            validate_update: |_, _, _| Errors::new(),
            ask: None,
            validate_name: |name, prefix| {
                let name = if prefix { proto::content::masked_trailing_dash(name) } else { name.to_owned() };
                proto::content::is_dns1123_subdomain(&name)
            },
            warnings: |_, _| Vec::new(),
            warnings_update: |_, _, _| Vec::new(),
            canonicalize: |_| {},
            decorate: None,
            begin: None,
            graceful_delete: None,
            may_delete: None,
            begin_delete: None,
            after_delete: None,
            standard_finalizers: true,
            reset_fields: &[],
            allow_create_on_update: false,
            allow_unconditional_update: true,
            orphan_dependents: false,
            delete_warning: None,
            return_deleted: false,
        }
    }
}
