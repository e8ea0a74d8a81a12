//! The group rbac.authorization.k8s.io: roles and their bindings.

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
        .hooks(hooks())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "clusterroles", "ClusterRole").cluster().hooks(hooks()).install(builder, enabled);
    Kind::new(GROUP, "v1", "rolebindings", "RoleBinding").hooks(hooks()).install(builder, enabled);
    Kind::new(GROUP, "v1", "roles", "Role").hooks(hooks()).install(builder, enabled);
}
