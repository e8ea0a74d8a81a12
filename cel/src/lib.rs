//! The Common Expression Language as Kubernetes 1.36 uses it.
//!
//! An expression goes through four steps, each a module: [`syntax`] parses it and expands macros, [`check`] finds the
//! types of its parts, [`cost`] bounds what it costs, and [`eval`] computes it, counting the cost. [`library`]
//! has the functions, [`kube`] the way from schemas and objects to types and values.
//!
//! Syntax, types, functions, messages and costs are cel-go's (v0.26) with Kubernetes' libraries; limits on size and depth
//! too. Evaluation with unknown variables, protocol buffers and containers are left out: Kubernetes has no use for them.
//!
//! ```
//! use cel::{Program, Value, check, library, parse};
//!
//! let env = library::base().variable("replicas", cel::Type::Int);
//! let ast = parse("replicas > 1 ? 'many' : 'few'", env.options()).unwrap();
//! let program = Program::new(&check(ast, &env).unwrap(), &env).unwrap();
//! let variables = vec![("replicas", Value::Int(3))];
//! let outcome = program.evaluate(&variables, cel::cost::PER_CALL_LIMIT);
//! assert_eq!(outcome.value.unwrap().as_str(), Some("many"));
//! ```

pub mod check;
pub mod cost;
pub mod env;
pub mod eval;
pub mod kube;
pub mod library;
pub mod source;
pub mod syntax;
pub mod types;
pub mod value;

pub use check::{Checked, check};
pub use env::Env;
pub use eval::{Activation, Error, Outcome, Program};
pub use source::Issues;
pub use syntax::parse;
pub use types::Type;
pub use value::Value;

impl Env {
    /// Parses and checks an expression.
    ///
    /// # Errors
    ///
    /// All that is wrong with its syntax, or else with its types, or else with its literals.
    pub fn compile(&self, text: &str) -> Result<Checked, Issues> {
        check(parse(text, self.options())?, self)
    }

    /// What the language has beside its standard definition.
    pub fn options(&self) -> syntax::Options {
        self.options
    }
}
