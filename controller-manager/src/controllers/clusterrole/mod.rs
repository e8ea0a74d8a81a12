//! Cluster roles that are the sum of others.
//!
//! Watches cluster roles; a change of any may change each that aggregates.

use std::sync::Arc;

use component_base::client::Patch;
use component_base::client::known::CLUSTER_ROLES;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::Key;
use serde_json::{Value, json};

use crate::api::policy::ClusterRole;
use crate::context::Controller;

const MANAGER: &str = "clusterrole-aggregation-controller";

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("ClusterRoleAggregator");
    let roles: Store<ClusterRole> = controller.store(&CLUSTER_ROLES);
    let (all, keys) = (roles.clone(), queue.clone());
    roles.subscribe(move |_: &Change<ClusterRole>| {
        all.for_each(|role| {
            if role.aggregation_rule.is_some() {
                keys.add(role.metadata.key());
            }
        });
    });
    let all = roles.clone();
    let ready = async move { all.synced().await };
    let own = controller.clone();
    controller.run(&queue, 5, ready, move |key| {
        let (controller, roles) = (own.clone(), roles.clone());
        async move {
            let Some(role) = roles.get_key(&key) else { return Ok(Next::Done) };
            if let Some(rules) = plan(&role, &roles.list()).map_err(anyhow::Error::msg)? {
                apply(&controller, &key.name, &rules).await?;
            }
            Ok(Next::Done)
        }
    });
    Ok(())
}

/// The rules that the role should have, if they are others.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Result<Option<Vec<Value>>, String> {
    let Some(aggregation) = &role.aggregation_rule else { return Ok(None) };
    let mut by_name: Vec<&ClusterRole> = all.iter().map(Arc::as_ref).collect();
    by_name.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<Value> = Vec::new();
    for selector in &aggregation.cluster_role_selectors {
        let selector = selector.compile()?;
        let parts = by_name.iter().filter(|r| selector.matches_map(&r.metadata.labels));
        for part in parts.filter(|r| r.metadata.name != role.metadata.name) {
            for rule in &part.rules {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Ok((rules != role.rules).then_some(rules))
}

async fn apply(controller: &Controller, name: &str, rules: &[Value]) -> anyhow::Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    });
    let kind = Patch::Apply { manager: MANAGER, force: true };
    controller.client.patch::<Value>(&CLUSTER_ROLES, "", name, kind, &role).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(value: Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn rules_are_gathered_in_order_and_once() {
        let rule = |verb: &str| json!({"verbs": [verb], "resources": ["pods"], "apiGroups": [""]});
        let sum = role(json!({
            "metadata": {"name": "sum", "labels": {"to": "sum"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]},
        }));
        let part = |name: &str, verbs: &[&str]| {
            let rules: Vec<Value> = verbs.iter().map(|v| rule(v)).collect();
            role(json!({"metadata": {"name": name, "labels": {"to": "sum"}}, "rules": rules}))
        };
        let all = [sum.clone(), part("b", &["get", "list"]), part("a", &["list"])];
        assert_eq!(plan(&sum, &all), Ok(Some(vec![rule("list"), rule("get")])));
        let mut done = ClusterRole::clone(&sum);
        done.rules = vec![rule("list"), rule("get")];
        assert_eq!(plan(&done, &all), Ok(None));
    }
}
