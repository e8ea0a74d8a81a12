//! The types that schemas declare, with the sizes of their values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::escape::{escape, is_reserved};
use super::schema::{Format, Schema, SchemaType};
use crate::cost::{SizeEstimate, Sizes};
use crate::env::Types;
use crate::types::Type;

/// The largest request.
pub(crate) const REQUEST_SIZE: i64 = 3 * 1024 * 1024;
const DURATION_MAX: i64 = 32;
const DURATION_MIN: i64 = 3;
const DATE_SIZE: i64 = 12;
const DATE_TIME_MAX: i64 = 32;
const DATE_TIME_MIN: i64 = 21;
const STRING_MIN: i64 = 2;
const BOOL_MIN: i64 = 4;
const NUMBER_MIN: i64 = 1;

/// A declared type.
#[derive(Clone, Debug)]
pub struct Declared {
    shape: Shape,
    /// The most characters, elements or entries of a value.
    max_elements: i64,
    /// The least bytes that a value takes in JSON.
    min_size: i64,
}

#[derive(Clone, Debug)]
enum Shape {
    Simple(Type),
    List(Arc<Declared>),
    Map(Arc<Declared>),
    Object(BTreeMap<String, Arc<Declared>>),
}

impl Declared {
    fn simple(ty: Type, min_size: i64, max_elements: i64) -> Self {
        Declared { shape: Shape::Simple(ty), max_elements, min_size }
    }

    /// The type that a schema declares; `None` if expressions can't see such values.
    pub fn new(schema: &Schema) -> Option<Declared> {
        // Lengths are given in characters, of which each may take four bytes.
        let bytes = |characters: i64| characters.max(0).saturating_mul(4);
        if schema.int_or_string {
            let max = schema.max_length.map_or(REQUEST_SIZE - 2, bytes);
            return Some(Self::simple(Type::Dyn, 1, max));
        }
        Some(match schema.ty {
            SchemaType::None => return None,
            SchemaType::Boolean => Self::simple(Type::Bool, BOOL_MIN, 0),
            SchemaType::Number => Self::simple(Type::Double, NUMBER_MIN, 0),
            SchemaType::Integer => Self::simple(Type::Int, NUMBER_MIN, 0),
            SchemaType::String => match schema.format {
                Format::Byte => {
                    let max = schema.max_length.map_or(REQUEST_SIZE - 2, |max| max.max(0));
                    Self::simple(Type::Bytes, STRING_MIN, max)
                }
                Format::Duration => Self::simple(Type::Duration, DURATION_MIN, DURATION_MAX),
                Format::Date => Self::simple(Type::Timestamp, DATE_SIZE, DATE_SIZE),
                Format::DateTime => Self::simple(Type::Timestamp, DATE_TIME_MIN, DATE_TIME_MAX),
                Format::None => {
                    let unbounded = schema.longest_enum.unwrap_or(REQUEST_SIZE - 2);
                    Self::simple(Type::String, STRING_MIN, schema.max_length.map_or(unbounded, bytes))
                }
            },
            SchemaType::Array => {
                let items = Self::new(schema.items.as_deref()?)?;
                let unbounded = (REQUEST_SIZE - 2) / (items.min_size + 1);
                let max_elements = schema.max_items.map_or(unbounded, |max| max.max(0));
                Declared { shape: Shape::List(items.into()), max_elements, min_size: 2 }
            }
            SchemaType::Object => match &schema.additional {
                Some(values) => {
                    let values = Self::new(values)?;
                    let unbounded = (REQUEST_SIZE - 2) / (values.min_size + 6);
                    let max_elements = schema.max_properties.map_or(unbounded, |max| max.max(0));
                    Declared { shape: Shape::Map(values.into()), max_elements, min_size: 2 }
                }
                None => Self::object(schema),
            },
        })
    }

    fn object(schema: &Schema) -> Declared {
        let (mut fields, mut min_size) = (BTreeMap::new(), 2);
        for (name, property) in schema.properties.iter().flatten() {
            let Some(declared) = Self::new(property) else { continue };
            if schema.required.contains(name) && !property.has_default {
                min_size += name.len() as i64 + declared.min_size + 4;
            }
            if let Some(identifier) = escape(name) {
                fields.insert(identifier.into_owned(), Arc::new(declared));
            }
        }
        Declared { shape: Shape::Object(fields), max_elements: 0, min_size }
    }

    /// The type in expressions, under this name if it is an object's.
    pub fn ty(&self, name: &str) -> Type {
        match &self.shape {
            Shape::Simple(ty) => ty.clone(),
            Shape::List(items) => Type::list(items.ty(&format!("{name}.@idx"))),
            Shape::Map(values) => Type::map(Type::String, values.ty(&format!("{name}.@elem"))),
            Shape::Object(_) => Type::object(name),
        }
    }

    /// How often such a value may occur in one request.
    pub fn max_cardinality(&self) -> u64 {
        (REQUEST_SIZE / (self.min_size + 1)) as u64
    }

    /// The type of a field, by its identifier.
    pub fn field(&self, identifier: &str) -> Option<&Arc<Declared>> {
        match &self.shape {
            Shape::Object(fields) => fields.get(identifier),
            _ => None,
        }
    }

    /// The type of elements or of a map's values.
    pub fn element(&self) -> Option<&Arc<Declared>> {
        match &self.shape {
            Shape::List(of) | Shape::Map(of) => Some(of),
            _ => None,
        }
    }

    fn collect(&self, name: &str, all: &mut HashMap<String, BTreeMap<String, Type>>) {
        match &self.shape {
            Shape::Simple(_) => {}
            Shape::List(items) => items.collect(&format!("{name}.@idx"), all),
            Shape::Map(values) => values.collect(&format!("{name}.@elem"), all),
            Shape::Object(fields) => {
                let mut types = BTreeMap::new();
                for (field, declared) in fields {
                    let below = format!("{name}.{field}");
                    declared.collect(&below, all);
                    types.insert(field.clone(), declared.ty(&below));
                }
                all.insert(name.to_owned(), types);
            }
        }
    }
}

/// The object types within a declared type, by name.
pub struct DeclaredTypes(HashMap<String, BTreeMap<String, Type>>);

impl DeclaredTypes {
    /// The types within one that has this name.
    pub fn new(name: &str, declared: &Declared) -> Self {
        let mut all = HashMap::new();
        declared.collect(name, &mut all);
        DeclaredTypes(all)
    }

    /// Object types whose fields are given.
    pub fn of(types: impl IntoIterator<Item = (String, BTreeMap<String, Type>)>) -> Self {
        DeclaredTypes(types.into_iter().collect())
    }
}

impl Types for DeclaredTypes {
    fn is_object(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn field(&self, object: &str, field: &str) -> Option<Type> {
        let fields = self.0.get(object)?;
        // Keywords are names of fields too, where they can't be anything else.
        let escaped = || fields.get(escape(field).filter(|_| is_reserved(field))?.as_ref());
        fields.get(field).or_else(escaped).cloned()
    }
}

/// The sizes of values of a declared type, which every variable is of.
impl Sizes for Declared {
    fn size(&self, path: &[Arc<str>]) -> Option<SizeEstimate> {
        let mut at = self;
        let text = Declared::simple(Type::String, STRING_MIN, 0);
        for (position, step) in path.iter().enumerate().skip(1) {
            at = match (&**step, &at.shape) {
                ("@items" | "@values", Shape::List(of) | Shape::Map(of)) => of,
                // Keys are texts of unknown length.
                ("@keys", Shape::Map(_)) if position + 1 == path.len() => &text,
                (field, Shape::Object(fields)) => fields.get(field)?,
                _ => return None,
            };
        }
        Some(SizeEstimate { min: 0, max: at.max_elements as u64 })
    }
}
