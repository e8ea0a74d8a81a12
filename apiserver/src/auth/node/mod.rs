//! The Node authorizer: a kubelet may read what its own pods use, and nothing else.

pub mod graph;
mod references;

pub use references::{api_reference, references_secrets};

use std::sync::Arc;

use futures::future::BoxFuture;
use proto::schema::Mask;

use self::graph::{Graph, Kind};
use self::references::{looked_at_of_persistent_volume, looked_at_of_pod};
use super::rbac::matches::rule_allows;
use super::{Attributes, Authorizer, Rule, Rules, UserInfo, Verdict};
use crate::registry::Local;

/// Group of all nodes.
pub const NODES_GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The node that a user is; `None` for users that are no nodes.
pub fn node_name(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix(USER_PREFIX)?;
    user.in_group(NODES_GROUP).then_some(name)
}

/// Authorizes kubelets.
pub struct NodeAuthorizer {
    graph: Arc<Graph>,
    /// What every node may do, whatever runs on it.
    rules: Vec<Rule>,
}

impl NodeAuthorizer {
    /// An authorizer over the graph, which someone else keeps up to date.
    pub fn new(graph: Arc<Graph>) -> Self {
        let roles = crate::bootstrap::rbac::cluster_roles();
        let node_role = roles.iter().find(|role| role["metadata"]["name"] == "system:node");
        NodeAuthorizer { graph, rules: node_role.map(Rule::list).unwrap_or_default() }
    }
}

/// Feeds the graph from the cache.
pub fn follow(graph: &Arc<Graph>, local: &dyn Local) {
    let pods = graph.clone();
    local.subscribe("", "pods", &looked_at_of_pod(), Box::new(move |old, new, _| pods.apply_pod(old, new)));
    let volumes = graph.clone();
    let mask = looked_at_of_persistent_volume();
    local.subscribe(
        "",
        "persistentvolumes",
        &mask,
        Box::new(move |old, new, _| volumes.apply_volume(old, new)),
    );
    for (group, resource, kind) in [
        ("storage.k8s.io", "volumeattachments", Kind::VolumeAttachment),
        ("resource.k8s.io", "resourceslices", Kind::ResourceSlice),
    ] {
        let graph = graph.clone();
        let apply = move |old: Option<&_>, new: Option<&_>, _: i64| {
            graph.apply_on_node(kind, "/spec/nodeName", old, new);
        };
        local.subscribe(
            group,
            resource,
            &Mask::of(["metadata.name", "metadata.namespace", "spec.nodeName"]),
            Box::new(apply),
        );
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Verdict> {
        Box::pin(async move { self.decide(attributes) })
    }

    fn rules<'a>(&'a self, user: &'a UserInfo, _: &'a str) -> BoxFuture<'a, Rules> {
        let rules = match node_name(user) {
            None => Rules::default(),
            Some(_) => Rules {
                incomplete: true,
                error: "node authorizer does not support user rule resolution".to_owned(),
                ..Rules::default()
            },
        };
        Box::pin(async move { rules })
    }
}

impl NodeAuthorizer {
    fn decide(&self, request: &Attributes) -> Verdict {
        let Some(node) = node_name(&request.user) else { return Verdict::no_opinion("") };
        if node.is_empty() {
            let user = super::text::quoted(&request.user.name);
            return Verdict::no_opinion(format!("unknown node for user {user}"));
        }
        if request.resource_request {
            match (request.group.as_str(), request.resource.as_str()) {
                ("", "secrets") => return self.read_namespaced(node, Kind::Secret, request),
                ("", "configmaps") => return self.read_namespaced(node, Kind::ConfigMap, request),
                ("", "persistentvolumeclaims") if request.subresource == "status" => {
                    return self.update_status(node, Kind::Claim, request);
                }
                ("", "persistentvolumeclaims") => return self.get(node, Kind::Claim, request),
                ("", "persistentvolumes") => return self.get(node, Kind::Volume, request),
                ("resource.k8s.io", "resourceclaims") => return self.get(node, Kind::ResourceClaim, request),
                ("storage.k8s.io", "volumeattachments") => {
                    return self.get(node, Kind::VolumeAttachment, request);
                }
                ("", "serviceaccounts") => return self.service_account(node, request),
                ("coordination.k8s.io", "leases") => return lease(node, request),
                ("storage.k8s.io", "csinodes") => return csi_node(node, request),
                ("resource.k8s.io", "resourceslices") => return self.resource_slice(node, request),
                ("", "nodes") => return own_node(node, request),
                ("", "pods") => return self.pod(node, request),
                ("certificates.k8s.io", "podcertificaterequests") => return Verdict::no_opinion(""),
                _ => {}
            }
        }
        if self.rules.iter().any(|rule| rule_allows(rule, request)) {
            Verdict::allow("")
        } else {
            Verdict::no_opinion("")
        }
    }

    /// The object must be related to the node.
    fn related(&self, node: &str, kind: Kind, request: &Attributes) -> Verdict {
        if request.name.is_empty() {
            return Verdict::no_opinion("No Object name found");
        }
        if self.graph.is_related(node, kind, &request.namespace, &request.name) {
            Verdict::allow("")
        } else {
            Verdict::no_opinion(format!("no relationship found between node '{node}' and this object"))
        }
    }

    fn read_namespaced(&self, node: &str, kind: Kind, request: &Attributes) -> Verdict {
        if !request.is_read_only() {
            return Verdict::no_opinion("can only read resources of this type");
        }
        if !request.subresource.is_empty() {
            return Verdict::no_opinion("cannot read subresource");
        }
        if request.namespace.is_empty() {
            return Verdict::no_opinion("can only read namespaced object of this type");
        }
        self.related(node, kind, request)
    }

    fn get(&self, node: &str, kind: Kind, request: &Attributes) -> Verdict {
        if request.verb != "get" {
            return Verdict::no_opinion("can only get individual resources of this type");
        }
        if !request.subresource.is_empty() {
            return Verdict::no_opinion("cannot get subresource");
        }
        self.related(node, kind, request)
    }

    fn update_status(&self, node: &str, kind: Kind, request: &Attributes) -> Verdict {
        if !matches!(request.verb.as_str(), "update" | "patch") {
            return Verdict::no_opinion("can only get/update/patch this type");
        }
        self.related(node, kind, request)
    }

    fn service_account(&self, node: &str, request: &Attributes) -> Verdict {
        if request.verb == "get" && request.subresource.is_empty() {
            return self.read_namespaced(node, Kind::ServiceAccount, request);
        }
        if request.verb != "create" || request.name.is_empty() {
            return Verdict::no_opinion("can only create tokens for individual service accounts");
        }
        if request.subresource != "token" {
            return Verdict::no_opinion("can only create token subresource of serviceaccount");
        }
        self.related(node, Kind::ServiceAccount, request)
    }

    fn resource_slice(&self, node: &str, request: &Attributes) -> Verdict {
        if !request.subresource.is_empty() {
            return Verdict::no_opinion("cannot authorize ResourceSlice subresources");
        }
        match request.verb.as_str() {
            "create" => Verdict::allow(""),
            "get" | "update" | "patch" | "delete" => self.related(node, Kind::ResourceSlice, request),
            "watch" | "list" | "deletecollection" if selects(request, "spec.nodeName", node) => {
                Verdict::allow("")
            }
            "watch" | "list" | "deletecollection" => Verdict::no_opinion(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Verdict::no_opinion(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                 patch, delete, deletecollection",
            ),
        }
    }

    fn pod(&self, node: &str, request: &Attributes) -> Verdict {
        match (request.subresource.as_str(), request.verb.as_str()) {
            ("", "get") => self.get(node, Kind::Pod, request),
            ("", "list" | "watch") if selects(request, "spec.nodeName", node) => Verdict::allow(""),
            ("", "list" | "watch") if !request.name.is_empty() => self.related(node, Kind::Pod, request),
            ("", "list" | "watch") => {
                Verdict::no_opinion("can only list/watch pods with spec.nodeName field selector")
            }
            // NodeRestriction limits these to pods of the node itself.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Verdict::allow("")
            }
            _ => Verdict::no_opinion(""),
        }
    }
}

fn selects(request: &Attributes, field: &str, value: &str) -> bool {
    request.field_selector.requires_exact_match(field) == Some(value)
}

fn lease(node: &str, request: &Attributes) -> Verdict {
    if !matches!(request.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Verdict::no_opinion("can only get, create, update, patch, or delete a node lease");
    }
    if request.namespace != LEASE_NAMESPACE {
        return Verdict::no_opinion(format!(
            "can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"
        ));
    }
    // The name isn't known yet on create; NodeRestriction looks at it.
    if request.verb != "create" && request.name != node {
        return Verdict::no_opinion("can only access node lease with the same name as the requesting node");
    }
    Verdict::allow("")
}

fn csi_node(node: &str, request: &Attributes) -> Verdict {
    if !matches!(request.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Verdict::no_opinion("can only get, create, update, patch, or delete a CSINode");
    }
    if !request.subresource.is_empty() {
        return Verdict::no_opinion("cannot authorize CSINode subresources");
    }
    if request.verb != "create" && request.name != node {
        return Verdict::no_opinion("can only access CSINode with the same name as the requesting node");
    }
    Verdict::allow("")
}

fn own_node(node: &str, request: &Attributes) -> Verdict {
    match (request.subresource.as_str(), request.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Verdict::allow(""),
        ("", "get" | "list" | "watch") if request.name == node => Verdict::allow(""),
        ("", "get" | "list" | "watch") if request.name.is_empty() => {
            Verdict::no_opinion(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => Verdict::no_opinion(format!(
            "node '{node}' cannot read '{}', only its own Node object",
            request.name
        )),
        _ => Verdict::no_opinion(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Decision;
    use serde_json::json;

    fn authorizer() -> NodeAuthorizer {
        let graph = Arc::new(Graph::default());
        let pod = json!({ "metadata": { "namespace": "ns", "name": "p" }, "spec": { "nodeName": "n1",
            "serviceAccountName": "sa", "volumes": [{ "secret": { "secretName": "s" } }] } });
        graph.apply_pod(None, Some(&pod));
        NodeAuthorizer::new(graph)
    }

    fn ask(user: &str, groups: &[&str], verb: &str, resource: &str, namespace: &str, name: &str) -> Verdict {
        let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        authorizer().decide(&Attributes {
            user: Arc::new(UserInfo::new(user, groups.iter().map(|g| (*g).to_owned()))),
            verb: verb.into(),
            resource_request: true,
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        })
    }

    #[test]
    fn nodes_reach_only_what_is_theirs() {
        for (node, verb, resource, namespace, name, allowed) in [
            ("n1", "get", "secrets", "ns", "s", true),
            ("n1", "watch", "secrets", "ns", "s", true),
            ("n2", "get", "secrets", "ns", "s", false),
            ("n1", "list", "secrets", "ns", "", false),
            ("n1", "list", "secrets", "", "", false),
            ("n1", "update", "secrets", "ns", "s", false),
            ("n1", "create", "serviceaccounts/token", "ns", "sa", true),
            ("n1", "create", "serviceaccounts/token", "ns", "other", false),
            ("n1", "create", "serviceaccounts", "ns", "sa", false),
            ("n1", "get", "nodes", "", "n1", true),
            ("n1", "get", "nodes", "", "n2", false),
            ("n1", "list", "nodes", "", "", false),
            ("n1", "delete", "nodes", "", "n1", false),
            ("n1", "get", "pods", "ns", "p", true),
            ("n2", "get", "pods", "ns", "p", false),
            ("n1", "list", "pods", "", "", false),
            ("n1", "get", "coordination.k8s.io:leases", "kube-node-lease", "n1", true),
            ("n1", "get", "coordination.k8s.io:leases", "kube-node-lease", "n2", false),
            ("n1", "get", "coordination.k8s.io:leases", "kube-system", "n1", false),
            ("n1", "get", "storage.k8s.io:csinodes", "", "n2", false),
            ("n1", "list", "services", "", "", true),
            ("n1", "delete", "services", "ns", "x", false),
        ] {
            let user = format!("system:node:{node}");
            let verdict = ask(&user, &[NODES_GROUP], verb, resource, namespace, name);
            let expected = if allowed { Decision::Allow } else { Decision::NoOpinion };
            assert_eq!(verdict.decision, expected, "{node} {verb} {resource} {namespace}/{name}");
        }
    }

    #[test]
    fn a_name_alone_makes_no_node() {
        for (user, groups) in
            [("system:node:n1", &["x"][..]), ("n1", &[NODES_GROUP]), ("system:node:", &[NODES_GROUP])]
        {
            assert_eq!(
                ask(user, groups, "get", "secrets", "ns", "s").decision,
                Decision::NoOpinion,
                "{user}"
            );
        }
    }
}
