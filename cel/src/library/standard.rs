//! The language's own operators and functions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Result, text};
use crate::env::{Implementation, Library, Singleton};
use crate::eval::Error;
use crate::library::pattern;
use crate::syntax::op;
use crate::types::Type;
use crate::value::{Value, compare, convert::convert, equal, time::Civil};

pub(super) fn install(library: &mut Library) {
    types(library);
    operators(library);
    comparisons(library);
    conversions(library);
    texts(library);
    times(library);
}

fn types(library: &mut Library) {
    let (a, b) = (Type::Param("A"), Type::Param("B"));
    for (name, ty) in [
        ("bool", Type::Bool),
        ("bytes", Type::Bytes),
        ("double", Type::Double),
        ("google.protobuf.Duration", Type::Duration),
        ("int", Type::Int),
        ("null_type", Type::Null),
        ("string", Type::String),
        ("google.protobuf.Timestamp", Type::Timestamp),
        ("uint", Type::Uint),
        ("list", Type::list(Type::Dyn)),
        ("map", Type::map(Type::Dyn, Type::Dyn)),
        ("type", Type::Type(Arc::new(Type::Dyn))),
    ] {
        library.named_type(name, ty);
    }
    let list = || Type::list(a.clone());
    let map = || Type::map(a.clone(), b.clone());
    let mut special = |name, id, args: &[Type], result| library.overload(name, id, false, args, result, None);
    special(op::CONDITIONAL, "conditional", &[Type::Bool, a.clone(), a.clone()], a.clone());
    special(op::AND, "logical_and", &[Type::Bool, Type::Bool], Type::Bool);
    special(op::OR, "logical_or", &[Type::Bool, Type::Bool], Type::Bool);
    special(op::NOT_STRICTLY_FALSE, "not_strictly_false", &[Type::Bool], Type::Bool);
    special(op::EQ, "equals", &[a.clone(), a.clone()], Type::Bool);
    special(op::NE, "not_equals", &[a.clone(), a.clone()], Type::Bool);
    special(op::INDEX, "index_list", &[list(), Type::Int], a.clone());
    special(op::INDEX, "index_map", &[map(), a.clone()], b.clone());
    special(op::IN, "in_list", &[a.clone(), list()], Type::Bool);
    special(op::IN, "in_map", &[a.clone(), map()], Type::Bool);
    special("type", "type", std::slice::from_ref(&a), Type::Type(Arc::new(a.clone())));
    special("dyn", "to_dyn", std::slice::from_ref(&a), Type::Dyn);
    let any = |_: &Value<'_>| true;
    library.function(op::IN).singleton = Some(Singleton { call: contains, accepts: any });
    library.function("type").singleton = Some(Singleton { call: type_of, accepts: any });
    library.function("dyn").singleton = Some(Singleton { call: identity, accepts: any });
    for (args, id, member) in [
        (Type::Bytes, "size_bytes", "bytes_size"),
        (list(), "size_list", "list_size"),
        (map(), "size_map", "map_size"),
        (Type::String, "size_string", "string_size"),
    ] {
        library.overload("size", id, false, std::slice::from_ref(&args), Type::Int, None);
        library.overload("size", member, true, &[args], Type::Int, None);
    }
    let sized = |value: &Value<'_>| {
        matches!(value, Value::Bytes(_) | Value::List(_) | Value::Map(_) | Value::String(_))
    };
    library.function("size").singleton = Some(Singleton { call: size, accepts: sized });
}

fn identity<'a>(args: &[Value<'a>]) -> Result<'a> {
    args.first().cloned().ok_or(Error::NO_SUCH_OVERLOAD)
}

fn type_of<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::Type(args.first().map_or(Type::Dyn, Value::ty)))
}

fn size<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::Int(args.first().map_or(0, Value::size) as i64))
}

fn contains<'a>(args: &[Value<'a>]) -> Result<'a> {
    match args {
        [item, Value::List(list)] => {
            let mut failed = None;
            for other in list.iter() {
                match other.and_then(|other| equal(&other, item)) {
                    Ok(true) => return Ok(Value::Bool(true)),
                    Ok(false) => {}
                    Err(error) if error.is_cost_limit() => return Err(error),
                    // Only lists with a schema mind elements that can't be compared.
                    Err(error) => failed = failed.or(Some(error)).filter(|_| list.is_typed()),
                }
            }
            failed.map_or(Ok(Value::Bool(false)), Err)
        }
        [key, Value::Map(map)] => Ok(Value::Bool(map.find(key)?.is_some())),
        _ => Err(Error::NO_SUCH_OVERLOAD),
    }
}

fn operators(library: &mut Library) {
    let list = Type::list(Type::Param("A"));
    let (int, uint, double) = (Type::Int, Type::Uint, Type::Double);
    let (timestamp, duration) = (Type::Timestamp, Type::Duration);
    type Row = (&'static str, &'static str, Type, Type, Type);
    let same = |function, id, ty: &Type| -> Row { (function, id, ty.clone(), ty.clone(), ty.clone()) };
    let rows: [Row; 23] = [
        same(op::ADD, "add_bytes", &Type::Bytes),
        same(op::ADD, "add_double", &double),
        same(op::ADD, "add_duration_duration", &duration),
        (op::ADD, "add_duration_timestamp", duration.clone(), timestamp.clone(), timestamp.clone()),
        (op::ADD, "add_timestamp_duration", timestamp.clone(), duration.clone(), timestamp.clone()),
        same(op::ADD, "add_int64", &int),
        same(op::ADD, "add_list", &list),
        same(op::ADD, "add_string", &Type::String),
        same(op::ADD, "add_uint64", &uint),
        same(op::DIV, "divide_double", &double),
        same(op::DIV, "divide_int64", &int),
        same(op::DIV, "divide_uint64", &uint),
        same(op::REM, "modulo_int64", &int),
        same(op::REM, "modulo_uint64", &uint),
        same(op::MUL, "multiply_double", &double),
        same(op::MUL, "multiply_int64", &int),
        same(op::MUL, "multiply_uint64", &uint),
        same(op::SUB, "subtract_double", &double),
        same(op::SUB, "subtract_duration_duration", &duration),
        same(op::SUB, "subtract_int64", &int),
        (op::SUB, "subtract_timestamp_duration", timestamp.clone(), duration.clone(), timestamp.clone()),
        (op::SUB, "subtract_timestamp_timestamp", timestamp.clone(), timestamp, duration),
        same(op::SUB, "subtract_uint64", &uint),
    ];
    for (function, id, left, right, result) in rows {
        library.overload(function, id, false, &[left, right], result, None);
    }
    library.overload(op::NOT, "logical_not", false, &[Type::Bool], Type::Bool, None);
    library.overload(op::NEG, "negate_double", false, &[Type::Double], Type::Double, None);
    library.overload(op::NEG, "negate_int64", false, &[Type::Int], Type::Int, None);
    let number = |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    let mut bind = |name, call: Implementation, accepts| {
        library.function(name).singleton = Some(Singleton { call, accepts });
    };
    bind(op::NOT, not, |_| true);
    bind(op::NEG, negate, |value| {
        matches!(value, Value::Int(_) | Value::Double(_) | Value::Bool(_) | Value::Duration(_))
    });
    bind(op::SUB, subtract, |value| {
        matches!(
            value,
            Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Timestamp(_) | Value::Duration(_)
        )
    });
    bind(op::MUL, multiply, number);
    bind(op::DIV, divide, number);
    bind(op::REM, remainder, |value| matches!(value, Value::Int(_) | Value::Uint(_)));
}

fn not<'a>(args: &[Value<'a>]) -> Result<'a> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(Error::NO_SUCH_OVERLOAD),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Result<'a> {
    match args {
        [Value::Int(number)] => number.checked_neg().map(Value::Int).ok_or(Error::INT_OVERFLOW),
        [Value::Double(number)] => Ok(Value::Double(-number)),
        [Value::Duration(nanos)] => nanos.checked_neg().map(Value::Duration).ok_or_else(duration_overflow),
        _ => Err(Error::NO_SUCH_OVERLOAD),
    }
}

fn duration_overflow() -> Error {
    Error::new("duration overflow")
}

/// The sum of two values. A list that is not shared is added to in place.
pub(crate) fn add<'a>(left: Value<'a>, right: Value<'a>) -> Result<'a> {
    Ok(match (left, right) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(b).ok_or(Error::INT_OVERFLOW)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_add(b).ok_or(Error::UINT_OVERFLOW)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::String(a), Value::String(b)) => Value::string(format!("{}{}", &*a, &*b)),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&*a, &*b].concat().into()),
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_add(b).ok_or_else(duration_overflow)?)
        }
        (Value::Timestamp(at), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(at)) => {
            Value::Timestamp(at.add(by)?)
        }
        (Value::List(mut list), Value::List(more)) => {
            if !list.is_typed() && list.is_owned() && !list.is_empty() {
                for item in more.iter() {
                    list.push(item?)?;
                }
                return Ok(Value::List(list));
            }
            if !list.is_typed() && list.is_empty() {
                return Ok(Value::List(more));
            }
            Value::List(list.join(&more)?)
        }
        (Value::Bool(_) | Value::Null | Value::Map(_) | Value::Type(_) | Value::Optional(_), _) => {
            return Err(Error::new("no such overload: _+_"));
        }
        _ => return Err(Error::NO_SUCH_OVERLOAD),
    })
}

fn subtract<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(match args {
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_sub(*b).ok_or(Error::INT_OVERFLOW)?),
        [Value::Uint(a), Value::Uint(b)] => Value::Uint(a.checked_sub(*b).ok_or(Error::UINT_OVERFLOW)?),
        [Value::Double(a), Value::Double(b)] => Value::Double(a - b),
        [Value::Duration(a), Value::Duration(b)] => {
            Value::Duration(a.checked_sub(*b).ok_or_else(duration_overflow)?)
        }
        [Value::Timestamp(a), Value::Timestamp(b)] => Value::Duration(a.since(b)?),
        [Value::Timestamp(a), Value::Duration(b)] => {
            Value::Timestamp(a.add(b.checked_neg().ok_or_else(duration_overflow)?)?)
        }
        _ => return Err(Error::NO_SUCH_OVERLOAD),
    })
}

fn multiply<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(match args {
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_mul(*b).ok_or(Error::INT_OVERFLOW)?),
        [Value::Uint(a), Value::Uint(b)] => Value::Uint(a.checked_mul(*b).ok_or(Error::UINT_OVERFLOW)?),
        [Value::Double(a), Value::Double(b)] => Value::Double(a * b),
        _ => return Err(Error::NO_SUCH_OVERLOAD),
    })
}

fn divide<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            return Err(Error::new("division by zero"));
        }
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_div(*b).ok_or(Error::INT_OVERFLOW)?),
        [Value::Uint(a), Value::Uint(b)] => Value::Uint(a / b),
        [Value::Double(a), Value::Double(b)] => Value::Double(a / b),
        _ => return Err(Error::NO_SUCH_OVERLOAD),
    })
}

fn remainder<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            return Err(Error::new("modulus by zero"));
        }
        [Value::Int(a), Value::Int(b)] => Value::Int(a.checked_rem(*b).ok_or(Error::INT_OVERFLOW)?),
        [Value::Uint(a), Value::Uint(b)] => Value::Uint(a % b),
        _ => return Err(Error::NO_SUCH_OVERLOAD),
    })
}

fn comparisons(library: &mut Library) {
    // The names of signatures are put together from these.
    let types = [
        ("bool", Type::Bool, &[] as &[(&str, Type)]),
        ("int64", Type::Int, &[("int64_double", Type::Double), ("int64_uint64", Type::Uint)]),
        ("uint64", Type::Uint, &[("uint64_double", Type::Double), ("uint64_int64", Type::Int)]),
        ("double", Type::Double, &[("double_int64", Type::Int), ("double_uint64", Type::Uint)]),
        ("string", Type::String, &[]),
        ("bytes", Type::Bytes, &[]),
        ("timestamp", Type::Timestamp, &[]),
        ("duration", Type::Duration, &[]),
    ];
    let functions: [(&'static str, &str, Implementation); 4] = [
        (op::LT, "less", |args| ordered(args, Ordering::is_lt)),
        (op::LE, "less_equals", |args| ordered(args, Ordering::is_le)),
        (op::GT, "greater", |args| ordered(args, Ordering::is_gt)),
        (op::GE, "greater_equals", |args| ordered(args, Ordering::is_ge)),
    ];
    for (function, name, call) in functions {
        for (suffix, ty, others) in &types {
            let of_two = [(*suffix, ty.clone())].into_iter().chain(others.iter().cloned());
            for (suffix, other) in of_two {
                let id = leaked(format!("{name}_{suffix}"));
                library.overload(function, id, false, &[ty.clone(), other], Type::Bool, None);
            }
        }
        library.function(function).singleton = Some(Singleton { call, accepts: is_ordered });
    }
}

/// A name that lives as long as the program. Libraries are made once.
pub(super) fn leaked(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}

fn is_ordered(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
    )
}

fn ordered<'a>(args: &[Value<'a>], is: fn(Ordering) -> bool) -> Result<'a> {
    match args {
        [a, b] => compare(a, b).map(|order| Value::Bool(is(order))),
        _ => Err(Error::NO_SUCH_OVERLOAD),
    }
}

fn conversions(library: &mut Library) {
    type Row = (&'static str, &'static str, Type, Type, Implementation);
    fn to<'a>(args: &[Value<'a>], ty: &Type) -> Result<'a> {
        convert(args.first().ok_or(Error::NO_SUCH_OVERLOAD)?, ty)
    }
    let rows: [Row; 32] = [
        ("bool", "bool_to_bool", Type::Bool, Type::Bool, identity),
        ("bool", "string_to_bool", Type::String, Type::Bool, |args| to(args, &Type::Bool)),
        ("bytes", "bytes_to_bytes", Type::Bytes, Type::Bytes, identity),
        ("bytes", "string_to_bytes", Type::String, Type::Bytes, |args| to(args, &Type::Bytes)),
        ("double", "double_to_double", Type::Double, Type::Double, identity),
        ("double", "int64_to_double", Type::Int, Type::Double, |args| to(args, &Type::Double)),
        ("double", "string_to_double", Type::String, Type::Double, |args| to(args, &Type::Double)),
        ("double", "uint64_to_double", Type::Uint, Type::Double, |args| to(args, &Type::Double)),
        ("duration", "duration_to_duration", Type::Duration, Type::Duration, identity),
        ("duration", "int64_to_duration", Type::Int, Type::Duration, |args| to(args, &Type::Duration)),
        ("duration", "string_to_duration", Type::String, Type::Duration, |args| to(args, &Type::Duration)),
        ("int", "int64_to_int64", Type::Int, Type::Int, identity),
        ("int", "double_to_int64", Type::Double, Type::Int, |args| to(args, &Type::Int)),
        ("int", "duration_to_int64", Type::Duration, Type::Int, |args| to(args, &Type::Int)),
        ("int", "string_to_int64", Type::String, Type::Int, |args| to(args, &Type::Int)),
        ("int", "timestamp_to_int64", Type::Timestamp, Type::Int, |args| to(args, &Type::Int)),
        ("int", "uint64_to_int64", Type::Uint, Type::Int, |args| to(args, &Type::Int)),
        ("string", "string_to_string", Type::String, Type::String, identity),
        ("string", "bool_to_string", Type::Bool, Type::String, |args| to(args, &Type::String)),
        ("string", "bytes_to_string", Type::Bytes, Type::String, |args| to(args, &Type::String)),
        ("string", "double_to_string", Type::Double, Type::String, |args| to(args, &Type::String)),
        ("string", "duration_to_string", Type::Duration, Type::String, |args| to(args, &Type::String)),
        ("string", "int64_to_string", Type::Int, Type::String, |args| to(args, &Type::String)),
        ("string", "timestamp_to_string", Type::Timestamp, Type::String, |args| to(args, &Type::String)),
        ("string", "uint64_to_string", Type::Uint, Type::String, |args| to(args, &Type::String)),
        ("timestamp", "timestamp_to_timestamp", Type::Timestamp, Type::Timestamp, identity),
        ("timestamp", "int64_to_timestamp", Type::Int, Type::Timestamp, |args| to(args, &Type::Timestamp)),
        ("timestamp", "string_to_timestamp", Type::String, Type::Timestamp, |args| {
            to(args, &Type::Timestamp)
        }),
        ("uint", "uint64_to_uint64", Type::Uint, Type::Uint, identity),
        ("uint", "double_to_uint64", Type::Double, Type::Uint, |args| to(args, &Type::Uint)),
        ("uint", "int64_to_uint64", Type::Int, Type::Uint, |args| to(args, &Type::Uint)),
        ("uint", "string_to_uint64", Type::String, Type::Uint, |args| to(args, &Type::Uint)),
    ];
    for (name, id, from, result, call) in rows {
        library.global(name, id, &[from], result, call);
    }
}

fn texts(library: &mut Library) {
    let two = [Type::String, Type::String];
    let rows: [(&'static str, &'static str, Implementation); 3] = [
        ("contains", "contains_string", |args| Ok(Value::Bool(text(args, 0)?.contains(text(args, 1)?)))),
        ("endsWith", "ends_with_string", |args| Ok(Value::Bool(text(args, 0)?.ends_with(text(args, 1)?)))),
        ("startsWith", "starts_with_string", |args| {
            Ok(Value::Bool(text(args, 0)?.starts_with(text(args, 1)?)))
        }),
    ];
    for (name, id, call) in rows {
        library.member(name, id, &two, Type::Bool, call);
        library.function(name).unguarded = true;
    }
    library.overload("matches", "matches", false, &two, Type::Bool, None);
    library.overload("matches", "matches_string", true, &two, Type::Bool, None);
    let call: Implementation =
        |args| Ok(Value::Bool(pattern::compile(text(args, 1)?)?.is_match(text(args, 0)?)));
    let accepts = |value: &Value<'_>| matches!(value, Value::String(_));
    library.function("matches").singleton = Some(Singleton { call, accepts });
}

fn times(library: &mut Library) {
    type Part = (&'static str, &'static str, Implementation);
    fn part<'a>(args: &[Value<'a>], of: fn(&Civil) -> i64) -> Result<'a> {
        match args {
            [Value::Timestamp(at)] => Ok(Value::Int(of(&at.in_zone("UTC")?))),
            [Value::Timestamp(at), Value::String(zone)] => Ok(Value::Int(of(&at.in_zone(zone)?))),
            _ => Err(Error::NO_SUCH_OVERLOAD),
        }
    }
    fn spans<'a>(args: &[Value<'a>], unit: i64) -> Result<'a> {
        match args {
            [Value::Duration(nanos)] => Ok(Value::Int(nanos / unit)),
            _ => Err(Error::NO_SUCH_OVERLOAD),
        }
    }
    let parts: [Part; 10] = [
        ("getFullYear", "timestamp_to_year", |args| part(args, |at| at.year)),
        ("getMonth", "timestamp_to_month", |args| part(args, |at| at.month - 1)),
        ("getDayOfYear", "timestamp_to_day_of_year", |args| part(args, |at| at.day_of_year - 1)),
        ("getDayOfMonth", "timestamp_to_day_of_month", |args| part(args, |at| at.day - 1)),
        ("getDate", "timestamp_to_day_of_month_1_based", |args| part(args, |at| at.day)),
        ("getDayOfWeek", "timestamp_to_day_of_week", |args| part(args, |at| at.weekday)),
        ("getHours", "timestamp_to_hours", |args| part(args, |at| at.hour)),
        ("getMinutes", "timestamp_to_minutes", |args| part(args, |at| at.minute)),
        ("getSeconds", "timestamp_to_seconds_tz", |args| part(args, |at| at.second)),
        ("getMilliseconds", "timestamp_to_milliseconds", |args| match args {
            [Value::Timestamp(at), ..] => {
                part(args, |_| 0).map(|_| Value::Int(i64::from(at.nanos() / 1_000_000)))
            }
            _ => Err(Error::NO_SUCH_OVERLOAD),
        }),
    ];
    for (name, id, call) in parts {
        library.member(name, id, &[Type::Timestamp], Type::Int, call);
        library.member(
            name,
            leaked(format!("{id}_with_tz")),
            &[Type::Timestamp, Type::String],
            Type::Int,
            call,
        );
    }
    let units: [Part; 4] = [
        ("getHours", "duration_to_hours", |args| spans(args, 3_600_000_000_000)),
        ("getMinutes", "duration_to_minutes", |args| spans(args, 60_000_000_000)),
        ("getSeconds", "duration_to_seconds", |args| spans(args, 1_000_000_000)),
        ("getMilliseconds", "duration_to_milliseconds", |args| spans(args, 1_000_000)),
    ];
    for (name, id, call) in units {
        library.member(name, id, &[Type::Duration], Type::Int, call);
    }
}
