//! Lists as sets: cel-go's `sets` extension.

use super::{Result, list};
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::{List, Value, equal};

pub(super) fn install(library: &mut Library) {
    let of = Type::list(Type::Param("T"));
    let two = [of.clone(), of];
    library.global("sets.contains", "list_sets_contains_list", &two, Type::Bool, |args| {
        contains_all(list(args, 0)?, list(args, 1)?).map(Value::Bool)
    });
    library.global("sets.equivalent", "list_sets_equivalent_list", &two, Type::Bool, |args| {
        let (a, b) = (list(args, 0)?, list(args, 1)?);
        Ok(Value::Bool(contains_all(a, b)? && contains_all(b, a)?))
    });
    library.global("sets.intersects", "list_sets_intersects_list", &two, Type::Bool, intersects);
}

fn contains(list: &List<'_>, item: &Value<'_>) -> std::result::Result<bool, Error> {
    let mut failed = None;
    for other in list.iter() {
        match other.and_then(|other| equal(&other, item)) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.filter(|_| list.is_typed()).map_or(Ok(false), Err)
}

fn contains_all(list: &List<'_>, sublist: &List<'_>) -> std::result::Result<bool, Error> {
    for item in sublist.iter() {
        if !contains(list, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(args: &[Value<'a>]) -> Result<'a> {
    for item in list(args, 0)?.iter() {
        if let Ok(true) = contains(list(args, 1)?, &item?) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
