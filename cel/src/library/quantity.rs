//! Amounts of resources: Kubernetes' `quantity` library.

use std::cmp::Ordering;

use proto::quantity::{Format, Quantity};

use super::{Result, integer, opaque, text};
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::{Opaque, Value, downcast};

impl Opaque for Quantity {
    fn ty(&self) -> Type {
        Type::object("kubernetes.Quantity")
    }

    fn equals(&self, other: &dyn Opaque) -> Option<bool> {
        downcast::<Quantity>(other).map(|other| self == other)
    }
}

pub(super) fn install(library: &mut Library) {
    let ty = Type::object("kubernetes.Quantity");
    library.named_type("kubernetes.Quantity", ty.clone());
    let one = [ty.clone()];
    let two = [ty.clone(), ty.clone()];
    let with_int = [ty.clone(), Type::Int];
    library.global("quantity", "string_to_quantity", &[Type::String], ty.clone(), |args| {
        let quantity = Quantity::parse(text(args, 0)?).map_err(|error| Error::new(error.to_string()))?;
        Ok(Value::opaque(quantity))
    });
    library.global("isQuantity", "is_quantity_string", &[Type::String], Type::Bool, |args| {
        Ok(Value::Bool(Quantity::parse(text(args, 0)?).is_ok()))
    });
    library.global("sign", "quantity_sign", &one, Type::Int, |args| {
        Ok(Value::Int(opaque::<Quantity>(args, 0)?.sign().into()))
    });
    library.member("isGreaterThan", "quantity_is_greater_than", &two, Type::Bool, |args| {
        Ok(Value::Bool(order(args)?.is_gt()))
    });
    library.member("isLessThan", "quantity_is_less_than", &two, Type::Bool, |args| {
        Ok(Value::Bool(order(args)?.is_lt()))
    });
    library.member("compareTo", "quantity_compare_to", &two, Type::Int, |args| {
        Ok(Value::Int(order(args)? as i64))
    });
    library.member("asApproximateFloat", "quantity_get_float", &one, Type::Double, |args| {
        Ok(Value::Double(opaque::<Quantity>(args, 0)?.to_f64()))
    });
    library.member("asInteger", "quantity_get_int", &one, Type::Int, |args| {
        let whole = opaque::<Quantity>(args, 0)?.as_i64();
        whole.map(Value::Int).ok_or_else(|| Error::new("cannot convert value to integer"))
    });
    library.member("isInteger", "quantity_is_integer", &one, Type::Bool, |args| {
        Ok(Value::Bool(opaque::<Quantity>(args, 0)?.as_i64().is_some()))
    });
    library.member("add", "quantity_add", &two, ty.clone(), |args| combined(args, Quantity::add));
    library.member("add", "quantity_add_int", &with_int, ty.clone(), |args| combined(args, Quantity::add));
    library.member("sub", "quantity_sub", &two, ty.clone(), |args| combined(args, Quantity::sub));
    library.member("sub", "quantity_sub_int", &with_int, ty, |args| combined(args, Quantity::sub));
}

fn order(args: &[Value<'_>]) -> std::result::Result<Ordering, Error> {
    Ok(opaque::<Quantity>(args, 0)?.cmp(opaque::<Quantity>(args, 1)?))
}

fn combined<'a>(args: &[Value<'a>], with: fn(&mut Quantity, &Quantity)) -> Result<'a> {
    let mut quantity = opaque::<Quantity>(args, 0)?.clone();
    match integer(args, 1) {
        Ok(number) => with(&mut quantity, &Quantity::new(number, Format::DecimalExponent)),
        Err(_) => with(&mut quantity, opaque::<Quantity>(args, 1)?),
    }
    Ok(Value::opaque(quantity))
}
