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
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use proto::status::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::apply::{Kind, create_if_absent, reconcile_all};
use crate::auth::AuthOptions;
use crate::registry::Local;

/// A step after the server has started to serve; the server is not ready before it is done.
pub type Hook = (&'static str, BoxFuture<'static, Result<(), Status>>);

/// How long a step may fail; upstream's limits.
const PATIENCE: Duration = Duration::from_secs(30);
const FLOW_CONTROL_PATIENCE: Duration = Duration::from_secs(300);

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
        ("start-system-namespaces-controller", patient(local, PATIENCE, namespaces)),
        ("rbac/bootstrap-roles", patient(local, PATIENCE, default_policy)),
        ("scheduling/bootstrap-system-priority-classes", patient(local, PATIENCE, priority_classes)),
        (
            "priority-and-fairness-config-producer",
            patient(local, FLOW_CONTROL_PATIENCE, flow_control_objects),
        ),
        (
            "start-cluster-authentication-info-controller",
            patient(local, PATIENCE, move |local| cluster_authentication_info(local, options.clone())),
        ),
        ("start-legacy-token-tracking-controller", patient(local, PATIENCE, legacy_token_tracking)),
    ]
}

/// A step that is tried again each second when it failed, as upstream's hooks are: etcd may be away for a moment just when the
/// server has started. After `limit` its error is the hook's.
fn patient<L, F, R>(local: &L, limit: Duration, step: F) -> BoxFuture<'static, Result<(), Status>>
where
    L: Clone + Send + Sync + 'static,
    F: Fn(L) -> R + Send + 'static,
    R: Future<Output = Result<(), Status>> + Send + 'static,
{
    let local = local.clone();
    Box::pin(async move {
        let begin = Instant::now();
        loop {
            match step(local.clone()).await {
                Err(error) if begin.elapsed() < limit => {
                    tracing::warn!(%error, "A post-start hook failed, will retry");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                outcome => return outcome,
            }
        }
    })
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn steps_are_tried_again_until_their_time_is_up() {
        let tries = Arc::new(AtomicU32::new(0));
        let fails = |times: u32| {
            move |tries: Arc<AtomicU32>| async move {
                match tries.fetch_add(1, Ordering::Relaxed) < times {
                    true => Err(Status::internal("etcd is away")),
                    false => Ok(()),
                }
            }
        };
        assert!(patient(&tries, PATIENCE, fails(3)).await.is_ok());
        assert_eq!(tries.swap(0, Ordering::Relaxed), 4);
        assert!(patient(&tries, PATIENCE, fails(u32::MAX)).await.is_err());
        assert_eq!(tries.load(Ordering::Relaxed), 31);
    }
}
