//! The check against handing out permissions one doesn't hold.
//!
//! It isn't one of upstream's admission plugins, and no flag removes it: upstream has it in the
//! storage of the RBAC kinds. It is here because it sees the same: the object to be stored and the old one.

use std::sync::Arc;

use super::{Operation, Outcome, Plugin, Review};
use crate::auth::rbac::escalation::{Write, check};
use crate::auth::rbac::index::SharedIndex;
use crate::registry::Local;

/// Refuses writes to roles and bindings that escalate.
pub(super) struct RbacEscalation {
    local: Arc<dyn Local>,
    index: SharedIndex,
}

impl RbacEscalation {
    pub(super) fn new(local: Arc<dyn Local>, index: SharedIndex) -> Self {
        RbacEscalation { local, index }
    }
}

impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, review: &'a mut Review) -> Outcome<'a> {
        Box::pin(async move {
            if review.group() != "rbac.authorization.k8s.io" || !review.subresource.is_empty() {
                return Ok(());
            }
            let is_update = review.operation == Operation::Update;
            let write = Write {
                user: &review.user,
                resource: review.resource(),
                namespace: &review.namespace,
                request_name: if is_update { &review.name } else { "" },
                new: &review.object,
                old: is_update.then_some(&*review.old),
            };
            check(&self.index, &*self.local.services().authorizer, &write).await
        })
    }
}
