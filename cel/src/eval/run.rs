//! The evaluation of programs.
//!
//! Costs follow cel-go's tracker, which keeps the ids of values still to be used on a stack. A call costs something
//! only if its arguments are found there, and a few constructs leave ids behind. Rules are accepted and refused by
//! these numbers, so the stack is kept just so.

use std::sync::Arc;

use super::plan::{Attribute, Call, Callable, Fold, Node, Program, Qualifier, QualifierKey, Variable};
use super::{Activation, Error, Outcome, qualify};
use crate::cost::runtime::call_cost;
use crate::cost::work;
use crate::syntax::Id;
use crate::value::{List, Map, Value, equal};

type Evaluated<'a> = Result<Value<'a>, Error>;

/// Deeper programs get a stack of their own.
const DEPTH_ON_STACK: usize = 48;
const STACK_PER_LEVEL: usize = 8 * 1024;

pub(super) fn run<'a>(program: &'a Program, variables: &dyn Activation<'a>, limit: u64) -> Outcome<'a> {
    let mut run = Run {
        variables,
        slots: (0..program.slots).map(|_| Slot::Empty).collect(),
        meter: Meter { cost: 0, limit, stack: Vec::new(), counts: vec![0; program.ids] },
    };
    let (value, work) = work::metered(limit, || match program.depth {
        0..=DEPTH_ON_STACK => run.eval(&program.root),
        depth => stacker::grow(depth * STACK_PER_LEVEL + (1 << 20), || run.eval(&program.root)),
    });
    // Some functions go on without elements that can't be looked at.
    let value = if work > limit { Err(Error::COST_LIMIT) } else { value };
    Outcome { value, cost: run.meter.cost.max(work) }
}

/// Counts what an evaluation costs.
pub(crate) struct Meter {
    pub(crate) cost: u64,
    pub(crate) limit: u64,
    stack: Vec<Id>,
    /// How often each id is on the stack.
    counts: Vec<u32>,
}

impl Meter {
    fn charge(&mut self, cost: u64) {
        self.cost = self.cost.saturating_add(cost);
    }

    fn push(&mut self, id: Id) -> Result<(), Error> {
        self.stack.push(id);
        if let Some(count) = self.counts.get_mut(id as usize) {
            *count += 1;
        }
        if self.cost > self.limit { Err(Error::COST_LIMIT) } else { Ok(()) }
    }

    /// Drops the topmost value of this id and all above it, if there is one.
    fn drop(&mut self, id: Id) -> bool {
        if self.counts.get(id as usize).is_none_or(|count| *count == 0) {
            return false;
        }
        while let Some(top) = self.stack.pop() {
            self.counts[top as usize] -= 1;
            if top == id {
                return true;
            }
        }
        false
    }
}

enum Slot<'a> {
    Empty,
    /// Computed when first used.
    Lazy(&'a Node),
    Ready(Evaluated<'a>),
}

struct Run<'a, 'v> {
    variables: &'v dyn Activation<'a>,
    slots: Vec<Slot<'a>>,
    meter: Meter,
}

impl<'a> Run<'a, '_> {
    fn eval(&mut self, node: &'a Node) -> Evaluated<'a> {
        let id = node.id();
        match node {
            Node::Const(_, value) => {
                self.meter.push(id)?;
                Ok(value.clone())
            }
            Node::Attr(attr) => {
                let value = self.resolve(&attr.attribute);
                stopped(&value)?;
                match &attr.attribute {
                    Attribute::Conditional { condition, yes, no, .. } => {
                        for id in [no.id(), yes.id(), condition.id()] {
                            self.meter.drop(id);
                        }
                        if attr.test.is_some() {
                            self.meter.cost = self.meter.cost.saturating_sub(1);
                        }
                    }
                    attribute => {
                        self.meter.drop(attribute.id());
                        // A test of presence costs no more than its selections.
                        self.meter.charge(u64::from(attr.test.is_none()));
                    }
                }
                self.meter.push(id)?;
                match (value, attr.test) {
                    (Ok(Value::Optional(value)), Some(_)) => Ok(Value::Bool(value.is_some())),
                    (value, _) => value,
                }
            }
            Node::And(_, terms) => self.logic(id, terms, false),
            Node::Or(_, terms) => self.logic(id, terms, true),
            Node::Equal { sides, not, .. } => {
                let [left, right] = &**sides;
                let args = [self.eval(left), self.eval(right)];
                args.iter().try_for_each(stopped)?;
                let function = if *not { "_!=_" } else { "_==_" };
                let overload = if *not { "not_equals" } else { "equals" };
                let result = match &args {
                    [Ok(left), Ok(right)] => {
                        self.precharge(function, overload, &[left.clone(), right.clone()])?;
                        match (equal(left, right), not) {
                            (Ok(equal), _) => Ok(Value::Bool(equal != *not)),
                            (Err(error), false) => Err(error),
                            // Values that can't be compared are not equal.
                            (Err(error), true) if error.is_cost_limit() => Err(error),
                            (Err(_), true) => Ok(Value::Bool(true)),
                        }
                    }
                    [Err(error), _] | [_, Err(error)] => Err(error.clone()),
                };
                let values = args.map(|arg| arg.unwrap_or(Value::Null));
                self.called(id, function, overload, [left.id(), right.id()].into_iter(), &values, &result)?;
                result
            }
            Node::Call(call) => self.call(call),
            Node::Member(_, arg, set) => {
                let value = self.eval(arg);
                stopped(&value)?;
                self.meter.push(id)?;
                let value = value?;
                Ok(Value::Bool(crate::value::Key::of(&value).is_some_and(|key| set.contains(&key))))
            }
            Node::OrElse { sides, unwrap, .. } => {
                let [left, right] = &**sides;
                let value = match self.eval(left) {
                    Ok(Value::Optional(None)) => self.eval(right),
                    Ok(Value::Optional(Some(value))) if *unwrap => Ok((*value).clone()),
                    other => other,
                };
                stopped(&value)?;
                self.meter.push(id)?;
                value
            }
            Node::List(_, elements) => {
                let value = self.list(elements);
                stopped(&value)?;
                self.constructed(id, elements.iter().map(|(node, _)| node.id()), 10)?;
                value
            }
            Node::Map(_, entries) => {
                let value = self.map(entries);
                stopped(&value)?;
                let ids: Vec<Id> =
                    entries.iter().flat_map(|(key, value, _)| [key.id(), value.id()]).collect();
                self.constructed(id, ids.into_iter(), 30)?;
                value
            }
            Node::Object(_, name, types, fields) => {
                let value = self.object(fields).and_then(|fields| match types.construct(name, fields) {
                    Some(object) => object,
                    None => Err(Error::new(format!("unknown type '{name}'"))),
                });
                stopped(&value)?;
                self.constructed(id, fields.iter().map(|(_, node, _)| node.id()), 40)?;
                value
            }
            Node::Fold(fold) => {
                let value = self.fold(fold);
                stopped(&value)?;
                self.meter.drop(fold.range.id());
                self.meter.push(id)?;
                value
            }
        }
    }

    fn logic(&mut self, id: Id, terms: &'a [Box<Node>; 2], decisive: bool) -> Evaluated<'a> {
        let mut failed = None;
        let mut decided = false;
        for term in terms {
            match self.eval(term) {
                Ok(Value::Bool(value)) if value == decisive => {
                    decided = true;
                    break;
                }
                Ok(Value::Bool(_)) => {}
                Err(error) if error.is_cost_limit() => return Err(error),
                other => failed = failed.or(Some(other.err().unwrap_or(Error::NO_SUCH_OVERLOAD))),
            }
        }
        for term in terms {
            self.meter.drop(term.id());
        }
        self.meter.push(id)?;
        match failed {
            Some(error) if !decided => Err(error),
            _ => Ok(Value::Bool(decided == decisive)),
        }
    }

    fn constructed(
        &mut self,
        id: Id,
        mut parts: impl DoubleEndedIterator<Item = Id>,
        cost: u64,
    ) -> Result<(), Error> {
        let _ = self.drop_args(&mut parts);
        self.meter.charge(cost);
        self.meter.push(id)
    }

    /// Drops the values of arguments, last to first, as long as they are found.
    fn drop_args(&mut self, ids: &mut dyn DoubleEndedIterator<Item = Id>) -> bool {
        ids.rev().all(|id| self.meter.drop(id))
    }

    /// Stops before work that is known to cost too much.
    fn precharge(&mut self, function: &str, overload: &str, args: &[Value<'a>]) -> Result<(), Error> {
        match call_cost(function, overload, args, None) {
            Some(cost) if self.meter.cost.saturating_add(cost) > self.meter.limit => {
                self.meter.charge(cost);
                Err(Error::COST_LIMIT)
            }
            _ => Ok(()),
        }
    }

    /// Counts the cost of a call that has been made.
    fn called(
        &mut self,
        id: Id,
        function: &str,
        overload: &str,
        mut ids: impl DoubleEndedIterator<Item = Id>,
        args: &[Value<'a>],
        result: &Evaluated<'a>,
    ) -> Result<(), Error> {
        stopped(result)?;
        if self.drop_args(&mut ids) {
            let result = result.as_ref().map_or(1, Value::size);
            self.meter.charge(call_cost(function, overload, args, Some(result)).unwrap_or(1));
        }
        self.meter.push(id)
    }

    fn call(&mut self, call: &'a Call) -> Evaluated<'a> {
        let stop_early =
            call.args.len() > 2 || matches!(call.callable, Callable::Dispatch(_) | Callable::Pattern(..));
        let mut args = Vec::with_capacity(call.args.len());
        let mut failed = None;
        for arg in &call.args {
            match self.eval(arg) {
                Ok(value) => args.push(value),
                Err(error) if error.is_cost_limit() => return Err(error),
                Err(error) => {
                    args.push(Value::Null);
                    failed = failed.or(Some(error));
                    if stop_early {
                        break;
                    }
                }
            }
        }
        let ids = || call.args.iter().map(Node::id);
        let (function, overload) = (call.function, call.overload);
        let result = match (failed, &call.callable) {
            (_, Callable::NotStrictlyFalse) => {
                let value = match args.first() {
                    Some(Value::Bool(value)) => *value,
                    _ => true,
                };
                Ok(Value::Bool(value))
            }
            (Some(error), _) => Err(error),
            (None, Callable::Add) => {
                // What is added to is worth keeping unshared, so its cost is found first.
                let cost = call_cost(function, overload, &args, Some(0)).unwrap_or(1);
                if self.meter.cost.saturating_add(cost) > self.meter.limit {
                    self.meter.charge(cost);
                    return Err(Error::COST_LIMIT);
                }
                let right = args.pop().unwrap_or(Value::Null);
                let left = args.pop().unwrap_or(Value::Null);
                let result = crate::library::standard::add(left, right);
                stopped(&result)?;
                if self.drop_args(&mut ids()) {
                    self.meter.charge(cost);
                }
                self.meter.push(call.id)?;
                return result;
            }
            (None, Callable::MapInsert) => {
                let result = insert(std::mem::take(&mut args));
                args = vec![Value::Null; call.args.len()];
                result
            }
            (None, callable) => {
                self.precharge(function, overload, &args)?;
                // Most functions go through their texts, whatever they cost.
                let texts = args.iter().filter_map(Value::as_str).map(str::len);
                work::spend(texts.fold(0, usize::saturating_add) / 8)?;
                invoke(function, callable, &args)
            }
        };
        self.called(call.id, function, overload, ids(), &args, &result)?;
        result
    }

    fn list(&mut self, elements: &'a [(Node, bool)]) -> Evaluated<'a> {
        let mut items = Vec::with_capacity(elements.len());
        for (node, optional) in elements {
            let value = self.eval(node)?;
            items.extend(element(value, *optional)?);
        }
        Ok(Value::List(List::from(items)))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Evaluated<'a> {
        let mut pairs = Vec::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            pairs.extend(entry(key, value, *optional)?);
        }
        Ok(Value::Map(Map::new(pairs)?))
    }

    fn object(&mut self, fields: &'a [(Arc<str>, Node, bool)]) -> Result<Vec<(Arc<str>, Value<'a>)>, Error> {
        let mut values = Vec::with_capacity(fields.len());
        for (name, node, optional) in fields {
            let value = self.eval(node)?;
            if let Some((_, value)) = entry(Value::string(Arc::clone(name)), value, *optional)? {
                values.push((Arc::clone(name), value));
            }
        }
        Ok(values)
    }

    fn fold(&mut self, fold: &'a Fold) -> Evaluated<'a> {
        let range = self.eval(&fold.range)?;
        self.slots[fold.accu] = Slot::Lazy(&fold.init);
        match &range {
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    let (first, second) = match fold.var2 {
                        None => (item, None),
                        Some(slot) => (Ok(Value::Int(index as i64)), Some((slot, item))),
                    };
                    if !self.iterate(fold, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let second = match fold.var2 {
                        None => None,
                        Some(slot) => match map.find(&key).transpose() {
                            Some(value) => Some((slot, value)),
                            None => continue,
                        },
                    };
                    if !self.iterate(fold, Ok(key), second)? {
                        break;
                    }
                }
            }
            other if fold.var2.is_some() => {
                let message = format!("unsupported comprehension range type: {}", other.go_name());
                return Err(Error::new(message));
            }
            other => {
                return Err(Error::new(format!("got '{}', expected iterable type", other.go_name())));
            }
        }
        let result = self.eval(&fold.result);
        self.slots[fold.accu] = Slot::Empty;
        result
    }

    /// Runs a loop's body once; whether it is to go on.
    fn iterate(
        &mut self,
        fold: &'a Fold,
        first: Evaluated<'a>,
        second: Option<(usize, Evaluated<'a>)>,
    ) -> Result<bool, Error> {
        self.slots[fold.var] = Slot::Ready(first);
        if let Some((slot, value)) = second {
            self.slots[slot] = Slot::Ready(value);
        }
        match &fold.condition {
            Node::Const(_, Value::Bool(true)) => {}
            condition => {
                let condition = self.eval(condition);
                stopped(&condition)?;
                if matches!(condition, Ok(Value::Bool(false))) {
                    return Ok(false);
                }
            }
        }
        let next = self.eval(&fold.step);
        stopped(&next)?;
        self.slots[fold.accu] = Slot::Ready(next);
        Ok(true)
    }

    fn slot(&mut self, slot: usize, take: bool) -> Evaluated<'a> {
        if let Slot::Lazy(init) = self.slots[slot] {
            let value = self.eval(init);
            stopped(&value)?;
            self.slots[slot] = Slot::Ready(value);
        }
        match &mut self.slots[slot] {
            Slot::Ready(value) if take => std::mem::replace(value, Ok(Value::Null)),
            Slot::Ready(value) => value.clone(),
            _ => Err(Error::new("no such attribute(s)")),
        }
    }

    fn resolve(&mut self, attribute: &'a Attribute) -> Evaluated<'a> {
        match attribute {
            Attribute::Variable { source: Variable::Slot { slot, take }, path, .. } => {
                let value = self.slot(*slot, *take)?;
                self.qualify(value, path)
            }
            Attribute::Variable { source: Variable::Named(name), path, .. } => {
                let missing = || Err(Error::new(format!("no such attribute(s): {name}")));
                let value = self.variables.resolve(name).unwrap_or_else(missing)?;
                self.qualify(value, path)
            }
            Attribute::Relative { operand, path, .. } => {
                let value = self.eval(operand)?;
                self.qualify(value, path)
            }
            Attribute::Conditional { condition, yes, no, .. } => match self.eval(condition)? {
                Value::Bool(true) => self.resolve(yes),
                Value::Bool(false) => self.resolve(no),
                _ => Err(Error::NO_SUCH_OVERLOAD),
            },
        }
    }

    fn qualify(&mut self, value: Value<'a>, path: &'a [Arc<Qualifier>]) -> Evaluated<'a> {
        let (mut value, mut optional) = match value {
            // What an optional value holds is looked at without its schema.
            Value::Optional(Some(of)) => ((*of).clone().untyped(), true),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            other => (other, false),
        };
        for qualifier in path {
            optional |= qualifier.optional;
            match self.apply(&value, qualifier, optional)? {
                Some(next) => value = next,
                None => return Ok(Value::Optional(None)),
            }
        }
        Ok(if optional { Value::some(value) } else { value })
    }

    /// Selects from a value. Nothing comes of an optional selection of what is not there.
    fn apply(
        &mut self,
        value: &Value<'a>,
        qualifier: &'a Qualifier,
        optional: bool,
    ) -> Result<Option<Value<'a>>, Error> {
        let selected = match &qualifier.key {
            QualifierKey::Const(key) => selected(value, key, qualifier.test, optional),
            QualifierKey::Attribute(attribute) => {
                match self.resolve(attribute).and_then(qualify::check_key) {
                    Ok(key) => selected(value, &key, qualifier.test, optional),
                    Err(error) => Err(error),
                }
            }
        };
        stopped(&selected)?;
        if !optional || matches!(selected, Ok(Some(_))) {
            self.meter.charge(1);
            self.meter.push(qualifier.id)?;
        }
        selected
    }
}

fn selected<'a>(
    value: &Value<'a>,
    key: &Value<'_>,
    test: bool,
    optional: bool,
) -> Result<Option<Value<'a>>, Error> {
    match (test, optional) {
        (true, false) => qualify::find(value, key).map(|found| Some(Value::Bool(found.is_some()))),
        (_, true) => qualify::find(value, key),
        (false, false) => qualify::select(value, key).map(Some),
    }
}

/// Passes on that the evaluation was stopped.
fn stopped<T>(value: &Result<T, Error>) -> Result<(), Error> {
    match value {
        Err(error) if error.is_cost_limit() => Err(error.clone()),
        _ => Ok(()),
    }
}

/// The element of a list under construction, unless it is an absent optional one.
pub(super) fn element(value: Value<'_>, optional: bool) -> Result<Option<Value<'_>>, Error> {
    match value {
        value if !optional => Ok(Some(value)),
        Value::Optional(value) => Ok(value.map(|value| (*value).clone())),
        other => Err(Error::new(format!(
            "cannot initialize optional list element from non-optional value {other}"
        ))),
    }
}

/// The entry of a map or object under construction, unless it is an absent optional one.
pub(super) fn entry<'a>(
    key: Value<'a>,
    value: Value<'a>,
    optional: bool,
) -> Result<Option<(Value<'a>, Value<'a>)>, Error> {
    match value {
        value if !optional => Ok(Some((key, value))),
        Value::Optional(value) => Ok(value.map(|value| (key, (*value).clone()))),
        other => Err(Error::new(format!(
            "cannot initialize optional entry '{key}' from non-optional value {other}"
        ))),
    }
}

fn insert(mut args: Vec<Value<'_>>) -> Evaluated<'_> {
    let value = args.pop();
    let (key, map) = if args.len() == 2 { (args.pop(), args.pop()) } else { (None, args.pop()) };
    match (map, key, value) {
        (Some(Value::Map(map)), Some(key), Some(value)) => map.insert(key, value).map(Value::Map),
        (Some(Value::Map(mut map)), None, Some(Value::Map(more))) => {
            for (key, value) in more.entries()? {
                map = map.insert(key, value)?;
            }
            Ok(Value::Map(map))
        }
        _ => Err(Error::NO_SUCH_OVERLOAD),
    }
}

fn no_overload(function: &str, args: &[Value<'_>]) -> Error {
    let types: Vec<String> = args.iter().map(Value::type_name).collect();
    Error::new(format!("no such overload: {function}({})", types.join(", ")))
}

fn invoke<'a>(function: &str, callable: &Callable, args: &[Value<'a>]) -> Evaluated<'a> {
    let fits = |declared: &[crate::types::Type]| {
        declared.len() == args.len() && args.iter().zip(declared).all(|(arg, declared)| arg.matches(declared))
    };
    match callable {
        Callable::Overload(overload) => match overload.call {
            Some(call) if fits(&overload.args) => call(args),
            _ => Err(no_overload(function, args)),
        },
        Callable::Dispatch(overloads) => {
            let call =
                overloads.iter().filter(|overload| fits(&overload.args)).find_map(|overload| overload.call);
            call.map_or_else(|| Err(no_overload(function, args)), |call| call(args))
        }
        Callable::Singleton(singleton) => match args.first() {
            Some(first) if (singleton.accepts)(first) => (singleton.call)(args),
            // Texts and times look for a method of their own before they give up.
            Some(Value::String(_) | Value::Timestamp(_) | Value::Duration(_)) => Err(Error::NO_SUCH_OVERLOAD),
            _ => Err(Error::new(format!("no such overload: {function}"))),
        },
        Callable::Pattern(regex, implementation) => implementation(regex, args),
        Callable::Add | Callable::MapInsert | Callable::NotStrictlyFalse => Err(Error::NO_SUCH_OVERLOAD),
        Callable::Missing => Err(Error::new(format!("no such overload: {function}"))),
    }
}
