//! Functions on lists: Kubernetes' `lists` library, and cel-go's extension of the same name.

use std::cmp::Ordering;

use super::standard::{add, leaked};
use super::{Result, integer, list};
use crate::cost::work;
use crate::env::{Implementation, Library, Singleton};
use crate::eval::Error;
use crate::types::Type;
use crate::value::{List, Value, compare, equal};

fn comparable() -> [(&'static str, Type); 8] {
    [
        ("int", Type::Int),
        ("uint", Type::Uint),
        ("double", Type::Double),
        ("bool", Type::Bool),
        ("duration", Type::Duration),
        ("timestamp", Type::Timestamp),
        ("string", Type::String),
        ("bytes", Type::Bytes),
    ]
}

pub(super) fn install(library: &mut Library) {
    kubernetes(library);
    extension(library);
}

fn kubernetes(library: &mut Library) {
    for (name, ty) in comparable() {
        let of = [Type::list(ty.clone())];
        library.member("isSorted", leaked(format!("list_{name}_is_sorted_bool")), &of, Type::Bool, is_sorted);
        let max: Implementation = |args| best(list(args, 0)?, "max", Ordering::Less);
        library.member("max", leaked(format!("list_{name}_max_{name}")), &of, ty.clone(), max);
        let min: Implementation = |args| best(list(args, 0)?, "min", Ordering::Greater);
        library.member("min", leaked(format!("list_{name}_min_{name}")), &of, ty, min);
    }
    let sums: [(&str, Type, Implementation); 4] = [
        ("int", Type::Int, |args| sum(list(args, 0)?, Value::Int(0))),
        ("uint", Type::Uint, |args| sum(list(args, 0)?, Value::Uint(0))),
        ("double", Type::Double, |args| sum(list(args, 0)?, Value::Double(0.0))),
        ("duration", Type::Duration, |args| sum(list(args, 0)?, Value::Duration(0))),
    ];
    for (name, ty, call) in sums {
        library.member("sum", leaked(format!("list_{name}_sum_{name}")), &[Type::list(ty.clone())], ty, call);
    }
    let a = Type::Param("A");
    let args = [Type::list(a.clone()), a];
    library.member("indexOf", "list_a_index_of_int", &args, Type::Int, |args| {
        let items = list(args, 0)?;
        Ok(Value::Int(items.iter().position(|item| is(item, &args[1])).map_or(-1, |at| at as i64)))
    });
    library.member("lastIndexOf", "list_a_last_index_of_int", &args, Type::Int, |args| {
        let items = list(args, 0)?;
        let last = items.iter().enumerate().filter(|(_, item)| is(item.clone(), &args[1])).last();
        Ok(Value::Int(last.map_or(-1, |(at, _)| at as i64)))
    });
}

fn is(item: std::result::Result<Value<'_>, Error>, wanted: &Value<'_>) -> bool {
    matches!(item.and_then(|item| equal(&item, wanted)), Ok(true))
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Result<'a> {
    let mut previous: Option<Value<'a>> = None;
    for item in list(args, 0)?.iter() {
        let item = item?;
        if let Some(previous) = previous
            && matches!(compare(&previous, &item), Ok(Ordering::Greater))
        {
            return Ok(Value::Bool(false));
        }
        previous = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(items: &List<'a>, zero: Value<'a>) -> Result<'a> {
    items.iter().try_fold(zero, |sum, item| add(sum, item?))
}

/// The element that stays when each that stands in this order to the next is dropped for it.
fn best<'a>(items: &List<'a>, name: &str, worse: Ordering) -> Result<'a> {
    let mut best: Option<Value<'a>> = None;
    for item in items.iter() {
        let item = item?;
        best = Some(match best {
            Some(best) if compare(&best, &item).ok() != Some(worse) => best,
            _ => item,
        });
    }
    best.ok_or_else(|| Error::new(format!("{name} called on empty list")))
}

fn extension(library: &mut Library) {
    let of = Type::list(Type::Param("T"));
    library.member("slice", "list_slice", &[of.clone(), Type::Int, Type::Int], of.clone(), slice);
    library.member("flatten", "list_flatten", &[Type::list(of.clone())], of.clone(), |args| {
        flatten(list(args, 0)?, 1)
    });
    let any = Type::list(Type::Dyn);
    library.member("flatten", "list_flatten_int", &[any.clone(), Type::Int], any, |args| {
        flatten(list(args, 0)?, integer(args, 1)?)
    });
    library.function("flatten").unguarded = true;
    for (_, ty) in comparable() {
        let name = ty.name().to_owned();
        let keys = Type::list(ty);
        library.overload(
            "sort",
            leaked(format!("list_{name}_sort")),
            true,
            std::slice::from_ref(&keys),
            keys.clone(),
            None,
        );
        let id = leaked(format!("list_{name}_sortByAssociatedKeys"));
        library.overload("@sortByAssociatedKeys", id, true, &[of.clone(), keys], of.clone(), None);
    }
    let accepts = |value: &Value<'_>| matches!(value, Value::List(_));
    let call: Implementation = |args| sort(list(args, 0)?, list(args, 0)?);
    library.function("sort").singleton = Some(Singleton { call, accepts });
    let call: Implementation = |args| sort(list(args, 0)?, list(args, 1)?);
    library.function("@sortByAssociatedKeys").singleton = Some(Singleton { call, accepts });
    library.global("lists.range", "lists_range", &[Type::Int], Type::list(Type::Int), |args| {
        Ok(Value::list((0..integer(args, 0)?).map(Value::Int).collect()))
    });
    library.member("reverse", "list_reverse", std::slice::from_ref(&of), of.clone(), |args| {
        let mut items = list(args, 0)?.to_vec()?;
        items.reverse();
        Ok(Value::list(items))
    });
    library.member("distinct", "list_distinct", std::slice::from_ref(&of), of.clone(), |args| {
        let mut seen: Vec<Value<'_>> = Vec::new();
        for item in list(args, 0)?.iter() {
            let item = item?;
            if !seen.iter().any(|known| matches!(equal(&item, known), Ok(true))) {
                seen.push(item);
            }
        }
        Ok(Value::list(seen))
    });
}

fn slice<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (items, start, end) = (list(args, 0)?, integer(args, 1)?, integer(args, 2)?);
    let wrong = |reason: String| Err(Error::new(format!("cannot slice({start}, {end}), {reason}")));
    if start < 0 || end < 0 {
        return wrong("negative indexes not supported".into());
    }
    if start > end {
        return wrong("start index must be less than or equal to end index".into());
    }
    if (items.len() as i64) < end {
        return wrong(format!("list is length {}", items.len()));
    }
    let count = (end - start) as usize;
    work::spend((end as usize).saturating_add(count.saturating_mul(work::KEPT)))?;
    Ok(Value::list(items.iter().skip(start as usize).take(count).collect::<std::result::Result<_, _>>()?))
}

fn flatten<'a>(items: &List<'a>, depth: i64) -> Result<'a> {
    if depth < 0 {
        return Err(Error::new("level must be non-negative"));
    }
    let mut flat = Vec::new();
    flatten_into(&mut flat, items, depth)?;
    Ok(Value::list(flat))
}

fn flatten_into<'a>(
    flat: &mut Vec<Value<'a>>,
    items: &List<'a>,
    depth: i64,
) -> std::result::Result<(), Error> {
    for item in items.iter() {
        work::spend(1)?;
        match item? {
            Value::List(nested) if depth > 0 => flatten_into(flat, &nested, depth - 1)?,
            item => {
                // Flattening may multiply what lists share.
                work::spend(work::KEPT)?;
                flat.push(item);
            }
        }
    }
    Ok(())
}

fn sort<'a>(items: &List<'a>, keys: &List<'a>) -> Result<'a> {
    if items.len() != keys.len() {
        return Err(Error::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        )));
    }
    let keys = keys.to_vec()?;
    if let Some(first) = keys.first() {
        let one_type = keys.iter().all(|key| key.type_name() == first.type_name());
        if compare(first, first).is_err() {
            return Err(Error::new("list elements must be comparable"));
        }
        if !one_type {
            return Err(Error::new("list elements must have the same type"));
        }
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(items.to_vec()?).collect();
    pairs.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}
