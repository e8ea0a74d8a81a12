//! No one may hand out permissions they don't hold.
//!
//! A write to a role or binding passes if the user already has every permission it would grant,
//! is in `system:masters`, or holds the verb `escalate` on the role (`bind` for bindings).

use proto::status::Status;
use serde_json::Value;

use super::covers::{describe, missing_rules};
use super::index::{Index, RoleError};
use super::types::RoleRef;
use crate::auth::text::{aggregate, quoted, quoted_list};
use crate::auth::{Attributes, Authorizer, Decision, MASTERS, Rule, UserInfo};
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";

/// A write to one of the RBAC kinds.
pub struct Write<'a> {
    pub user: &'a Arc<UserInfo>,
    /// Plural resource of the RBAC group.
    pub resource: &'a str,
    /// Namespace of the request; empty for the cluster-wide kinds.
    pub namespace: &'a str,
    /// Name in the request; empty on create.
    pub request_name: &'a str,
    pub new: &'a Value,
    pub old: Option<&'a Value>,
}

/// Refuses the write if it would grant what the user doesn't hold.
pub async fn check(index: &Index, authorizer: &dyn Authorizer, write: &Write<'_>) -> Result<(), Status> {
    if write.user.in_group(MASTERS) || write.old.is_some_and(|old| only_gc_fields(write.new, old)) {
        return Ok(());
    }
    match write.resource {
        "roles" | "clusterroles" => check_role(index, authorizer, write).await,
        "rolebindings" | "clusterrolebindings" => check_binding(index, authorizer, write).await,
        _ => Ok(()),
    }
}

async fn check_role(index: &Index, authorizer: &dyn Authorizer, write: &Write<'_>) -> Result<(), Status> {
    let escalate = request(write, "escalate", write.resource, write.request_name);
    if authorizer.authorize(&escalate).await.decision == Decision::Allow {
        return Ok(());
    }
    confirm_no_escalation(index, write, &Rule::list(write.new))?;
    let aggregates = [Some(write.new), write.old].into_iter().flatten().any(has_aggregation_rule);
    if aggregates && confirm_no_escalation(index, write, &full_authority()).is_err() {
        return Err(forbidden(write, "must have cluster-admin privileges to use the aggregationRule"));
    }
    Ok(())
}

async fn check_binding(index: &Index, authorizer: &dyn Authorizer, write: &Write<'_>) -> Result<(), Status> {
    let role = RoleRef::from_binding(write.new);
    let resource = match role.kind.as_str() {
        "ClusterRole" => Some("clusterroles"),
        "Role" => Some("roles"),
        _ => None,
    };
    if let Some(resource) = resource {
        let mut bind = request(write, "bind", resource, &role.name);
        bind.group = role.api_group.clone();
        if authorizer.authorize(&bind).await.decision == Decision::Allow {
            return Ok(());
        }
    }
    let rules = index.role_rules(&role, write.namespace).map_err(|error| match &error {
        RoleError::NotFound { resource, name } => Status::not_found(GROUP, resource, name),
        RoleError::UnsupportedKind(_) => Status::internal(error.to_string()),
    })?;
    confirm_no_escalation(index, write, &rules)
}

fn request(write: &Write<'_>, verb: &str, resource: &str, name: &str) -> Attributes {
    Attributes {
        user: write.user.clone(),
        verb: verb.to_owned(),
        resource_request: true,
        group: GROUP.to_owned(),
        version: "*".to_owned(),
        resource: resource.to_owned(),
        namespace: write.namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    }
}

fn confirm_no_escalation(index: &Index, write: &Write<'_>, wanted: &[Rule]) -> Result<(), Status> {
    let (held, errors) = index.rules_for(write.user, write.namespace);
    let missing = missing_rules(&held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut message = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quoted(&write.user.name),
        quoted_list(&write.user.groups),
        describe(&missing).join("\n")
    );
    if !errors.is_empty() {
        // Upstream wraps the resolver's aggregate in a list of its own.
        message.push_str(&format!("; resolution errors: [{}]", aggregate(&errors)));
    }
    Err(forbidden(write, &message))
}

fn forbidden(write: &Write<'_>, why: &str) -> Status {
    let name = write.new["metadata"]["name"].as_str().unwrap_or_default();
    Status::forbidden(GROUP, write.resource, name, why)
}

fn has_aggregation_rule(role: &Value) -> bool {
    role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|s| !s.is_empty())
}

fn full_authority() -> [Rule; 2] {
    let star = || vec!["*".to_owned()];
    [
        Rule { verbs: star(), groups: star(), resources: star(), ..Rule::default() },
        Rule { verbs: star(), non_resource_urls: star(), ..Rule::default() },
    ]
}

/// Whether the update only touches what garbage collection must be able to change.
pub fn only_gc_fields(new: &Value, old: &Value) -> bool {
    let without = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["ownerReferences", "finalizers", "managedFields"] {
                metadata.remove(field);
            }
        }
        object
    };
    without(new) == without(old)
}

#[cfg(test)]
mod tests {
    use super::super::RbacAuthorizer;
    use super::super::index::Kind;
    use super::*;
    use serde_json::json;

    fn fixture(user_rules: Value) -> (Arc<Index>, RbacAuthorizer) {
        let index = Arc::new(Index::default());
        let role = json!({ "metadata": { "name": "mine" }, "rules": user_rules });
        let binding = json!({ "metadata": { "name": "b" },
            "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": "mine" },
            "subjects": [{ "kind": "User", "name": "ann" }] });
        index.apply(Kind::ClusterRole, None, Some(&role));
        index.apply(Kind::ClusterRoleBinding, None, Some(&binding));
        (index.clone(), RbacAuthorizer::new(index))
    }

    fn check_as(
        user: UserInfo,
        rules: Value,
        resource: &str,
        new: Value,
        old: Option<Value>,
    ) -> Result<(), Status> {
        let (index, authorizer) = fixture(rules);
        let user = Arc::new(user);
        let write =
            Write { user: &user, resource, namespace: "", request_name: "r", new: &new, old: old.as_ref() };
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(
            &index,
            &authorizer,
            &write,
        ))
    }

    fn ann() -> UserInfo {
        UserInfo::new("ann", ["devs".to_owned()])
    }

    #[test]
    fn a_role_may_grant_only_what_is_held() {
        let get = json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }]);
        let delete = json!([{ "verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"] }]);
        let role = |rules: &Value| json!({ "metadata": { "name": "r" }, "rules": rules });
        assert!(check_as(ann(), get.clone(), "clusterroles", role(&get), None).is_ok());
        let error = check_as(ann(), get.clone(), "clusterroles", role(&delete), None).unwrap_err();
        assert_eq!(
            error.message,
            "clusterroles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ann\" (groups=[\"devs\"]) is \
             attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
        );
        let masters = UserInfo::new("root", [MASTERS.to_owned()]);
        assert!(check_as(masters, get.clone(), "clusterroles", role(&delete), None).is_ok());
        let escalate =
            json!([{ "verbs": ["escalate"], "apiGroups": [GROUP], "resources": ["clusterroles"] }]);
        assert!(check_as(ann(), escalate, "clusterroles", role(&delete), None).is_ok());
    }

    #[test]
    fn aggregation_needs_everything() {
        let get = json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }]);
        let role =
            json!({ "metadata": { "name": "r" }, "aggregationRule": { "clusterRoleSelectors": [{}] } });
        let error = check_as(ann(), get, "clusterroles", role, None).unwrap_err();
        assert!(error.message.ends_with("must have cluster-admin privileges to use the aggregationRule"));
    }

    #[test]
    fn bindings_need_the_roles_permissions_or_bind() {
        let binding = json!({ "metadata": { "name": "x" },
            "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": "gone" } });
        let nothing = json!([]);
        let error = check_as(ann(), nothing, "clusterrolebindings", binding.clone(), None).unwrap_err();
        assert_eq!(error.code, 404);
        let bind = json!([{ "verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"],
            "resourceNames": ["gone"] }]);
        assert!(check_as(ann(), bind, "clusterrolebindings", binding, None).is_ok());
    }

    #[test]
    fn the_garbage_collector_may_drop_owners() {
        let old = json!({ "metadata": { "name": "r", "finalizers": ["f"] },
            "rules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }] });
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!([]);
        assert!(check_as(ann(), json!([]), "clusterroles", new.clone(), Some(old.clone())).is_ok());
        new["metadata"]["labels"] = json!({ "a": "b" });
        assert!(check_as(ann(), json!([]), "clusterroles", new, Some(old)).is_err());
    }
}
