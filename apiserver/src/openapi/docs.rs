//! Descriptions of types and fields.

use proto::schema::Type;

/// What a type is; empty if it has no description.
pub(super) fn of_type(_ty: &Type) -> String {
    String::new()
}

/// What a field of a type is; empty if it has no description.
pub(super) fn of_field(_ty: &Type, _field: &str) -> String {
    String::new()
}
