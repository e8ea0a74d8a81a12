//! Rules to programs.

use std::sync::Arc;

use serde_json::Value as Json;

use super::field_path;
use crate::cost::estimate;
use crate::env::Env;
use crate::eval::Program;
use crate::kube::schema::Schema;
use crate::kube::types::{Declared, DeclaredTypes};
use crate::library;
use crate::types::Type;

/// A rule as it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) message: String,
    pub(super) message_expression: String,
    pub(super) reason: Option<String>,
    pub(super) field_path: String,
    pub(super) optional_old_self: Option<bool>,
}

impl Rule {
    fn new(json: &Json) -> Rule {
        let text = |name: &str| json.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: json.get("reason").and_then(Json::as_str).map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: json.get("optionalOldSelf").and_then(Json::as_bool),
        }
    }

    /// What errors call the rule.
    pub(super) fn name(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }
}

/// A compiled rule.
#[derive(Default)]
pub(super) struct Compiled {
    pub(super) rule: Rule,
    /// The program, unless the rule is empty or wrong.
    pub(super) program: Option<Program>,
    pub(super) error: Option<String>,
    pub(super) uses_old_self: bool,
    /// What an evaluation costs at most.
    pub(super) max_cost: u64,
    /// How often the value may occur in an object.
    pub(super) max_cardinality: u64,
    pub(super) message: Option<Program>,
    pub(super) message_error: Option<String>,
    pub(super) message_max_cost: u64,
    /// Where errors are, below the value.
    pub(super) field_path: Option<String>,
}

/// Compiles the rules of values of a schema.
pub(super) fn compile<'j>(
    rules: impl Iterator<Item = &'j Json>,
    schema: &Schema,
    declared: &Declared,
) -> Vec<Compiled> {
    let mut rules = rules.map(Rule::new).peekable();
    if rules.peek().is_none() {
        return Vec::new();
    }
    // Nobody is to rely on the name of the type, so it changes each time.
    let name = format!("selfType{}", jiff::Timestamp::now().subsec_nanosecond());
    let ty = declared.ty(&name);
    let base = library::base()
        .variable("self", ty.clone())
        .object_types(Arc::new(DeclaredTypes::new(&name, declared)));
    let plain = base.clone().variable("oldSelf", ty.clone());
    let optional = base.variable("oldSelf", Type::optional(ty));
    rules
        .map(|rule| {
            let env = if rule.optional_old_self == Some(true) { &optional } else { &plain };
            let field_path = Some(&rule.field_path).filter(|path| !path.is_empty());
            let field_path = field_path.and_then(|path| field_path::normalized(path, schema));
            Compiled { field_path, max_cardinality: declared.max_cardinality(), ..one(rule, env, declared) }
        })
        .collect()
}

fn one(rule: Rule, env: &Env, declared: &Declared) -> Compiled {
    if rule.rule.trim().is_empty() {
        return Compiled { rule, ..Compiled::default() };
    }
    let failed = |rule: Rule, uses_old_self: bool, error: String| Compiled {
        rule,
        uses_old_self,
        error: Some(error),
        ..Compiled::default()
    };
    let checked = match env.compile(&rule.rule) {
        Ok(checked) => checked,
        Err(issues) => return failed(rule, false, format!("compilation failed: {issues}")),
    };
    if *checked.output() != Type::Bool {
        return failed(rule, false, "cel expression must evaluate to a bool".into());
    }
    let uses_old_self = checked.uses("oldSelf");
    let program = match Program::new(&checked, env) {
        Ok(program) => program,
        Err(error) => return failed(rule, uses_old_self, format!("program instantiation failed: {error}")),
    };
    let mut compiled = Compiled {
        uses_old_self,
        program: Some(program),
        max_cost: estimate(&checked, declared).max,
        ..Compiled::default()
    };
    if !rule.message_expression.is_empty() {
        match message(&rule.message_expression, env, declared) {
            Ok((program, max_cost)) => {
                compiled.message = Some(program);
                compiled.message_max_cost = max_cost;
            }
            Err(error) => compiled.message_error = Some(error),
        }
    }
    compiled.rule = rule;
    compiled
}

fn message(expression: &str, env: &Env, declared: &Declared) -> Result<(Program, u64), String> {
    let checked = env
        .compile(expression)
        .map_err(|issues| format!("messageExpression compilation failed: {issues}"))?;
    if *checked.output() != Type::String {
        return Err("messageExpression must evaluate to a string".into());
    }
    let program = Program::new(&checked, env)
        .map_err(|error| format!("messageExpression instantiation failed: {error}"))?;
    Ok((program, estimate(&checked, declared).max))
}
