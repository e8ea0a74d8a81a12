//! Checks of literals that types alone don't make: times, patterns, formats, and lists and maps of mixed types.

use super::Checked;
use crate::library::{pattern, text_format};
use crate::source::Issues;
use crate::syntax::{Call, Expr, Kind, Literal};
use crate::types::Type;
use crate::value::{Value, convert::convert};

pub(super) fn validate(checked: &Checked, issues: &mut Issues) {
    visit(checked, issues, &checked.ast.root, false);
}

/// `formatted` says whether the node is part of a call of `format`, which takes lists of mixed types.
fn visit(checked: &Checked, issues: &mut Issues, expr: &Expr, formatted: bool) {
    let mut inside = formatted;
    match &expr.kind {
        Kind::Call(call) => {
            inside |= *call.function == *"format";
            literals(checked, issues, expr, call);
        }
        Kind::List(elements) if !formatted => {
            let types =
                elements.iter().map(|(element, optional)| (element, of_entry(checked, element, *optional)));
            let mut first = None;
            for (element, ty) in types {
                let first = first.get_or_insert(ty);
                if !first.is_equivalent(ty) {
                    mismatch(checked, issues, element, first, ty);
                    break;
                }
            }
        }
        Kind::Map(entries) if !formatted => {
            let mut first = None;
            for entry in entries {
                let key = checked.type_of(entry.key.id);
                let value = of_entry(checked, &entry.value, entry.optional);
                let (keys, values) = first.get_or_insert((key, value));
                if !keys.is_equivalent(key) {
                    mismatch(checked, issues, &entry.key, keys, key);
                }
                if !values.is_equivalent(value) {
                    mismatch(checked, issues, &entry.value, values, value);
                }
            }
        }
        _ => {}
    }
    let mut children = Vec::new();
    expr.children(&mut |child| children.push(child));
    crate::syntax::with_stack(|| {
        for child in children {
            visit(checked, issues, child, inside);
        }
    });
}

fn of_entry<'c>(checked: &'c Checked, expr: &Expr, optional: bool) -> &'c Type {
    let ty = checked.type_of(expr.id);
    if optional { ty.as_optional().unwrap_or(ty) } else { ty }
}

fn mismatch(checked: &Checked, issues: &mut Issues, at: &Expr, expected: &Type, found: &Type) {
    let message = format!("expected type '{expected}' but found '{found}'");
    issues.report(checked.ast.location(at.id), message);
}

fn literals(checked: &Checked, issues: &mut Issues, expr: &Expr, call: &Call) {
    if let Some(literal) = call.args.first().and_then(Expr::as_literal) {
        let valid = match (&*call.function, literal) {
            ("duration", literal) => converts(literal, &Type::Duration),
            ("timestamp", literal) => converts(literal, &Type::Timestamp),
            ("matches", Literal::String(text)) => pattern::compile(text).is_ok(),
            _ => true,
        };
        if !valid {
            let message = format!("invalid {} argument", call.function);
            issues.report(checked.ast.location(call.args[0].id), message);
        }
    }
    if let ("format", Some(target), [Expr { kind: Kind::List(args), .. }]) =
        (&*call.function, &call.target, call.args.as_slice())
        && let Some(Literal::String(template)) = target.as_literal()
    {
        format(checked, issues, expr, template, args);
    }
}

fn converts(literal: &Literal, to: &Type) -> bool {
    match literal {
        Literal::String(text) => convert(&Value::str(text), to).is_ok(),
        Literal::Int(number) => convert(&Value::Int(*number), to).is_ok(),
        _ => true,
    }
}

fn format(checked: &Checked, issues: &mut Issues, expr: &Expr, template: &str, args: &[(Expr, bool)]) {
    let mut wrong = expr.id;
    let mut used = 0;
    let formatted = text_format::each_clause(template, args.len(), &mut |clause, index| {
        used += 1;
        let (arg, _) = &args[index];
        match unfit(checked, arg, clause.verb) {
            Some(part) => {
                wrong = part.id;
                Err(text_format::refusal(clause.verb, checked.type_of(part.id).name()))
            }
            None => Ok(String::new()),
        }
    });
    match formatted {
        Err(error) => issues.report(checked.ast.location(wrong), error.to_string()),
        Ok(_) if args.len() > used => {
            let message =
                format!("too many arguments supplied to string.format (expected {used}, got {})", args.len());
            issues.report(checked.ast.location(expr.id), message);
        }
        Ok(_) => {}
    }
}

/// The part of an argument that can't be formatted so.
fn unfit<'e>(checked: &Checked, arg: &'e Expr, verb: char) -> Option<&'e Expr> {
    let ty = checked.type_of(arg.id);
    let fits = matches!(
        (verb, ty),
        (_, Type::Dyn)
            | ('d' | 'o' | 'b' | 'x' | 'X', Type::Int | Type::Uint)
            | ('f' | 'e', Type::Double | Type::String)
            | ('b', Type::Bool)
            | ('x' | 'X', Type::String | Type::Bytes)
            | (
                's',
                Type::List(_)
                    | Type::Map(_)
                    | Type::Int
                    | Type::Uint
                    | Type::Double
                    | Type::Bool
                    | Type::String
                    | Type::Timestamp
                    | Type::Bytes
                    | Type::Duration
                    | Type::Type(_)
                    | Type::Null
            )
    );
    if !fits {
        return Some(arg);
    }
    match (&arg.kind, verb) {
        (Kind::List(elements), 's') => elements.iter().find_map(|(element, _)| unfit(checked, element, verb)),
        (Kind::Map(entries), 's') => entries.iter().find_map(|entry| {
            unfit(checked, &entry.key, verb).or_else(|| unfit(checked, &entry.value, verb))
        }),
        _ => None,
    }
}
