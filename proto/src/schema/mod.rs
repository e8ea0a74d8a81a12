//! The schema of every API type as plain data.
//!
//! One table ([`generated`]) holds, for every field of every served type, what Kubernetes' Go types say about
//! it: JSON name, protobuf number, whether it is a pointer or `omitempty`, its default, enum, list type and
//! patch strategy. Decoding, encoding, defaulting, pruning, patching and OpenAPI are walks over this data, so
//! there is no per-kind code in any of them. Custom resources build the same structs at run time.
//!
//! # Canonical form
//!
//! Objects are [`serde_json::Value`] trees. Every decoder produces, and every walk expects, the *canonical*
//! form, in which equality of objects is equality of trees:
//!
//! - A pointer field ([`Flags::POINTER`]) is absent if and only if it is null. A present pointer to a zero
//!   value (`replicas: 0`, `emptyDir: {}`) is kept.
//! - Any other field is absent if and only if it holds Go's zero value: `""`, `0`, `false`, an empty list or
//!   map, a struct all of whose fields are absent, the zero time. Whether such a field is printed is decided
//!   by `omitempty` when encoding, not in the tree.
//! - Nulls in lists and map values are the element type's zero value. Nulls appear nowhere else, except below
//!   free-form JSON.
//! - Quantities, times and durations are strings in upstream's canonical spelling.
//! - Fields that are inlined in JSON are inlined in the tree, whatever their protobuf form.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

mod default;
pub mod generated;
mod mask;
mod structural;

pub use default::{default, default_some};
pub use mask::Mask;
pub use structural::structural;

/// A name: borrowed for built-in types, owned for custom resources.
pub type Name = Cow<'static, str>;

/// A reference to schema data: into the const table, or shared and counted for custom resources.
pub enum Ref<T: 'static> {
    /// Points into the const table.
    Static(&'static T),
    /// Made at run time.
    Shared(Arc<T>),
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        match self {
            Ref::Static(value) => Ref::Static(value),
            Ref::Shared(value) => Ref::Shared(Arc::clone(value)),
        }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Ref::Static(value) => value,
            Ref::Shared(value) => value,
        }
    }
}

impl<T> fmt::Debug for Ref<T> {
    // Types refer to each other in cycles, so a reference doesn't print what it refers to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ref")
    }
}

impl<T> From<T> for Ref<T> {
    fn from(value: T) -> Self {
        Ref::Shared(Arc::new(value))
    }
}

/// A struct type.
#[derive(Clone, Debug)]
pub struct Type {
    /// The Go type's name, such as `PodSpec`; for a custom resource its kind.
    pub name: Name,
    /// The Go package's path, such as `k8s.io/api/core/v1`; for a custom resource its group and version.
    pub package: Name,
    /// Whether server-side apply treats values as one unit (`+structType=atomic`).
    pub atomic: bool,
    /// What happens to fields that aren't listed.
    pub unknown: Unknown,
    /// The fields, in the Go struct's order (in which JSON prints them).
    pub fields: Cow<'static, [Field]>,
    /// The positions of the fields that have a protobuf number, by number.
    pub by_number: Cow<'static, [u16]>,
}

/// What happens to fields that a [`Type`] doesn't list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They are dropped.
    Drop,
    /// They are kept (`x-kubernetes-preserve-unknown-fields`).
    Preserve,
    /// Those of an embedded object (`apiVersion`, `kind`, `metadata`) are kept
    /// (`x-kubernetes-embedded-resource`).
    Embedded,
    /// All are kept, and the object is an embedded one.
    PreserveEmbedded,
}

/// A field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// The JSON name. An inlined struct ([`Flags::INLINE`]) has its Go name, and only error texts show it.
    pub name: Name,
    /// The protobuf field number, or 0 for a field that has none.
    pub number: u32,
    /// How the field is printed, patched and merged.
    pub flags: Flags,
    /// The values that the field holds.
    pub shape: Shape,
    /// The facts that few fields have.
    pub extra: Option<Ref<Extra>>,
}

/// Facts about a field that few fields have. Empty means absent.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// The name of the field's Go type as error texts print it, where the shape doesn't tell
    /// (such as `v1.Protocol`).
    pub go_type: Name,
    /// The static default.
    pub default: Default,
    /// The permitted values (`+enum`), in upstream's order.
    pub values: Cow<'static, [Name]>,
    /// The feature gate that the field depends on.
    pub gate: Name,
    /// The merge key of strategic merge patches.
    pub merge_key: Name,
}

/// A static default.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Default {
    /// There is none.
    #[default]
    None,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A string.
    String(Name),
    /// Any value (custom resources).
    Value(Arc<Value>),
}

/// A set of facts about a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// No fact.
    pub const NONE: Flags = Flags(0);
    /// A Go pointer: zero values are kept.
    pub const POINTER: Flags = Flags(1);
    /// `omitempty`: Go's "empty" values aren't printed. Structs are never empty.
    pub const OMITEMPTY: Flags = Flags(2);
    /// `omitzero`: a zero value isn't printed, also when it is a struct.
    pub const OMITZERO: Flags = Flags(4);
    /// The struct's fields appear in the enclosing JSON object.
    pub const INLINE: Flags = Flags(8);
    /// OpenAPI lists the field as required.
    pub const REQUIRED: Flags = Flags(16);
    /// The value is one unit to server-side apply (`+structType=atomic`, `+mapType=atomic`).
    pub const ATOMIC: Flags = Flags(32);
    /// The value is not one unit, although its type says so (`+structType=granular`).
    pub const GRANULAR: Flags = Flags(64);
    /// `patchStrategy` has `merge`.
    pub const PATCH_MERGE: Flags = Flags(128);
    /// `patchStrategy` has `replace`.
    pub const PATCH_REPLACE: Flags = Flags(256);
    /// `patchStrategy` has `retainKeys`.
    pub const PATCH_RETAIN_KEYS: Flags = Flags(512);
    /// Null is a value of its own (custom resources' `nullable`).
    pub const NULLABLE: Flags = Flags(1024);
    /// OpenAPI prints the default `{}` or `""` for the field although nothing is defaulted.
    pub const OPENAPI_DEFAULT: Flags = Flags(2048);

    /// The union of two sets.
    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all facts of `other` are in this set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The values of a field, of a list's items or of a map's values.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A boolean.
    Bool,
    /// A signed integer of 32 bits.
    Int32,
    /// A signed integer of 64 bits (Go's `int` too).
    Int64,
    /// An unsigned integer of 32 bits (and narrower ones).
    Uint32,
    /// An unsigned integer of 64 bits.
    Uint64,
    /// A floating-point number.
    Float64,
    /// A string.
    String,
    /// Bytes; base64 in JSON.
    Bytes,
    /// `metav1.Time`: RFC 3339 with seconds.
    Time,
    /// `metav1.MicroTime`: RFC 3339 with microseconds.
    MicroTime,
    /// `metav1.Duration`: Go's text form.
    Duration,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `runtime.RawExtension`: an embedded object.
    RawExtension,
    /// `apiextensions.JSON`: any JSON value.
    Json,
    /// `metav1.FieldsV1`: a set of fields.
    FieldsV1,
    /// Any JSON value in a custom resource.
    Any,
    /// `apiextensions.JSONSchemaPropsOrBool`.
    SchemaOrBool(Ref<Type>),
    /// `apiextensions.JSONSchemaPropsOrArray`.
    SchemaOrArray(Ref<Type>),
    /// `apiextensions.JSONSchemaPropsOrStringArray`.
    SchemaOrStrings(Ref<Type>),
    /// A struct.
    Struct(Ref<Type>),
    /// A list.
    List(Ref<List>),
    /// A map with string keys.
    Map(Ref<Map>),
}

/// A list.
#[derive(Clone, Debug)]
pub struct List {
    /// The items.
    pub items: Shape,
    /// How server-side apply merges it.
    pub kind: ListKind,
    /// The keys of a [`ListKind::Map`].
    pub keys: Cow<'static, [Name]>,
    /// Whether protobuf wraps the list in a message (a named Go slice type such as `ExtraValue`).
    pub wrapped: bool,
    /// Whether items may be null (custom resources).
    pub nullable: bool,
    /// The default of items' fields is [`Field`]s' affair; this is the Go name of a named item type.
    pub item_go_type: Name,
    /// The permitted values of the items (`+enum`).
    pub item_values: Cow<'static, [Name]>,
}

/// How server-side apply merges a list (`+listType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// No marker: as atomic, and OpenAPI says nothing.
    Unset,
    /// One unit.
    Atomic,
    /// A set of scalars.
    Set,
    /// A map by the values of the key fields.
    Map,
}

/// A map with string keys.
#[derive(Clone, Debug)]
pub struct Map {
    /// The values.
    pub values: Shape,
    /// Whether values may be null (custom resources).
    pub nullable: bool,
    /// The Go name of the map's key type where it is a named one (such as `v1.ResourceName`).
    pub key_go_type: Name,
}

impl Type {
    /// The field with a JSON name, also one of an inlined struct.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find_map(|field| {
            if field.flags.has(Flags::INLINE) {
                match &field.shape {
                    Shape::Struct(inline) => inline.field(name),
                    _ => None,
                }
            } else {
                (field.name == name).then_some(field)
            }
        })
    }

    /// Calls `visit` with each JSON field in the order of the Go struct, inlined ones in place.
    pub fn each_field<'a>(&'a self, visit: &mut dyn FnMut(&'a Field)) {
        for field in self.fields.iter() {
            match &field.shape {
                Shape::Struct(inline) if field.flags.has(Flags::INLINE) => inline.each_field(visit),
                _ => visit(field),
            }
        }
    }

    /// The last part of the package's path, as Go's error texts print it: `v1`.
    pub fn short_package(&self) -> &str {
        self.package.rsplit('/').next().unwrap_or_default()
    }
}

impl Field {
    /// Whether the field is a Go pointer.
    pub fn pointer(&self) -> bool {
        self.flags.has(Flags::POINTER)
    }

    /// The struct type of the field, if it has one.
    pub fn as_struct(&self) -> Option<&Type> {
        match &self.shape {
            Shape::Struct(ty) => Some(ty),
            _ => None,
        }
    }

    /// The static default.
    pub fn default(&self) -> Option<Value> {
        match &self.extra.as_ref()?.default {
            Default::None => None,
            Default::Bool(value) => Some(Value::from(*value)),
            Default::Int(value) => Some(Value::from(*value)),
            Default::String(value) => Some(Value::from(value.as_ref())),
            Default::Value(value) => Some(value.as_ref().clone()),
        }
    }

    /// The permitted values, if they are limited.
    pub fn values(&self) -> &[Name] {
        self.extra.as_ref().map_or(&[], |extra| &extra.values)
    }

    /// The merge key of strategic merge patches.
    pub fn merge_key(&self) -> Option<&str> {
        self.extra.as_ref().map(|extra| extra.merge_key.as_ref()).filter(|key| !key.is_empty())
    }

    /// The feature gate that the field depends on.
    pub fn gate(&self) -> Option<&str> {
        self.extra.as_ref().map(|extra| extra.gate.as_ref()).filter(|gate| !gate.is_empty())
    }
}

/// A row of the table of kinds.
#[derive(Debug)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The API version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The type of the kind's objects.
    pub ty: &'static Type,
}

/// The type of a built-in kind. The options of requests and watch events are kinds of every group and version.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let find = |group: &str, version: &str| {
        generated::KINDS
            .binary_search_by(|row| (row.group, row.version, row.kind).cmp(&(group, version, kind)))
            .ok()
            .map(|at| generated::KINDS[at].ty)
    };
    find(group, version).or_else(|| match kind {
        "CreateOptions" | "DeleteOptions" | "GetOptions" | "ListOptions" | "PatchOptions"
        | "UpdateOptions" | "WatchEvent" => find("meta.k8s.io", "v1"),
        _ => None,
    })
}

/// All built-in kinds, sorted by group, version and kind.
pub fn kinds() -> &'static [Kind] {
    generated::KINDS
}
