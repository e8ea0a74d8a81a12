use std::sync::Arc;

use serde_json::{Value, json};

use super::index::{Index, Kind};
use super::*;
use crate::auth::Decision;

fn role(namespace: &str, name: &str, verbs: &[&str]) -> Value {
    json!({ "metadata": { "namespace": namespace, "name": name },
        "rules": [{ "verbs": verbs, "apiGroups": [""], "resources": ["pods"] }] })
}

fn binding(namespace: &str, name: &str, kind: &str, role: &str, subject: Value) -> Value {
    json!({ "metadata": { "namespace": namespace, "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [subject] })
}

fn ask(index: &Index, user: &str, verb: &str, namespace: &str) -> Verdict {
    let user = UserInfo::new(user, ["devs".to_owned()]);
    let attributes = Attributes {
        user: Arc::new(user),
        verb: verb.into(),
        resource_request: true,
        resource: "pods".into(),
        namespace: namespace.into(),
        ..Attributes::default()
    };
    decide(index, &attributes)
}

#[test]
fn bindings_grant_within_their_scope() {
    let index = Index::default();
    let reader = role("", "reader", &["get", "list"]);
    let writer = role("a", "writer", &["create"]);
    let devs = json!({ "kind": "Group", "name": "devs" });
    let bot = json!({ "kind": "ServiceAccount", "name": "bot" });
    index.apply(Kind::ClusterRole, None, Some(&reader));
    index.apply(Kind::Role, None, Some(&writer));
    let cluster = binding("", "readers", "ClusterRole", "reader", devs);
    index.apply(Kind::ClusterRoleBinding, None, Some(&cluster));
    index.apply(Kind::RoleBinding, None, Some(&binding("a", "writers", "Role", "writer", bot)));

    let verdict = ask(&index, "ann", "list", "b");
    assert_eq!(verdict.decision, Decision::Allow);
    assert_eq!(
        verdict.reason,
        r#"RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "devs""#
    );
    assert_eq!(ask(&index, "ann", "create", "a").decision, Decision::NoOpinion);
    let verdict = ask(&index, "system:serviceaccount:a:bot", "create", "a");
    assert_eq!(
        verdict.reason,
        r#"RBAC: allowed by RoleBinding "writers/a" of Role "writer" to ServiceAccount "bot/a""#
    );
    for (user, namespace) in [
        ("system:serviceaccount:a:bot", "b"),
        ("system:serviceaccount:b:bot", "a"),
        ("system:serviceaccount:a:bot", ""),
        ("bot", "a"),
    ] {
        assert_eq!(ask(&index, user, "create", namespace).decision, Decision::NoOpinion);
    }

    index.apply(Kind::ClusterRoleBinding, Some(&cluster), None);
    assert_eq!(ask(&index, "ann", "list", "b").decision, Decision::NoOpinion);
}

#[test]
fn an_unreadable_role_is_the_reason_of_a_refusal_but_hides_nothing() {
    let index = Index::default();
    let ann = json!({ "kind": "User", "name": "ann" });
    let dangling = binding("", "a", "ClusterRole", "gone", ann.clone());
    index.apply(Kind::ClusterRoleBinding, None, Some(&dangling));
    let verdict = ask(&index, "ann", "get", "x");
    assert_eq!(verdict.decision, Decision::NoOpinion);
    assert_eq!(verdict.reason, r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#);
    index.apply(Kind::Role, None, Some(&role("x", "r", &["get"])));
    index.apply(Kind::RoleBinding, None, Some(&binding("x", "b", "Role", "r", ann)));
    assert_eq!(ask(&index, "ann", "get", "x").decision, Decision::Allow);
}

#[test]
fn changing_a_binding_takes_the_old_grant_away() {
    let index = Index::default();
    index.apply(Kind::ClusterRole, None, Some(&role("", "r", &["get"])));
    let to = |name: &str| binding("", "b", "ClusterRole", "r", json!({ "kind": "User", "name": name }));
    index.apply(Kind::ClusterRoleBinding, None, Some(&to("ann")));
    index.apply(Kind::ClusterRoleBinding, Some(&to("ann")), Some(&to("bob")));
    assert_eq!(ask(&index, "ann", "get", "").decision, Decision::NoOpinion);
    assert_eq!(ask(&index, "bob", "get", "").decision, Decision::Allow);
}
