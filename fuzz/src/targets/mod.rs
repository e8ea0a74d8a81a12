//! The entry points, by what they read.

mod custom;
mod expressions;
mod files;
mod kinds;
mod names;
mod nobody;
mod patches;
mod requests;
mod security;
mod text;
mod wire;

use crate::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    wire::JSON,
    wire::PROTOBUF,
    wire::YAML,
    text::SELECTORS,
    text::SCALARS,
    patches::PATCHES,
    patches::FIELDS,
    patches::APPLY,
    requests::REQUESTS,
    kinds::KINDS,
    custom::CUSTOM,
    custom::DEFINITIONS,
    expressions::CEL,
    expressions::RULES,
    security::TOKENS,
    security::CERTIFICATES,
    files::FILES,
    names::NAMES,
];
