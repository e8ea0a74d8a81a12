//! Roles and bindings, kept as the answer to "which rules does this user have".
//!
//! Invariant: `granted` holds exactly the bindings in `bindings`, once per subject they name. It is
//! written only by the cache's writer tasks and read on every request, so a read takes one shared
//! lock and looks at the user's own bindings, however many others there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use super::types::{RoleRef, Rules, Subject};
use crate::auth::{Rule, UserInfo};

/// The four RBAC kinds, by plural resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Role,
    RoleBinding,
    ClusterRole,
    ClusterRoleBinding,
}

/// A binding as decisions see it.
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Namespace (empty: cluster-wide) and name.
type Key = (String, String);

#[derive(Default)]
struct Tables {
    /// Roles and, in the empty namespace, ClusterRoles.
    roles: HashMap<Key, Rules>,
    bindings: HashMap<Key, Binding>,
    /// Names of the bindings in a namespace (or cluster-wide) that name a subject.
    granted: HashMap<(String, Subject), Vec<String>>,
}

/// What to do with a rule found for a user; `false` ends the search.
pub type Visitor<'a> = &'a mut dyn FnMut(Grant<'_>) -> bool;

/// One step of resolving a user's rules.
pub enum Grant<'a> {
    /// A rule, and a description of the binding that grants it.
    Rule(&'a Rule, &'a dyn Fn() -> String),
    /// A binding whose role can't be read.
    Unresolved(String),
}

/// The index of roles and bindings.
#[derive(Default)]
pub struct Index {
    tables: RwLock<Tables>,
}

impl Index {
    /// Applies a change of one object; to be called in order by the cache's writer.
    pub fn apply(&self, kind: Kind, old: Option<&Value>, new: Option<&Value>) {
        let mut tables = self.tables.write();
        match kind {
            Kind::Role | Kind::ClusterRole => {
                if let Some(old) = old {
                    tables.roles.remove(&key(old));
                }
                if let Some(new) = new {
                    tables.roles.insert(key(new), Rule::list(new).into());
                }
            }
            Kind::RoleBinding | Kind::ClusterRoleBinding => {
                if let Some(old) = old {
                    tables.remove_binding(&key(old));
                }
                if let Some(new) = new {
                    tables.insert_binding(key(new), new);
                }
            }
        }
    }

    /// Visits the rules that apply to the user in the namespace (empty: cluster-wide only).
    pub fn visit(&self, user: &UserInfo, namespace: &str, visitor: Visitor<'_>) {
        let tables = self.tables.read();
        let subjects = subjects_of(user);
        if tables.visit_scope(&subjects, "", visitor) && !namespace.is_empty() {
            tables.visit_scope(&subjects, namespace, visitor);
        }
    }

    /// All rules of the user in the namespace, and the errors met while resolving them.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        self.visit(user, namespace, &mut |grant| {
            match grant {
                Grant::Rule(rule, _) => rules.push(rule.clone()),
                Grant::Unresolved(error) => errors.push(error),
            }
            true
        });
        (rules, errors)
    }

    /// The rules of a role that a binding in `namespace` refers to.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Result<Rules, RoleError> {
        self.tables.read().role_rules(role, namespace).cloned()
    }
}

/// Why a reference gives no rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// There is no such role; the resource is upstream's singular.
    #[error("{resource}.rbac.authorization.k8s.io {} not found", crate::auth::text::quoted(.name))]
    NotFound { resource: &'static str, name: String },
    /// The reference names a kind that is no role.
    #[error("unsupported role reference kind: {}", crate::auth::text::quoted(.0))]
    UnsupportedKind(String),
}

impl Tables {
    fn remove_binding(&mut self, key: &Key) {
        let Some(binding) = self.bindings.remove(key) else { return };
        for subject in binding.subjects {
            let entry = (key.0.clone(), subject);
            if let Some(names) = self.granted.get_mut(&entry) {
                names.retain(|name| *name != key.1);
                if names.is_empty() {
                    self.granted.remove(&entry);
                }
            }
        }
    }

    fn insert_binding(&mut self, key: Key, object: &Value) {
        self.remove_binding(&key);
        let mut subjects: Vec<Subject> = Vec::new();
        for subject in object["subjects"].as_array().into_iter().flatten() {
            if let Some(subject) = Subject::from_value(subject, &key.0)
                && !subjects.contains(&subject)
            {
                subjects.push(subject);
            }
        }
        for subject in &subjects {
            let names = self.granted.entry((key.0.clone(), subject.clone())).or_default();
            let at = names.partition_point(|name| *name < key.1);
            names.insert(at, key.1.clone());
        }
        let role = RoleRef::from_binding(object);
        self.bindings.insert(key, Binding { role, subjects });
    }

    fn role_rules(&self, role: &RoleRef, namespace: &str) -> Result<&Rules, RoleError> {
        let (resource, namespace) = match role.kind.as_str() {
            "Role" => ("role", namespace),
            "ClusterRole" => ("clusterrole", ""),
            other => return Err(RoleError::UnsupportedKind(other.to_owned())),
        };
        self.roles
            .get(&(namespace.to_owned(), role.name.clone()))
            .ok_or_else(|| RoleError::NotFound { resource, name: role.name.clone() })
    }

    /// Visits one scope; false when the visitor wants no more.
    fn visit_scope(&self, subjects: &[Subject], namespace: &str, visitor: Visitor<'_>) -> bool {
        // A binding may name the user more than once: by name order, each once.
        let mut bindings: BTreeMap<&str, &Subject> = BTreeMap::new();
        for subject in subjects {
            let entry = (namespace.to_owned(), subject.clone());
            for name in self.granted.get(&entry).into_iter().flatten() {
                bindings.entry(name).or_insert(subject);
            }
        }
        for (name, subject) in bindings {
            let Some(binding) = self.bindings.get(&(namespace.to_owned(), name.to_owned())) else {
                continue;
            };
            let rules = match self.role_rules(&binding.role, namespace) {
                Ok(rules) => rules,
                Err(error) => {
                    if !visitor(Grant::Unresolved(error.to_string())) {
                        return false;
                    }
                    continue;
                }
            };
            let describe = || describe(namespace, name, &binding.role, subject);
            for rule in rules.iter() {
                if !visitor(Grant::Rule(rule, &describe)) {
                    return false;
                }
            }
        }
        true
    }
}

/// Everything a binding may call this user.
fn subjects_of(user: &UserInfo) -> Vec<Subject> {
    let mut subjects = vec![Subject::User(user.name.clone())];
    subjects.extend(user.groups.iter().cloned().map(Subject::Group));
    if let Some((namespace, name)) = crate::auth::service_account::split_username(&user.name) {
        subjects.push(Subject::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() });
    }
    subjects
}

fn describe(namespace: &str, name: &str, role: &RoleRef, subject: &Subject) -> String {
    use crate::auth::text::quoted;
    let subject = match subject {
        Subject::User(name) => format!("User {}", quoted(name)),
        Subject::Group(name) => format!("Group {}", quoted(name)),
        Subject::ServiceAccount { namespace, name } => {
            format!("ServiceAccount {}", quoted(&format!("{name}/{namespace}")))
        }
    };
    let (kind, binding) = if namespace.is_empty() {
        ("ClusterRoleBinding", name.to_owned())
    } else {
        ("RoleBinding", format!("{name}/{namespace}"))
    };
    format!("{kind} {} of {} {} to {subject}", quoted(&binding), role.kind, quoted(&role.name))
}

fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// An index shared with the writers that feed it.
pub type SharedIndex = Arc<Index>;
