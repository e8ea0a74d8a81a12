//! CEL expressions of policies and match conditions: the seam to the compiler.
//!
//! Whoever reads an expression says what it is for, which variables it may use, and whether it is stored already: what
//! was accepted once stays acceptable, even if the environment of new expressions is narrower.

use cel::kube::admission::{Compiler, Wanted};
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

/// What an expression is for, which decides on its type and its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A match condition of a webhook or a policy.
    MatchCondition,
    /// A variable of a policy, which later expressions may use.
    Variable,
    /// A rule of a validating policy.
    Validation,
    /// The message of such a rule.
    Message,
    /// The value of an audit annotation.
    AuditValue,
    /// A mutation by server-side apply.
    ApplyConfiguration,
    /// A mutation by JSON patch.
    JsonPatch,
}

/// The expressions of one object, in the order they are declared.
pub(super) struct Expressions {
    compiler: Compiler,
    /// Expressions of the old object by purpose, which are judged as stored ones.
    stored: Vec<(Purpose, String)>,
}

impl Expressions {
    /// Those of a new object, where `params` may be known.
    pub(super) fn new(has_params: bool) -> Self {
        Expressions { compiler: Compiler::new(has_params), stored: Vec::new() }
    }

    /// Notes an expression that the old object has.
    pub(super) fn keep(&mut self, purpose: Purpose, text: &str) {
        self.stored.push((purpose, text.to_owned()));
    }

    /// Notes the match conditions that the old object has.
    pub(super) fn keep_conditions(&mut self, conditions: &Value) {
        for condition in View::root(conditions).items() {
            self.keep(Purpose::MatchCondition, condition.text("expression"));
        }
    }

    /// Whether the old object has this expression for this purpose.
    pub(super) fn is_stored(&self, purpose: Purpose, text: &str) -> bool {
        self.stored.iter().any(|(own, stored)| *own == purpose && stored == text)
    }

    /// Notes that there are variables, which expressions from now on may use.
    pub(super) fn compose(self) -> Self {
        Expressions { compiler: self.compiler.composing(), ..self }
    }

    /// What is wrong with the expression at `view`.
    pub(super) fn compile(&mut self, purpose: Purpose, view: &View, errors: &mut Errors) {
        self.compile_named(purpose, "", view, errors);
    }

    /// What is wrong with the expression at `view`, which makes a variable of this name if it is for one.
    pub(super) fn compile_named(&mut self, purpose: Purpose, name: &str, view: &View, errors: &mut Errors) {
        let stored = self.is_stored(purpose, view.str());
        tracing::trace!(path = %view.path(), ?purpose, stored, "an expression");
        // Both have the same environment, as long as there is one version only.
        let text = view.str();
        let compiled = match purpose {
            // Conditions come before variables, which they can't see.
            Purpose::MatchCondition => self.compiler.compile(text.trim(), Wanted::Bool),
            Purpose::Variable => self.compiler.variable(name, text),
            Purpose::Validation => self.compiler.compile(text, Wanted::Bool),
            Purpose::Message => self.compiler.compile_without_authorizer(text, Wanted::Text),
            Purpose::AuditValue => self.compiler.compile(text.trim(), Wanted::TextOrNull),
            Purpose::ApplyConfiguration => self.compiler.compile_patch(text.trim(), Wanted::Configuration),
            Purpose::JsonPatch => self.compiler.compile_patch(text.trim(), Wanted::JsonPatch),
        };
        if let Some(error) = compiled.error() {
            errors.push(Error::invalid(view.path(), compiled.text(), error));
        }
    }
}
