//! Expressions with what Kubernetes 1.36 makes of them: type, messages, bounds of cost, value, error, and cost.
//!
//! A line of `cases/*.jsonl` is one expression, with the schema and value of `self` if it has one. The expectations
//! were recorded from upstream's environment.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use cel::cost::{NoSizes, PER_CALL_LIMIT, Sizes, estimate};
use cel::kube::schema::Schema;
use cel::kube::types::{Declared, DeclaredTypes};
use cel::{Program, Type, Value, library, value};
use serde_json::Value as Json;

/// What came of an expression, in the form of the recorded expectations.
fn observe(case: &Json) -> Vec<(&'static str, String)> {
    let expression = case["expr"].as_str().unwrap();
    let root = case["root"].as_bool().unwrap_or_default();
    let schema = case.get("schema").map(|schema| Schema::new(schema, root));
    let declared = schema.as_ref().map(|schema| Declared::new(schema).unwrap());
    let mut env = library::base();
    if let Some(declared) = &declared {
        env = env
            .variable("self", declared.ty("selfType"))
            .object_types(Arc::new(DeclaredTypes::new("selfType", declared)));
    } else if case.get("self").is_some() {
        env = env.variable("self", Type::Dyn);
    }
    let checked = match env.compile(expression) {
        Ok(checked) => checked,
        Err(issues) => return vec![("issues", issues.to_string())],
    };
    let sizes: &dyn Sizes = declared.as_ref().map_or(&NoSizes, |declared| declared);
    let cost = estimate(&checked, sizes);
    let mut seen = vec![("min", cost.min.to_string()), ("max", cost.max.to_string())];
    let program = match Program::new(&checked, &env) {
        Ok(program) => program,
        Err(error) => {
            seen.push(("program", error.to_string()));
            return seen;
        }
    };
    let mut variables = Vec::new();
    if let Some(data) = case.get("self") {
        let value = match &schema {
            Some(schema) => Value::typed(data, schema),
            None => Ok(Value::json(data)),
        };
        variables.push(("self", value.unwrap()));
    }
    let outcome = program.evaluate(&variables, PER_CALL_LIMIT);
    seen.push(("cost", outcome.cost.to_string()));
    seen.push(match outcome.value {
        Ok(value) => ("value", value::literal(&value)),
        Err(error) => ("error", error.to_string()),
    });
    seen
}

fn run(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let (mut count, mut wrong) = (0, String::new());
    for line in text.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        count += 1;
        let seen = observe(&case);
        let mut differences = String::new();
        for name in ["issues", "min", "max", "program", "cost", "value", "error"] {
            let expected = case[name].as_str();
            let found = seen.iter().find(|(seen, _)| *seen == name).map(|(_, value)| value.as_str());
            if expected != found {
                let _ = write!(
                    differences,
                    "\n    {name}: expected {expected:?}\n    {name}: found    {found:?}"
                );
            }
        }
        if !differences.is_empty() {
            let _ = write!(wrong, "\n  {}{differences}", case["expr"]);
        }
    }
    assert!(count > 0);
    assert!(wrong.is_empty(), "{file}:{wrong}");
}

#[test]
fn syntax() {
    run("syntax.jsonl");
}

#[test]
fn language() {
    run("language.jsonl");
}

#[test]
fn libraries() {
    run("libraries.jsonl");
}

#[test]
fn more() {
    run("more.jsonl");
}

#[test]
fn objects() {
    run("objects.jsonl");
}
