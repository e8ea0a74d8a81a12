//! Expressions of admission: the match conditions of webhooks, and all of admission policies.
//!
//! A [`Compiler`] makes [`Expression`]s; a [`Scope`] has the variables of one request, evaluates them, and takes what that
//! costs from a budget.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::cost::PER_CALL_LIMIT;
use crate::env::{Env, Types};
use crate::eval::{Activation, Error, Outcome, Program};
use crate::kube::mutation::{JSON_PATCH, OBJECT};
use crate::kube::types::DeclaredTypes;
use crate::library;
use crate::library::authorizer::{authorizer_type, resource_check_type};
use crate::types::Type;
use crate::value::{Fields, Value};

const NAMESPACE: &str = "kubernetes.Namespace";
const REQUEST: &str = "kubernetes.AdmissionRequest";
const VARIABLES: &str = "kubernetes.variables";
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What an expression must evaluate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A truth value.
    Bool,
    /// Text.
    Text,
    /// Text or nothing.
    TextOrNull,
    /// Anything.
    Any,
    /// A configuration to apply.
    Configuration,
    /// The steps of a JSON patch.
    JsonPatch,
}

impl Wanted {
    fn types(self) -> Vec<Type> {
        match self {
            Wanted::Bool => vec![Type::Bool],
            Wanted::Text => vec![Type::String],
            Wanted::TextOrNull => vec![Type::String, Type::Null],
            Wanted::Any => Vec::new(),
            Wanted::Configuration => vec![Type::object(OBJECT)],
            Wanted::JsonPatch => vec![Type::list(Type::object(JSON_PATCH))],
        }
    }
}

/// A compiled expression, or what is wrong with it.
pub struct Expression {
    text: String,
    program: Result<Program, String>,
}

impl Expression {
    /// What is wrong with it.
    pub fn error(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Compiles the expressions of one policy or webhook.
pub struct Compiler {
    env: Env,
    variables: Option<Arc<VariableTypes>>,
}

/// The types of the variables that there are so far, which all environments of a compiler share.
#[derive(Default)]
struct VariableTypes(RwLock<BTreeMap<String, Type>>);

impl Types for VariableTypes {
    fn is_object(&self, name: &str) -> bool {
        name == VARIABLES
    }

    fn field(&self, _object: &str, field: &str) -> Option<Type> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(field).cloned()
    }
}

impl Compiler {
    /// A compiler that knows parameters or not.
    pub fn new(has_params: bool) -> Self {
        let mut env = library::base()
            .object_types(Arc::new(object_types()))
            .variable("object", Type::Dyn)
            .variable("oldObject", Type::Dyn)
            .variable("namespaceObject", Type::object(NAMESPACE))
            .variable("request", Type::object(REQUEST));
        if has_params {
            env = env.variable("params", Type::Dyn);
        }
        Compiler { env, variables: None }
    }

    /// The same with `variables`, of which there are none yet.
    pub fn composing(self) -> Self {
        let types = Arc::<VariableTypes>::default();
        let env = self.env.object_types(types.clone()).variable("variables", Type::object(VARIABLES));
        Compiler { env, variables: Some(types) }
    }

    /// Compiles an expression that may ask the authorizer.
    pub fn compile(&self, text: &str, wanted: Wanted) -> Expression {
        expression(&self.authorized(), text, wanted).0
    }

    /// Compiles a patch, which may ask the authorizer too.
    pub fn compile_patch(&self, text: &str, wanted: Wanted) -> Expression {
        expression(&library::mutation(self.authorized()), text, wanted).0
    }

    fn authorized(&self) -> Env {
        self.env
            .clone()
            .variable("authorizer", authorizer_type())
            .variable("authorizer.requestResource", resource_check_type())
    }

    /// Compiles an expression that may not ask the authorizer.
    pub fn compile_without_authorizer(&self, text: &str, wanted: Wanted) -> Expression {
        expression(&self.env, text, wanted).0
    }

    /// Compiles a variable that all further expressions may use.
    pub fn variable(&mut self, name: &str, text: &str) -> Expression {
        let (expression, output) = expression(&self.authorized(), text, Wanted::Any);
        if let Some(variables) = &self.variables {
            let mut types = variables.0.write().unwrap_or_else(PoisonError::into_inner);
            types.insert(name.to_owned(), plain(&output, 0));
        }
        expression
    }
}

/// An expression compiled in an environment, and the type of its values.
fn expression(env: &Env, text: &str, wanted: Wanted) -> (Expression, Type) {
    let (program, output) = match compile(env, text, wanted) {
        Ok((program, output)) => (Ok(program), output),
        Err(error) => (Err(error), Type::Dyn),
    };
    (Expression { text: text.to_owned(), program }, output)
}

fn compile(env: &Env, text: &str, wanted: Wanted) -> Result<(Program, Type), String> {
    let checked = env.compile(text).map_err(|issues| format!("compilation failed: {issues}"))?;
    let output = checked.output().clone();
    match wanted.types().as_slice() {
        [] => {}
        types if types.contains(&output) => {}
        [one] => return Err(format!("must evaluate to {} but got {}", shown(one), shown(&output))),
        types => {
            let types: Vec<String> = types.iter().map(shown).collect();
            return Err(format!("must evaluate to one of [{}] but got {}", types.join(" "), shown(&output)));
        }
    }
    let program =
        Program::new(&checked, env).map_err(|error| format!("program instantiation failed: {error}"))?;
    Ok((program, output))
}

/// A type as cel-go shows it outside of the checker's messages.
fn shown(ty: &Type) -> String {
    match ty {
        Type::Null | Type::Timestamp | Type::Duration => ty.name().to_owned(),
        Type::List(element) => format!("list({})", shown(element)),
        Type::Map(types) => format!("map({}, {})", shown(&types.0), shown(&types.1)),
        other => other.to_string(),
    }
}

/// How deep lists and maps may hold each other in the type of a variable that others see.
const TYPE_DEPTH_MAX: usize = 64;
/// How deep values may hold each other that are made from one another, variable by variable.
const VALUE_DEPTH_MAX: usize = 1_000;

/// The type under which later expressions see a variable: what has no plain type, or too deep a one, is dynamic.
fn plain(ty: &Type, depth: usize) -> Type {
    match ty {
        Type::List(_) | Type::Map(_) if depth == TYPE_DEPTH_MAX => Type::Dyn,
        Type::List(element) => Type::list(plain(element, depth + 1)),
        Type::Map(types) => Type::map(plain(&types.0, depth + 1), plain(&types.1, depth + 1)),
        Type::Struct(_) | Type::Opaque(..) | Type::Type(_) | Type::Param(_) | Type::Var(_) | Type::Error => {
            Type::Dyn
        }
        plain => plain.clone(),
    }
}

/// A variable of a policy in one request.
#[derive(Debug)]
struct Computed<'a> {
    name: Arc<str>,
    value: Result<Value<'a>, Error>,
    cost: u64,
    /// The variables that were looked at.
    uses: Vec<usize>,
    /// How deep the value may be, at most.
    depth: usize,
}

/// What an expression evaluated to.
#[derive(Clone, Debug)]
pub struct Evaluated<'a> {
    /// The value, or why there is none.
    pub value: Result<Value<'a>, String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// The variables of one request.
pub struct Scope<'a> {
    given: Vec<(&'static str, Value<'a>)>,
    computed: Vec<Computed<'a>>,
}

struct Seen<'s, 'a> {
    given: &'s [(&'static str, Value<'a>)],
    variables: Value<'a>,
}

impl<'a> Activation<'a> for Seen<'_, 'a> {
    fn resolve(&self, name: &str) -> Option<Result<Value<'a>, Error>> {
        if name == "variables" {
            return Some(Ok(self.variables.clone()));
        }
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| Ok(value.clone()))
    }
}

impl<'a> Scope<'a> {
    /// The variables given with a request, and those of a policy, which are computed from them in their order.
    pub fn new(
        given: Vec<(&'static str, Value<'a>)>,
        variables: impl IntoIterator<Item = (&'a str, &'a Expression)>,
    ) -> Self {
        let mut scope = Scope { given, computed: Vec::new() };
        for (name, expression) in variables {
            let quoted = proto::field::quote(name);
            let (value, cost, uses, depth) = match &expression.program {
                Err(error) => {
                    (Err(format!("composited variable {quoted} fails to compile: {error}")), 0, Vec::new(), 0)
                }
                Ok(program) => {
                    let (outcome, uses) = scope.run(program);
                    let held = uses.iter().map(|at| scope.computed[*at].depth).max().unwrap_or(0);
                    let value = match &outcome.value {
                        Ok(value) if value.is_scalar() => (outcome.value, 0),
                        _ if program.depth() + held > VALUE_DEPTH_MAX => {
                            (Err(Error::new("nested too deeply")), 0)
                        }
                        _ => (outcome.value, program.depth() + held),
                    };
                    let explain = |error| format!("composited variable {quoted} fails to evaluate: {error}");
                    (value.0.map_err(explain), outcome.cost, uses, value.1)
                }
            };
            let value = value.map_err(Error::new);
            scope.computed.push(Computed { name: name.into(), value, cost, uses, depth });
        }
        scope
    }

    fn run(&self, program: &'a Program) -> (Outcome<'a>, Vec<usize>) {
        let marks: Vec<Arc<AtomicBool>> = self.computed.iter().map(|_| Arc::default()).collect();
        let entry = |(computed, mark): (&Computed<'a>, &Arc<AtomicBool>)| {
            (computed.name.clone(), computed.value.clone(), mark.clone())
        };
        let entries = self.computed.iter().zip(&marks).map(entry).collect();
        let variables = Value::Fields(Arc::new(Fields { name: VARIABLES, entries }));
        let outcome = program.evaluate(&Seen { given: &self.given, variables }, PER_CALL_LIMIT);
        let used = marks.iter().enumerate().filter(|(_, mark)| mark.load(Ordering::Relaxed));
        (outcome, used.map(|(index, _)| index).collect())
    }

    /// Evaluates expressions one after the other, as long as the budget lasts, and answers with what is left of it.
    ///
    /// # Errors
    ///
    /// The budget is used up.
    pub fn evaluate(
        &self,
        expressions: impl IntoIterator<Item = Option<&'a Expression>>,
        budget: i64,
    ) -> Result<(Vec<Option<Evaluated<'a>>>, i64), String> {
        let mut left = budget;
        let mut charged = vec![false; self.computed.len()];
        let mut results = Vec::new();
        for expression in expressions {
            let Some(expression) = expression else {
                results.push(None);
                continue;
            };
            let program = match &expression.program {
                Ok(program) => program,
                Err(error) => {
                    let value = Err(format!("compilation error: {error}"));
                    results.push(Some(Evaluated { value, elapsed: Duration::ZERO }));
                    continue;
                }
            };
            let begun = Instant::now();
            let (Outcome { value, cost }, mut uses) = self.run(program);
            let elapsed = begun.elapsed();
            let mut total = cost;
            // Each variable is paid for where it is first used.
            while let Some(computed) = uses.pop() {
                if !std::mem::replace(&mut charged[computed], true) {
                    total = total.saturating_add(self.computed[computed].cost);
                    uses.extend(&self.computed[computed].uses);
                }
            }
            left = match i64::try_from(total) {
                Ok(total) if total <= left => left - total,
                _ => return Err(OUT_OF_BUDGET.to_owned()),
            };
            let explain = |error| format!("expression '{}' resulted in error: {error}", expression.text);
            results.push(Some(Evaluated { value: value.map_err(explain), elapsed }));
        }
        Ok((results, left))
    }

    /// Whether all conditions are met. One that is false decides; otherwise one that fails does.
    ///
    /// # Errors
    ///
    /// What failed, in the order of the conditions.
    pub fn is_matched(
        &self,
        conditions: impl IntoIterator<Item = &'a Expression>,
        budget: i64,
    ) -> Result<bool, String> {
        let (results, _) = self.evaluate(conditions.into_iter().map(Some), budget)?;
        let results = || results.iter().flatten().map(|result| &result.value);
        if results().any(|result| matches!(result, Ok(Value::Bool(false)))) {
            return Ok(false);
        }
        let mut errors: Vec<&str> = Vec::new();
        for error in results().filter_map(|result| result.as_ref().err()) {
            if !errors.contains(&error.as_str()) {
                errors.push(error);
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            [one] => Err((*one).to_owned()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }
}

/// The object types of every policy.
pub fn object_types() -> DeclaredTypes {
    let object = |name: &str, fields: &[(&str, Type)]| {
        let fields = fields.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
        (name.to_owned(), fields)
    };
    let texts = || Type::list(Type::String);
    let by_name = |of| Type::map(Type::String, of);
    DeclaredTypes::of([
        object(
            "kubernetes.GroupVersionKind",
            &[("group", Type::String), ("version", Type::String), ("kind", Type::String)],
        ),
        object(
            "kubernetes.GroupVersionResource",
            &[("group", Type::String), ("version", Type::String), ("resource", Type::String)],
        ),
        object(
            "kubernetes.UserInfo",
            &[
                ("username", Type::String),
                ("uid", Type::String),
                ("groups", texts()),
                ("extra", by_name(texts())),
            ],
        ),
        object(
            REQUEST,
            &[
                ("kind", Type::object("kubernetes.GroupVersionKind")),
                ("resource", Type::object("kubernetes.GroupVersionResource")),
                ("subResource", Type::String),
                ("requestKind", Type::object("kubernetes.GroupVersionKind")),
                ("requestResource", Type::object("kubernetes.GroupVersionResource")),
                ("requestSubResource", Type::String),
                ("name", Type::String),
                ("namespace", Type::String),
                ("operation", Type::String),
                ("userInfo", Type::object("kubernetes.UserInfo")),
                ("dryRun", Type::Bool),
                ("options", Type::Dyn),
            ],
        ),
        object(
            "kubernetes.NamespaceMetadata",
            &[
                ("name", Type::String),
                ("generateName", Type::String),
                ("namespace", Type::String),
                ("labels", by_name(Type::String)),
                ("annotations", by_name(Type::String)),
                ("UID", Type::String),
                ("creationTimestamp", Type::Timestamp),
                ("deletionGracePeriodSeconds", Type::Int),
                ("deletionTimestamp", Type::Timestamp),
                ("generation", Type::Int),
                ("resourceVersion", Type::String),
                ("finalizers", texts()),
            ],
        ),
        object("kubernetes.NamespaceSpec", &[("finalizers", texts())]),
        object(
            "kubernetes.NamespaceCondition",
            &[
                ("status", Type::String),
                ("type", Type::String),
                ("lastTransitionTime", Type::Timestamp),
                ("message", Type::String),
                ("reason", Type::String),
            ],
        ),
        object(
            "kubernetes.NamespaceStatus",
            &[
                ("conditions", Type::list(Type::object("kubernetes.NamespaceCondition"))),
                ("phase", Type::String),
            ],
        ),
        object(
            NAMESPACE,
            &[
                ("metadata", Type::object("kubernetes.NamespaceMetadata")),
                ("spec", Type::object("kubernetes.NamespaceSpec")),
                ("status", Type::object("kubernetes.NamespaceStatus")),
            ],
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'r, 'a>(result: &'r Option<Evaluated<'a>>) -> Result<&'r Value<'a>, &'r String> {
        result.as_ref().unwrap().value.as_ref()
    }

    #[test]
    fn variables_do_not_nest_without_end() {
        let mut compiler = Compiler::new(false).composing();
        let mut variables = vec![("v0".to_owned(), compiler.variable("v0", "[0]"))];
        for at in 1..600 {
            let text = format!("[variables.v{}]", at - 1);
            variables.push((format!("v{at}"), compiler.variable(&format!("v{at}"), &text)));
        }
        let [middle, last] =
            ["variables.v99 == []", "variables.v599 == []"].map(|text| compiler.compile(text, Wanted::Bool));
        let scope =
            Scope::new(Vec::new(), variables.iter().map(|(name, variable)| (name.as_str(), variable)));
        let (results, _) = scope.evaluate([Some(&middle), Some(&last)], 1_000_000).unwrap();
        assert!(matches!(value(&results[0]), Ok(Value::Bool(false))), "{:?}", results[0]);
        let error = value(&results[1]).unwrap_err();
        assert!(error.contains("nested too deeply"), "{}", &error[error.len() - 200..]);
    }

    #[test]
    fn patches_know_more() {
        let compiler = Compiler::new(false);
        let error = |text: &str, wanted| compiler.compile_patch(text, wanted).error().map(str::to_owned);
        let (apply, steps) = (Wanted::Configuration, Wanted::JsonPatch);
        assert_eq!(error("Object{spec: Object.spec{n: object.spec.n}}", apply), None);
        assert_eq!(error("[JSONPatch{op: 'remove', path: '/' + jsonpatch.escapeKey('a')}]", steps), None);
        for (text, wanted, expected) in [
            ("'teapot'", apply, "must evaluate to Object but got string"),
            ("Object.spec.metadata{}", apply, "must evaluate to Object but got Object.spec.metadata"),
            ("Object{}", steps, "must evaluate to list(JSONPatch) but got Object"),
            ("[]", steps, "must evaluate to list(JSONPatch) but got list(dyn)"),
        ] {
            assert_eq!(error(text, wanted).as_deref(), Some(expected), "{text}");
        }
        for text in ["Object{} == Object{}", "jsonpatch.escapeKey('a') == 'a'"] {
            assert!(errors(text, Wanted::Bool).unwrap().contains("undeclared reference"), "{text}");
        }
    }

    fn errors(text: &str, wanted: Wanted) -> Option<String> {
        Compiler::new(false).compile(text, wanted).error().map(str::to_owned)
    }

    #[test]
    fn types_are_demanded() {
        assert_eq!(errors("object.a == 1", Wanted::Bool), None);
        assert_eq!(errors("1", Wanted::Bool).unwrap(), "must evaluate to bool but got int");
        assert_eq!(
            errors("1", Wanted::TextOrNull).unwrap(),
            "must evaluate to one of [string null_type] but got int"
        );
        assert!(
            errors("params.x", Wanted::Any).unwrap().starts_with("compilation failed: ERROR: <input>:1:1")
        );
        assert_eq!(errors("authorizer.requestResource.check('get').allowed()", Wanted::Bool), None);
    }

    #[test]
    fn variables_are_seen_in_order_and_paid_once() {
        let mut compiler = Compiler::new(false).composing();
        let variables = [
            ("a", compiler.variable("a", "object.n + 1")),
            ("b", compiler.variable("b", "variables.a * 2")),
            ("bad", compiler.variable("bad", "object.missing")),
        ];
        let both = compiler.compile("variables.b == 4 && variables.a == 2", Wanted::Bool);
        let bad = compiler.compile("variables.bad == 1", Wanted::Bool);
        let unknown = compiler.compile("variables.c", Wanted::Any);
        assert!(unknown.error().unwrap().contains("undefined field 'c'"));
        let object = serde_json::json!({ "n": 1 });
        let given = vec![("object", Value::json(&object))];
        let scope = Scope::new(given, variables.iter().map(|(name, variable)| (*name, variable)));
        let (results, left) = scope.evaluate([Some(&both), None, Some(&bad)], 100).unwrap();
        assert!(matches!(value(&results[0]), Ok(Value::Bool(true))));
        assert!(results[1].is_none());
        let error = value(&results[2]).unwrap_err();
        assert_eq!(
            error,
            "expression 'variables.bad == 1' resulted in error: composited variable \"bad\" fails to evaluate: no such key: missing"
        );
        assert!(left > 60, "{left}");
        assert_eq!(scope.evaluate([Some(&both)], 3).unwrap_err(), OUT_OF_BUDGET);
        assert_eq!(scope.is_matched([&both, &bad], 100).unwrap_err(), *error);
    }
}
