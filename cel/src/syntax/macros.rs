//! Calls that are rewritten while parsing: `has`, the loops, and bindings.

use std::sync::Arc;

use super::ast::{Call, Comprehension, Entry, Expr, Id, Kind, Literal, Select, StructField, op};
use super::parser::{Parser, SIZE_MAX, call};

/// The variable of a loop's accumulator. It can't be written in source text.
const ACCU: &str = "@result";
/// What the accumulator was once called; still not to be taken for a loop variable.
const OLD_ACCU: &str = "__result__";
const UNUSED: &str = "#unused";
/// How many nodes an expression may have whose parts are copied; more than macros make of the longest text without.
const NODES_MAX: usize = 2 * SIZE_MAX;
const SORT_INPUT: &str = "@__sortBy_input__";

/// A macro's arguments are wrong: where, and why.
struct Wrong(Id, String);

type Expanded = Result<Expr, Wrong>;

/// A loop apart from what it runs over.
struct Fold {
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

impl Parser<'_> {
    /// The call, or what the macro of that name makes of it.
    pub(super) fn expand(
        &mut self,
        id: Id,
        function: Arc<str>,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Expr {
        let is_macro = match (&*function, args.len(), &target) {
            ("has", 1, None) => true,
            ("all" | "exists" | "exists_one" | "map" | "filter", 2, Some(_)) => true,
            ("optMap" | "optFlatMap" | "sortBy", 2, Some(_)) => true,
            ("all" | "exists" | "exists_one" | "existsOne" | "map", 3, Some(_)) => true,
            ("transformList" | "transformMap" | "transformMapEntry", 3 | 4, Some(_)) => true,
            ("bind", 3, Some(target)) => {
                self.options.bind && target.as_ident().is_some_and(|name| &**name == "cel")
            }
            _ => false,
        };
        if !is_macro {
            return Expr { id, kind: Kind::Call(Call { function, target, args }.into()) };
        }
        let mut builder = Builder { parser: self, at: id };
        let expanded = match target {
            None => builder.has(args),
            Some(target) => builder.method(&function, target, args),
        };
        expanded.unwrap_or_else(|Wrong(at, message)| {
            self.report(at, &message);
            Expr { id, kind: Kind::Unspecified }
        })
    }
}

/// Makes nodes at the place of the call that is expanded.
struct Builder<'p, 'a> {
    parser: &'p mut Parser<'a>,
    at: Id,
}

impl Builder<'_, '_> {
    fn node(&mut self, kind: Kind) -> Expr {
        Expr { id: self.parser.id_at(self.at), kind }
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(Kind::Literal(literal))
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.into()))
    }

    fn accu(&mut self) -> Expr {
        self.ident(ACCU)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        let id = self.parser.id_at(self.at);
        call(id, function, args)
    }

    fn method(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Expanded {
        match function {
            "bind" => {
                let result = args.pop();
                let value = args.pop();
                let name = name(&args[0], "cel.bind() variable names must be simple identifiers")?;
                let (Some(value), Some(result)) = (value, result) else {
                    return Err(Wrong(self.at, String::new()));
                };
                Ok(self.bind(name, value, result))
            }
            "optMap" | "optFlatMap" => self.optional(function, target, args),
            "sortBy" => self.sort_by(target, args),
            "transformList" | "transformMap" | "transformMapEntry" => {
                self.two_variables(function, target, args)
            }
            "map" | "filter" => {
                let var = loop_variable(&args[0], "argument is not an identifier")?;
                let fold = self.gather(function, args);
                Ok(self.comprehension(target, var, None, ACCU, fold))
            }
            _ if args.len() == 3 => self.two_variables(function, target, args),
            _ => {
                let var = loop_variable(&args[0], "argument must be a simple name")?;
                let predicate = args.swap_remove(1);
                let fold = self.quantifier(function, predicate);
                Ok(self.comprehension(target, var, None, ACCU, fold))
            }
        }
    }

    fn comprehension(
        &mut self,
        range: Expr,
        var: Arc<str>,
        var2: Option<Arc<str>>,
        accu: &str,
        fold: Fold,
    ) -> Expr {
        let Fold { init, condition, step, result } = fold;
        let accu = accu.into();
        self.node(Kind::Comprehension(
            Comprehension { range, var, var2, accu, init, condition, step, result }.into(),
        ))
    }

    fn has(&mut self, mut args: Vec<Expr>) -> Expanded {
        let arg = args.swap_remove(0);
        match arg.kind {
            Kind::Select(select) => Ok(self.node(Kind::Select(Select { test_only: true, ..*select }.into()))),
            _ => Err(Wrong(arg.id, "invalid argument to has() macro".into())),
        }
    }

    /// `all`, `exists` and `exists_one`.
    fn quantifier(&mut self, function: &str, predicate: Expr) -> Fold {
        match function {
            "all" => {
                let init = self.literal(Literal::Bool(true));
                let accu = self.accu();
                let condition = self.call(op::NOT_STRICTLY_FALSE, vec![accu]);
                let accu = self.accu();
                let step = self.call(op::AND, vec![accu, predicate]);
                Fold { init, condition, step, result: self.accu() }
            }
            "exists" => {
                let init = self.literal(Literal::Bool(false));
                let accu = self.accu();
                let not = self.call(op::NOT, vec![accu]);
                let condition = self.call(op::NOT_STRICTLY_FALSE, vec![not]);
                let accu = self.accu();
                let step = self.call(op::OR, vec![accu, predicate]);
                Fold { init, condition, step, result: self.accu() }
            }
            _ => {
                let init = self.literal(Literal::Int(0));
                let condition = self.literal(Literal::Bool(true));
                let next = [self.accu(), self.literal(Literal::Int(1))];
                let next = self.call(op::ADD, next.into());
                let accu = self.accu();
                let step = self.call(op::CONDITIONAL, vec![predicate, next, accu]);
                let one = [self.accu(), self.literal(Literal::Int(1))];
                let result = self.call(op::EQ, one.into());
                Fold { init, condition, step, result }
            }
        }
    }

    /// A fold that adds to its accumulator, under a condition if there is one.
    fn adding(&mut self, init: Kind, filter: Option<Expr>, next: Expr) -> Fold {
        let init = self.node(init);
        let condition = self.literal(Literal::Bool(true));
        let step = match filter {
            None => next,
            Some(filter) => {
                let accu = self.accu();
                self.call(op::CONDITIONAL, vec![filter, next, accu])
            }
        };
        Fold { init, condition, step, result: self.accu() }
    }

    fn appended(&mut self, element: Expr) -> Expr {
        let accu = self.accu();
        let list = self.node(Kind::List(vec![(element, false)]));
        self.call(op::ADD, vec![accu, list])
    }

    /// `map` and `filter`.
    fn gather(&mut self, function: &str, mut args: Vec<Expr>) -> Fold {
        let (filter, element) = match (function, args.len()) {
            ("filter", _) => {
                let filter = args.pop();
                (filter, args.swap_remove(0))
            }
            (_, 2) => (None, args.swap_remove(1)),
            _ => {
                let element = args.swap_remove(2);
                (args.pop(), element)
            }
        };
        let next = self.appended(element);
        self.adding(Kind::List(Vec::new()), filter, next)
    }

    fn two_variables(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Expanded {
        const SIMPLE: &str = "argument must be a simple name";
        let var = name(&args[0], SIMPLE)?;
        let var2 = name(&args[1], SIMPLE)?;
        if var == var2 {
            return Err(Wrong(args[1].id, format!("duplicate variable name: {var}")));
        }
        loop_variable(&args[0], SIMPLE)?;
        loop_variable(&args[1], SIMPLE)?;
        let Some(last) = args.pop() else { return Err(Wrong(target.id, SIMPLE.into())) };
        let filter = if args.len() == 3 { args.pop() } else { None };
        let fold = match function {
            "transformList" => {
                let next = self.appended(last);
                self.adding(Kind::List(Vec::new()), filter, next)
            }
            "transformMap" => {
                let arguments = vec![self.accu(), self.ident(&var), last];
                let next = self.call(op::MAP_INSERT, arguments);
                self.adding(Kind::Map(Vec::new()), filter, next)
            }
            "transformMapEntry" => {
                let arguments = vec![self.accu(), last];
                let next = self.call(op::MAP_INSERT, arguments);
                self.adding(Kind::Map(Vec::new()), filter, next)
            }
            _ => self.quantifier(function, last),
        };
        Ok(self.comprehension(target, var, Some(var2), ACCU, fold))
    }

    /// Names a value, which is computed when it is first used.
    fn bind(&mut self, name: Arc<str>, value: Expr, result: Expr) -> Expr {
        let range = self.node(Kind::List(Vec::new()));
        let condition = self.literal(Literal::Bool(false));
        let step = self.ident(&name);
        let fold = Fold { init: value, condition, step, result };
        self.comprehension(range, UNUSED.into(), None, &name, fold)
    }

    fn optional(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Expanded {
        let message = format!("{function}() variable name must be a simple identifier");
        let var = name(&args[0], &message)?;
        let mapped = args.swap_remove(1);
        // Each copy may double an expression, of which one may follow the other.
        if self.parser.nodes() > NODES_MAX {
            return Err(Wrong(self.at, format!("expression node count exceeds limit: {NODES_MAX}")));
        }
        let copy = self.copy(&target);
        let has_value = self.receiver("hasValue", target, Vec::new());
        let value = self.receiver("value", copy, Vec::new());
        let mut some = self.bind(var, value, mapped);
        if function == "optMap" {
            some = self.call("optional.of", vec![some]);
        }
        let none = self.call("optional.none", Vec::new());
        Ok(self.call(op::CONDITIONAL, vec![has_value, some, none]))
    }

    fn receiver(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        let call = Call { function: function.into(), target: Some(target), args };
        self.node(Kind::Call(call.into()))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Expanded {
        let sortable = matches!(
            target.kind,
            Kind::List(_) | Kind::Select(_) | Kind::Ident(_) | Kind::Comprehension(_) | Kind::Call(_)
        );
        if !sortable {
            let message =
                "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err(Wrong(target.id, message.into()));
        }
        let var = loop_variable(&args[0], "argument is not an identifier")?;
        let fold = self.gather("map", args);
        let input = self.ident(SORT_INPUT);
        let keys = self.comprehension(input, var, None, ACCU, fold);
        let input = self.ident(SORT_INPUT);
        let sorted = self.receiver("@sortByAssociatedKeys", input, vec![keys]);
        Ok(self.bind(SORT_INPUT.into(), target, sorted))
    }

    /// A copy with ids of its own.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let id = self.parser.id_at(expr.id);
        let kind = match &expr.kind {
            kind @ (Kind::Unspecified | Kind::Literal(_) | Kind::Ident(_)) => kind.clone(),
            Kind::Select(select) => {
                Kind::Select(Select { operand: self.copy(&select.operand), ..(**select).clone() }.into())
            }
            Kind::Call(call) => {
                let target = call.target.as_ref().map(|target| self.copy(target));
                let args = call.args.iter().map(|arg| self.copy(arg)).collect();
                Kind::Call(Call { function: call.function.clone(), target, args }.into())
            }
            Kind::List(elements) => Kind::List(
                elements.iter().map(|(element, optional)| (self.copy(element), *optional)).collect(),
            ),
            Kind::Map(entries) => {
                let copy = |entry: &Entry| Entry {
                    id: self.parser.id_at(entry.id),
                    key: self.copy(&entry.key),
                    value: self.copy(&entry.value),
                    optional: entry.optional,
                };
                Kind::Map(entries.iter().map(copy).collect())
            }
            Kind::Struct(object) => {
                let mut object = object.clone();
                for field in &mut object.fields {
                    let value = self.copy(&field.value);
                    *field = StructField { id: self.parser.id_at(field.id), value, ..field.clone() };
                }
                Kind::Struct(object)
            }
            Kind::Comprehension(fold) => {
                let mut fold = fold.clone();
                fold.range = self.copy(&fold.range);
                fold.init = self.copy(&fold.init);
                fold.condition = self.copy(&fold.condition);
                fold.step = self.copy(&fold.step);
                fold.result = self.copy(&fold.result);
                Kind::Comprehension(fold)
            }
        };
        Expr { id, kind }
    }
}

fn name(expr: &Expr, message: &str) -> Result<Arc<str>, Wrong> {
    expr.as_ident().cloned().ok_or_else(|| Wrong(expr.id, message.to_owned()))
}

fn loop_variable(expr: &Expr, message: &str) -> Result<Arc<str>, Wrong> {
    let name = name(expr, message)?;
    if *name == *ACCU || *name == *OLD_ACCU {
        return Err(Wrong(expr.id, "iteration variable overwrites accumulator variable".into()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use crate::syntax::{Options, parse};

    #[test]
    fn copies_of_copies_end() {
        let chained = |count: usize| format!("optional.of(1){}", ".optMap(v, v + 1)".repeat(count));
        assert!(parse(&chained(8), Options::default()).is_ok());
        let issues = parse(&chained(100), Options::default()).unwrap_err();
        assert!(issues.to_string().contains("expression node count exceeds limit: 200000"), "{issues}");
    }
}
