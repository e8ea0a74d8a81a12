//! Plugins that need no more than a line or two.

use std::sync::Arc;

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

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn external_addresses_may_stay_but_not_come() {
        let local = Cluster::holding(&[]);
        let service = |ips: Value| json!({ "metadata": { "name": "s" }, "spec": { "externalIPs": ips } });
        let mut review = review(Operation::Update, "", "services", service(json!(["1.1.1.1"])));
        review.old = Arc::new(service(json!(["1.1.1.1", "2.2.2.2"])));
        assert!(admit(DENY_SERVICE_EXTERNAL_IPS, &local, &mut review).await.is_ok());
        review.object = service(json!(["3.3.3.3"]));
        assert!(admit(DENY_SERVICE_EXTERNAL_IPS, &local, &mut review).await.is_err());
    }
}
