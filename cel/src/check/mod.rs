//! The type checker: finds the type of every node and the functions that calls mean, with cel-go's rules and
//! messages.

mod unify;
mod validate;

use std::sync::Arc;

use crate::env::{Env, Function};
use crate::source::{Issues, Location};
use crate::syntax::{Ast, Expr, Id, Kind, Literal, op};
use crate::types::Type;
use unify::{Mapping, most_general};

/// What a name or call means.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    /// The variable or, with its type, the type of this name.
    Ident(Arc<str>, Option<Type>),
    /// The signatures that may be meant; more than one if only evaluation can tell.
    Overloads(Vec<&'static str>),
}

/// An expression whose types are known.
#[derive(Clone)]
pub struct Checked {
    /// The tree, with names resolved.
    pub ast: Ast,
    types: Vec<Type>,
    references: Vec<Option<Reference>>,
}

impl Checked {
    /// The type of a node.
    pub fn type_of(&self, id: Id) -> &Type {
        self.types.get(id as usize).unwrap_or(&Type::Dyn)
    }

    /// The type of the whole.
    pub fn output(&self) -> &Type {
        self.type_of(self.ast.root.id)
    }

    /// What a node means.
    pub fn reference(&self, id: Id) -> Option<&Reference> {
        self.references.get(id as usize)?.as_ref()
    }

    /// Whether the expression uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.references.iter().flatten().any(|reference| match reference {
            Reference::Ident(name, None) => **name == *variable,
            _ => false,
        })
    }

    pub(crate) fn overloads(&self, id: Id) -> &[&'static str] {
        match self.reference(id) {
            Some(Reference::Overloads(ids)) => ids,
            _ => &[],
        }
    }
}

/// Checks a parsed expression.
///
/// # Errors
///
/// All errors of type, then, if there are none, all literals that are wrong.
pub fn check(ast: Ast, env: &Env) -> Result<Checked, Issues> {
    let Ast { mut root, source, offsets } = ast;
    let empty = Ast { root: Expr { id: 0, kind: Kind::Unspecified }, source, offsets };
    let mut checker = Checker {
        env,
        issues: Issues::new(&empty.source),
        types: vec![None; empty.offsets.len()],
        references: vec![None; empty.offsets.len()],
        ast: empty,
        mapping: Mapping::default(),
        scopes: Vec::new(),
    };
    checker.check(&mut root);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let Checker { ast, types, references, mapping, mut issues, .. } = checker;
    let types =
        types.into_iter().map(|ty| ty.map_or(Type::Dyn, |ty| mapping.substitute(&ty, true))).collect();
    let checked = Checked { ast: Ast { root, ..ast }, types, references };
    validate::validate(&checked, &mut issues);
    if issues.is_empty() { Ok(checked) } else { Err(issues) }
}

struct Checker<'e> {
    env: &'e Env,
    issues: Issues,
    ast: Ast,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
    mapping: Mapping,
    scopes: Vec<(Arc<str>, Type)>,
}

impl Checker<'_> {
    fn report(&mut self, at: Id, message: String) {
        let location: Location = self.ast.location(at);
        self.issues.report(location, message);
    }

    fn undeclared(&mut self, at: Id, name: &str) {
        self.report(at, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn mismatch(&mut self, at: Id, expected: &Type, found: &Type) {
        self.report(at, format!("expected type '{expected}' but found '{found}'"));
    }

    fn set(&mut self, id: Id, ty: Type) {
        if let Some(slot) = self.types.get_mut(id as usize) {
            *slot = Some(ty);
        }
    }

    fn get(&self, id: Id) -> Type {
        self.types.get(id as usize).cloned().flatten().unwrap_or(Type::Dyn)
    }

    fn refer(&mut self, id: Id, reference: Reference) {
        if let Some(slot) = self.references.get_mut(id as usize) {
            *slot = Some(reference);
        }
    }

    /// The variable or type that a name means: its full name, its type, and the type it denotes.
    fn lookup(&self, name: &str) -> Option<(Arc<str>, Type, Option<Type>)> {
        let absolute = name.starts_with('.');
        let name = name.trim_start_matches('.');
        if !absolute && let Some((name, ty)) = self.scopes.iter().rev().find(|(local, _)| **local == *name) {
            return Some((name.clone(), ty.clone(), None));
        }
        if let Some((name, ty)) = self.env.lookup_variable(name) {
            return Some((name.clone(), ty.clone(), None));
        }
        let ty = self.env.lookup_type(name)?;
        Some((name.into(), Type::Type(Arc::new(ty.clone())), Some(ty)))
    }

    fn check(&mut self, expr: &mut Expr) {
        crate::syntax::with_stack(|| self.check_node(expr));
    }

    fn check_node(&mut self, expr: &mut Expr) {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Unspecified => self.set(id, Type::Error),
            Kind::Literal(literal) => {
                let ty = literal_type(literal);
                self.set(id, ty);
            }
            Kind::Ident(name) => match self.lookup(name) {
                Some((full, ty, denoted)) => {
                    *name = full.clone();
                    self.set(id, ty);
                    self.refer(id, Reference::Ident(full, denoted));
                }
                None => {
                    let name = name.clone();
                    self.set(id, Type::Error);
                    self.undeclared(id, &name);
                }
            },
            Kind::Select(_) => self.check_select(expr),
            Kind::Call(_) => self.check_call(expr),
            Kind::List(elements) => {
                let mut joined = None;
                for (element, optional) in elements {
                    self.check(element);
                    let ty = self.get(element.id);
                    let ty = if *optional { self.unwrapped(element.id, ty) } else { ty };
                    joined = Some(self.join(joined, ty));
                }
                let element = joined.unwrap_or_else(|| self.mapping.fresh());
                self.set(id, Type::list(element));
            }
            Kind::Map(entries) => {
                let mut joined = None;
                for entry in entries {
                    self.check(&mut entry.key);
                    let key = self.get(entry.key.id);
                    let (keys, values) =
                        joined.map_or((None, None), |(keys, values)| (Some(keys), Some(values)));
                    let keys = self.join(keys, key);
                    self.check(&mut entry.value);
                    let value = self.get(entry.value.id);
                    let value = if entry.optional { self.unwrapped(entry.value.id, value) } else { value };
                    joined = Some((keys, self.join(values, value)));
                }
                let (key, value) = joined.unwrap_or_else(|| (self.mapping.fresh(), self.mapping.fresh()));
                self.set(id, Type::map(key, value));
            }
            Kind::Struct(_) => self.check_struct(expr),
            Kind::Comprehension(_) => self.check_fold(expr),
        }
    }

    /// What an optional element holds.
    fn unwrapped(&mut self, at: Id, ty: Type) -> Type {
        if let Some(of) = ty.as_optional() {
            return of.clone();
        }
        if ty != Type::Dyn {
            self.mismatch(at, &Type::optional(ty.clone()), &ty);
        }
        ty
    }

    /// The type of elements of both types. Mixed literals are refused afterwards, unless a text is formatted from
    /// them.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        match previous {
            None => current,
            Some(previous) if self.mapping.assignable(&previous, &current) => {
                most_general(&previous, &current).clone()
            }
            Some(_) => Type::Dyn,
        }
    }

    fn check_select(&mut self, expr: &mut Expr) {
        let id = expr.id;
        if let Some(name) = expr.qualified_name()
            && let Some((full, ty, denoted)) = self.lookup(&name)
        {
            expr.kind = Kind::Ident(full.clone());
            self.set(id, ty);
            self.refer(id, Reference::Ident(full, denoted));
            return;
        }
        let Kind::Select(select) = &mut expr.kind else { return };
        let ty = self.field_type(id, &mut select.operand, &select.field, false);
        let ty = if select.test_only { Type::Bool } else { self.mapping.substitute(&ty, false) };
        self.set(id, ty);
    }

    fn field_type(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let operand = self.mapping.substitute(&self.get(operand.id), false);
        let (target, was_optional) = match operand.as_optional() {
            Some(of) => (of.clone(), true),
            None => (operand, false),
        };
        let result = match &target {
            Type::Map(of) => of.1.clone(),
            Type::Struct(name) => match self.env.field(name, field) {
                Some(ty) => ty,
                None => {
                    self.report(id, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Var(_) => {
                self.mapping.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            _ => {
                self.report(id, format!("type '{target}' does not support field selection"));
                Type::Dyn
            }
        };
        if optional || was_optional { Type::optional(result) } else { result }
    }

    fn check_call(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call(call) = &mut expr.kind else { return };
        if *call.function == *op::OPT_SELECT && call.target.is_none() {
            let [operand, field] = call.args.as_mut_slice() else { return };
            let Some(Literal::String(name)) = field.as_literal().cloned() else { return };
            self.set(field.id, Type::String);
            let ty = self.field_type(id, operand, &name, true);
            let ty = self.mapping.substitute(&ty, false);
            self.set(id, ty);
            self.refer(id, Reference::Overloads(vec!["select_optional_field"]));
            return;
        }
        for arg in &mut call.args {
            self.check(arg);
        }
        let env = self.env;
        if let Some(target) = &mut call.target {
            let qualified = target.qualified_name().map(|prefix| format!("{prefix}.{}", call.function));
            if let Some(function) = qualified.and_then(|name| env.lookup_function(&name)) {
                call.function = function.name.into();
                call.target = None;
                self.resolve(id, function, false, &call.args, None);
                return;
            }
            self.check(target);
        }
        let Some(function) = env.lookup_function(&call.function) else {
            let name = call.function.clone();
            self.set(id, Type::Error);
            self.undeclared(id, &name);
            return;
        };
        call.function = function.name.into();
        self.resolve(id, function, call.target.is_some(), &call.args, call.target.as_ref());
    }

    /// Finds the signatures of a function that a call may mean.
    fn resolve(&mut self, id: Id, function: &Function, member: bool, args: &[Expr], target: Option<&Expr>) {
        let mut types: Vec<Type> = target.into_iter().chain(args).map(|arg| self.get(arg.id)).collect();
        if matches!(function.name, op::AND | op::OR) {
            let mut wrong = false;
            for (arg, ty) in args.iter().zip(&types) {
                if !self.mapping.assignable(ty, &Type::Bool) {
                    self.mismatch(arg.id, &Type::Bool, ty);
                    wrong = true;
                }
            }
            let overload = function.overloads.first().map_or("", |overload| overload.id);
            self.refer(id, Reference::Overloads(vec![overload]));
            self.set(id, if wrong { Type::Error } else { Type::Bool });
            return;
        }
        let (mut found, mut result) = (Vec::new(), None::<Type>);
        for overload in function.overloads.iter().filter(|overload| overload.member == member) {
            let mut names: Vec<(&str, Type)> = Vec::new();
            let mapping = &mut self.mapping;
            let mut instantiate = |ty: &Type| {
                ty.replace(&mut |part| match part {
                    Type::Param(name) => Some(match names.iter().find(|(known, _)| known == name) {
                        Some((_, var)) => var.clone(),
                        None => {
                            let var = mapping.fresh();
                            names.push((*name, var.clone()));
                            var
                        }
                    }),
                    _ => None,
                })
            };
            let wanted: Vec<Type> = overload.args.iter().map(&mut instantiate).collect();
            let returned = instantiate(&overload.result);
            if !self.mapping.all_assignable(&types, &wanted) {
                continue;
            }
            found.push(overload.id);
            let returned = self.mapping.substitute(&returned, false);
            result = Some(match result {
                None => returned,
                Some(Type::Dyn) => Type::Dyn,
                Some(first) if first == returned => first,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(ty) => {
                self.set(id, ty);
                self.refer(id, Reference::Overloads(found));
            }
            None => {
                types.iter_mut().for_each(|ty| *ty = self.mapping.substitute(ty, true));
                let (receiver, args) = if member { types.split_at(1) } else { types.split_at(0) };
                let receiver: String = receiver.iter().map(|ty| format!("{ty}.")).collect();
                let args: Vec<String> = args.iter().map(Type::to_string).collect();
                let message = format!(
                    "found no matching overload for '{}' applied to '{receiver}({})'",
                    function.name,
                    args.join(", ")
                );
                self.report(id, message);
                self.set(id, Type::Error);
            }
        }
    }

    fn check_struct(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Struct(object) = &mut expr.kind else { return };
        let Some((name, ty, denoted)) = self.lookup(&object.name) else {
            let name = object.name.clone();
            self.undeclared(id, &name);
            self.set(id, Type::Error);
            return;
        };
        object.name = name.clone();
        let constructed = match denoted {
            Some(Type::Struct(_)) if self.env.is_object(&name) => Type::Struct(name.clone()),
            Some(other) => {
                self.report(id, format!("'{}' is not a message type", other.name()));
                Type::Error
            }
            None => {
                self.report(id, format!("'{}' is not a type", ty.name()));
                Type::Error
            }
        };
        self.refer(id, Reference::Ident(name.clone(), Some(constructed.clone())));
        self.set(id, constructed.clone());
        for field in &mut object.fields {
            self.check(&mut field.value);
            let wanted = match &constructed {
                Type::Struct(_) => match self.env.field(&name, &field.name) {
                    Some(ty) => ty,
                    None => {
                        self.report(field.id, format!("undefined field '{}'", field.name));
                        Type::Error
                    }
                },
                _ => {
                    self.report(field.id, format!("unexpected failed resolution of '{name}'"));
                    Type::Error
                }
            };
            let value = self.get(field.value.id);
            let value = if field.optional { self.unwrapped(field.value.id, value) } else { value };
            if !self.mapping.assignable(&wanted, &value) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{value}'",
                    field.name
                );
                self.report(field.id, message);
            }
        }
    }

    fn check_fold(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Comprehension(fold) = &mut expr.kind else { return };
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.mapping.substitute(&self.get(fold.range.id), false);
        let accu = self.get(fold.init.id);
        let two = fold.var2.is_some();
        let (first, second) = match &range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(of) => of.as_ref().clone(),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.mapping.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            _ => {
                let message = format!(
                    "expression of type '{range}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let outside = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.check(&mut fold.condition);
        self.assert(fold.condition.id, &Type::Bool);
        self.check(&mut fold.step);
        self.assert(fold.step.id, &accu);
        self.scopes.truncate(outside + 1);
        self.check(&mut fold.result);
        self.scopes.truncate(outside);
        let ty = self.mapping.substitute(&self.get(fold.result.id), false);
        self.set(id, ty);
    }

    fn assert(&mut self, at: Id, wanted: &Type) {
        let found = self.get(at);
        if !self.mapping.assignable(wanted, &found) {
            self.mismatch(at, wanted, &found);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
