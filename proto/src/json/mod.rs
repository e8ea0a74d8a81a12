//! JSON in and out, exactly as Kubernetes' Go encoders and decoders treat it.
//!
//! Decoding is one pass over the bytes that checks the syntax, the types and the strictness rules and builds the
//! canonical tree (see [`crate::schema`]); error texts are upstream's. Encoding prints what Go would print for
//! the struct: fields in the struct's order, zero values where there is no `omitempty`.

use serde_json::Value;

use crate::schema::Type;

mod base64;
mod decode;
mod encode;
mod error;
mod lexer;
mod scalar;
#[cfg(test)]
mod tests;

pub use decode::{decode, decode_any, type_meta};
pub use encode::{encode, encode_any, encode_raw, print};
pub use error::Error;
use lexer::Lexer;
pub(crate) use scalar::{is_zero, zero};

/// How deep values may nest. Upstream stops at 10 000 levels; a lower limit bounds the stack that walks need.
pub const MAX_DEPTH: usize = 256;

/// A decoded object, and what strict validation has against it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The canonical tree.
    pub value: Value,
    /// Errors such as `unknown field "spec.foo"` and `duplicate field "spec.bar"`.
    pub strict: Vec<String>,
}

impl Decoded {
    /// The text of the error that strict validation answers with, if there is one.
    pub fn strict_error(&self) -> Option<String> {
        (!self.strict.is_empty()).then(|| format!("strict decoding error: {}", self.strict.join(", ")))
    }
}

/// The text of a member of an object's text.
pub fn member<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut lexer = Lexer::new(text);
    if lexer.value_start().ok()? != b'{' {
        return None;
    }
    lexer.enter().ok()?;
    let mut first = true;
    while let Some(key) = lexer.key(first).ok()? {
        first = false;
        let value = lexer.skip().ok()?;
        if key == name {
            return Some(value);
        }
    }
    None
}

/// Makes a tree canonical that may have any shape, such as a patched one.
pub fn canonical(value: &Value, ty: &Type) -> Result<Decoded, Error> {
    let mut bytes = Vec::new();
    encode_any(value, &mut bytes);
    decode(&bytes, ty)
}
