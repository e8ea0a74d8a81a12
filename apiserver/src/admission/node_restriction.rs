//! NodeRestriction: a kubelet changes only its own node and the pods bound to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::status::Status;
use serde_json::Value;

use super::step::{Row, find, items, text};
use super::{Operation, Outcome, Review, certificates};
use crate::auth::node::{api_reference, node_name};
use crate::auth::text::quoted;
use crate::auth::{Attributes, Decision};
use crate::registry::Local;

pub(super) const NODE_RESTRICTION: Row = Row {
    name: "NodeRestriction",
    operations: &[Operation::Create, Operation::Update, Operation::Delete],
    mutate: Some(check),
    validate: None,
};

const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Labels of kubernetes.io that kubelets may set on their nodes.
const KUBELET_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const KUBELET_LABEL_NAMESPACES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_LABEL_NAMESPACE: &str = "node-restriction.kubernetes.io";
const KUBELET_SIGNERS: &[&str] =
    &["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

fn check<'a>(local: &'a Arc<dyn Local>, review: &'a mut Review) -> Outcome<'a> {
    Box::pin(async move {
        let user = review.user.clone();
        let Some(node) = node_name(&user) else { return Ok(()) };
        if node.is_empty() {
            let user = quoted(&user.name);
            return Err(review.forbidden(format!("could not determine node from user {user}")));
        }
        let refuse = |result: Result<(), String>| result.map_err(|why| review.forbidden(why));
        match (review.group(), review.resource(), review.subresource.as_str()) {
            ("", "pods", "") => check_pod(local, node, review).await,
            ("", "pods", "status") => refuse(check_pod_status(node, review)),
            ("", "pods", "eviction") => check_eviction(local, node, review).await,
            ("", "pods", other) => refuse(Err(format!(
                "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                quoted(other)
            ))),
            ("", "nodes", _) => refuse(check_node(node, review)),
            ("", "persistentvolumeclaims", "status") => refuse(check_claim_status(node, review)),
            ("", "persistentvolumeclaims", _) => refuse(Err("may only update PVC status".to_owned())),
            ("", "serviceaccounts", "token") => check_token(local, node, review).await,
            ("coordination.k8s.io", "leases", _) => refuse(check_lease(node, review)),
            ("storage.k8s.io", "csinodes", _) => refuse(check_own_name(node, review, "CSINode")),
            ("resource.k8s.io", "resourceslices", _) => refuse(check_slice(node, review)),
            ("certificates.k8s.io", "certificatesigningrequests", _) => refuse(check_request(node, review)),
            ("certificates.k8s.io", "podcertificaterequests", _) => {
                refuse(Err("PodCertificateRequest feature gate is disabled".to_owned()))
            }
            _ => Ok(()),
        }
    })
}

async fn check_pod(local: &Arc<dyn Local>, node: &str, review: &Review) -> Result<(), Status> {
    let name = quoted(node);
    match review.operation {
        Operation::Create => {
            check_mirror_pod(node, &review.object).map_err(|why| review.forbidden(why))?;
            let owner = &items(&review.object["metadata"]["ownerReferences"])[0];
            let found = find(local, "", "nodes", "", node).await?;
            let (expected, actual) = (text(&owner["uid"]), text(&found["metadata"]["uid"]));
            if expected != actual {
                let why = format!("node {node} UID mismatch: expected {expected} got {actual}");
                return Err(review.forbidden(why));
            }
            check_uses_nothing(node, &review.object).map_err(|why| review.forbidden(why))
        }
        Operation::Delete => {
            let pod = find(local, "", "pods", &review.namespace, &review.name).await?;
            if text(&pod["spec"]["nodeName"]) == node {
                return Ok(());
            }
            Err(review
                .forbidden(format!("node {name} can only delete pods with spec.nodeName set to itself")))
        }
        other => Err(review.forbidden(format!(
            "unexpected operation \"{}\", node {name} can only create and delete mirror pods",
            other.as_str()
        ))),
    }
}

/// A mirror pod runs on the node that makes it, and is owned by it alone.
fn check_mirror_pod(node: &str, pod: &Value) -> Result<(), String> {
    let name = quoted(node);
    let metadata = &pod["metadata"];
    if metadata["annotations"].get(MIRROR_ANNOTATION).is_none() {
        let annotation = quoted(MIRROR_ANNOTATION);
        return Err(format!(
            "pod does not have {annotation} annotation, node {name} can only create mirror pods"
        ));
    }
    if text(&pod["spec"]["nodeName"]) != node {
        return Err(format!("node {name} can only create pods with spec.nodeName set to itself"));
    }
    let itself = || Err(format!("node {name} can only create pods with an owner reference set to itself"));
    let owner = match items(&metadata["ownerReferences"]) {
        [] => return itself(),
        [owner] => owner,
        _ => {
            return Err(format!(
                "node {name} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    let is_itself =
        text(&owner["apiVersion"]) == "v1" && text(&owner["kind"]) == "Node" && text(&owner["name"]) == node;
    if !is_itself {
        return itself();
    }
    if owner["controller"] != true {
        return Err(format!(
            "node {name} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {name} must not set blockOwnerDeletion on an owner reference"));
    }
    Ok(())
}

fn check_uses_nothing(node: &str, pod: &Value) -> Result<(), String> {
    match api_reference(pod) {
        Err(unknown) => Err(format!("error checking mirror pod for API references: {unknown}")),
        Ok(Some(resource)) => {
            Err(format!("node {} can not create pods that reference {resource}", quoted(node)))
        }
        Ok(None) => Ok(()),
    }
}

fn check_pod_status(node: &str, review: &Review) -> Result<(), String> {
    let name = quoted(node);
    if review.operation != Operation::Update {
        return Err(format!("unexpected operation \"{}\"", review.operation.as_str()));
    }
    let (new, old) = (&review.object, &*review.old);
    if text(&old["spec"]["nodeName"]) != node {
        return Err(format!(
            "node {name} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if new["metadata"]["labels"] != old["metadata"]["labels"] {
        return Err(format!("node {name} cannot update labels through pod status"));
    }
    if new["status"]["resourceClaimStatuses"] != old["status"]["resourceClaimStatuses"] {
        return Err(format!("node {name} cannot update resource claim statues"));
    }
    if new["status"]["extendedResourceClaimStatus"] != old["status"]["extendedResourceClaimStatus"] {
        return Err(format!("node {name} cannot update extended resource claim status"));
    }
    Ok(())
}

async fn check_eviction(local: &Arc<dyn Local>, node: &str, review: &Review) -> Result<(), Status> {
    if review.operation != Operation::Create {
        return Err(review.forbidden(format!("unexpected operation {}", review.operation.as_str())));
    }
    let in_body = text(&review.object["metadata"]["name"]);
    let pod = if review.name.is_empty() { in_body } else { &review.name };
    if pod.is_empty() {
        return Err(review.forbidden("could not determine pod from request data"));
    }
    let pod = find(local, "", "pods", &review.namespace, pod).await?;
    if text(&pod["spec"]["nodeName"]) != node {
        return Err(
            review.forbidden(format!("node {node} can only evict pods with spec.nodeName set to itself"))
        );
    }
    Ok(())
}

fn check_claim_status(node: &str, review: &Review) -> Result<(), String> {
    if review.operation != Operation::Update {
        return Err(format!("unexpected operation \"{}\"", review.operation.as_str()));
    }
    let fixed = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, fields) in [
            ("metadata", &["resourceVersion", "managedFields"][..]),
            ("status", &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"]),
        ] {
            if let Some(part) = claim.get_mut(part).and_then(Value::as_object_mut) {
                fields.iter().for_each(|field| drop(part.remove(*field)));
            }
        }
        claim
    };
    if fixed(&review.object) == fixed(&review.old) {
        return Ok(());
    }
    let name = quoted(node);
    Err(format!(
        "node {name} is not allowed to update fields other than status.quantity and status.conditions"
    ))
}

fn check_node(node: &str, review: &Review) -> Result<(), String> {
    let name = quoted(node);
    let in_body = text(&review.object["metadata"]["name"]);
    let requested = if review.name.is_empty() { in_body } else { &review.name };
    if requested != node {
        return Err(format!("node {name} is not allowed to modify node {}", quoted(requested)));
    }
    let (new, old) = (&review.object, &*review.old);
    match review.operation {
        Operation::Create => {
            if !new["spec"]["configSource"].is_null() {
                return Err(format!("node {name} is not allowed to create pods with a non-nil configSource"));
            }
            let labels = forbidden_labels(new, &Value::Null);
            if !labels.is_empty() {
                return Err(format!("node {name} is not allowed to set the following labels: {labels}"));
            }
        }
        Operation::Update => {
            let (source, old_source) = (&new["spec"]["configSource"], &old["spec"]["configSource"]);
            if !source.is_null() && source != old_source {
                return Err(format!(
                    "node {name} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if new["spec"]["taints"] != old["spec"]["taints"] {
                return Err(format!("node {name} is not allowed to modify taints"));
            }
            if new["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
                return Err(format!("node {name} is not allowed to modify ownerReferences"));
            }
            let labels = forbidden_labels(new, old);
            if !labels.is_empty() {
                return Err(format!("is not allowed to modify labels: {labels}"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// The labels that differ and aren't the kubelet's to set, listed.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys: BTreeSet<&String> =
        [new, old].into_iter().filter_map(Value::as_object).flat_map(|labels| labels.keys()).collect();
    let changed = keys.into_iter().filter(|key| new.get(key.as_str()) != old.get(key.as_str()));
    let forbidden: Vec<&str> = changed.map(String::as_str).filter(|key| !may_set_label(key)).collect();
    forbidden.join(", ")
}

fn may_set_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_in =
        |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|sub| sub.ends_with('.'));
    if is_in(RESTRICTED_LABEL_NAMESPACE) {
        return false;
    }
    let is_reserved = is_in("kubernetes.io") || is_in("k8s.io");
    !is_reserved
        || KUBELET_LABELS.contains(&key)
        || KUBELET_LABEL_NAMESPACES.iter().any(|parent| is_in(parent))
}

/// Tokens for nodes are bound to pods that run there.
async fn check_token(local: &Arc<dyn Local>, node: &str, review: &Review) -> Result<(), Status> {
    if review.operation != Operation::Create {
        return Ok(());
    }
    let reference = &review.object["spec"]["boundObjectRef"];
    let (pod_name, uid) = (text(&reference["name"]), text(&reference["uid"]));
    let is_pod = text(&reference["apiVersion"]) == "v1" && text(&reference["kind"]) == "Pod";
    if !is_pod || pod_name.is_empty() {
        return Err(review.forbidden("node requested token not bound to a pod"));
    }
    if uid.is_empty() {
        return Err(review.forbidden("node requested token with a pod binding without a uid"));
    }
    let pod = find(local, "", "pods", &review.namespace, pod_name).await?;
    if text(&pod["metadata"]["uid"]) != uid {
        return Err(review.forbidden(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        )));
    }
    if text(&pod["spec"]["nodeName"]) != node {
        return Err(review.forbidden("node requested token bound to a pod scheduled on a different node"));
    }
    check_audience(local, review, &pod).await
}

/// A node asks for the audiences that the pod's volumes name, or that it is allowed to ask for.
async fn check_audience(local: &Arc<dyn Local>, review: &Review, pod: &Value) -> Result<(), Status> {
    let audience = match items(&review.object["spec"]["audiences"]) {
        [] => "",
        [one] => text(one),
        _ => return Err(review.forbidden("node may only request 0 or 1 audiences")),
    };
    for volume in items(&pod["spec"]["volumes"]) {
        let projects = |source: &Value| {
            let token = &source["serviceAccountToken"];
            token.is_object() && text(&token["audience"]) == audience
        };
        if items(&volume["projected"]["sources"]).iter().any(projects) {
            return Ok(());
        }
        let driver = driver_of(local, pod, volume).await;
        if !driver.is_empty() && driver_requests(local, &driver, audience).await {
            return Ok(());
        }
    }
    let attributes = Attributes {
        user: review.user.clone(),
        verb: "request-serviceaccounts-token-audience".to_owned(),
        resource_request: true,
        version: "v1".to_owned(),
        resource: audience.to_owned(),
        namespace: review.namespace.clone(),
        name: review.name.clone(),
        ..Attributes::default()
    };
    if local.services().authorizer.authorize(&attributes).await.decision == Decision::Allow {
        return Ok(());
    }
    Err(review.forbidden(format!(
        "audience {} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        quoted(audience),
        review.user.name
    )))
}

/// The CSI driver behind a volume; empty if there is none.
async fn driver_of(local: &Arc<dyn Local>, pod: &Value, volume: &Value) -> String {
    if volume["csi"].is_object() {
        return text(&volume["csi"]["driver"]).to_owned();
    }
    let metadata = &pod["metadata"];
    let claim = if volume["ephemeral"].is_object() {
        format!("{}-{}", text(&metadata["name"]), text(&volume["name"]))
    } else {
        text(&volume["persistentVolumeClaim"]["claimName"]).to_owned()
    };
    if claim.is_empty() {
        return String::new();
    }
    let namespace = text(&metadata["namespace"]);
    let Ok(claim) = find(local, "", "persistentvolumeclaims", namespace, &claim).await else {
        return String::new();
    };
    let volume = find(local, "", "persistentvolumes", "", text(&claim["spec"]["volumeName"])).await;
    volume.map_or_else(|_| String::new(), |volume| text(&volume["spec"]["csi"]["driver"]).to_owned())
}

async fn driver_requests(local: &Arc<dyn Local>, driver: &str, audience: &str) -> bool {
    find(local, "storage.k8s.io", "csidrivers", "", driver).await.is_ok_and(|driver| {
        items(&driver["spec"]["tokenRequests"]).iter().any(|request| text(&request["audience"]) == audience)
    })
}

fn check_lease(node: &str, review: &Review) -> Result<(), String> {
    if review.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"));
    }
    check_own_name(node, review, "node lease")
}

fn check_own_name(node: &str, review: &Review, what: &str) -> Result<(), String> {
    let in_body = text(&review.object["metadata"]["name"]);
    let name = if review.operation == Operation::Create { in_body } else { &review.name };
    if name == node {
        return Ok(());
    }
    Err(format!("can only access {what} with the same name as the requesting node"))
}

fn check_slice(node: &str, review: &Review) -> Result<(), String> {
    let (slice, what) = match review.operation {
        Operation::Create => (&review.object, "create"),
        Operation::Delete => (&*review.old, "delete"),
        _ => return Ok(()),
    };
    if text(&slice["spec"]["nodeName"]) == node {
        return Ok(());
    }
    Err(format!("can only {what} ResourceSlice with the same NodeName as the requesting node"))
}

fn check_request(node: &str, review: &Review) -> Result<(), String> {
    let signer = text(&review.object["spec"]["signerName"]);
    if review.operation != Operation::Create || !KUBELET_SIGNERS.contains(&signer) {
        return Ok(());
    }
    let subject = certificates::subject_of(&review.object);
    let subject = subject.map_err(|error| format!("unable to parse csr: {error}"))?;
    if subject.common_name != format!("system:node:{node}") {
        return Err(format!("can only create a node CSR with CN=system:node:{node}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::certificates::tests::request;
    use super::super::testing::{Cluster, admit, review};
    use super::*;
    use crate::auth::UserInfo;
    use serde_json::json;

    async fn ask(
        operation: Operation,
        (group, resource): (&'static str, &'static str),
        new: Value,
        old: Value,
    ) -> Result<(), String> {
        let pod = |name: &str, node: &str| {
            json!({ "metadata": { "namespace": "ns", "name": name, "uid": name }, "spec": { "nodeName": node,
                "volumes": [{ "projected": { "sources": [{ "serviceAccountToken": { "audience": "vault" } }] } }] } })
        };
        let local = Cluster::holding(&[
            ("", "nodes", json!({ "metadata": { "name": "n1", "uid": "u1" } })),
            ("", "pods", pod("mine", "n1")),
            ("", "pods", pod("theirs", "n2")),
        ]);
        let named = if new.is_null() { old.clone() } else { new.clone() };
        let mut review = review(operation, group, resource, named);
        review.object = new;
        review.old = Arc::new(old);
        review.user = Arc::new(UserInfo::new("system:node:n1", ["system:nodes".to_owned()]));
        admit(NODE_RESTRICTION, &local, &mut review).await.map_err(|status| status.message)
    }

    fn mirror(edit: impl FnOnce(&mut Value)) -> Value {
        let mut pod = json!({
            "metadata": { "namespace": "ns", "name": "static", "annotations": { MIRROR_ANNOTATION: "x" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": true }] },
            "spec": { "nodeName": "n1", "volumes": [{ "name": "etc", "hostPath": { "path": "/etc" } }] },
        });
        edit(&mut pod);
        pod
    }

    #[tokio::test]
    async fn only_mirror_pods_of_its_own() {
        let create = async |pod| ask(Operation::Create, ("", "pods"), pod, Value::Null).await;
        assert_eq!(create(mirror(|_| {})).await, Ok(()));
        for (what, pod) in [
            ("no mirror", mirror(|p| p["metadata"]["annotations"] = json!({}))),
            ("other node", mirror(|p| p["spec"]["nodeName"] = json!("n2"))),
            ("no owner", mirror(|p| p["metadata"]["ownerReferences"] = json!([]))),
            ("other owner", mirror(|p| p["metadata"]["ownerReferences"][0]["name"] = json!("n2"))),
            ("other uid", mirror(|p| p["metadata"]["ownerReferences"][0]["uid"] = json!("u2"))),
            ("secret", mirror(|p| p["spec"]["volumes"][0] = json!({ "secret": { "secretName": "s" } }))),
            ("account", mirror(|p| p["spec"]["serviceAccountName"] = json!("admin"))),
            (
                "token",
                mirror(|p| {
                    p["spec"]["volumes"][0] =
                        json!({ "projected": { "sources": [{ "serviceAccountToken": {} }] } });
                }),
            ),
        ] {
            assert!(create(pod).await.is_err(), "{what}");
        }
    }

    #[tokio::test]
    async fn pods_of_other_nodes_are_out_of_reach() {
        let pod = |name: &str| json!({ "metadata": { "namespace": "ns", "name": name } });
        let delete = async |name| ask(Operation::Delete, ("", "pods"), Value::Null, pod(name)).await;
        assert!(delete("mine").await.is_ok());
        assert!(delete("theirs").await.is_err());
        let evict = async |name| ask(Operation::Create, ("", "pods/eviction"), pod(name), Value::Null).await;
        assert!(evict("mine").await.is_ok());
        assert!(evict("theirs").await.is_err());
        assert!(ask(Operation::Create, ("", "pods/exec"), pod("mine"), Value::Null).await.is_err());
    }

    #[tokio::test]
    async fn labels_and_taints_of_the_node() {
        let node = |labels: Value| json!({ "metadata": { "name": "n1", "labels": labels } });
        let update =
            async |labels| ask(Operation::Update, ("", "nodes"), node(labels), node(json!({}))).await;
        assert!(
            update(
                json!({ "kubernetes.io/hostname": "h", "acme.com/x": "y", "foo.node.kubernetes.io/x": "z" })
            )
            .await
            .is_ok()
        );
        for label in [
            "node-restriction.kubernetes.io/x",
            "a.node-restriction.kubernetes.io/x",
            "node-role.kubernetes.io/master",
            "x.k8s.io/y",
        ] {
            let error = update(json!({ label: "v" })).await.unwrap_err();
            assert_eq!(error, format!("nodes \"n1\" is forbidden: is not allowed to modify labels: {label}"));
        }
        let mut tainted = node(json!({}));
        tainted["spec"]["taints"] = json!([{ "key": "x" }]);
        assert!(ask(Operation::Update, ("", "nodes"), tainted, node(json!({}))).await.is_err());
        let other = json!({ "metadata": { "name": "n2" } });
        let error = ask(Operation::Update, ("", "nodes"), other, Value::Null).await.unwrap_err();
        assert_eq!(error, r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#);
    }

    #[tokio::test]
    async fn tokens_of_its_pods() {
        let token = |pod: &str, uid: &str, audiences: Value| {
            json!({ "metadata": { "namespace": "ns", "name": "sa" }, "spec": { "audiences": audiences,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid } } })
        };
        let create =
            async |body| ask(Operation::Create, ("", "serviceaccounts/token"), body, Value::Null).await;
        assert!(create(token("mine", "mine", json!(["vault"]))).await.is_ok());
        for bad in [
            token("mine", "other", json!(["vault"])),
            token("mine", "", json!(["vault"])),
            token("theirs", "theirs", json!(["vault"])),
            token("mine", "mine", json!(["aws"])),
            token("mine", "mine", json!(["vault", "aws"])),
            json!({ "metadata": { "namespace": "ns", "name": "sa" }, "spec": {} }),
        ] {
            assert!(create(bad.clone()).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn certificates_for_itself() {
        let resource = ("certificates.k8s.io", "certificatesigningrequests");
        let create = async |name: &str| {
            let body = request("kubernetes.io/kubelet-serving", name, "system:nodes");
            ask(Operation::Create, resource, body, Value::Null).await
        };
        assert!(create("system:node:n1").await.is_ok());
        assert!(create("system:node:n2").await.is_err());
    }
}
