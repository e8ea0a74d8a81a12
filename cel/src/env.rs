//! What an expression may refer to: variables, functions and types.

use std::collections::HashMap;
use std::sync::Arc;

use crate::eval::Error;
use crate::syntax::Options;
use crate::types::Type;
use crate::value::Value;

/// How a function is computed, from values of the declared types.
pub type Implementation = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, Error>;

/// One signature of a function.
#[derive(Clone)]
pub struct Overload {
    /// The name of the signature, under which costs are found.
    pub id: &'static str,
    /// Whether the first argument stands before a dot.
    pub member: bool,
    /// The types of the arguments.
    pub args: Vec<Type>,
    /// The type of the result.
    pub result: Type,
    /// How it is computed, unless the function as a whole says so or the evaluator has a way of its own.
    pub call: Option<Implementation>,
}

/// How all signatures of a function are computed at once.
#[derive(Clone, Copy)]
pub struct Singleton {
    /// The implementation.
    pub call: Implementation,
    /// Whether the function is for values such as the first argument.
    pub accepts: fn(&Value<'_>) -> bool,
}

/// A function.
#[derive(Clone)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its signatures.
    pub overloads: Vec<Overload>,
    /// How it is computed, if not by signature.
    pub singleton: Option<Singleton>,
    /// Whether implementations look at the types of their arguments themselves.
    pub unguarded: bool,
}

/// A set of functions by name, and the types and constants that come with them.
#[derive(Clone, Default)]
pub struct Library {
    functions: HashMap<&'static str, Function>,
    types: HashMap<&'static str, Type>,
}

impl Library {
    /// Adds a signature of a function.
    pub fn overload(
        &mut self,
        name: &'static str,
        id: &'static str,
        member: bool,
        args: &[Type],
        result: Type,
        call: Option<Implementation>,
    ) {
        let overload = Overload { id, member, args: args.to_vec(), result, call };
        self.function(name).overloads.push(overload);
    }

    /// Adds a function `f(args)`.
    pub fn global(
        &mut self,
        name: &'static str,
        id: &'static str,
        args: &[Type],
        result: Type,
        call: Implementation,
    ) {
        self.overload(name, id, false, args, result, Some(call));
    }

    /// Adds a method `args[0].f(args[1..])`.
    pub fn member(
        &mut self,
        name: &'static str,
        id: &'static str,
        args: &[Type],
        result: Type,
        call: Implementation,
    ) {
        self.overload(name, id, true, args, result, Some(call));
    }

    /// The function of this name, for changes.
    pub fn function(&mut self, name: &'static str) -> &mut Function {
        self.functions.entry(name).or_insert_with(|| Function {
            name,
            overloads: Vec::new(),
            singleton: None,
            unguarded: false,
        })
    }

    /// Adds a type that expressions may name.
    pub fn named_type(&mut self, name: &'static str, ty: Type) {
        self.types.insert(name, ty);
    }
}

/// Types with fields.
pub trait Types: Send + Sync {
    /// Whether there is an object type of this name.
    fn is_object(&self, name: &str) -> bool;

    /// The type of a field of an object type.
    fn field(&self, object: &str, field: &str) -> Option<Type>;

    /// A new object. `None` if objects of the type can't be made in expressions.
    fn construct<'a>(
        &self,
        _object: &str,
        _fields: Vec<(Arc<str>, Value<'a>)>,
    ) -> Option<Result<Value<'a>, Error>> {
        None
    }
}

/// No types with fields.
pub struct NoTypes;

impl Types for NoTypes {
    fn is_object(&self, _name: &str) -> bool {
        false
    }

    fn field(&self, _object: &str, _field: &str) -> Option<Type> {
        None
    }
}

/// What an expression may refer to. Cloning is cheap.
#[derive(Clone)]
pub struct Env {
    library: Arc<Library>,
    types: Vec<Arc<dyn Types>>,
    variables: Vec<(Arc<str>, Type)>,
    pub(crate) options: Options,
}

impl Env {
    /// An environment of these functions, without variables.
    pub fn new(library: Arc<Library>) -> Self {
        Env { library, types: Vec::new(), variables: Vec::new(), options: Options::default() }
    }

    /// The same with other functions.
    pub fn library(self, library: Arc<Library>) -> Self {
        Env { library, ..self }
    }

    /// The same with one more variable. A later one hides an earlier one of the same name.
    pub fn variable(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.into(), ty));
        self
    }

    /// The same with more object types.
    pub fn object_types(mut self, types: Arc<dyn Types>) -> Self {
        self.types.push(types);
        self
    }

    /// The same with `cel.bind`.
    pub fn bindings(mut self) -> Self {
        self.options.bind = true;
        self
    }

    pub(crate) fn lookup_function(&self, name: &str) -> Option<&Function> {
        self.library.functions.get(name.trim_start_matches('.'))
    }

    pub(crate) fn lookup_variable(&self, name: &str) -> Option<&(Arc<str>, Type)> {
        self.variables.iter().rev().find(|(variable, _)| **variable == *name)
    }

    /// The type that a name denotes.
    pub(crate) fn lookup_type(&self, name: &str) -> Option<Type> {
        let object = || self.types.iter().any(|types| types.is_object(name)).then(|| Type::object(name));
        object().or_else(|| self.library.types.get(name).cloned())
    }

    pub(crate) fn is_object(&self, name: &str) -> bool {
        matches!(self.lookup_type(name), Some(Type::Struct(_)))
    }

    pub(crate) fn field(&self, object: &str, field: &str) -> Option<Type> {
        self.types.iter().find(|types| types.is_object(object))?.field(object, field)
    }

    pub(crate) fn constructor(&self, object: &str) -> Option<&Arc<dyn Types>> {
        self.types.iter().find(|types| types.is_object(object))
    }
}
