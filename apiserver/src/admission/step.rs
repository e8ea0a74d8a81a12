//! The common form of built-in plugins: a name, the operations they see, and two plain functions.

use std::sync::Arc;

use proto::status::Status;
use serde_json::Value;

use super::{Operation, Outcome, Plugin, Review};
use crate::registry::Local;

/// What a plugin does with a write: it may change the object, refuse the write, or neither.
pub(super) type Step = for<'a> fn(&'a Arc<dyn Local>, &'a mut Review) -> Outcome<'a>;

/// The table row of a plugin.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) operations: &'static [Operation],
    pub(super) mutate: Option<Step>,
    pub(super) validate: Option<Step>,
}

/// A row at work.
pub(super) struct FnPlugin {
    pub(super) row: Row,
    pub(super) local: Arc<dyn Local>,
}

impl Plugin for FnPlugin {
    fn name(&self) -> &'static str {
        self.row.name
    }

    fn handles(&self, operation: Operation) -> bool {
        self.row.operations.contains(&operation)
    }

    fn mutate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        run(self.row.mutate, &self.local, review)
    }

    fn validate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        run(self.row.validate, &self.local, review)
    }
}

fn run<'a>(step: Option<Step>, local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    match step {
        Some(step) => step(local, review),
        None => Box::pin(async { Ok(()) }),
    }
}

/// Reads an object from the cache, or from etcd if it is too new for the cache.
pub(super) async fn find(
    local: &Arc<dyn Local>,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Arc<Value>, Status> {
    match local.cached(group, resource, namespace, name) {
        Some(object) => Ok(object),
        None => local.get(group, resource, namespace, name).await,
    }
}

/// Text at a field; empty if there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Items of a list; none if there is no list.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Appends to the list at a field, making it if need be.
pub(super) fn push(object: &mut Value, field: &str, item: Value) {
    match &mut object[field] {
        Value::Array(list) => list.push(item),
        other => *other = Value::Array(vec![item]),
    }
}
