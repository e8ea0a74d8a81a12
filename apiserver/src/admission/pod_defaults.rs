//! Small plugins that complete pods and nodes.

use std::sync::Arc;

use proto::field::{self, Path};
use serde_json::{Value, json};

use super::step::{Row, items, push, text};
use super::{Operation, Outcome, Review};
use crate::registry::Local;

const CREATE_UPDATE: &[Operation] = &[Operation::Create, Operation::Update];

/// New nodes are not ready until the node controller says so.
pub(super) const TAINT_NODES_BY_CONDITION: Row = Row {
    name: "TaintNodesByCondition",
    operations: &[Operation::Create],
    mutate: Some(add_not_ready_taint),
    validate: None,
};

/// Pods stay five minutes on nodes that fail.
pub(super) const DEFAULT_TOLERATION_SECONDS: Row = Row {
    name: "DefaultTolerationSeconds",
    operations: CREATE_UPDATE,
    mutate: Some(add_default_tolerations),
    validate: None,
};

/// Images are pulled anew, so that only those who may pull them can use them.
pub(super) const ALWAYS_PULL_IMAGES: Row = Row {
    name: "AlwaysPullImages",
    operations: CREATE_UPDATE,
    mutate: Some(set_pull_policies),
    validate: Some(check_pull_policies),
};

/// Pods that use an extended resource tolerate the taint of its nodes.
pub(super) const EXTENDED_RESOURCE_TOLERATION: Row = Row {
    name: "ExtendedResourceToleration",
    operations: CREATE_UPDATE,
    mutate: Some(tolerate_extended_resources),
    validate: None,
};

/// Pods carry the zone and region of their node.
pub(super) const POD_TOPOLOGY_LABELS: Row = Row {
    name: "PodTopologyLabels",
    operations: &[Operation::Create],
    mutate: Some(copy_topology_labels),
    validate: None,
};

const CONTAINER_LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];
const TOLERATION_SECONDS: i64 = 300;
const TOPOLOGY_LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

fn add_not_ready_taint<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if review.is("", "nodes") {
            let taint = json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" });
            if !items(&review.object["spec"]["taints"]).contains(&taint) {
                push(&mut review.object["spec"], "taints", taint);
            }
        }
        Ok(())
    })
}

fn add_default_tolerations<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if review.is("", "pods") {
            for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
                let tolerates = |toleration: &Value| {
                    let (key, effect) = (text(&toleration["key"]), text(&toleration["effect"]));
                    (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
                };
                if !items(&review.object["spec"]["tolerations"]).iter().any(tolerates) {
                    let toleration = json!({ "key": taint, "operator": "Exists", "effect": "NoExecute",
                        "tolerationSeconds": TOLERATION_SECONDS });
                    push(&mut review.object["spec"], "tolerations", toleration);
                }
            }
        }
        Ok(())
    })
}

/// An update that brings no new image needs no new pull.
fn concerns_images(review: &Review) -> bool {
    let images = |pod: &Value| -> Vec<String> {
        let lists = CONTAINER_LISTS.iter().flat_map(|list| items(&pod["spec"][*list]));
        lists.map(|container| text(&container["image"]).to_owned()).collect()
    };
    let old = images(&review.old);
    review.is("", "pods")
        && (review.operation == Operation::Create || images(&review.object).iter().any(|i| !old.contains(i)))
}

fn set_pull_policies<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if concerns_images(review) {
            let spec = &mut review.object["spec"];
            for list in CONTAINER_LISTS {
                for container in spec[*list].as_array_mut().into_iter().flatten() {
                    container["imagePullPolicy"] = json!("Always");
                }
            }
            for volume in spec["volumes"].as_array_mut().into_iter().flatten() {
                if volume["image"].is_object() {
                    volume["image"]["pullPolicy"] = json!("Always");
                }
            }
        }
        Ok(())
    })
}

fn check_pull_policies<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !concerns_images(review) {
            return Ok(());
        }
        let spec = Path::new("spec");
        for list in CONTAINER_LISTS {
            for (index, container) in items(&review.object["spec"][*list]).iter().enumerate() {
                let policy = text(&container["imagePullPolicy"]);
                if policy != "Always" {
                    let path = spec.child(list).index(index).child("imagePullPolicy");
                    return Err(review.forbidden(field::Error::not_supported(&path, policy, &["Always"])));
                }
            }
        }
        Ok(())
    })
}

fn tolerate_extended_resources<'a>(_: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !review.is("", "pods") {
            return Ok(());
        }
        let spec = &mut review.object["spec"];
        let containers = ["containers", "initContainers"].iter().flat_map(|list| items(&spec[*list]));
        let requests = containers.filter_map(|container| container["resources"]["requests"].as_object());
        let mut names: Vec<String> =
            requests.flat_map(|list| list.keys()).filter(|name| is_extended(name)).cloned().collect();
        names.sort();
        names.dedup();
        for name in names {
            let toleration = json!({ "key": name, "operator": "Exists", "effect": "NoSchedule" });
            if !items(&spec["tolerations"]).contains(&toleration) {
                push(spec, "tolerations", toleration);
            }
        }
        Ok(())
    })
}

/// Extended resources have a domain that isn't Kubernetes' own.
fn is_extended(resource: &str) -> bool {
    match resource.split_once('/') {
        None => false,
        Some((domain, _)) => {
            domain != "kubernetes.io"
                && !domain.ends_with(".kubernetes.io")
                && !resource.starts_with("requests.")
        }
    }
}

fn copy_topology_labels<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        if !review.group().is_empty() || review.resource() != "pods" {
            return Ok(());
        }
        let node = match review.subresource.as_str() {
            "" => text(&review.object["spec"]["nodeName"]),
            "binding" if text(&review.object["target"]["kind"]) == "Node" => {
                text(&review.object["target"]["name"])
            }
            _ => "",
        };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = local.cached("", "nodes", "", node) else { return Ok(()) };
        for label in TOPOLOGY_LABELS {
            if let Some(value) = node["metadata"]["labels"][*label].as_str() {
                review.object["metadata"]["labels"][*label] = json!(value);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, admit, review};
    use super::*;

    async fn create(row: Row, resource: &'static str, mut object: Value) -> Value {
        object["metadata"] = json!({ "namespace": "ns", "name": "x" });
        let node = json!({ "metadata": { "name": "n1", "labels": { "topology.kubernetes.io/zone": "z", "other": "o" } } });
        let mut review = review(Operation::Create, "", resource, object);
        admit(row, &Cluster::holding(&[("", "nodes", node)]), &mut review).await.unwrap();
        review.object
    }

    #[tokio::test]
    async fn nodes_start_tainted() {
        let node = create(TAINT_NODES_BY_CONDITION, "nodes", json!({})).await;
        assert_eq!(
            node["spec"]["taints"],
            json!([{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }])
        );
    }

    #[tokio::test]
    async fn tolerations_are_added_unless_given() {
        let pod = create(DEFAULT_TOLERATION_SECONDS, "pods", json!({ "spec": {} })).await;
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(pod["spec"]["tolerations"][0]["tolerationSeconds"], 300);
        let all = json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } });
        let pod = create(DEFAULT_TOLERATION_SECONDS, "pods", all).await;
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 1);
        let gpu = json!({ "spec": { "containers": [{ "resources": { "requests": { "acme.com/gpu": "1", "cpu": "1" } } }] } });
        let pod = create(EXTENDED_RESOURCE_TOLERATION, "pods", gpu).await;
        assert_eq!(
            pod["spec"]["tolerations"],
            json!([{ "key": "acme.com/gpu", "operator": "Exists", "effect": "NoSchedule" }])
        );
    }

    #[tokio::test]
    async fn bindings_carry_the_nodes_topology() {
        let binding = json!({ "target": { "kind": "Node", "name": "n1" } });
        let binding = create(POD_TOPOLOGY_LABELS, "pods/binding", binding).await;
        assert_eq!(binding["metadata"]["labels"], json!({ "topology.kubernetes.io/zone": "z" }));
    }

    #[tokio::test]
    async fn images_are_always_pulled() {
        let pod =
            create(ALWAYS_PULL_IMAGES, "pods", json!({ "spec": { "containers": [{ "image": "a" }] } })).await;
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
    }
}
