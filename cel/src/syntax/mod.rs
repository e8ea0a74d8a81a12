//! Text to syntax tree, with cel-go's grammar, macros, limits and messages.

mod ast;
mod lexer;
mod macros;
mod parser;
mod unescape;

pub use ast::{Ast, Call, Comprehension, Entry, Expr, Id, Kind, Literal, Select, Struct, StructField, op};
pub(crate) use parser::with_stack;
pub use parser::{Options, parse};
