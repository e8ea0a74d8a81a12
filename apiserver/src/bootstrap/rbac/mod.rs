//! The default RBAC policy: what exists in every cluster before anyone grants anything.
//!
//! The tables are facts that upstream's components rely on. They are reconciled at every start:
//! see [`reconcile`] for what is repaired and what is left alone.

mod cluster_roles;
mod controller_roles;
mod data;
mod namespace_roles;
pub mod reconcile;

use serde_json::Value;

/// Prefix of the controllers' roles and bindings.
const CONTROLLER_PREFIX: &str = "system:controller:";

/// Default ClusterRoles.
pub fn cluster_roles() -> Vec<Value> {
    let own = cluster_roles::CLUSTER_ROLES.iter().map(|role| role.render("", None));
    let controllers =
        controller_roles::CONTROLLER_ROLES.iter().map(|role| role.render(CONTROLLER_PREFIX, None));
    own.chain(controllers).collect()
}

/// Default ClusterRoleBindings.
pub fn cluster_role_bindings() -> Vec<Value> {
    let own = cluster_roles::CLUSTER_ROLE_BINDINGS.iter().map(|binding| binding.render(None));
    let controllers = controller_roles::CONTROLLER_ROLES
        .iter()
        .map(|role| data::controller_binding(CONTROLLER_PREFIX, role.name));
    own.chain(controllers).collect()
}

/// Default Roles.
pub fn roles() -> Vec<Value> {
    namespace_roles::ROLES.iter().map(|(namespace, role)| role.render("", Some(namespace))).collect()
}

/// Default RoleBindings.
pub fn role_bindings() -> Vec<Value> {
    namespace_roles::ROLE_BINDINGS
        .iter()
        .map(|(namespace, binding)| binding.render(Some(namespace)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(objects: &[Value]) -> BTreeSet<String> {
        objects.iter().map(|o| format!("{}/{}", o["metadata"]["namespace"], o["metadata"]["name"])).collect()
    }

    #[test]
    fn names_are_unique_and_bindings_point_at_roles_that_exist() {
        for (roles, bindings) in [(cluster_roles(), cluster_role_bindings()), (roles(), role_bindings())] {
            let role_names = names(&roles);
            assert_eq!(role_names.len(), roles.len());
            assert_eq!(names(&bindings).len(), bindings.len());
            for binding in &bindings {
                let target = format!("{}/{}", binding["metadata"]["namespace"], binding["roleRef"]["name"]);
                assert!(
                    role_names.contains(&target)
                        || target == r#""kube-system"/"extension-apiserver-authentication-reader""#,
                    "{target} does not exist"
                );
            }
        }
    }

    #[test]
    fn a_rule_renders_as_the_api_writes_it() {
        let roles = cluster_roles();
        let find = |name: &str| roles.iter().find(|r| r["metadata"]["name"] == name).unwrap();
        assert_eq!(
            find("cluster-admin")["rules"],
            serde_json::json!([
                { "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] },
                { "verbs": ["*"], "nonResourceURLs": ["*"] },
            ])
        );
        let edit = find("edit");
        assert!(edit.get("rules").is_none());
        assert_eq!(edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"], "true");
        let job = find("system:controller:job-controller");
        assert_eq!(job["rules"][4]["apiGroups"], serde_json::json!(["", "events.k8s.io"]));
    }
}
