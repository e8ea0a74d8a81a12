//! The slim form of roles and bindings that decisions are made from.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::Rule;

impl Rule {
    /// Reads the rule; what is absent or of another type counts as empty, which grants nothing.
    pub fn from_value(rule: &Value) -> Rule {
        Rule {
            verbs: strings(&rule["verbs"]),
            groups: strings(&rule["apiGroups"]),
            resources: strings(&rule["resources"]),
            resource_names: strings(&rule["resourceNames"]),
            non_resource_urls: strings(&rule["nonResourceURLs"]),
        }
    }

    /// The rule as the API writes it.
    pub fn to_value(&self) -> Value {
        let mut rule = Map::new();
        for (field, items) in [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ] {
            if !items.is_empty() || field == "verbs" {
                rule.insert(field.to_owned(), items.iter().map(String::as_str).collect());
            }
        }
        Value::Object(rule)
    }

    /// The rules of a Role or ClusterRole.
    pub fn list(role: &Value) -> Vec<Rule> {
        let rules = role["rules"].as_array().map_or(&[][..], Vec::as_slice);
        rules.iter().map(Rule::from_value).collect()
    }
}

fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Rules shared between the index and those who are reading them.
pub type Rules = Arc<[Rule]>;

/// Which kind of role a reference names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    pub api_group: String,
    pub kind: String,
    pub name: String,
}

impl RoleRef {
    /// Reads `roleRef` of a binding.
    pub fn from_binding(binding: &Value) -> RoleRef {
        let text = |field: &str| binding["roleRef"][field].as_str().unwrap_or_default().to_owned();
        RoleRef { api_group: text("apiGroup"), kind: text("kind"), name: text("name") }
    }
}

/// Who a binding names. ServiceAccounts are kept as the user name they authenticate as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Subject {
    /// Reads a subject. A ServiceAccount without namespace is one in the binding's own; in a
    /// binding without namespace it matches nobody.
    pub fn from_value(subject: &Value, binding_namespace: &str) -> Option<Subject> {
        let name = subject["name"].as_str()?.to_owned();
        match subject["kind"].as_str()? {
            "User" => Some(Subject::User(name)),
            "Group" => Some(Subject::Group(name)),
            "ServiceAccount" => {
                let own = subject["namespace"].as_str().unwrap_or_default();
                let namespace = if own.is_empty() { binding_namespace } else { own };
                (!namespace.is_empty())
                    .then(|| Subject::ServiceAccount { namespace: namespace.to_owned(), name })
            }
            _ => None,
        }
    }
}
