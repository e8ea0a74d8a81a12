//! The pods of a StatefulSet and their claims: each has a number, and a name that follows from it.

use serde_json::{Value, json};

use crate::api::apps::StatefulSet;
use crate::api::core::Pod;
use crate::common::refs::controller_ref;
use crate::common::template::pod_from_template;

pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// The name of the revision that a pod was made from.
pub(super) const REVISION: &str = "controller-revision-hash";

pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().map_or(0, |o| o.start)
}

pub(super) fn wanted(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name)
}

/// The number of a pod of this set.
pub(super) fn ordinal(set: &StatefulSet, pod_name: &str) -> Option<i32> {
    let digits = pod_name.strip_prefix(set.metadata.name.as_str())?.strip_prefix('-')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

pub(super) fn is_in_range(set: &StatefulSet, ordinal: i32) -> bool {
    (start(set)..start(set) + wanted(set)).contains(&ordinal)
}

fn template_name(template: &Value) -> &str {
    template.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// For each claim template: its name, and the name of the claim of one pod.
pub(super) fn claim_names(set: &StatefulSet, ordinal: i32) -> Vec<(String, String)> {
    let templates = set.spec.volume_claim_templates.iter().map(template_name);
    templates.map(|t| (t.to_string(), format!("{t}-{}-{ordinal}", set.metadata.name))).collect()
}

/// The claims of one pod, by name.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, Value)> {
    let one = |(template, (_, name)): (&Value, (String, String))| {
        let mut claim = template.clone();
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        claim["metadata"]["name"] = json!(name);
        claim["metadata"]["namespace"] = json!(set.metadata.namespace);
        for (key, value) in &set.spec.selector.match_labels {
            claim["metadata"]["labels"][key] = json!(value);
        }
        if let Some(claim) = claim.as_object_mut() {
            claim.remove("status");
        }
        (name, claim)
    };
    let names = claim_names(set, ordinal);
    set.spec.volume_claim_templates.iter().zip(names).map(one).collect()
}

/// A pod of this template and revision.
pub(super) fn new_pod(set: &StatefulSet, template: &Value, revision: &str, ordinal: i32) -> Value {
    let reference = controller_ref(&set.metadata, "apps/v1", "StatefulSet");
    let mut pod = pod_from_template(template, &set.metadata.name, &reference);
    let name = pod_name(set, ordinal);
    pod["spec"]["hostname"] = json!(name);
    if !set.spec.service_name.is_empty() {
        pod["spec"]["subdomain"] = json!(set.spec.service_name);
    }
    give_identity(set, &mut pod, ordinal);
    give_storage(set, &mut pod, ordinal);
    pod["metadata"]["labels"][REVISION] = json!(revision);
    pod
}

/// Sets what makes the pod the one with this number.
pub(super) fn give_identity(set: &StatefulSet, pod: &mut Value, ordinal: i32) {
    let name = pod_name(set, ordinal);
    pod["metadata"]["labels"][POD_NAME] = json!(name);
    pod["metadata"]["labels"][POD_INDEX] = json!(ordinal.to_string());
    pod["metadata"]["namespace"] = json!(set.metadata.namespace);
    pod["metadata"]["name"] = json!(name);
}

/// Puts the pod's own claims in place of volumes of these names.
pub(super) fn give_storage(set: &StatefulSet, pod: &mut Value, ordinal: i32) {
    let names = claim_names(set, ordinal);
    if names.is_empty() {
        return;
    }
    let own = |volume: &Value| names.iter().any(|(template, _)| volume["name"] == *template.as_str());
    let volume = |(template, claim): &(String, String)| json!({"name": template, "persistentVolumeClaim": {"claimName": claim}});
    let others = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let others = others.into_iter().filter(|v| !own(v));
    let volumes: Vec<Value> = names.iter().map(volume).chain(others).collect();
    pod["spec"]["volumes"] = json!(volumes);
}

/// Whether the pod has its labels and claims.
pub(super) fn is_complete(set: &StatefulSet, pod: &Pod, ordinal: i32) -> bool {
    let named = pod.metadata.labels.get(POD_NAME) == Some(&pod.metadata.name);
    let has = |(template, claim): &(String, String)| {
        let mut volumes = pod.spec.volumes.iter();
        let volume = volumes.find(|v| v.name == *template);
        let source = volume.and_then(|v| v.persistent_volume_claim.as_ref());
        source.is_some_and(|s| s.claim_name == *claim)
    };
    named && claim_names(set, ordinal).iter().all(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::apps::StatefulSet;

    #[test]
    fn a_pod_has_its_name_and_storage() {
        let set: StatefulSet = serde_json::from_str(
            r#"{"metadata":{"name":"db","namespace":"d","uid":"s"},"spec":{"serviceName":"svc",
            "selector":{"matchLabels":{"a":"b"}},
            "volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"x":1}}]}}"#,
        )
        .unwrap();
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"volumes": [{"name": "data"}, {"name": "tmp"}]}});
        let pod = new_pod(&set, &template, "db-1", 3);
        assert_eq!(pod["metadata"]["name"], "db-3");
        assert_eq!(pod["metadata"]["labels"][POD_INDEX], "3");
        assert_eq!(pod["spec"]["subdomain"], "svc");
        assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-db-3");
        assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(2));
        let (name, claim) = claims(&set, 3).remove(0);
        assert_eq!((name.as_str(), &claim["metadata"]["labels"]["a"]), ("data-db-3", &json!("b")));
        assert_eq!(ordinal(&set, "db-12"), Some(12));
        assert_eq!(ordinal(&set, "db-x"), None);
        assert_eq!(ordinal(&set, "dbx-1"), None);
    }
}
