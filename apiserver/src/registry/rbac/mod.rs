//! The group rbac.authorization.k8s.io: roles and their bindings.

use serde_json::Value;

use super::defaults::{each, fill, inside};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    let hooks = || Hooks {
        allow_create_on_update: true,
        validate_name: strategy::path_segment_name,
        ..Hooks::default()
    };
    Kind::new(GROUP, "v1", "clusterrolebindings", "ClusterRoleBinding")
        .cluster()
        .default(binding_defaults)
        .hooks(hooks())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "clusterroles", "ClusterRole").cluster().hooks(hooks()).install(builder, enabled);
    Kind::new(GROUP, "v1", "rolebindings", "RoleBinding")
        .default(binding_defaults)
        .hooks(hooks())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "roles", "Role").hooks(hooks()).install(builder, enabled);
}

fn binding_defaults(object: &mut Value) {
    inside(object, "roleRef", |role| fill(role, "apiGroup", GROUP));
    each(object, "subjects", |subject| {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            fill(subject, "apiGroup", GROUP);
        }
    });
}
