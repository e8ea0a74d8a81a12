//! The evaluator. A checked expression becomes a [`Program`] once, in which names and functions are resolved and
//! constants are folded; programs are evaluated any number of times, and count what that costs.

mod error;
mod plan;
mod qualify;
mod run;

use crate::check::Checked;
use crate::env::Env;
use crate::value::Value;

pub use error::Error;
pub use plan::Program;

/// What an expression's variables are when it is evaluated.
pub trait Activation<'a> {
    /// The value of a variable, if it has one.
    fn resolve(&self, name: &str) -> Option<Result<Value<'a>, Error>>;
}

/// No variables.
impl<'a> Activation<'a> for () {
    fn resolve(&self, _name: &str) -> Option<Result<Value<'a>, Error>> {
        None
    }
}

/// Variables by name.
impl<'a> Activation<'a> for Vec<(&str, Value<'a>)> {
    fn resolve(&self, name: &str) -> Option<Result<Value<'a>, Error>> {
        self.iter().find(|(variable, _)| *variable == name).map(|(_, value)| Ok(value.clone()))
    }
}

/// What came of an evaluation.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The value, or why there is none.
    pub value: Result<Value<'a>, Error>,
    /// What it cost.
    pub cost: u64,
}

impl Program {
    /// Prepares a checked expression for evaluation.
    ///
    /// # Errors
    ///
    /// Constants that can't be converted, and patterns that are none.
    pub fn new(checked: &Checked, env: &Env) -> Result<Program, Error> {
        plan::plan(checked, env)
    }

    /// How deep the expression is nested.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Evaluates the expression, at most until the cost exceeds the limit.
    pub fn evaluate<'a>(&'a self, variables: &dyn Activation<'a>, limit: u64) -> Outcome<'a> {
        run::run(self, variables, limit)
    }
}
