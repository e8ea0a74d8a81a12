//! CEL expressions of policies and match conditions: the seam to the compiler.
//!
//! Whoever reads an expression says what it is for, which variables it may use, and whether it is stored already: what
//! was accepted once stays acceptable, even if the environment of new expressions is narrower.

use proto::field::Errors;
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
    /// Whether `params` is known.
    pub(super) has_params: bool,
    /// Expressions of the old object by purpose, which are judged as stored ones.
    stored: Vec<(Purpose, String)>,
}

impl Expressions {
    /// Those of a new object.
    pub(super) fn new(has_params: bool) -> Self {
        Expressions { has_params, stored: Vec::new() }
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

    /// What is wrong with the expression at `view`. Expressions are not compiled before they are used.
    pub(super) fn compile(&mut self, purpose: Purpose, view: &View, _errors: &mut Errors) {
        let stored = self.is_stored(purpose, view.str());
        tracing::trace!(path = %view.path(), ?purpose, stored, params = self.has_params, "an expression");
    }
}
