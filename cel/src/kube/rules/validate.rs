//! Objects against rules.

use proto::field::{Error as FieldError, Path};
use serde_json::Value as Json;

use super::compile::{Compiled, Rule};
use super::correlate::{Pair, old_element};
use super::{Findings, Node};
use crate::cost::PER_CALL_LIMIT;
use crate::eval::{Activation, Error, Outcome, Program};
use crate::kube::schema::SchemaType;
use crate::value::Value;

/// The longest message that an expression may make, in bytes.
const MESSAGE_MAX: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Validates a value, against the old one if there is one.
pub(super) fn validate(node: &Node, path: &Path, new: &Json, old: Option<&Json>, budget: i64) -> Findings {
    let mut run = Run { budget, findings: Findings::default() };
    let current = old.map(|old| Pair::new(new, old, &node.schema));
    let ratchet = Ratchet { current, parent: None };
    let _ = run.node(node, path, new, old, &ratchet);
    run.findings
}

/// What decides whether an error is only a warning: the value was left as it was.
#[derive(Clone, Copy)]
struct Ratchet<'a> {
    current: Option<Pair<'a>>,
    /// The nearest value above that has an old one.
    parent: Option<Pair<'a>>,
}

impl<'a> Ratchet<'a> {
    fn below(self, next: impl FnOnce(&Pair<'a>) -> Option<Pair<'a>>) -> Self {
        match self.current {
            None => self,
            Some(current) => Ratchet { current: next(&current), parent: Some(current) },
        }
    }

    fn key(self, name: &str) -> Self {
        // Old and new objects have been brought to one version, so these two say nothing.
        if self.current.is_some() && self.parent.is_none() && matches!(name, "apiVersion" | "kind") {
            return Ratchet { current: None, parent: None };
        }
        self.below(|pair| pair.key(name))
    }

    fn is_unchanged(&self) -> bool {
        self.current.or(self.parent).is_some_and(|pair| pair.is_equal())
    }
}

/// No more rules are run.
struct Stopped;

struct Run {
    budget: i64,
    findings: Findings,
}

type Going = Result<(), Stopped>;

/// `self` and `oldSelf`.
struct Variables<'a> {
    new: Result<Value<'a>, Error>,
    old: Option<Result<Value<'a>, Error>>,
}

impl<'a> Activation<'a> for Variables<'a> {
    fn resolve(&self, name: &str) -> Option<Result<Value<'a>, Error>> {
        match name {
            "self" => Some(self.new.clone()),
            "oldSelf" => self.old.clone(),
            _ => None,
        }
    }
}

impl Run {
    fn node(
        &mut self,
        node: &Node,
        path: &Path,
        new: &Json,
        old: Option<&Json>,
        ratchet: &Ratchet<'_>,
    ) -> Going {
        if new.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(node, path, new, old, ratchet)?;
        for all in &node.all_of {
            self.node(all, path, new, old, &Ratchet { current: None, parent: ratchet.parent })?;
        }
        match new {
            Json::Array(items) => {
                let Some(of) = &node.items else { return Ok(()) };
                let old = old.and_then(Json::as_array).map_or(&[] as &[Json], Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    let old = old_element(&node.schema, old, item);
                    self.node(of, &path.index(index), item, old, &ratchet.below(|pair| pair.index(index)))?;
                }
            }
            Json::Object(fields) => {
                let before = |name: &str| old.filter(|_| node.schema.correlatable)?.get(name);
                if let Some(of) = &node.additional {
                    for (name, value) in fields {
                        self.node(of, &path.key(name), value, before(name), &ratchet.key(name))?;
                    }
                }
                for (name, of) in &node.properties {
                    if let Some(value) = fields.get(name) {
                        self.node(of, &path.child_named(name), value, before(name), &ratchet.key(name))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(
        &mut self,
        node: &Node,
        path: &Path,
        new: &Json,
        old: Option<&Json>,
        ratchet: &Ratchet<'_>,
    ) -> Going {
        let ty = node.schema.ty.name();
        if node.untyped {
            let detail =
                "rule compiler initialization error: failed to convert to declType for CEL validation rules";
            self.findings.errors.push(FieldError::invalid(path, ty, detail));
            return Ok(());
        }
        if node.rules.is_empty() {
            return Ok(());
        }
        if self.budget <= 0 {
            return self.stop(FieldError::invalid(path, ty, OUT_OF_BUDGET));
        }
        let uses_old = node.rules.iter().any(|rule| rule.uses_old_self);
        let before = old.filter(|_| uses_old).map(|old| Value::typed(old, &node.schema));
        let optional = match &before {
            _ if !uses_old => None,
            None => Some(Ok(Value::Optional(None))),
            Some(value) => Some(value.clone().map(Value::some)),
        };
        let new_value = Value::typed(new, &node.schema);
        let plain = Variables { new: new_value.clone(), old: before };
        let with_optional = Variables { new: new_value, old: optional };
        for compiled in &node.rules {
            let rule = &compiled.rule;
            if let Some(error) = &compiled.error {
                self.findings.errors.push(FieldError::invalid(
                    path,
                    ty,
                    format!("rule compile error: {error}"),
                ));
                continue;
            }
            let Some(program) = &compiled.program else { continue };
            let optional = rule.optional_old_self == Some(true);
            if compiled.uses_old_self && old.is_none() && !optional {
                continue;
            }
            let variables = if optional { &with_optional } else { &plain };
            let Outcome { value, cost } = program.evaluate(variables, PER_CALL_LIMIT);
            if !self.pay(cost) {
                return self.stop(FieldError::invalid(path, ty, OUT_OF_BUDGET));
            }
            match value {
                Ok(Value::Bool(true)) => {}
                Ok(_) => self.failed(compiled, &plain, path, new, node.schema.ty, ratchet)?,
                Err(error) => self.broken(rule, &error, path, ty)?,
            }
        }
        Ok(())
    }

    fn pay(&mut self, cost: u64) -> bool {
        match i64::try_from(cost) {
            Ok(cost) if cost <= self.budget => {
                self.budget -= cost;
                true
            }
            _ => false,
        }
    }

    fn stop(&mut self, error: FieldError) -> Going {
        self.findings.errors.push(error);
        Err(Stopped)
    }

    /// A rule that had no value.
    fn broken(&mut self, rule: &Rule, error: &Error, path: &Path, ty: &str) -> Going {
        let name = rule.name();
        if error.is_cost_limit() {
            let detail = format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
            );
            return self.stop(FieldError::invalid(path, ty, detail));
        }
        let detail = if error.message().starts_with("no such overload") {
            format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
            )
        } else {
            format!("{error} evaluating rule: {name}")
        };
        self.findings.errors.push(FieldError::invalid(path, ty, detail));
        Ok(())
    }

    /// A rule that the value breaks.
    fn failed<'a>(
        &mut self,
        compiled: &'a Compiled,
        variables: &dyn Activation<'a>,
        path: &Path,
        new: &Json,
        ty: SchemaType,
        ratchet: &Ratchet<'_>,
    ) -> Going {
        let rule = &compiled.rule;
        let at = match &compiled.field_path {
            Some(below) => path.child_named(below),
            None => path.clone(),
        };
        let unchanged = !compiled.uses_old_self && ratchet.is_unchanged();
        let message = match &compiled.message {
            None => None,
            Some(program) => match self.message(program, &rule.message_expression, variables) {
                Ok(message) => message,
                Err(detail) => {
                    self.add(FieldError::invalid(&at, ty.name(), detail), unchanged);
                    return Err(Stopped);
                }
            },
        };
        let detail = message.unwrap_or_else(|| match rule.message.is_empty() {
            true => format!("failed rule: {}", rule.name()),
            false => rule.message.trim().to_owned(),
        });
        // Objects and arrays are left out, as too much to show.
        let left_out = matches!(ty, SchemaType::Object | SchemaType::Array);
        let value = if left_out { Json::Null } else { new.clone() };
        let shown = left_out.then(String::new);
        let error = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(&at, detail),
            Some("FieldValueRequired") => FieldError::required(&at, detail),
            Some("FieldValueDuplicate") => FieldError { shown, ..FieldError::duplicate(&at, value) },
            _ => FieldError { shown, ..FieldError::invalid(&at, value, detail) },
        };
        self.add(error, unchanged);
        Ok(())
    }

    fn add(&mut self, error: FieldError, unchanged: bool) {
        if unchanged {
            self.findings.warnings.push(error.to_string());
        } else {
            self.findings.errors.push(error);
        }
    }

    /// The message that an expression makes, if it makes a usable one. It is an error if it costs too much.
    fn message<'a>(
        &mut self,
        program: &'a Program,
        expression: &str,
        variables: &dyn Activation<'a>,
    ) -> Result<Option<String>, String> {
        let Outcome { value, cost } = program.evaluate(variables, PER_CALL_LIMIT);
        if !self.pay(cost) {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".into());
        }
        match value {
            Err(error) if error.is_cost_limit() => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                proto::field::quote(expression)
            )),
            Err(_) => Ok(None),
            Ok(value) => {
                let text = value.as_str().unwrap_or_default().trim();
                let usable = !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n');
                Ok(usable.then(|| text.to_owned()))
            }
        }
    }
}
