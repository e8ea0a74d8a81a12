//! Which claims of a pod are to be made or reserved, and what becomes of a claim.

use crate::api::core::Pod;
use crate::api::resource::{ClaimName, Consumer, PodClaim, ResourceClaim};
use crate::common::pods;

/// Keeps an allocated claim from going while it is in use.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// The most consumers of a claim.
const MAX_CONSUMERS: usize = 256;
/// Room for five random characters in a label.
const MAX_PREFIX: usize = 57;

/// Whether it will use no claim any more.
pub(super) fn is_done(pod: &Pod) -> bool {
    pods::is_terminal(pod) || pod.metadata.is_being_deleted() && pod.spec.node_name.is_empty()
}

/// What a pod needs done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PodPlan<'a> {
    /// Claims to make, each from its template.
    pub(super) make: Vec<&'a PodClaim>,
    /// Names of allocated claims that the placed pod must be put down for; the scheduler did so for others.
    pub(super) reserve: Vec<String>,
}

/// Decides about a pod; `find` finds claims by name.
pub(super) fn pod<'a>(
    pod: &'a Pod,
    find: impl Fn(&str) -> Option<std::sync::Arc<ResourceClaim>>,
) -> PodPlan<'a> {
    let mut plan = PodPlan::default();
    if pod.metadata.is_being_deleted() || is_done(pod) {
        return plan;
    }
    for entry in &pod.spec.resource_claims {
        let claim = match entry.resolve(pod) {
            ClaimName::Missing(_) => {
                plan.make.push(entry);
                continue;
            }
            ClaimName::Made(name) => {
                let own = find(name).filter(|claim| claim.metadata.is_controlled_by(&pod.metadata.uid));
                if own.is_none() {
                    plan.make.push(entry);
                }
                own
            }
            ClaimName::Given(name) => find(name),
            ClaimName::Needless | ClaimName::Unknown => continue,
        };
        let Some(claim) = claim.filter(|_| !pod.spec.node_name.is_empty()) else { continue };
        let room = claim.status.reserved_for.len() < MAX_CONSUMERS;
        if claim.status.allocation.is_some() && !claim.is_reserved_for(pod) && room {
            plan.reserve.push(claim.metadata.name.clone());
        }
    }
    plan
}

/// What becomes of a claim.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ClaimPlan {
    /// The consumers that remain, if some go.
    pub(super) reserved_for: Option<Vec<Consumer>>,
    /// Whether the devices are given back.
    pub(super) deallocate: bool,
    pub(super) remove_finalizer: bool,
    /// Made for a pod that won't use it.
    pub(super) delete: bool,
}

/// Decides about a claim of which the consumers in `gone` don't exist or are done; `owner` is the pod that it was made
/// for, if that is known.
pub(super) fn claim(claim: &ResourceClaim, gone: &[String], owner: Option<&Pod>) -> ClaimPlan {
    let reserved = &claim.status.reserved_for;
    let remaining: Vec<Consumer> = reserved
        .iter()
        .filter(|consumer| !consumer.is_pod() || !gone.contains(&consumer.uid))
        .cloned()
        .collect();
    let protected = claim.metadata.finalizers.iter().any(|f| f == FINALIZER);
    let unused = remaining.is_empty();
    let mut plan = ClaimPlan::default();
    if remaining.len() < reserved.len() {
        plan.deallocate = unused && protected && claim.status.allocation.is_some();
        plan.remove_finalizer = protected && (plan.deallocate || claim.status.allocation.is_none());
        plan.reserved_for = Some(remaining);
    } else if protected && claim.metadata.is_being_deleted() && unused {
        plan.deallocate = claim.status.allocation.is_some();
        plan.remove_finalizer = true;
    }
    let of_pod =
        claim.metadata.controller_of().filter(|owner| owner.api_version == "v1" && owner.kind == "Pod");
    if let (Some(reference), Some(owner), true) = (of_pod, owner, unused) {
        plan.delete = owner.metadata.uid != reference.uid || is_done(owner);
    }
    plan
}

/// The prefix of a generated claim's name: of pod and entry, each shortened in proportion if both are too long.
pub(super) fn name_prefix(pod: &str, entry: &str) -> String {
    let full = format!("{pod}-{entry}-");
    if full.len() <= MAX_PREFIX {
        return full;
    }
    let cut = |name: &str, total: usize| name[..name.len() * MAX_PREFIX / total].to_string();
    let pod = cut(pod, full.len());
    format!("{pod}-{}", cut(entry, full.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn new_pod(spec: Value, status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec, "status": status}))
            .unwrap()
    }

    fn new_claim(metadata: Value, status: Value) -> ResourceClaim {
        let mut value = json!({"metadata": {"name": "c"}, "status": status});
        value["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn made() -> Value {
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]})
    }

    /// After upstream's TestSyncHandler, for pods.
    #[test]
    fn pods_get_claims() {
        let template = json!([{"name": "x", "resourceClaimTemplateName": "t"}]);
        let given = json!([{"name": "x", "resourceClaimName": "c"}]);
        let known = json!({"resourceClaimStatuses": [{"name": "x", "resourceClaimName": "c"}]});
        let needless = json!({"resourceClaimStatuses": [{"name": "x"}]});
        let allocated = json!({"allocation": {}});
        let taken = json!({"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
        for (what, claims, status, node, claim, make, reserve) in [
            ("make", &template, json!({}), "", None, 1, 0),
            ("done", &template, known.clone(), "", Some(new_claim(made(), json!({}))), 0, 0),
            ("lost", &template, known.clone(), "", None, 1, 0),
            ("another's", &template, known.clone(), "", Some(new_claim(json!({}), json!({}))), 1, 0),
            ("needless", &template, needless, "", None, 0, 0),
            ("given", &given, json!({}), "", None, 0, 0),
            ("placed", &given, json!({}), "n", Some(new_claim(json!({}), allocated.clone())), 0, 1),
            ("placed, not allocated", &given, json!({}), "n", Some(new_claim(json!({}), json!({}))), 0, 0),
            ("placed, reserved", &given, json!({}), "n", Some(new_claim(json!({}), taken)), 0, 0),
            ("over", &template, json!({"phase": "Failed"}), "", None, 0, 0),
        ] {
            let pod = new_pod(json!({"resourceClaims": claims, "nodeName": node}), status);
            let claim = claim.map(Arc::new);
            let plan = super::pod(&pod, |_| claim.clone());
            assert_eq!((plan.make.len(), plan.reserve.len()), (make, reserve), "{what}");
        }
    }

    /// After upstream's TestSyncHandler, for claims.
    #[test]
    fn claims_are_given_back() {
        let pod = |uid: &str| json!({"resource": "pods", "name": "p", "uid": uid});
        let reserved = |list: Vec<Value>| json!({"allocation": {}, "reservedFor": list});
        let protected = json!({"finalizers": [FINALIZER]});
        let leaving = json!({"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let gone = ["g".to_string()];
        let foreign = json!({"apiGroup": "x", "resource": "y", "name": "z", "uid": "g"});
        let consumers = |list: Vec<Value>| serde_json::from_value::<Vec<Consumer>>(json!(list)).unwrap();
        for (what, claim, wanted) in [
            ("in use", new_claim(protected.clone(), reserved(vec![pod("a")])), ClaimPlan::default()),
            (
                "one of two left",
                new_claim(protected.clone(), reserved(vec![pod("a"), pod("g")])),
                ClaimPlan { reserved_for: Some(consumers(vec![pod("a")])), ..Default::default() },
            ),
            (
                "last one left",
                new_claim(protected.clone(), reserved(vec![pod("g")])),
                ClaimPlan {
                    reserved_for: Some(vec![]),
                    deallocate: true,
                    remove_finalizer: true,
                    ..Default::default()
                },
            ),
            ("unknown consumer", new_claim(protected.clone(), reserved(vec![foreign])), ClaimPlan::default()),
            ("never used", new_claim(protected, reserved(vec![])), ClaimPlan::default()),
            (
                "never used, leaving",
                new_claim(leaving, reserved(vec![])),
                ClaimPlan { deallocate: true, remove_finalizer: true, ..Default::default() },
            ),
        ] {
            assert_eq!(super::claim(&claim, &gone, None), wanted, "{what}");
        }
        let own = new_claim(made(), json!({}));
        for (what, owner, wanted) in [
            ("runs", Some(new_pod(json!({}), json!({"phase": "Running"}))), false),
            ("over", Some(new_pod(json!({}), json!({"phase": "Succeeded"}))), true),
            ("not seen", None, false),
        ] {
            assert_eq!(super::claim(&own, &[], owner.as_ref()).delete, wanted, "{what}");
        }
    }

    #[test]
    fn long_names_are_cut_in_proportion() {
        assert_eq!(name_prefix("pod", "claim"), "pod-claim-");
        let prefix = name_prefix(&"p".repeat(60), &"c".repeat(60));
        assert_eq!(prefix, format!("{}-{}", "p".repeat(28), "c".repeat(28)));
    }
}
