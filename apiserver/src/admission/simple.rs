//! Plugins without logic, and refusals of what would silently do nothing.

use std::sync::Arc;

use proto::status::Status;
use serde_json::Value;

use super::step::{Row, items};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

const ALL: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];
const WRITES: &[Operation] = &[Operation::Create, Operation::Update];

pub(super) const ALWAYS_ADMIT: Row =
    Row { name: "AlwaysAdmit", operations: ALL, mutate: None, validate: None };

pub(super) const ALWAYS_DENY: Row =
    Row { name: "AlwaysDeny", operations: ALL, mutate: Some(deny), validate: Some(deny) };

pub(super) const DENY_SERVICE_EXTERNAL_IPS: Row = Row {
    name: "DenyServiceExternalIPs",
    operations: WRITES,
    mutate: None,
    validate: Some(check_external_ips),
};

pub(super) const MUTATING_ADMISSION_POLICY: Row = Row {
    name: "MutatingAdmissionPolicy",
    operations: WRITES,
    mutate: None,
    validate: Some(refuse_policies),
};

fn deny<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move { Err(review.forbidden("admission control is denying all modifications")) })
}

fn check_external_ips<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let addresses = |service: &Value| items(&service["spec"]["externalIPs"]).to_vec();
        let old = addresses(&review.old);
        if review.is("", "services") && addresses(&review.object).iter().any(|ip| !old.contains(ip)) {
            return Err(review.forbidden("Use of external IPs is denied by admission control"));
        }
        Ok(())
    })
}

/// A policy that is stored but not enforced would be worse than none.
fn refuse_policies<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let is_policy = review.group() == "admissionregistration.k8s.io"
            && review.subresource.is_empty()
            && review.resource().starts_with("mutatingadmissionpolic");
        if !is_policy {
            return Ok(());
        }
        let resource = review.resource();
        Err(Status::bad_request(format!(
            "{resource}.admissionregistration.k8s.io are not enforced by this server (it changes no objects by CEL), so they can't \
             be created or changed; use mutating admission webhooks instead"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn policies_are_refused_aloud() {
        let local = Cluster::new(&[]);
        let policy = json!({ "metadata": { "name": "p" } });
        for resource in ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"] {
            let mut review =
                review(Operation::Create, "admissionregistration.k8s.io", resource, policy.clone());
            let error = admit(MUTATING_ADMISSION_POLICY, &local, &mut review).await.unwrap_err();
            assert!(error.message.contains("not enforced"), "{}", error.message);
        }
        let mut review = review(
            Operation::Create,
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            policy,
        );
        assert!(admit(MUTATING_ADMISSION_POLICY, &local, &mut review).await.is_ok());
    }

    #[tokio::test]
    async fn external_addresses_may_stay_but_not_come() {
        let local = Cluster::new(&[]);
        let service = |ips: Value| json!({ "metadata": { "name": "s" }, "spec": { "externalIPs": ips } });
        let mut review = review(Operation::Update, "", "services", service(json!(["1.1.1.1"])));
        review.old = Arc::new(service(json!(["1.1.1.1", "2.2.2.2"])));
        assert!(admit(DENY_SERVICE_EXTERNAL_IPS, &local, &mut review).await.is_ok());
        review.object = service(json!(["3.3.3.3"]));
        assert!(admit(DENY_SERVICE_EXTERNAL_IPS, &local, &mut review).await.is_err());
    }
}
