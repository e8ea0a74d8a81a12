//! What a quota's status is to say.

use component_base::watch::Change;
use proto::quantity::{Format, Quantity};
use proto::quota;
use proto::resources::Amounts;

use super::charges::Charge;
use crate::api::policy::{ResourceQuota, ResourceQuotaStatus};

/// Whether the quota says less than is asked of it: until it does, what it counts can't be created.
pub(super) fn is_urgent(quota: &ResourceQuota) -> bool {
    quota.spec.hard != quota.status.hard
        || quota.status.hard.keys().any(|name| !quota.status.used.contains_key(name))
}

/// Whether a change can lower what is used. What raises it was charged by admission already; counting then would take
/// away the charges of objects that are still on their way.
pub(super) fn may_free(change: &Change<Charge>) -> bool {
    match (&change.old, &change.new) {
        (_, None) => true,
        (None, _) => false,
        (Some(old), Some(new)) => old.usage != new.usage || old.facts != new.facts || old.until != new.until,
    }
}

/// The resources of the quota that objects of a kind use.
pub(super) fn counted<'a>(quota: &'a ResourceQuota, group: &str, resource: &str) -> Vec<&'a String> {
    quota.spec.hard.keys().filter(|name| quota::counts(group, resource, name)).collect()
}

/// A number of objects, under each of these names.
pub(super) fn numbers(names: Vec<&String>, count: usize) -> Amounts {
    let count = Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi);
    names.into_iter().map(|name| (name.clone(), count.clone())).collect()
}

/// What these objects of one kind use together at `now`, in seconds of Unix time.
pub(super) fn sum<'a>(
    quota: &ResourceQuota,
    names: Vec<&String>,
    objects: impl Iterator<Item = &'a Charge>,
    now: i64,
) -> Amounts {
    let mut sum = numbers(names, 0);
    let scopes = quota.spec.scopes_value();
    for object in objects.filter(|object| object.facts.match_all(&scopes)) {
        let usage = if object.until.is_some_and(|until| now > until) { &object.rest } else { &object.usage };
        for (name, amount) in usage {
            if let Some(total) = sum.get_mut(&**name) {
                total.add(amount);
            }
        }
    }
    sum
}

/// The status after a count, if it changes. What nothing here counts keeps its number.
pub(super) fn plan(quota: &ResourceQuota, usage: Amounts) -> Option<ResourceQuotaStatus> {
    let hard = quota.spec.hard.clone();
    let mut used = quota.status.used.clone();
    used.extend(usage);
    used.retain(|name, _| hard.contains_key(name));
    let status = ResourceQuotaStatus { hard, used };
    (status != quota.status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::resourcequota::charges::projection;
    use proto::resources::display;
    use serde_json::{Value, json};

    fn pods(specs: &[Value]) -> Vec<Charge> {
        let project = projection("", "pods").unwrap();
        specs.iter().map(|pod| project(pod.to_string().as_bytes()).unwrap()).collect()
    }

    fn pod(cpu: &str, phase: &str, deadline: Option<i64>) -> Value {
        let resources =
            json!({"requests": {"cpu": cpu, "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}});
        json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"activeDeadlineSeconds": deadline, "containers": [{"name": "c", "resources": resources}]},
            "status": {"phase": phase},
        })
    }

    #[test]
    fn quotas_from_upstreams_table() {
        let running =
            || pods(&[pod("100m", "Running", None), pod("100m", "Running", None), pod("9", "Failed", None)]);
        let hard = json!({"cpu": "3", "memory": "100Gi", "pods": "5"});
        let both = json!({"requests.cpu": "3", "limits.memory": "9Gi", "count/pods": "5", "persistentvolumeclaims": "1"});
        let cases = [
            ("all pods", json!({"hard": hard}), json!({}), running(), "cpu=200m,memory=2Gi,pods=2"),
            (
                "none matches",
                json!({"hard": hard, "scopes": ["Terminating"]}),
                json!({}),
                running(),
                "cpu=0,memory=0,pods=0",
            ),
            (
                "a scope matches",
                json!({"hard": hard, "scopes": ["Terminating", "NotBestEffort"]}),
                json!({}),
                pods(&[pod("1", "Running", Some(5)), pod("7", "Running", None)]),
                "cpu=1,memory=1Gi,pods=1",
            ),
            (
                "names of one's own; what isn't counted stays, what isn't asked for goes",
                json!({"hard": both}),
                json!({"hard": both, "used": {"persistentvolumeclaims": "7", "secrets": "1"}}),
                running(),
                "count/pods=3,limits.memory=4Gi,persistentvolumeclaims=7,requests.cpu=200m",
            ),
        ];
        for (what, spec, status, objects, wanted) in cases {
            let quota: ResourceQuota =
                serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap();
            let usage = sum(&quota, counted(&quota, "", "pods"), objects.iter(), 0);
            let status = plan(&quota, usage.clone()).unwrap();
            assert_eq!(display(&status.used), wanted, "{what}");
            assert_eq!(plan(&ResourceQuota { status, ..quota.clone() }, usage), None, "{what}: again");
            assert!(is_urgent(&quota), "{what}");
        }
    }

    #[test]
    fn an_empty_quota_gets_its_status_once() {
        let quota: ResourceQuota =
            serde_json::from_value(json!({"spec": {"hard": {}}, "status": {}})).unwrap();
        assert_eq!(plan(&quota, Amounts::new()), None, "an empty status says the same");
    }
}
