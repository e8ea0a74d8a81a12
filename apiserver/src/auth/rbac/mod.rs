//! Role-based access control: who is bound to which roles, and what these allow.
//!
//! Rules only add up; nothing in RBAC takes a permission away. So a request is refused only when
//! no rule allows it, and an unreadable role can never widen what someone may do.

pub mod covers;
pub mod escalation;
pub mod index;
pub mod matches;
#[cfg(test)]
mod tests;
pub mod types;

use futures::future::BoxFuture;

use self::index::{Grant, Index, SharedIndex};
use super::text::aggregate;
use super::{Attributes, Authorizer, Rules, UserInfo, Verdict};

/// Authorizes by RBAC roles and bindings.
pub struct RbacAuthorizer {
    index: SharedIndex,
}

impl RbacAuthorizer {
    /// An authorizer over the index, which someone else keeps up to date.
    pub fn new(index: SharedIndex) -> Self {
        RbacAuthorizer { index }
    }
}

impl Authorizer for RbacAuthorizer {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Verdict> {
        Box::pin(async move { decide(&self.index, attributes) })
    }

    fn rules<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules> {
        Box::pin(async move {
            let (rules, errors) = self.index.rules_for(user, namespace);
            let error = if errors.is_empty() { String::new() } else { aggregate(&errors) };
            Rules { rules, incomplete: false, error }
        })
    }
}

/// The decision on one request.
pub fn decide(index: &Index, attributes: &Attributes) -> Verdict {
    let mut errors = Vec::new();
    let mut reason = None;
    index.visit(&attributes.user, &attributes.namespace, &mut |grant| match grant {
        Grant::Rule(rule, describe) if matches::rule_allows(rule, attributes) => {
            reason = Some(format!("RBAC: allowed by {}", describe()));
            false
        }
        Grant::Rule(..) => true,
        Grant::Unresolved(error) => {
            errors.push(error);
            true
        }
    });
    match reason {
        Some(reason) => Verdict::allow(reason),
        None if errors.is_empty() => Verdict::no_opinion(""),
        None => Verdict::no_opinion(format!("RBAC: {}", aggregate(&errors))),
    }
}
