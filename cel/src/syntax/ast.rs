//! The syntax tree.

use std::sync::Arc;

use crate::source::{Location, Source};

/// Names a node within its tree. Ids begin at 1.
pub type Id = u32;

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// The node's id.
    pub id: Id,
    /// What the node is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Something that could not be parsed.
    Unspecified,
    /// A constant.
    Literal(Literal),
    /// A name.
    Ident(Arc<str>),
    /// `operand.field`.
    Select(Box<Select>),
    /// An operator, function or method.
    Call(Box<Call>),
    /// `[a, ?b]`: the elements, and whether each is optional.
    List(Vec<(Expr, bool)>),
    /// `{k: v, ?k: v}`.
    Map(Vec<Entry>),
    /// `Name{field: v}`.
    Struct(Box<Struct>),
    /// What macros expand to.
    Comprehension(Box<Comprehension>),
}

/// `operand.field`, or `has(operand.field)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// What the field is of.
    pub operand: Expr,
    /// The field's name.
    pub field: Arc<str>,
    /// Whether only the field's presence is asked for.
    pub test_only: bool,
}

/// A call of a function, or of a method if there is a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function's name; operators have names like `_+_`.
    pub function: Arc<str>,
    /// What the method is called on.
    pub target: Option<Expr>,
    /// The arguments.
    pub args: Vec<Expr>,
}

/// An entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The entry's id.
    pub id: Id,
    /// The key.
    pub key: Expr,
    /// The value; if optional, a value of an optional type.
    pub value: Expr,
    /// Whether an absent value leaves the entry out.
    pub optional: bool,
}

/// The construction of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    /// The name of the type.
    pub name: Arc<str>,
    /// The fields.
    pub fields: Vec<StructField>,
}

/// A field of an object under construction.
#[derive(Clone, Debug, PartialEq)]
pub struct StructField {
    /// The field's id.
    pub id: Id,
    /// The field's name.
    pub name: Arc<str>,
    /// The value; if optional, a value of an optional type.
    pub value: Expr,
    /// Whether an absent value leaves the field out.
    pub optional: bool,
}

/// A loop over a list or map that folds its entries into an accumulator.
#[derive(Clone, Debug, PartialEq)]
pub struct Comprehension {
    /// What is looped over.
    pub range: Expr,
    /// The variable of the element or key (the index, if there are two variables).
    pub var: Arc<str>,
    /// The variable of the element or value.
    pub var2: Option<Arc<str>>,
    /// The accumulator's variable.
    pub accu: Arc<str>,
    /// The accumulator's first value.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// The accumulator's next value.
    pub step: Expr,
    /// The value of the whole.
    pub result: Expr,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `1.0`
    Double(f64),
    /// `'a'`
    String(Arc<str>),
    /// `b'a'`
    Bytes(Arc<[u8]>),
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Ast {
    /// The root.
    pub root: Expr,
    pub(crate) source: Source,
    /// Where each node begins, by id.
    pub(crate) offsets: Vec<u32>,
}

pub(crate) const NO_OFFSET: u32 = u32::MAX;

impl Ast {
    /// Where a node is.
    pub fn location(&self, id: Id) -> Location {
        match self.offsets.get(id as usize) {
            Some(&offset) if offset != NO_OFFSET => self.source.location(offset),
            _ => Location::NONE,
        }
    }
}

impl Expr {
    /// Calls `visit` with each direct child.
    pub fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            Kind::Unspecified | Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select(select) => visit(&select.operand),
            Kind::Call(call) => {
                call.target.iter().for_each(&mut *visit);
                call.args.iter().for_each(visit);
            }
            Kind::List(elements) => elements.iter().for_each(|(element, _)| visit(element)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                visit(&entry.key);
                visit(&entry.value);
            }),
            Kind::Struct(object) => object.fields.iter().for_each(|field| visit(&field.value)),
            Kind::Comprehension(fold) => {
                for part in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                    visit(part);
                }
            }
        }
    }

    /// The dotted name that a chain of selections spells, if it is one.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select(select) if !select.test_only => {
                Some(format!("{}.{}", select.operand.qualified_name()?, select.field))
            }
            _ => None,
        }
    }

    pub(crate) fn as_ident(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn as_literal(&self) -> Option<&Literal> {
        match &self.kind {
            Kind::Literal(literal) => Some(literal),
            _ => None,
        }
    }
}

/// The names of operators as functions.
pub mod op {
    #![allow(missing_docs)]
    pub const CONDITIONAL: &str = "_?_:_";
    pub const AND: &str = "_&&_";
    pub const OR: &str = "_||_";
    pub const NOT: &str = "!_";
    pub const EQ: &str = "_==_";
    pub const NE: &str = "_!=_";
    pub const LT: &str = "_<_";
    pub const LE: &str = "_<=_";
    pub const GT: &str = "_>_";
    pub const GE: &str = "_>=_";
    pub const ADD: &str = "_+_";
    pub const SUB: &str = "_-_";
    pub const MUL: &str = "_*_";
    pub const DIV: &str = "_/_";
    pub const REM: &str = "_%_";
    pub const NEG: &str = "-_";
    pub const INDEX: &str = "_[_]";
    pub const OPT_INDEX: &str = "_[?_]";
    pub const OPT_SELECT: &str = "_?._";
    pub const IN: &str = "@in";
    pub const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
    pub const MAP_INSERT: &str = "cel.@mapInsert";
}
