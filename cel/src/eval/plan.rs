//! Checked expressions to programs.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;

use super::Error;
use crate::check::{Checked, Reference};
use crate::env::{Env, Function, Overload, Singleton, Types};
use crate::library::pattern;
use crate::syntax::{Comprehension, Expr, Id, Kind, Literal, op, with_stack};
use crate::types::Type;
use crate::value::{Key, List, Map, Str, Value, convert};

/// An expression ready for evaluation.
pub struct Program {
    pub(super) root: Node,
    /// The number of variables of loops.
    pub(super) slots: usize,
    /// One more than the greatest id.
    pub(super) ids: usize,
    /// How deep nodes are nested.
    pub(super) depth: usize,
}

/// A step of a program.
pub(super) enum Node {
    Const(Id, Value<'static>),
    Attr(Box<Attr>),
    And(Id, [Box<Node>; 2]),
    Or(Id, [Box<Node>; 2]),
    Equal {
        id: Id,
        sides: Box<[Node; 2]>,
        not: bool,
    },
    Call(Box<Call>),
    /// `x in [constants]`
    Member(Id, Box<Node>, BTreeSet<Key>),
    /// `optional.or(optional)` and `optional.orValue(value)`
    OrElse {
        id: Id,
        sides: Box<[Node; 2]>,
        unwrap: bool,
    },
    List(Id, Vec<(Node, bool)>),
    Map(Id, Vec<(Node, Node, bool)>),
    Object(Id, Arc<str>, Arc<dyn Types>, Vec<(Arc<str>, Node, bool)>),
    Fold(Box<Fold>),
}

/// A variable or other value, and what is selected from it.
pub(super) struct Attr {
    pub(super) attribute: Attribute,
    /// The id of the `has` that this is.
    pub(super) test: Option<Id>,
}

pub(super) enum Attribute {
    Variable { id: Id, source: Variable, path: Vec<Arc<Qualifier>> },
    Relative { id: Id, operand: Box<Node>, path: Vec<Arc<Qualifier>> },
    Conditional { id: Id, condition: Box<Node>, yes: Box<Attribute>, no: Box<Attribute> },
}

pub(super) enum Variable {
    Named(Arc<str>),
    /// A variable of a loop. `take` leaves nothing behind, for accumulators whose next value is being made.
    Slot {
        slot: usize,
        take: bool,
    },
}

/// The selection of a field or element.
pub(super) struct Qualifier {
    pub(super) id: Id,
    pub(super) key: QualifierKey,
    pub(super) optional: bool,
    /// Whether only its presence is asked for.
    pub(super) test: bool,
}

pub(super) enum QualifierKey {
    Const(Value<'static>),
    Attribute(Attribute),
}

impl Attribute {
    /// The id under which the attribute's value is known: that of the last selection.
    pub(super) fn id(&self) -> Id {
        match self {
            Attribute::Variable { id, path, .. } | Attribute::Relative { id, path, .. } => {
                path.last().map_or(*id, |last| last.id)
            }
            Attribute::Conditional { id, yes, no, .. } => {
                if yes.id() == no.id() {
                    yes.id()
                } else {
                    *id
                }
            }
        }
    }

    fn qualify(&mut self, qualifier: Arc<Qualifier>) {
        match self {
            Attribute::Variable { path, .. } | Attribute::Relative { path, .. } => path.push(qualifier),
            Attribute::Conditional { yes, no, .. } => {
                yes.qualify(Arc::clone(&qualifier));
                no.qualify(qualifier);
            }
        }
    }
}

pub(super) struct Call {
    pub(super) id: Id,
    pub(super) function: &'static str,
    /// The signature, or nothing if only the values can tell.
    pub(super) overload: &'static str,
    pub(super) callable: Callable,
    pub(super) args: Vec<Node>,
}

pub(super) enum Callable {
    Overload(Overload),
    Dispatch(Vec<Overload>),
    Singleton(Singleton),
    Add,
    MapInsert,
    NotStrictlyFalse,
    /// A function with a constant pattern.
    Pattern(Regex, pattern::Implementation),
    Missing,
}

pub(super) struct Fold {
    pub(super) id: Id,
    pub(super) range: Node,
    pub(super) init: Node,
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
    pub(super) accu: usize,
    pub(super) var: usize,
    pub(super) var2: Option<usize>,
}

impl Node {
    pub(super) fn id(&self) -> Id {
        match self {
            Node::Const(id, _)
            | Node::And(id, _)
            | Node::Or(id, _)
            | Node::Member(id, ..)
            | Node::List(id, _)
            | Node::Map(id, _)
            | Node::Object(id, ..)
            | Node::Equal { id, .. }
            | Node::OrElse { id, .. } => *id,
            Node::Attr(attr) => attr.test.unwrap_or_else(|| attr.attribute.id()),
            Node::Call(call) => call.id,
            Node::Fold(fold) => fold.id,
        }
    }

    fn as_const(&self) -> Option<&Value<'static>> {
        match self {
            Node::Const(_, value) => Some(value),
            _ => None,
        }
    }
}

pub(super) fn plan(checked: &Checked, env: &Env) -> Result<Program, Error> {
    let mut planner = Planner { checked, env, scopes: Vec::new(), slots: 0, depth: 0, deepest: 0 };
    let root = planner.node(&checked.ast.root)?;
    Ok(Program { root, slots: planner.slots, ids: checked.ast.offsets.len(), depth: planner.deepest })
}

struct Planner<'p> {
    checked: &'p Checked,
    env: &'p Env,
    scopes: Vec<(Arc<str>, usize)>,
    slots: usize,
    depth: usize,
    deepest: usize,
}

type Planned<T = Node> = Result<T, Error>;

/// The functions that are computed at once when their argument is a constant.
const CONVERSIONS: &[&str] =
    &["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Planned {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let node = with_stack(|| self.plan(expr));
        self.depth -= 1;
        node
    }

    fn plan(&mut self, expr: &Expr) -> Planned {
        let id = expr.id;
        match &expr.kind {
            Kind::Unspecified => Err(Error::new("unsupported expr")),
            Kind::Literal(literal) => Ok(Node::Const(id, constant(literal))),
            Kind::Ident(name) => Ok(self.ident(id, name, false)),
            Kind::Select(select) => {
                let operand = self.node(&select.operand)?;
                let key = QualifierKey::Const(Value::string(Arc::clone(&select.field)));
                let qualifier = Qualifier { id, key, optional: false, test: select.test_only };
                Ok(qualified(operand, qualifier, select.test_only.then_some(id)))
            }
            Kind::Call(call) => {
                let takes_accu = matches!(&*call.function, op::ADD | op::MAP_INSERT);
                let mut args = Vec::with_capacity(call.args.len() + 1);
                for arg in call.target.iter().chain(&call.args) {
                    // Accumulators are added to in place.
                    args.push(match &arg.kind {
                        Kind::Ident(name) if args.is_empty() && takes_accu && name.starts_with('@') => {
                            self.ident(arg.id, name, true)
                        }
                        _ => self.node(arg)?,
                    });
                }
                self.call(id, &call.function, args)
            }
            Kind::List(elements) => {
                let mut nodes = Vec::with_capacity(elements.len());
                for (element, optional) in elements {
                    nodes.push((self.node(element)?, *optional));
                }
                let constants = || nodes.iter().map(|(node, optional)| (node.as_const(), *optional));
                if constants().all(|(constant, _)| constant.is_some()) {
                    let mut items = Vec::with_capacity(nodes.len());
                    for (value, optional) in
                        constants().filter_map(|(value, optional)| Some((value?, optional)))
                    {
                        items.extend(super::run::element(value.clone(), optional)?);
                    }
                    return Ok(Node::Const(id, Value::list(items)));
                }
                Ok(Node::List(id, nodes))
            }
            Kind::Map(entries) => {
                let mut nodes = Vec::with_capacity(entries.len());
                for entry in entries {
                    nodes.push((self.node(&entry.key)?, self.node(&entry.value)?, entry.optional));
                }
                let constants = nodes.iter().map(|(key, value, optional)| {
                    Some((key.as_const()?.clone(), value.as_const()?.clone(), *optional))
                });
                if let Some(constants) = constants.collect::<Option<Vec<_>>>() {
                    let mut entries = Vec::with_capacity(constants.len());
                    for (key, value, optional) in constants {
                        entries.extend(super::run::entry(key, value, optional)?);
                    }
                    return Ok(Node::Const(id, Value::Map(Map::new(entries)?)));
                }
                Ok(Node::Map(id, nodes))
            }
            Kind::Struct(object) => {
                let Some(types) = self.env.constructor(&object.name).cloned() else {
                    return Err(Error::new(format!("unknown type: {}", object.name)));
                };
                let mut fields = Vec::with_capacity(object.fields.len());
                for field in &object.fields {
                    fields.push((Arc::clone(&field.name), self.node(&field.value)?, field.optional));
                }
                Ok(Node::Object(id, Arc::clone(&object.name), types, fields))
            }
            Kind::Comprehension(fold) => self.fold(id, fold),
        }
    }

    fn ident(&mut self, id: Id, name: &Arc<str>, take: bool) -> Node {
        if let Some(Reference::Ident(_, Some(ty))) = self.checked.reference(id) {
            return Node::Const(id, Value::Type(ty.clone()));
        }
        let source = match self.scopes.iter().rev().find(|(variable, _)| variable == name) {
            Some((_, slot)) => Variable::Slot { slot: *slot, take },
            None => Variable::Named(Arc::clone(name)),
        };
        let attribute = Attribute::Variable { id, source, path: Vec::new() };
        Node::Attr(Attr { attribute, test: None }.into())
    }

    fn slot(&mut self, name: &Arc<str>) -> usize {
        self.scopes.push((Arc::clone(name), self.slots));
        self.slots += 1;
        self.slots - 1
    }

    fn fold(&mut self, id: Id, fold: &Comprehension) -> Planned {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init)?;
        let outside = self.scopes.len();
        let accu = self.slot(&fold.accu);
        let var = self.slot(&fold.var);
        let var2 = fold.var2.as_ref().map(|name| self.slot(name));
        let condition = self.node(&fold.condition)?;
        let step = self.node(&fold.step)?;
        self.scopes.truncate(outside + 1);
        let result = self.node(&fold.result)?;
        self.scopes.truncate(outside);
        Ok(Node::Fold(Fold { id, range, init, condition, step, result, accu, var, var2 }.into()))
    }

    fn call(&mut self, id: Id, function: &str, mut args: Vec<Node>) -> Planned {
        let pair = |args: &mut Vec<Node>| -> Option<[Node; 2]> { std::mem::take(args).try_into().ok() };
        let overloads = self.checked.overloads(id);
        let overload = if let [only] = overloads { *only } else { "" };
        match function {
            op::AND | op::OR | op::EQ | op::NE | op::INDEX | op::OPT_INDEX | op::OPT_SELECT => {
                let Some([first, second]) = pair(&mut args) else { return Err(Error::NO_SUCH_OVERLOAD) };
                return Ok(match function {
                    op::AND => Node::And(id, [first.into(), second.into()]),
                    op::OR => Node::Or(id, [first.into(), second.into()]),
                    op::EQ | op::NE => {
                        Node::Equal { id, sides: [first, second].into(), not: function == op::NE }
                    }
                    _ => {
                        let key = match second {
                            Node::Const(_, value) => QualifierKey::Const(value),
                            Node::Attr(attr) => QualifierKey::Attribute(attr.attribute),
                            other => QualifierKey::Attribute(Attribute::Relative {
                                id,
                                operand: other.into(),
                                path: Vec::new(),
                            }),
                        };
                        let optional = function != op::INDEX;
                        qualified(first, Qualifier { id, key, optional, test: false }, None)
                    }
                });
            }
            op::CONDITIONAL => {
                let branches: Result<[Node; 3], _> = args.try_into();
                let Ok([condition, yes, no]) = branches else { return Err(Error::NO_SUCH_OVERLOAD) };
                let attribute = Attribute::Conditional {
                    id,
                    condition: condition.into(),
                    yes: attribute(yes).into(),
                    no: attribute(no).into(),
                };
                return Ok(Node::Attr(Attr { attribute, test: None }.into()));
            }
            "or" if overload == "optional_or_optional" || overload.is_empty() => {
                let Some(sides) = pair(&mut args) else { return Err(Error::NO_SUCH_OVERLOAD) };
                return Ok(Node::OrElse { id, sides: sides.into(), unwrap: false });
            }
            "orValue" if overload == "optional_orValue_value" || overload.is_empty() => {
                let Some(sides) = pair(&mut args) else { return Err(Error::NO_SUCH_OVERLOAD) };
                return Ok(Node::OrElse { id, sides: sides.into(), unwrap: true });
            }
            op::IN if overload == "in_list" => {
                if let [_, Node::Const(_, Value::List(list))] = args.as_slice() {
                    if list.is_empty() {
                        return Ok(Node::Const(id, Value::Bool(false)));
                    }
                    if let Some(set) = constant_set(list) {
                        return Ok(Node::Member(id, args.swap_remove(0).into(), set));
                    }
                }
            }
            _ if CONVERSIONS.contains(&function) => {
                if let [Node::Const(_, value)] = args.as_slice() {
                    let value = match function {
                        "dyn" => value.clone(),
                        _ => match self.conversion(function, overload, value)? {
                            Some(value) => value,
                            None => return self.function(id, function, overload, args),
                        },
                    };
                    return Ok(Node::Const(id, value));
                }
            }
            _ => {}
        }
        self.function(id, function, overload, args)
    }

    /// The converted constant, if the function is one of those the language itself has.
    fn conversion(
        &self,
        function: &str,
        overload: &str,
        value: &Value<'static>,
    ) -> Result<Option<Value<'static>>, Error> {
        let to = match function {
            "bool" => Type::Bool,
            "bytes" => Type::Bytes,
            "double" => Type::Double,
            "duration" => Type::Duration,
            "int" => Type::Int,
            "string" if matches!(overload, "ip_to_string" | "cidr_to_string") => return Ok(None),
            "string" => Type::String,
            "timestamp" => Type::Timestamp,
            "uint" => Type::Uint,
            _ => Type::Type(Arc::new(Type::Dyn)),
        };
        convert::convert(value, &to).map(Some)
    }

    fn function(&mut self, id: Id, name: &str, overload: &'static str, args: Vec<Node>) -> Planned {
        let Some(function) = self.env.lookup_function(name) else { return Err(Error::NO_SUCH_OVERLOAD) };
        let callable = match function.name {
            op::ADD => Callable::Add,
            op::MAP_INSERT => Callable::MapInsert,
            op::NOT_STRICTLY_FALSE => Callable::NotStrictlyFalse,
            name => match (pattern::implementation(name), args.get(1).and_then(Node::as_const)) {
                (Some(implementation), Some(Value::String(text))) => {
                    Callable::Pattern(pattern::compile(text)?, implementation)
                }
                _ => callable(function, overload),
            },
        };
        Ok(Node::Call(Call { id, function: function.name, overload, callable, args }.into()))
    }
}

fn callable(function: &Function, overload: &str) -> Callable {
    if let Some(singleton) = function.singleton {
        return Callable::Singleton(singleton);
    }
    let unguarded = |overload: &Overload| match function.unguarded {
        true => Overload { args: vec![Type::Dyn; overload.args.len()], ..overload.clone() },
        false => overload.clone(),
    };
    let mut bound = function.overloads.iter().filter(|overload| overload.call.is_some());
    if let Some(found) = bound.clone().find(|candidate| candidate.id == overload) {
        return Callable::Overload(unguarded(found));
    }
    match (bound.next(), bound.next()) {
        (None, _) => Callable::Missing,
        (Some(only), None) => Callable::Overload(unguarded(only)),
        _ => Callable::Dispatch(
            function.overloads.iter().filter(|overload| overload.call.is_some()).map(unguarded).collect(),
        ),
    }
}

/// The attribute that a node is, or that begins with its value.
fn attribute(node: Node) -> Attribute {
    match node {
        Node::Attr(attr) => attr.attribute,
        other => Attribute::Relative { id: other.id(), operand: other.into(), path: Vec::new() },
    }
}

fn qualified(operand: Node, qualifier: Qualifier, test: Option<Id>) -> Node {
    let mut attribute = attribute(operand);
    attribute.qualify(Arc::new(qualifier));
    Node::Attr(Attr { attribute, test }.into())
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(number) => Value::Int(*number),
        Literal::Uint(number) => Value::Uint(*number),
        Literal::Double(number) => Value::Double(*number),
        Literal::String(text) => Value::String(Str::Shared(Arc::clone(text))),
        Literal::Bytes(bytes) => Value::Bytes(Arc::clone(bytes)),
    }
}

/// The elements as a set, if all are simple enough.
fn constant_set(list: &List<'static>) -> Option<BTreeSet<Key>> {
    list.iter().map(|item| Key::of(&item.ok()?)).collect()
}
