//! Static defaults: a walk that fills absent fields.

use serde_json::Value;

use super::{Field, Flags, Mask, Shape, Type};

/// Fills absent fields with their static defaults, wherever the enclosing struct is present.
///
/// As in Go, the fields of a struct that isn't a pointer are filled even if the struct is absent from the tree.
/// Defaults that depend on several fields are the kinds' own.
pub fn default(object: &mut Value, ty: &Type) {
    default_some(object, ty, Mask::ALL);
}

/// Fills those that are looked at.
pub fn default_some(object: &mut Value, ty: &Type, mask: &Mask) {
    for field in ty.fields.iter() {
        if field.flags.has(Flags::INLINE) {
            if let Shape::Struct(inline) = &field.shape {
                default_some(object, inline, mask);
            }
        } else if let Some(mask) = mask.field(&field.name) {
            default_field(object, field, mask);
        }
    }
}

fn default_field(object: &mut Value, field: &Field, mask: &Mask) {
    let Value::Object(map) = object else { return };
    let name = field.name.as_ref();
    if !map.contains_key(name) {
        if let Some(value) = field.default() {
            map.insert(name.to_owned(), value);
        } else if !field.pointer()
            && let Shape::Struct(inner) = &field.shape
        {
            let mut value = Value::Object(serde_json::Map::new());
            default_some(&mut value, inner, mask);
            if value.as_object().is_some_and(|filled| !filled.is_empty()) {
                map.insert(name.to_owned(), value);
            }
            return;
        }
    } else if map[name].is_null()
        && !field.flags.has(Flags::NULLABLE)
        && let Some(value) = field.default()
    {
        map.insert(name.to_owned(), value);
    }
    if let Some(value) = map.get_mut(name) {
        default_shape(value, &field.shape, mask);
    }
}

fn default_shape(value: &mut Value, shape: &Shape, mask: &Mask) {
    match (shape, value) {
        (Shape::Struct(ty), value @ Value::Object(_)) => default_some(value, ty, mask),
        (Shape::List(list), Value::Array(items)) if nests(&list.items) => {
            items.iter_mut().for_each(|item| default_shape(item, &list.items, mask));
        }
        (Shape::Map(map), Value::Object(entries)) if nests(&map.values) => {
            entries.values_mut().for_each(|value| default_shape(value, &map.values, mask));
        }
        _ => {}
    }
}

fn nests(shape: &Shape) -> bool {
    matches!(shape, Shape::Struct(_) | Shape::List(_) | Shape::Map(_))
}
