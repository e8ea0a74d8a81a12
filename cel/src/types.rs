//! Types of expressions, and of values.

use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything; checked only when evaluated.
    Dyn,
    /// The type of what has already been refused.
    Error,
    /// The type of `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// Signed 64-bit integers.
    Int,
    /// Unsigned 64-bit integers.
    Uint,
    /// 64-bit floating-point numbers.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// Instants of years 1 to 9999.
    Timestamp,
    /// Spans of time, in nanoseconds.
    Duration,
    /// Lists of one type of elements.
    List(Arc<Type>),
    /// Maps from one type of keys to one type of values.
    Map(Arc<(Type, Type)>),
    /// Objects with declared fields, or without any.
    Struct(Arc<str>),
    /// Types known by their name alone, which may have parameters.
    Opaque(Arc<str>, Arc<[Type]>),
    /// The type of a type.
    Type(Arc<Type>),
    /// A parameter in the declaration of a function.
    Param(&'static str),
    /// A type that the checker has yet to find.
    Var(u32),
}

/// The name of the type of optional values.
pub const OPTIONAL: &str = "optional_type";

impl Type {
    /// Lists of these.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    /// Maps of these.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    /// One of these or nothing.
    pub fn optional(of: Type) -> Type {
        Type::Opaque(OPTIONAL.into(), [of].into())
    }

    /// Objects of this name.
    pub fn object(name: &str) -> Type {
        Type::Struct(name.into())
    }

    /// The type known by this name alone.
    pub fn opaque(name: &str) -> Type {
        Type::Opaque(name.into(), [].into())
    }

    /// What the type holds one of, if it is an optional type.
    pub fn as_optional(&self) -> Option<&Type> {
        match self {
            Type::Opaque(name, parameters) if **name == *OPTIONAL => parameters.first(),
            _ => None,
        }
    }

    /// The name without parameters, as cel-go's `TypeName`.
    pub fn name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Error => "error",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Struct(name) | Type::Opaque(name, _) => name,
            Type::Type(_) => "type",
            Type::Param(name) => name,
            Type::Var(_) => "_var",
        }
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    pub(crate) fn parameters(&self) -> &[Type] {
        match self {
            Type::List(element) => std::slice::from_ref(element),
            Type::Opaque(_, parameters) => parameters,
            Type::Type(of) => std::slice::from_ref(of),
            _ => &[],
        }
    }

    /// The type with each parameter of a declaration replaced.
    pub(crate) fn replace(&self, with: &mut dyn FnMut(&Type) -> Option<Type>) -> Type {
        if let Some(replaced) = with(self) {
            return replaced;
        }
        match self {
            Type::List(element) => Type::list(element.replace(with)),
            Type::Map(of) => Type::map(of.0.replace(with), of.1.replace(with)),
            Type::Type(of) => Type::Type(Arc::new(of.replace(with))),
            Type::Opaque(name, parameters) if !parameters.is_empty() => {
                Type::Opaque(name.clone(), parameters.iter().map(|of| of.replace(with)).collect())
            }
            other => other.clone(),
        }
    }

    /// Whether two types agree in kind, name and parameters.
    pub(crate) fn is_equivalent(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Var(_) | Type::Param(_), Type::Var(_) | Type::Param(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Type(a), Type::Type(b)) => a.is_equivalent(b),
            (Type::Map(a), Type::Map(b)) => a.0.is_equivalent(&b.0) && a.1.is_equivalent(&b.1),
            (Type::Opaque(a, of), Type::Opaque(b, by)) => {
                a == b && of.len() == by.len() && of.iter().zip(by.iter()).all(|(a, b)| a.is_equivalent(b))
            }
            _ => self == other,
        }
    }
}

/// Prints a type as messages of the checker do.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Var(number) => write!(f, "_var{number}"),
            Type::Map(of) => write!(f, "map({}, {})", of.0, of.1),
            _ => {
                f.write_str(self.name())?;
                for (position, parameter) in self.parameters().iter().enumerate() {
                    write!(f, "{}{parameter}", if position == 0 { "(" } else { ", " })?;
                }
                if self.parameters().is_empty() { Ok(()) } else { f.write_str(")") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_as_messages_show_them() {
        let cases = [
            (Type::list(Type::map(Type::String, Type::Dyn)), "list(map(string, dyn))"),
            (Type::optional(Type::Int), "optional_type(int)"),
            (Type::Type(Arc::new(Type::Timestamp)), "type(timestamp)"),
            (Type::object("a.B"), "a.B"),
            (Type::opaque("net.IP"), "net.IP"),
            (Type::Null, "null"),
        ];
        for (ty, expected) in cases {
            assert_eq!(ty.to_string(), expected);
        }
    }
}
