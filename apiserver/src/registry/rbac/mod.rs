//! The group rbac.authorization.k8s.io: roles and their bindings.

mod validation;

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
        .hooks(Hooks {
            validate: |_, new| validation::binding(new, &Value::Null, false),
            validate_update: |_, new, old| validation::binding(new, old, false),
            ..hooks()
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "clusterroles", "ClusterRole")
        .cluster()
        .hooks(Hooks {
            validate: |_, new| validation::cluster_role(new, &Value::Null),
            validate_update: |_, new, old| validation::cluster_role(new, old),
            ..hooks()
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "rolebindings", "RoleBinding")
        .default(binding_defaults)
        .hooks(Hooks {
            validate: |_, new| validation::binding(new, &Value::Null, true),
            validate_update: |_, new, old| validation::binding(new, old, true),
            ..hooks()
        })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "roles", "Role")
        .hooks(Hooks {
            validate: |_, new| validation::role(new),
            validate_update: |_, new, _| validation::role(new),
            ..hooks()
        })
        .install(builder, enabled);
}

fn binding_defaults(object: &mut Value) {
    inside(object, "roleRef", |role| fill(role, "apiGroup", GROUP));
    each(object, "subjects", |subject| {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            fill(subject, "apiGroup", GROUP);
        }
    });
}
