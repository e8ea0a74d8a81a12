//! Values that may be absent: cel-go's optional types.

use super::{Result, list};
use crate::env::Library;
use crate::eval::Error;
use crate::syntax::op;
use crate::types::{OPTIONAL, Type};
use crate::value::Value;

pub(super) fn install(library: &mut Library) {
    let (key, value) = (Type::Param("K"), Type::Param("V"));
    let optional = Type::optional(value.clone());
    let list_of = Type::list(value.clone());
    let map_of = Type::map(key.clone(), value.clone());
    library.named_type(OPTIONAL, Type::optional(Type::Dyn));
    library.global("optional.of", "optional_of", std::slice::from_ref(&value), optional.clone(), |args| {
        Ok(Value::some(args.first().cloned().unwrap_or(Value::Null)))
    });
    let id = "optional_ofNonZeroValue";
    library.global("optional.ofNonZeroValue", id, std::slice::from_ref(&value), optional.clone(), |args| {
        match args {
            [value] if !value.is_zero() => Ok(Value::some(value.clone())),
            _ => Ok(Value::Optional(None)),
        }
    });
    library.global("optional.none", "optional_none", &[], optional.clone(), |_| Ok(Value::Optional(None)));
    library.member("value", "optional_value", std::slice::from_ref(&optional), value.clone(), |args| {
        match args {
            [Value::Optional(Some(value))] => Ok((**value).clone()),
            _ => Err(Error::new("optional.none() dereference")),
        }
    });
    library.member("hasValue", "optional_hasValue", std::slice::from_ref(&optional), Type::Bool, |args| {
        Ok(Value::Bool(matches!(args, [Value::Optional(Some(_))])))
    });
    let mut special = |name, id, member, args: &[Type], result: &Type| {
        library.overload(name, id, member, args, result.clone(), None);
    };
    special("or", "optional_or_optional", true, &[optional.clone(), optional.clone()], &optional);
    special("orValue", "optional_orValue_value", true, &[optional.clone(), value.clone()], &value);
    special(op::OPT_SELECT, "select_optional_field", false, &[Type::Dyn, Type::String], &optional);
    let (maybe_list, maybe_map) = (Type::optional(list_of.clone()), Type::optional(map_of.clone()));
    for (function, id, from, by) in [
        (op::OPT_INDEX, "list_optindex_optional_int", &list_of, &Type::Int),
        (op::OPT_INDEX, "optional_list_optindex_optional_int", &maybe_list, &Type::Int),
        (op::OPT_INDEX, "map_optindex_optional_value", &map_of, &key),
        (op::OPT_INDEX, "optional_map_optindex_optional_value", &maybe_map, &key),
        (op::INDEX, "optional_list_index_int", &maybe_list, &Type::Int),
        (op::INDEX, "optional_map_index_value", &maybe_map, &key),
    ] {
        special(function, id, false, &[from.clone(), by.clone()], &optional);
    }
    library.member("last", "list_last", std::slice::from_ref(&list_of), optional.clone(), |args| {
        let items = list(args, 0)?;
        at(items.len().checked_sub(1).and_then(|last| items.get(last)))
    });
    library.member("first", "list_first", std::slice::from_ref(&list_of), optional.clone(), |args| {
        at(list(args, 0)?.get(0))
    });
    let optionals = [Type::list(optional)];
    library.global("optional.unwrap", "optional_unwrap", &optionals, list_of.clone(), unwrap);
    library.member("unwrapOpt", "optional_unwrapOpt", &optionals, list_of, unwrap);
}

fn at(item: Option<Result<'_>>) -> Result<'_> {
    Ok(item.transpose()?.map_or(Value::Optional(None), Value::some))
}

fn unwrap<'a>(args: &[Value<'a>]) -> Result<'a> {
    let mut values = Vec::new();
    for item in list(args, 0)?.iter() {
        match item? {
            Value::Optional(value) => values.extend(value.map(|value| (*value).clone())),
            other => return Err(Error::new(format!("value {other} is not optional"))),
        }
    }
    Ok(Value::list(values))
}
