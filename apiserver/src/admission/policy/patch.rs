//! What the expressions of mutations make of an object: a configuration that is applied to it, or a JSON patch.

use cel::kube::admission::{Compiler, Expression, Scope, Wanted};
use cel::kube::mutation;
use proto::status::Status;
use serde_json::Value;

use super::super::form::Form;
use super::super::step::text;
use crate::patch::{Failed, apply_steps, typed};

/// A change of an object.
#[derive(Debug, PartialEq)]
pub(super) enum Patch {
    /// A configuration to merge into it.
    Configuration(Value),
    /// The steps of a JSON patch.
    Steps(Vec<Value>),
}

/// Why an object isn't changed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The policy's fault, whose failure policy decides.
    Policy(String),
    /// The write can't go on.
    Write(Status),
}

impl Failure {
    /// What went wrong.
    pub(super) fn message(&self) -> &str {
        match self {
            Failure::Policy(error) => error,
            Failure::Write(status) => &status.message,
        }
    }
}

/// A mutation of a policy.
pub(super) struct Mutation {
    wanted: Wanted,
    expression: Expression,
}

impl Mutation {
    pub(super) fn parse(mutation: &Value, compiler: &Compiler) -> Mutation {
        let (field, wanted) = match text(&mutation["patchType"]) {
            "JSONPatch" => ("jsonPatch", Wanted::JsonPatch),
            _ => ("applyConfiguration", Wanted::Configuration),
        };
        let expression = compiler.compile_patch(text(&mutation[field]["expression"]), wanted);
        Mutation { wanted, expression }
    }

    /// Makes the patch, at most as long as the budget lasts.
    pub(super) fn make<'a>(&'a self, scope: &Scope<'a>, budget: i64) -> Result<Patch, String> {
        if let Some(error) = self.expression.error() {
            return Err(error.to_owned());
        }
        let (made, _) = scope.evaluate([Some(&self.expression)], budget)?;
        let made = made.into_iter().flatten().next().map_or(Ok(cel::Value::Null), |made| made.value)?;
        match self.wanted {
            Wanted::JsonPatch => mutation::json_patch(&made).map(Patch::Steps),
            _ => mutation::configuration(&made).map(Patch::Configuration),
        }
    }
}

impl Patch {
    /// The object with its changes and its defaults.
    pub(super) fn apply(self, object: &Value, form: &Form) -> Result<Value, Failure> {
        match self {
            Patch::Configuration(configuration) => {
                let merged = merge(object, configuration, form)
                    .map_err(|error| Failure::Policy(format!("error applying patch: {error}")))?;
                let (settled, _) = form.settle(&merged).map_err(Failure::Policy)?;
                Ok(settled)
            }
            Patch::Steps(steps) => {
                let mut patched = object.clone();
                match apply_steps(&mut patched, &steps) {
                    Ok(()) => {}
                    // Nothing is changed then.
                    Err(Failed::Test(_)) => return Ok(object.clone()),
                    Err(failed) => return Err(Failure::Policy(format!("JSON Patch: {failed}"))),
                }
                let internal = |error: String| Failure::Write(Status::internal(error));
                let (settled, strict) = form.settle(&patched).map_err(internal)?;
                if strict.is_empty() {
                    return Ok(settled);
                }
                Err(internal(format!("strict decoding error: {}", strict.join(", "))))
            }
        }
    }
}

fn merge(object: &Value, mut configuration: Value, form: &Form) -> Result<Value, String> {
    let ty = form.ty().ok_or("type converter must not be nil")?;
    for field in ["apiVersion", "kind"] {
        configuration[field] = object[field].clone();
    }
    typed::validate(&configuration, ty)
        .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    let units = typed::atomics(&configuration, ty);
    if !units.is_empty() {
        let units = units.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {units}"
        ));
    }
    typed::merge(object, &configuration, ty).map_err(|error| format!("failed to merge patch: {error}"))
}
