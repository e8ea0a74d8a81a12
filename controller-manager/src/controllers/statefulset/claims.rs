//! Who owns the claims of a StatefulSet's pods, by its retention policy.

use proto::meta::{ObjectMeta, OwnerReference};

use super::identity::{is_in_range, ordinal};
use crate::api::apps::StatefulSet;
use crate::common::refs::controller_ref;

/// The owners that a claim is to have, if it has others: the set, where claims go with it; the pod, once
/// it is scaled away and claims go with pods; nobody, where claims stay.
pub(super) fn owners(set: &StatefulSet, pod: &ObjectMeta, claim: &ObjectMeta) -> Option<Vec<OwnerReference>> {
    let policy = set.spec.persistent_volume_claim_retention_policy.clone().unwrap_or_default();
    let when_deleted = policy.when_deleted == "Delete";
    let when_scaled = policy.when_scaled == "Delete";
    let set_ref = controller_ref(&set.metadata, "apps/v1", "StatefulSet");
    let pod_ref = controller_ref(pod, "v1", "Pod");
    let names = |a: &OwnerReference, b: &OwnerReference| {
        a.api_version == b.api_version && a.kind == b.kind && a.name == b.name
    };
    let own = |o: &OwnerReference| names(o, &set_ref) || names(o, &pod_ref);
    let current = &claim.owner_references;
    // A claim of an earlier set or pod of this name is on its way out.
    let stale = |o: &OwnerReference, of: &OwnerReference| names(o, of) && o.uid != of.uid;
    if current.iter().any(|o| stale(o, &set_ref) || stale(o, &pod_ref)) {
        return None;
    }
    let mut wanted: Vec<OwnerReference> = current.iter().filter(|o| !own(o)).cloned().collect();
    let foreign = wanted.iter().any(|o| o.controller == Some(true)) && (when_deleted || when_scaled);
    if !foreign {
        let scaled_away = !ordinal(set, &pod.name).is_some_and(|n| is_in_range(set, n));
        if when_scaled && scaled_away {
            wanted.push(pod_ref);
        } else if when_deleted {
            wanted.push(set_ref);
        }
    }
    (wanted != *current).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let set = |deleted: &str, scaled: &str| -> StatefulSet {
            let text = format!(
                r#"{{"metadata":{{"name":"db","uid":"s"}},"spec":{{"replicas":1,
                "persistentVolumeClaimRetentionPolicy":{{"whenDeleted":"{deleted}","whenScaled":"{scaled}"}}}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let pod = |name: &str| ObjectMeta { name: name.into(), uid: name.into(), ..Default::default() };
        let kinds = |set: &StatefulSet, pod: &ObjectMeta, claim: &ObjectMeta| {
            owners(set, pod, claim).map(|o| o.into_iter().map(|o| o.kind).collect::<Vec<_>>())
        };
        let free = ObjectMeta::default();
        let (inside, outside) = (pod("db-0"), pod("db-1"));
        let some = |kind: &str| Some(vec![kind.to_string()]);
        assert_eq!(kinds(&set("Retain", "Retain"), &inside, &free), None);
        assert_eq!(kinds(&set("Delete", "Retain"), &outside, &free), some("StatefulSet"));
        assert_eq!(kinds(&set("Retain", "Delete"), &inside, &free), None);
        assert_eq!(kinds(&set("Retain", "Delete"), &outside, &free), some("Pod"));
        assert_eq!(kinds(&set("Delete", "Delete"), &outside, &free), some("Pod"));
        let mut owned = free.clone();
        owned.owner_references = owners(&set("Delete", "Retain"), &inside, &free).unwrap();
        assert_eq!(kinds(&set("Delete", "Retain"), &inside, &owned), None);
        assert_eq!(kinds(&set("Retain", "Retain"), &inside, &owned), Some(vec![]));
    }
}
