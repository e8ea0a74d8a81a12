//! What can be wrong with a JSON text.

/// Why a text can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text isn't JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type, or a text that its type doesn't accept.
    #[error("{0}")]
    Value(String),
}
