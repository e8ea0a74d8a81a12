//! What goes wrong while an expression is evaluated.

use std::borrow::Cow;
use std::fmt;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Cow<'static, str>);

impl Error {
    /// A function or operator was given values it is not for.
    pub const NO_SUCH_OVERLOAD: Error = Error(Cow::Borrowed("no such overload"));
    /// The expression was stopped, because it did more than it may.
    pub const COST_LIMIT: Error = Error(Cow::Borrowed("operation cancelled: actual cost limit exceeded"));
    pub(crate) const INT_OVERFLOW: Error = Error(Cow::Borrowed("integer overflow"));
    pub(crate) const UINT_OVERFLOW: Error = Error(Cow::Borrowed("unsigned integer overflow"));

    /// An error of this text.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Error(message.into())
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.0
    }

    /// Whether the expression was stopped for its cost. Operators that can do without a failed operand can't do
    /// without a stopped one.
    pub fn is_cost_limit(&self) -> bool {
        *self == Error::COST_LIMIT
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
