//! What an expression costs at least and at most, whatever the data.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    AUTHORIZATION_COST, FORMAT_PATTERN_MAX, FORMAT_SIZE_MAX, LIST_COST, MAP_COST, REGEX_FACTOR,
    STRING_FACTOR, STRUCT_COST, compares, costs_one, pair_factor, scaled,
};
use crate::check::Checked;
use crate::syntax::{Call, Comprehension, Expr, Id, Kind, Literal, op, with_stack};
use crate::types::Type;

/// The least and greatest size of a value: characters, bytes, elements or entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeEstimate {
    /// The least size.
    pub min: u64,
    /// The greatest size.
    pub max: u64,
}

/// The least and greatest cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostEstimate {
    /// The least cost.
    pub min: u64,
    /// The greatest cost.
    pub max: u64,
}

macro_rules! ranges {
    ($($name:ident)*) => {$(
        impl $name {
            const fn fixed(number: u64) -> Self {
                $name { min: number, max: number }
            }

            fn plus(self, other: impl Into<$name>) -> Self {
                let other = other.into();
                $name { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
            }

            fn times(self, other: $name) -> Self {
                $name { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
            }

            fn union(self, other: $name) -> Self {
                $name { min: self.min.min(other.min), max: self.max.max(other.max) }
            }

            /// Times a factor, rounded up; what that costs.
            fn scaled(self, factor: f64) -> CostEstimate {
                CostEstimate { min: scaled(self.min, factor), max: scaled(self.max, factor) }
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                $name::fixed(number)
            }
        }
    )*};
}

ranges!(SizeEstimate CostEstimate);

impl From<SizeEstimate> for CostEstimate {
    fn from(size: SizeEstimate) -> Self {
        CostEstimate { min: size.min, max: size.max }
    }
}

const UNKNOWN: SizeEstimate = SizeEstimate { min: 0, max: u64::MAX };
const ZERO: CostEstimate = CostEstimate::fixed(0);

/// The sizes of data.
pub trait Sizes {
    /// The size of what a path leads to: a variable, then names of fields, `@items`, `@keys`, `@values` or
    /// `@indices`.
    fn size(&self, path: &[Arc<str>]) -> Option<SizeEstimate>;
}

/// Nothing is known about sizes.
pub struct NoSizes;

impl Sizes for NoSizes {
    fn size(&self, _path: &[Arc<str>]) -> Option<SizeEstimate> {
        None
    }
}

/// What an expression costs, if the data has these sizes.
pub fn estimate(checked: &Checked, sizes: &dyn Sizes) -> CostEstimate {
    let mut coster = Coster {
        checked,
        sizes,
        paths: HashMap::new(),
        locals: Vec::new(),
        computed: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.cost(&checked.ast.root)
}

type Path = Vec<Arc<str>>;

/// The sizes of the keys and values of a list or map.
#[derive(Clone, Copy)]
struct EntrySize {
    is_list: bool,
    key: SizeEstimate,
    value: SizeEstimate,
}

struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<SizeEstimate>,
    entry: Option<EntrySize>,
}

struct Coster<'c> {
    checked: &'c Checked,
    sizes: &'c dyn Sizes,
    paths: HashMap<Id, Path>,
    locals: Vec<Local>,
    computed: HashMap<Id, SizeEstimate>,
    entries: HashMap<Id, EntrySize>,
}

/// An argument of a call.
struct Arg<'e> {
    expr: &'e Expr,
    path: Path,
    size: Option<SizeEstimate>,
}

struct CallEstimate {
    cost: CostEstimate,
    size: Option<SizeEstimate>,
}

fn costs(cost: CostEstimate) -> Option<CallEstimate> {
    Some(CallEstimate { cost, size: None })
}

fn sized(cost: CostEstimate, size: SizeEstimate) -> Option<CallEstimate> {
    Some(CallEstimate { cost, size: Some(size) })
}

impl<'e> Coster<'e> {
    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| *local.name == *name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn below(&self, expr: &Expr, step: &str) -> Path {
        let mut path = self.path(expr);
        path.push(step.into());
        path
    }

    fn ty(&self, expr: &Expr) -> &'e Type {
        self.checked.type_of(expr.id)
    }

    fn cost(&mut self, expr: &'e Expr) -> CostEstimate {
        with_stack(|| self.cost_of(expr))
    }

    fn cost_of(&mut self, expr: &'e Expr) -> CostEstimate {
        match &expr.kind {
            Kind::Unspecified | Kind::Literal(_) => ZERO,
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                CostEstimate::fixed(1)
            }
            Kind::Select(select) => {
                let sum = self.cost(&select.operand);
                if select.test_only {
                    return sum;
                }
                let selects =
                    matches!(self.ty(&select.operand), Type::Map(_) | Type::Struct(_) | Type::Var(_));
                let path = self.below(&select.operand, &select.field);
                self.paths.insert(expr.id, path);
                sum.plus(u64::from(selects))
            }
            Kind::Call(call) => self.cost_call(expr, call),
            Kind::List(elements) => {
                let mut sum = ZERO;
                let mut size = none_yet(elements.is_empty());
                for (element, _) in elements {
                    sum = sum.plus(self.cost(element));
                    size = size.union(self.size_or_unknown(element));
                }
                self.entries.insert(expr.id, EntrySize { is_list: true, key: 1.into(), value: size });
                sum.plus(LIST_COST)
            }
            Kind::Map(entries) => {
                let mut sum = ZERO;
                let (mut keys, mut values) = (none_yet(entries.is_empty()), none_yet(entries.is_empty()));
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key));
                    sum = sum.plus(self.cost(&entry.value));
                    keys = keys.union(self.size_or_unknown(&entry.key));
                    values = values.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, EntrySize { is_list: false, key: keys, value: values });
                sum.plus(MAP_COST)
            }
            Kind::Struct(object) => {
                let fields = object.fields.iter();
                fields.fold(ZERO, |sum, field| sum.plus(self.cost(&field.value))).plus(STRUCT_COST)
            }
            Kind::Comprehension(fold) => self.cost_fold(expr, fold),
        }
    }

    fn cost_fold(&mut self, expr: &'e Expr, fold: &'e Comprehension) -> CostEstimate {
        let mut sum = self.cost(&fold.range);
        sum = sum.plus(self.cost(&fold.init));
        let accu = Local {
            name: fold.accu.clone(),
            path: self.path(&fold.init),
            size: self.size(&fold.init),
            entry: self.entry(&fold.init),
        };
        self.locals.push(accu);
        let never = matches!(&fold.condition.kind, Kind::Literal(Literal::Bool(false)));
        let empty = matches!(&fold.range.kind, Kind::List(elements) if elements.is_empty());
        if never && empty {
            // A binding.
            sum = sum.plus(self.cost(&fold.result));
            self.locals.pop();
            self.copy(expr, &fold.result);
            return sum;
        }
        let entry = self.entry(&fold.range);
        let is_list = entry.map_or(matches!(self.ty(&fold.range), Type::List(_)), |entry| entry.is_list);
        let (key_step, value_step) = if is_list { ("@indices", "@items") } else { ("@keys", "@values") };
        let key = entry.map(|entry| entry.key);
        let value = entry.map(|entry| entry.value);
        let first = match (&fold.var2, is_list) {
            (None, true) => (value_step, value),
            _ => (key_step, key),
        };
        let second = fold.var2.as_ref().map(|name| (name, (value_step, value)));
        for (name, (step, size)) in [(&fold.var, first)].into_iter().chain(second) {
            let path = self.below(&fold.range, step);
            self.locals.push(Local { name: name.clone(), path, size, entry: None });
        }
        let condition = self.cost(&fold.condition);
        let each = self.cost(&fold.step).plus(condition);
        let variables = 1 + usize::from(fold.var2.is_some());
        self.locals.truncate(self.locals.len() - variables);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(CostEstimate::from(count).times(each));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.computed.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.computed.insert(expr.id, count);
                if let Some(entry) = self.entry(&fold.step) {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        sum
    }

    fn cost_call(&mut self, expr: &'e Expr, call: &'e Call) -> CostEstimate {
        if *call.function == *"dyn"
            && let Some(arg) = call.args.first()
        {
            let cost = self.cost(arg);
            self.copy(expr, arg);
            return CostEstimate::fixed(1).plus(cost);
        }
        let mut arg_costs = Vec::with_capacity(call.args.len());
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            arg_costs.push(self.cost(arg));
            args.push(self.arg(arg));
        }
        let overloads = self.checked.overloads(expr.id);
        if overloads.is_empty() {
            return ZERO;
        }
        let mut sum = ZERO;
        let target = call.target.as_ref().map(|target| {
            sum = self.cost(target);
            self.arg(target)
        });
        let mut cost = CostEstimate { min: u64::MAX, max: 0 };
        let mut size: Option<SizeEstimate> = None;
        for overload in overloads {
            let estimate = self.call(expr, &call.function, overload, target.as_ref(), &args, &arg_costs);
            cost = cost.union(estimate.cost);
            if let Some(result) = estimate.size {
                size = Some(size.map_or(result, |size| size.union(result)));
            }
            if let ("index_list" | "index_map", [container, ..]) = (*overload, call.args.as_slice()) {
                size = self.entry(container).map(|entry| entry.value);
                let path =
                    self.below(container, if *overload == "index_list" { "@items" } else { "@values" });
                self.paths.insert(expr.id, path);
            }
            size = size.or_else(|| self.size(expr));
        }
        if let Some(size) = size {
            self.computed.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    fn arg(&mut self, expr: &'e Expr) -> Arg<'e> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|variable| matches!(&**variable, "@result" | "__result__")) {
            path.clear();
        }
        Arg { expr, path, size: self.size(expr) }
    }

    fn call(
        &mut self,
        expr: &'e Expr,
        function: &str,
        overload: &str,
        target: Option<&Arg<'e>>,
        args: &[Arg<'e>],
        arg_costs: &[CostEstimate],
    ) -> CallEstimate {
        let all_args = arg_costs.iter().fold(ZERO, |sum, cost| sum.plus(*cost));
        let library =
            self.lists(overload, target, args).or_else(|| self.library(function, overload, target, args));
        if let Some(CallEstimate { cost, size }) = library {
            return CallEstimate { cost: cost.plus(all_args), size };
        }
        let size = |arg: &Arg<'_>| arg.size.unwrap_or(UNKNOWN);
        let text = |arg: &Arg<'_>| size(arg).scaled(STRING_FACTOR);
        let (cost, size) = match (overload, target, args) {
            ("string_format", Some(target), _) => (text(target), None),
            ("string_to_bytes", _, [arg]) => {
                let of = size(arg);
                (text(arg), Some(SizeEstimate { min: of.min, max: of.max.wrapping_mul(4) }))
            }
            ("bytes_to_string", _, [arg]) => {
                let of = size(arg);
                (text(arg), Some(SizeEstimate { min: of.min / 4, max: of.max }))
            }
            ("strings_quote", _, [arg]) => {
                let of = size(arg);
                let max = of.max.wrapping_mul(2).wrapping_add(2);
                (text(arg), Some(SizeEstimate { min: of.min.wrapping_add(2), max }))
            }
            ("starts_with_string" | "ends_with_string", _, [arg]) => (text(arg), None),
            ("in_list", _, [_, list]) => (size(list).scaled(1.0), None),
            ("matches_string", Some(target), [pattern]) => {
                let subject = size(target).plus(1).scaled(STRING_FACTOR);
                (subject.times(size(pattern).scaled(REGEX_FACTOR)), None)
            }
            ("contains_string", Some(target), [part]) => (text(target).times(text(part)), None),
            ("logical_or" | "logical_and", _, [_, _]) => {
                let (left, right) = (arg_costs[0], arg_costs[1]);
                let cost = CostEstimate { min: left.min, max: left.plus(right).max };
                return CallEstimate { cost, size: None };
            }
            ("conditional", _, [_, yes, no]) => {
                let entry = match (self.entry(yes.expr), self.entry(no.expr)) {
                    (Some(yes), Some(no)) => Some(yes.union(no)),
                    _ => None,
                };
                if let Some(entry) = entry {
                    self.entries.insert(expr.id, entry);
                }
                let cost = arg_costs[0].plus(arg_costs[1].union(arg_costs[2]));
                return CallEstimate { cost, size: Some(size(yes).union(size(no))) };
            }
            ("add_string" | "add_bytes" | "add_list", _, [left, right]) => {
                let result = size(left).plus(size(right));
                if let (Some(left), Some(right)) = (self.entry(left.expr), self.entry(right.expr)) {
                    self.entries.insert(expr.id, left.union(right));
                }
                let cost = if overload == "add_list" { 1.into() } else { result.scaled(STRING_FACTOR) };
                (cost, Some(result))
            }
            (overload, _, [left, right]) if compares(overload) => {
                let max = size(left).max.min(size(right).max);
                (CostEstimate { min: max.min(1), max }.scaled(STRING_FACTOR), None)
            }
            _ => (1.into(), None),
        };
        CallEstimate { cost: cost.plus(all_args), size }
    }

    /// The size of an argument, as far as it can be known from the data's sizes.
    fn library_size(&self, arg: &Arg<'_>) -> SizeEstimate {
        arg.size.or_else(|| self.by_path(&arg.path)).unwrap_or(UNKNOWN)
    }

    fn by_path(&self, path: &[Arc<str>]) -> Option<SizeEstimate> {
        if path.is_empty() { None } else { self.sizes.size(path) }
    }

    /// What functions on lists and sets cost.
    fn lists(&self, overload: &str, target: Option<&Arg<'e>>, args: &[Arg<'e>]) -> Option<CallEstimate> {
        let allocating =
            |factor: f64, size: SizeEstimate| sized(size.scaled(factor).plus(1).plus(LIST_COST), size);
        let integer = |arg: &Arg<'_>, default: u64| match arg.expr.as_literal() {
            Some(Literal::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => default,
        };
        match (overload, target, args) {
            ("list_slice", Some(list), [start, end]) => {
                let count = integer(end, self.library_size(list).max).wrapping_sub(integer(start, 0));
                allocating(1.0, count.into())
            }
            ("lists_range", None, [count]) => allocating(1.0, integer(count, u64::MAX).into()),
            ("list_reverse", Some(list), []) => allocating(1.0, self.library_size(list)),
            ("list_flatten", Some(list), []) => allocating(1.0, self.library_size(list)),
            ("list_flatten_int", Some(list), [depth]) => {
                allocating(integer(depth, u64::MAX) as f64, self.library_size(list))
            }
            ("list_distinct", Some(list), []) => {
                let size = self.library_size(list);
                allocating(2.0, size.times(size))
            }
            (
                "list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list",
                _,
                [a, b],
            ) => {
                let factor = if overload == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                costs(self.library_size(a).times(self.library_size(b)).scaled(factor).plus(1))
            }
            (_, Some(_), [keys]) if overload.ends_with("_sortByAssociatedKeys") => {
                let size = self.library_size(keys);
                allocating(sort_factor(overload), size.times(size))
            }
            (_, Some(list), []) if overload.starts_with("list_") && overload.ends_with("_sort") => {
                let size = self.library_size(list);
                allocating(sort_factor(overload), size.times(size))
            }
            _ => None,
        }
    }

    /// What Kubernetes' functions cost.
    fn library(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Arg<'e>>,
        args: &[Arg<'e>],
    ) -> Option<CallEstimate> {
        let size = |arg: &Arg<'_>| self.library_size(arg);
        let text = |arg: &Arg<'_>| size(arg).scaled(STRING_FACTOR);
        match (function, target, args) {
            ("check", ..) => costs(AUTHORIZATION_COST.into()),
            (function, ..) if costs_one(function) => costs(1.into()),
            ("fieldSelector" | "labelSelector", _, [selector]) => {
                let requirements = size(selector).scaled(0.5).scaled((LIST_COST + STRUCT_COST) as f64);
                costs(CostEstimate::fixed(LIST_COST).plus(text(selector)).plus(requirements))
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let Some(element) = self.element(target) else { return costs(text(target)) };
                let mut each = CostEstimate::fixed(1);
                if let Type::String | Type::Bytes = element.0 {
                    each = each.plus(self.by_path(&element.1).unwrap_or(UNKNOWN).scaled(STRING_FACTOR));
                }
                costs(CostEstimate::from(size(target)).times(each))
            }
            ("url" | "jsonpatch.escapeKey", _, [arg]) => sized(text(arg), size(arg)),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
                sized(text(target), size(target))
            }
            ("replace", Some(target), [from, to, ..]) => {
                let result = replaced(size(target), size(from), size(to));
                sized(size(target).scaled(2.0 * STRING_FACTOR), result)
            }
            ("split", Some(target), _) => {
                let max = match args.get(1).and_then(|arg| arg.expr.as_literal()) {
                    Some(Literal::Int(count)) => *count as u64,
                    _ => size(target).max,
                };
                sized(size(target).scaled(2.0 * STRING_FACTOR), SizeEstimate { min: 0, max })
            }
            ("join", Some(target), _) => {
                let list = size(target);
                let mut result = SizeEstimate::fixed(0);
                if let Some((_, path)) = self.element(target) {
                    result = list.times(self.by_path(&path).unwrap_or(UNKNOWN));
                }
                if let Some(separator) = args.first() {
                    let count =
                        SizeEstimate { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    result = result.plus(size(separator).times(count));
                }
                sized(result.scaled(STRING_FACTOR), result)
            }
            ("find" | "findAll", Some(target), [pattern, ..]) => {
                let subject = size(target).plus(1).scaled(STRING_FACTOR);
                let cost = subject.times(size(pattern).scaled(REGEX_FACTOR));
                sized(cost, SizeEstimate { min: 0, max: size(target).max })
            }
            ("ip", ..) if overload == "cidr_ip" => costs(1.into()),
            (
                "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver",
                _,
                [arg, ..],
            ) => costs(text(arg)),
            ("ip.isCanonical", _, [arg, ..]) => costs(size(arg).scaled(2.0 * STRING_FACTOR)),
            ("containsIP" | "containsCIDR", _, [arg, ..]) => {
                let address = SizeEstimate { min: 4, max: 16 };
                let mut cost = address.plus(address).scaled(STRING_FACTOR);
                if function == "containsCIDR" {
                    cost = cost.plus(address.scaled(STRING_FACTOR)).plus(1);
                }
                if overload.ends_with("_string") {
                    cost = cost.plus(text(arg));
                }
                costs(cost)
            }
            ("validate", _, [arg, ..]) => costs(text(arg).scaled(FORMAT_PATTERN_MAX * REGEX_FACTOR)),
            (op::EQ, _, [left, right]) => self.equality(left, right),
            _ => None,
        }
    }

    /// What it costs to compare values of Kubernetes' types.
    fn equality(&self, left: &Arg<'_>, right: &Arg<'_>) -> Option<CallEstimate> {
        let (ty, other) = (self.ty(left.expr), self.ty(right.expr));
        if ty.name() != other.name() {
            return None;
        }
        match ty {
            Type::Opaque(name, _) if matches!(&**name, "net.IP" | "net.CIDR") => costs(1.into()),
            Type::Struct(name) => match &**name {
                "kubernetes.Quantity"
                | "kubernetes.Semver"
                | "kubernetes.authorization.Authorizer"
                | "kubernetes.authorization.PathCheck"
                | "kubernetes.authorization.GroupCheck"
                | "kubernetes.authorization.ResourceCheck"
                | "kubernetes.authorization.Decision" => costs(1.into()),
                "kubernetes.NamedFormat" => {
                    costs(CostEstimate { min: 1, max: FORMAT_SIZE_MAX }.scaled(STRING_FACTOR))
                }
                "kubernetes.URL" => {
                    let max = right.size.map_or(1, |size| size.max);
                    costs(CostEstimate { min: 1, max }.scaled(STRING_FACTOR))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The type of a list's elements, and the path to them.
    fn element(&self, list: &Arg<'_>) -> Option<(&'e Type, Path)> {
        let element = self.ty(list.expr).parameters().first()?;
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push("@items".into());
        }
        Some((element, path))
    }

    fn size_or_unknown(&mut self, expr: &'e Expr) -> SizeEstimate {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    fn copy(&mut self, to: &Expr, from: &'e Expr) {
        if let Some(size) = self.size(from) {
            self.computed.insert(to.id, size);
        }
        if let Some(entry) = self.entry(from) {
            self.entries.insert(to.id, entry);
        }
    }

    fn size(&mut self, expr: &'e Expr) -> Option<SizeEstimate> {
        if let Some(size) = self.computed.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Literal(Literal::String(text)) => return Some((text.chars().count() as u64).into()),
            Kind::Literal(Literal::Bytes(bytes)) => return Some((bytes.len() as u64).into()),
            Kind::Literal(_) => return Some(1.into()),
            Kind::List(elements) => return Some((elements.len() as u64).into()),
            Kind::Map(entries) => return Some((entries.len() as u64).into()),
            _ => {}
        }
        if let Some(size) = self.by_path(&self.path(expr)) {
            self.computed.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.ty(expr)) {
            return Some(1.into());
        }
        self.local(expr.as_ident()?)?.size
    }

    fn entry(&self, expr: &Expr) -> Option<EntrySize> {
        if let Some(entry) = self.entries.get(&expr.id) {
            return Some(*entry);
        }
        self.local(expr.as_ident()?)?.entry
    }
}

impl EntrySize {
    fn union(self, other: EntrySize) -> EntrySize {
        EntrySize {
            is_list: self.is_list,
            key: self.key.union(other.key),
            value: self.value.union(other.value),
        }
    }
}

fn none_yet(empty: bool) -> SizeEstimate {
    SizeEstimate { min: if empty { 0 } else { u64::MAX }, max: 0 }
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        other => other.as_optional().is_some_and(is_scalar),
    }
}

fn sort_factor(overload: &str) -> f64 {
    pair_factor(matches!(overload.split('_').nth(1), Some("string" | "bytes")))
}

/// The size of a text in which parts are replaced.
fn replaced(text: SizeEstimate, from: SizeEstimate, to: SizeEstimate) -> SizeEstimate {
    let divided = |size: u64, by: u64| scaled(1, size as f64 / by as f64);
    let (mut count, mut kept) = (SizeEstimate::fixed(0), SizeEstimate::fixed(0));
    if from.min == 0 {
        // Nothing is found between all characters.
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if to.max <= from.min {
        kept.max = text.max;
    } else {
        count.max = divided(text.max, from.min);
    }
    if from.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if from.max <= to.min {
        kept.min = text.min;
    } else {
        count.min = divided(text.min, from.max);
    }
    count.times(to).plus(kept)
}
