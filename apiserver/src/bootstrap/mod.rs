//! What every cluster contains from its first moment: namespaces, default policy, priority classes,
//! the defaults of flow control, and how clients are authenticated.
//!
//! Everything here is idempotent and runs at each start of each apiserver. What is there already is
//! read in one list per kind; what is missing is created in parallel.

mod apply;
mod cluster_authentication;
pub(crate) mod flow_control;
pub mod rbac;

use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use proto::status::Status;
use serde_json::{Value, json};

use self::apply::{Kind, create_if_absent, reconcile_all};
use crate::auth::AuthOptions;
use crate::registry::Local;

/// A step after the server has started to serve; the server is not ready before it is done.
pub type Hook = (&'static str, BoxFuture<'static, Result<(), Status>>);

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const SCHEDULING_GROUP: &str = "scheduling.k8s.io";
const SYSTEM_NAMESPACES: &[&str] = &["kube-system", "kube-public", "kube-node-lease", "default"];
/// (name, value, description)
pub const SYSTEM_PRIORITY_CLASSES: &[(&str, i32, &str)] = &[
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// The steps, by the names upstream's /readyz lists them under.
pub fn post_start_hooks(local: &Arc<dyn Local>, options: &AuthOptions) -> Vec<Hook> {
    let options = options.clone();
    vec![
        ("start-system-namespaces-controller", Box::pin(namespaces(local.clone()))),
        ("rbac/bootstrap-roles", Box::pin(default_policy(local.clone()))),
        ("scheduling/bootstrap-system-priority-classes", Box::pin(priority_classes(local.clone()))),
        ("priority-and-fairness-config-producer", Box::pin(flow_control_objects(local.clone()))),
        (
            "start-cluster-authentication-info-controller",
            Box::pin(cluster_authentication_info(local.clone(), options)),
        ),
        ("start-legacy-token-tracking-controller", Box::pin(legacy_token_tracking(local.clone()))),
    ]
}

/// The first error of several steps.
fn all(results: Vec<Result<(), Status>>) -> Result<(), Status> {
    results.into_iter().collect()
}

async fn namespaces(local: Arc<dyn Local>) -> Result<(), Status> {
    let namespace = |name: &&str| {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
        })
    };
    let kind = Kind { group: "", resource: "namespaces" };
    create_if_absent(&*local, kind, SYSTEM_NAMESPACES.iter().map(namespace).collect()).await
}

async fn priority_classes(local: Arc<dyn Local>) -> Result<(), Status> {
    let class = |(name, value, description): &(&str, i32, &str)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": { "name": name }, "value": value, "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        })
    };
    let kind = Kind { group: SCHEDULING_GROUP, resource: "priorityclasses" };
    create_if_absent(&*local, kind, SYSTEM_PRIORITY_CLASSES.iter().map(class).collect()).await
}

async fn default_policy(local: Arc<dyn Local>) -> Result<(), Status> {
    let kind = |resource: &'static str| Kind { group: RBAC_GROUP, resource };
    let (roles, bindings) = (rbac::reconcile::role, rbac::reconcile::binding);
    let local = &*local;
    let results = tokio::join!(
        reconcile_all(local, kind("clusterroles"), rbac::cluster_roles(), roles),
        reconcile_all(local, kind("clusterrolebindings"), rbac::cluster_role_bindings(), bindings),
        reconcile_all(local, kind("roles"), rbac::roles(), roles),
        reconcile_all(local, kind("rolebindings"), rbac::role_bindings(), bindings),
    );
    all(vec![results.0, results.1, results.2, results.3])
}

async fn flow_control_objects(local: Arc<dyn Local>) -> Result<(), Status> {
    let kind = |resource: &'static str| Kind { group: flow_control::GROUP, resource };
    let schemas = flow_control::flow_schemas();
    let levels = kind("prioritylevelconfigurations");
    let results = tokio::join!(
        reconcile_all(&*local, levels, flow_control::priority_levels(), flow_control_action),
        reconcile_all(&*local, kind("flowschemas"), schemas.clone(), flow_control_action),
    );
    all(vec![results.0, results.1])?;
    let now = today_and_time();
    let statuses = schemas.iter().map(|schema| set_condition(&*local, schema, &now));
    all(join_all(statuses).await)
}

fn flow_control_action(desired: &Value, existing: Option<&Value>) -> rbac::reconcile::Action {
    use rbac::reconcile::Action;
    match existing {
        None => Action::Create(desired.clone()),
        Some(existing) => flow_control::reconcile(desired, existing).map_or(Action::None, Action::Update),
    }
}

async fn set_condition(local: &dyn Local, schema: &Value, now: &str) -> Result<(), Status> {
    let name = schema["metadata"]["name"].as_str().unwrap_or_default();
    let mut change = |current: &Value| {
        let mut updated = current.clone();
        if current["status"]["conditions"].as_array().is_none_or(Vec::is_empty) {
            updated["status"] = json!({ "conditions": [flow_control::not_dangling(current, now)] });
        }
        Ok(updated)
    };
    local.update(flow_control::GROUP, "flowschemas", "status", "", name, &mut change).await.map(drop)
}

async fn cluster_authentication_info(local: Arc<dyn Local>, options: AuthOptions) -> Result<(), Status> {
    use cluster_authentication::{NAME, NAMESPACE, Trust};
    let trust = Trust::load(&options).map_err(Status::internal)?;
    let now = Timestamp::now().as_second();
    match local.create("", "configmaps", trust.config_map(now)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() => {
            let mut change = |current: &Value| Ok(trust.merged(current, now));
            local.update("", "configmaps", "", NAMESPACE, NAME, &mut change).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Remembers since when the use of Secret-based tokens has been tracked.
async fn legacy_token_tracking(local: Arc<dyn Local>) -> Result<(), Status> {
    let now = today_and_time();
    let today = now.split('T').next().unwrap_or_default();
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "kube-system", "name": "kube-apiserver-legacy-service-account-token-tracking" },
        "data": { "since": today },
    });
    create_if_absent(&*local, Kind { group: "", resource: "configmaps" }, vec![config_map]).await
}

fn today_and_time() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
