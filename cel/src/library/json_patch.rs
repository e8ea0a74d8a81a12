//! `jsonpatch.escapeKey`.

use super::text;
use crate::env::Library;
use crate::types::Type;
use crate::value::Value;

pub(super) fn install(library: &mut Library) {
    let id = "string_jsonpatch_escapeKey_string";
    library.global("jsonpatch.escapeKey", id, &[Type::String], Type::String, |args| {
        Ok(Value::string(text(args, 0)?.replace('~', "~0").replace('/', "~1")))
    });
}
