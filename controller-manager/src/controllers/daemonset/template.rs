//! The pods of a DaemonSet: its template, tolerant of what a daemon must outlive, pinned to one node.

use serde_json::{Map, Value, json};

use crate::api::apps::DaemonSet;
use crate::api::core::{Node, Toleration};
use crate::common::nodes::{self, Placement};
use crate::common::template::Template;

/// Names the revision of the template that a pod was made from.
pub(super) const REVISION_HASH: &str = "controller-revision-hash";
const TEMPLATE_GENERATION_LABEL: &str = "pod-template-generation";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Taints that don't keep a daemon from its node, with their effects.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const TOLERATED_ON_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

fn tolerated(host_network: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    TOLERATED.iter().copied().chain(host_network.then_some(TOLERATED_ON_HOST_NETWORK))
}

/// The generation of the template that clients of old versions recorded.
pub(super) fn template_generation(ds: &DaemonSet) -> Option<i64> {
    ds.metadata.annotations.get(TEMPLATE_GENERATION)?.parse().ok()
}

/// Whether a pod with these labels was made from the current template.
pub(super) fn is_updated(
    labels: &std::collections::BTreeMap<String, String>,
    hash: &str,
    generation: Option<i64>,
) -> bool {
    let by_generation =
        generation.is_some_and(|g| labels.get(TEMPLATE_GENERATION_LABEL) == Some(&g.to_string()));
    let by_hash = !hash.is_empty() && labels.get(REVISION_HASH).is_some_and(|h| h == hash);
    by_hash || by_generation
}

/// The template for pods of one revision.
pub(super) fn pod_template(ds: &DaemonSet, hash: &str) -> Value {
    let mut template = ds.spec.template.to_value();
    let spec = object(&mut template, "spec");
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    let mut tolerations = spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    for (key, effect) in tolerated(host_network) {
        let added = json!({"key": key, "operator": "Exists", "effect": effect});
        tolerations.retain(|t| *t != added);
        tolerations.push(added);
    }
    spec.insert("tolerations".into(), Value::Array(tolerations));
    let labels = object(object_value(&mut template, "metadata"), "labels");
    if let Some(generation) = template_generation(ds) {
        labels.insert(TEMPLATE_GENERATION_LABEL.into(), json!(generation.to_string()));
    }
    labels.insert(REVISION_HASH.into(), json!(hash));
    template
}

/// Adds the affinity that pins the pod to a node; it replaces other required terms, as the DaemonSet
/// has checked those already.
pub(super) fn pin(template: &mut Value, node: &str) {
    let spec = object_value(template, "spec");
    let affinity = object_value(spec, "affinity");
    let node_affinity = object(affinity, "nodeAffinity");
    node_affinity.insert(
        "requiredDuringSchedulingIgnoredDuringExecution".into(),
        json!({"nodeSelectorTerms": [{
            "matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}],
        }]}),
    );
}

/// The object below a key, made if missing.
fn object_value<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    let child = &mut parent[key];
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child
}

fn object<'a>(parent: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    match object_value(parent, key) {
        Value::Object(map) => map,
        _ => unreachable!("object_value makes an object"),
    }
}

/// Whether a daemon's pod belongs on a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) should_run: bool,
    pub(super) may_stay: bool,
}

/// What of a template decides where its pods run; read once per sync.
pub(super) struct Placed(Placement);

impl Placed {
    pub(super) fn new(template: &Template) -> Self {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Spec {
            spec: Placement,
        }
        let mut placement = template.view::<Spec>().spec;
        for (key, effect) in tolerated(placement.host_network) {
            placement.tolerations.push(Toleration {
                key: key.into(),
                operator: "Exists".into(),
                effect: effect.into(),
                ..Default::default()
            });
        }
        Placed(placement)
    }

    /// A taint added later lets a running pod stay unless it is `NoExecute`.
    pub(super) fn fit(&self, node: &Node) -> Fit {
        let named = self.0.node_name.is_empty() || self.0.node_name == node.metadata.name;
        if !named || !nodes::fits_affinity(&self.0, node) {
            return Fit { should_run: false, may_stay: false };
        }
        let tolerates =
            |effects: &[&str]| nodes::tolerates_all(&self.0.tolerations, &node.spec.taints, effects);
        Fit { should_run: tolerates(&["NoSchedule", "NoExecute"]), may_stay: tolerates(&["NoExecute"]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(taints: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"taints": taints}})).unwrap()
    }

    #[test]
    fn taints_decide_running_and_staying() {
        let placed = Placed::new(&Template::new(&json!({"spec": {}})));
        let cases = [
            (json!([]), true, true),
            (json!([{"key": "x", "effect": "NoSchedule"}]), false, true),
            (json!([{"key": "x", "effect": "NoExecute"}]), false, false),
            (json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]), true, true),
            (json!([{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]), false, true),
        ];
        for (taints, should_run, may_stay) in cases {
            assert_eq!(placed.fit(&node(taints)), Fit { should_run, may_stay });
        }
    }

    #[test]
    fn template_of_a_revision() {
        let mut ds = DaemonSet::default();
        ds.spec.template = Template::new(&json!({"spec": {"hostNetwork": true}}));
        let mut template = pod_template(&ds, "abc");
        pin(&mut template, "n1");
        assert_eq!(template["metadata"]["labels"][REVISION_HASH], "abc");
        assert_eq!(template["spec"]["tolerations"].as_array().map(Vec::len), Some(7));
        let required = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
        let values = format!("{required}/nodeSelectorTerms/0/matchFields/0/values");
        assert_eq!(template.pointer(&values), Some(&json!(["n1"])));
    }
}
