//! FlowSchemas: which requests they match.

use std::sync::Arc;

use http::HeaderValue;
use proto::view::View;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::level::Level;
use super::metrics::Metrics;
use crate::auth::UserInfo;
use crate::server::request_info::RequestInfo;

const ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// What tells the flows of a schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    None,
    User,
    Namespace,
}

/// A FlowSchema with its level.
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) uid: HeaderValue,
    pub(super) level: Arc<Level>,
    pub(super) level_uid: HeaderValue,
    pub(super) by: By,
    pub(super) metrics: Metrics,
    rules: Vec<Rule>,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    urls: Vec<UrlRule>,
}

enum Subject {
    Anyone,
    User(String),
    Group(String),
    /// The user name of an account.
    Account(String),
    /// What the user names of a namespace's accounts begin with.
    Accounts(String),
}

/// A list of permitted values.
enum Any {
    All,
    Of(Vec<String>),
}

struct ResourceRule {
    verbs: Any,
    groups: Any,
    resources: Any,
    namespaces: Any,
    is_cluster: bool,
}

struct UrlRule {
    verbs: Any,
    urls: Vec<String>,
}

impl Any {
    fn new(list: &View) -> Self {
        match list.strs()[..] {
            ["*"] => Any::All,
            _ => Any::Of(list.strs().into_iter().map(str::to_owned).collect()),
        }
    }

    fn has(&self, value: &str) -> bool {
        match self {
            Any::All => true,
            Any::Of(list) => list.iter().any(|item| item == value),
        }
    }
}

/// The uid of an object as a header has it.
pub(super) fn uid(object: &Value) -> HeaderValue {
    let uid = View::root(object).get("metadata").text("uid");
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}

impl Schema {
    /// The schema of an object, which names this level.
    pub(super) fn new(object: &Value, level: Arc<Level>, level_uid: HeaderValue) -> Self {
        let view = View::root(object);
        let spec = view.get("spec");
        let by = match spec.get("distinguisherMethod").text("type") {
            "ByUser" => By::User,
            "ByNamespace" => By::Namespace,
            _ => By::None,
        };
        let name = view.get("metadata").text("name").to_owned();
        Schema {
            metrics: Metrics::new(&level.name, &name),
            uid: uid(object),
            level_uid,
            by: if level.has_queues() { by } else { By::None },
            level,
            name,
            rules: spec.get("rules").items().iter().map(Rule::new).collect(),
        }
    }

    /// Whether a request is this schema's.
    pub(super) fn matches(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        self.rules.iter().any(|rule| rule.matches(info, user))
    }

    /// The hash of a flow.
    pub(super) fn hash(&self, flow: &str) -> u64 {
        let digest = Sha256::new().chain_update(&self.name).chain_update([0]).chain_update(flow).finalize();
        digest.iter().take(8).rev().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

impl Rule {
    fn new(rule: &View) -> Self {
        Rule {
            subjects: rule.get("subjects").items().iter().filter_map(Subject::new).collect(),
            resources: rule.get("resourceRules").items().iter().map(ResourceRule::new).collect(),
            urls: rule.get("nonResourceRules").items().iter().map(UrlRule::new).collect(),
        }
    }

    fn matches(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        self.subjects.iter().any(|subject| subject.matches(user))
            && match info.is_resource {
                true => self.resources.iter().any(|rule| rule.matches(info)),
                false => self.urls.iter().any(|rule| rule.matches(info)),
            }
    }
}

impl Subject {
    fn new(subject: &View) -> Option<Self> {
        let (user, group, account) =
            (subject.get("user"), subject.get("group"), subject.get("serviceAccount"));
        let namespace = account.text("namespace");
        Some(match subject.text("kind") {
            "User" if user.text("name") == "*" => Subject::Anyone,
            "User" => Subject::User(user.text("name").to_owned()),
            "Group" if group.text("name") == "*" => Subject::Anyone,
            "Group" => Subject::Group(group.text("name").to_owned()),
            "ServiceAccount" => match account.text("name") {
                "*" => Subject::Accounts(format!("{ACCOUNT_PREFIX}{namespace}:")),
                name => Subject::Account(format!("{ACCOUNT_PREFIX}{namespace}:{name}")),
            },
            _ => return None,
        })
    }

    fn matches(&self, user: &UserInfo) -> bool {
        match self {
            Subject::Anyone => true,
            Subject::User(name) | Subject::Account(name) => user.name == *name,
            Subject::Group(group) => user.in_group(group),
            Subject::Accounts(prefix) => user.name.starts_with(prefix),
        }
    }
}

impl ResourceRule {
    fn new(rule: &View) -> Self {
        ResourceRule {
            verbs: Any::new(&rule.get("verbs")),
            groups: Any::new(&rule.get("apiGroups")),
            resources: Any::new(&rule.get("resources")),
            namespaces: Any::new(&rule.get("namespaces")),
            is_cluster: rule.flag("clusterScope"),
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.has(&info.verb)
            && self.has_resource(info)
            && self.groups.has(&info.group)
            && if info.namespace.is_empty() { self.is_cluster } else { self.namespaces.has(&info.namespace) }
    }

    fn has_resource(&self, info: &RequestInfo) -> bool {
        let Any::Of(list) = &self.resources else { return true };
        list.iter().any(|item| match item.split_once('/') {
            Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
            None => *item == info.resource && info.subresource.is_empty(),
        })
    }
}

impl UrlRule {
    fn new(rule: &View) -> Self {
        let urls = rule.get("nonResourceURLs").strs().into_iter().map(str::to_owned).collect();
        UrlRule { verbs: Any::new(&rule.get("verbs")), urls }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        let path = info.path.as_str();
        let fits = |url: &String| {
            if url == "*" || url == path {
                return true;
            }
            // A path stands for all below it, with and without the star.
            let prefix = url.strip_suffix('*').unwrap_or(url);
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        };
        self.verbs.has(&info.verb) && self.urls.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fairness::config::Config;
    use crate::server::query::Query;
    use http::Method;

    #[test]
    fn requests_find_their_schema() {
        let config = Config::defaults(600);
        let user = |name: &str, groups: &[&str]| {
            let groups = groups.iter().chain(&["system:authenticated"]).map(|group| (*group).to_owned());
            UserInfo::new(name, groups)
        };
        let node = user("system:node:a", &["system:nodes"]);
        let manager = user("system:kube-controller-manager", &[]);
        let account = user("system:serviceaccount:kube-system:x", &["system:serviceaccounts"]);
        let other = user("system:serviceaccount:default:x", &["system:serviceaccounts"]);
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
        let cases = [
            (&user("root", &["system:masters"]), "/api/v1/pods", "exempt"),
            (&user("a", &[]), "/healthz/etcd", "probes"),
            (&user("a", &[]), "/readyz", "probes"),
            (&user("a", &[]), "/readyzz", "global-default"),
            (&manager, lease, "system-leader-election"),
            (&manager, "/api/v1/pods", "kube-controller-manager"),
            (&node, "/api/v1/nodes/a/status", "system-node-high"),
            (&node, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a", "system-node-high"),
            (&node, "/api/v1/pods", "system-nodes"),
            (&account, "/api/v1/pods", "kube-system-service-accounts"),
            (&account, lease, "system-leader-election"),
            (&other, "/api/v1/namespaces/default/pods", "service-accounts"),
            (&UserInfo::anonymous(), "/version", "global-default"),
            (&UserInfo::new("nobody", []), "/version", "catch-all"),
        ];
        for (user, path, want) in cases {
            let info = RequestInfo::new(&Method::GET, path, &Query::parse(None)).expect("a path");
            assert_eq!(config.schema_of(&info, user).name, want, "{} {path}", user.name);
        }
    }

    #[test]
    fn flows_hash_as_upstream() {
        let config = Config::mandatory(600);
        // sha256("catch-all\0ns"), its first eight bytes as a little-endian number.
        let digest = Sha256::digest(b"catch-all\0ns");
        let want = u64::from_le_bytes(digest[..8].try_into().expect("eight"));
        assert_eq!(config.catch_all.hash("ns"), want);
    }
}
