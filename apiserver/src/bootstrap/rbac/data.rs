//! The shape of the default policy tables and how a row becomes an object.
//!
//! Lists are written as words in one string, so that a rule reads like a sentence and the tables
//! cost nothing until they are rendered. `core` stands for the API group with the empty name.

use serde_json::{Map, Value, json};

pub(super) const AUTOUPDATE_ANNOTATION: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING_LABEL: &str = "kubernetes.io/bootstrapping";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// One permission: verbs on resources, or verbs on non-resource URLs.
pub(super) struct Rule {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

/// Verbs on resources of API groups.
pub(super) const fn allow(verbs: &'static str, groups: &'static str, resources: &'static str) -> Rule {
    Rule { verbs, groups, resources, names: "", urls: "" }
}

/// Verbs on paths that are not resources.
pub(super) const fn urls(verbs: &'static str, urls: &'static str) -> Rule {
    Rule { verbs, groups: "", resources: "", names: "", urls }
}

impl Rule {
    /// Restricts the rule to objects with these names.
    pub(super) const fn named(mut self, names: &'static str) -> Rule {
        self.names = names;
        self
    }

    fn render(&self) -> Value {
        let mut rule = Map::new();
        for (field, words) in [
            ("verbs", self.verbs),
            ("apiGroups", self.groups),
            ("resources", self.resources),
            ("resourceNames", self.names),
            ("nonResourceURLs", self.urls),
        ] {
            if !words.is_empty() {
                rule.insert(field.to_owned(), split(words));
            }
        }
        Value::Object(rule)
    }
}

fn split(words: &str) -> Value {
    words.split(' ').map(|word| if word == "core" { "" } else { word }).collect()
}

/// A role: its own rules, or an aggregate of the roles that carry a label.
pub(super) struct ClusterRole {
    pub(super) name: &'static str,
    rules: &'static [Rule],
    aggregates_to: &'static str,
    aggregated_from: &'static str,
}

/// A role with its own rules.
pub(super) const fn role(name: &'static str, rules: &'static [Rule]) -> ClusterRole {
    ClusterRole { name, rules, aggregates_to: "", aggregated_from: "" }
}

impl ClusterRole {
    /// Labels the role so that its rules become part of the aggregate role `target`.
    pub(super) const fn aggregates_to(mut self, target: &'static str) -> ClusterRole {
        self.aggregates_to = target;
        self
    }

    /// Makes the role the sum of all roles labelled for `source`.
    pub(super) const fn aggregated_from(mut self, source: &'static str) -> ClusterRole {
        self.aggregated_from = source;
        self
    }

    /// The object; `prefix` is put before the name, `namespace` makes it a Role.
    pub(super) fn render(&self, prefix: &str, namespace: Option<&str>) -> Value {
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        let mut object = object(kind, &format!("{prefix}{}", self.name), namespace);
        if !self.aggregates_to.is_empty() {
            object["metadata"]["labels"][aggregation_label(self.aggregates_to)] = json!("true");
        }
        if !self.aggregated_from.is_empty() {
            object["aggregationRule"] = json!({
                "clusterRoleSelectors": [
                    { "matchLabels": { aggregation_label(self.aggregated_from): "true" } }
                ]
            });
        }
        if !self.rules.is_empty() {
            object["rules"] = self.rules.iter().map(Rule::render).collect();
        }
        object
    }
}

fn aggregation_label(role: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{role}")
}

/// Who a binding grants its role to.
pub(super) enum Subject {
    User(&'static str),
    Group(&'static str),
    ServiceAccount { namespace: &'static str, name: &'static str },
}

pub(super) const fn user(name: &'static str) -> Subject {
    Subject::User(name)
}

pub(super) const fn group(name: &'static str) -> Subject {
    Subject::Group(name)
}

pub(super) const fn account(namespace: &'static str, name: &'static str) -> Subject {
    Subject::ServiceAccount { namespace, name }
}

impl Subject {
    fn render(&self) -> Value {
        match self {
            Subject::User(name) => json!({ "kind": "User", "apiGroup": RBAC_GROUP, "name": name }),
            Subject::Group(name) => {
                json!({ "kind": "Group", "apiGroup": RBAC_GROUP, "name": name })
            }
            Subject::ServiceAccount { namespace, name } => service_account(namespace, name),
        }
    }
}

fn service_account(namespace: &str, name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
}

/// A role granted to subjects.
pub(super) struct Binding {
    name: &'static str,
    role: &'static str,
    subjects: &'static [Subject],
}

pub(super) const fn binding(name: &'static str, role: &'static str, subjects: &'static [Subject]) -> Binding {
    Binding { name, role, subjects }
}

impl Binding {
    /// The object; with a namespace it is a RoleBinding to a Role there.
    pub(super) fn render(&self, namespace: Option<&str>) -> Value {
        let subjects = self.subjects.iter().map(Subject::render).collect();
        render_binding(self.name, self.role, namespace, subjects)
    }
}

/// The binding of a controller's role to the ServiceAccount it runs as.
pub(super) fn controller_binding(prefix: &str, controller: &str) -> Value {
    let name = format!("{prefix}{controller}");
    render_binding(&name, &name, None, vec![service_account("kube-system", controller)])
}

fn render_binding(name: &str, role: &str, namespace: Option<&str>, subjects: Vec<Value>) -> Value {
    let (kind, role_kind) = match namespace {
        Some(_) => ("RoleBinding", "Role"),
        None => ("ClusterRoleBinding", "ClusterRole"),
    };
    let mut object = object(kind, name, namespace);
    object["roleRef"] = json!({ "apiGroup": RBAC_GROUP, "kind": role_kind, "name": role });
    if !subjects.is_empty() {
        object["subjects"] = Value::Array(subjects);
    }
    object
}

fn object(kind: &str, name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = json!({
        "name": name,
        "annotations": { AUTOUPDATE_ANNOTATION: "true" },
        "labels": { BOOTSTRAPPING_LABEL: "rbac-defaults" },
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata })
}

/// A role inside a namespace.
pub(super) type NamespacedRole = (&'static str, ClusterRole);
/// A binding inside a namespace.
pub(super) type NamespacedBinding = (&'static str, Binding);
