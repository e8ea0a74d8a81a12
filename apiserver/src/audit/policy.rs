//! The policy: how much is recorded of which request. The first rule that fits counts.

use proto::field::{self, Error, Errors};
use proto::schema;
use proto::view::{View, strs};
use proto::{content, json, yaml};
use serde_json::Value;

use crate::auth::UserInfo;
use crate::server::request_info::RequestInfo;

const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

/// How much is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    const ALL: [Level; 4] = [Level::None, Level::Metadata, Level::Request, Level::RequestResponse];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Level::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// When events are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(super) fn as_str(self) -> &'static str {
        STAGES[self as usize]
    }
}

/// Stages that make no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Omitted(u8);

impl Omitted {
    fn new(list: &Value) -> Self {
        let bit = |text: &str| STAGES.iter().position(|stage| *stage == text).map_or(0, |at| 1 << at);
        Omitted(strs(list).into_iter().map(bit).fold(0, |all, bit| all | bit))
    }

    pub(super) fn has(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u8 != 0
    }
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omitted: Omitted,
    pub(super) omit_managed_fields: bool,
}

struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

struct Rule {
    verdict: Verdict,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    namespaces: Vec<String>,
    resources: Vec<Resources>,
    urls: Vec<String>,
}

/// All rules.
pub(super) struct Policy {
    rules: Vec<Rule>,
    otherwise: Verdict,
}

impl Policy {
    /// Reads a policy file.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let converted = yaml::to_json(text).map_err(|error| format!("failed decoding: {error}"))?;
        let (api_version, kind) =
            json::type_meta(&converted.json).map_err(|error| format!("failed decoding: {error}"))?;
        if (api_version.as_str(), kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return Err(format!("unknown group version field {api_version}, Kind={kind} in policy"));
        }
        let ty = schema::lookup("audit.k8s.io", "v1", "Policy").ok_or("the kind Policy has no schema")?;
        let decoded =
            json::decode(&converted.json, ty).map_err(|error| format!("failed decoding: {error}"))?;
        if !decoded.strict.is_empty() || !converted.strict.is_empty() {
            let strict =
                converted.strict.iter().chain(&decoded.strict).cloned().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                "Audit policy contains errors, falling back to lenient decoding: strict decoding error: {strict}"
            );
        }
        Policy::new(&decoded.value)
    }

    fn new(policy: &Value) -> Result<Self, String> {
        let view = View::root(policy);
        let errors = validate(&view);
        if !errors.is_empty() {
            return Err(field::aggregate(&errors));
        }
        let otherwise = Verdict {
            level: Level::None,
            omitted: Omitted::new(view.raw("omitStages")),
            omit_managed_fields: view.flag("omitManagedFields"),
        };
        let rules: Vec<Rule> =
            view.get("rules").items().iter().map(|rule| Rule::new(rule, otherwise)).collect();
        if rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        Ok(Policy { rules, otherwise })
    }

    /// What holds for a request.
    pub(super) fn evaluate(&self, user: &UserInfo, info: &RequestInfo) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(user, info));
        rule.map_or(self.otherwise, |rule| rule.verdict)
    }
}

fn texts(view: &View, field: &str) -> Vec<String> {
    view.texts(field).into_iter().map(str::to_owned).collect()
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == value)
}

impl Rule {
    fn new(rule: &View, policy: Verdict) -> Self {
        let omitted = Omitted(Omitted::new(rule.raw("omitStages")).0 | policy.omitted.0);
        let managed = rule.raw("omitManagedFields").as_bool().unwrap_or(policy.omit_managed_fields);
        let level = Level::parse(rule.text("level")).unwrap_or(Level::None);
        let resources = |own: &View| Resources {
            group: own.text("group").to_owned(),
            resources: texts(own, "resources"),
            names: texts(own, "resourceNames"),
        };
        Rule {
            verdict: Verdict { level, omitted, omit_managed_fields: managed },
            users: texts(rule, "users"),
            groups: texts(rule, "userGroups"),
            verbs: texts(rule, "verbs"),
            namespaces: texts(rule, "namespaces"),
            resources: rule.get("resources").items().iter().map(resources).collect(),
            urls: texts(rule, "nonResourceURLs"),
        }
    }

    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        let any = |list: &[String], value: &str| list.is_empty() || has(list, value);
        if !any(&self.users, &user.name) || !any(&self.verbs, &info.verb) {
            return false;
        }
        if !self.groups.is_empty() && !self.groups.iter().any(|group| user.in_group(group)) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && any(&self.namespaces, &info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|own| own.matches(info)));
        }
        self.urls.is_empty() || !info.is_resource && self.urls.iter().any(|url| fits(url, &info.path))
    }
}

fn fits(url: &str, path: &str) -> bool {
    url == path || url.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

impl Resources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group && self.group != "*" {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.names.is_empty() || has(&self.names, &info.name);
        named
            && self.resources.iter().any(|own| match own.split_once('/') {
                None => own == "*" || *own == info.resource && info.subresource.is_empty(),
                Some(("*", subresource)) => !info.subresource.is_empty() && subresource == info.subresource,
                Some((resource, "*")) => resource == info.resource,
                Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
            })
    }
}

fn validate(policy: &View) -> Errors {
    let mut errors = Errors::new();
    stages(&policy.get("omitStages"), &mut errors);
    for rule in policy.get("rules").items() {
        let (level, urls) = (rule.get("level"), rule.get("nonResourceURLs"));
        if level.is_empty() {
            errors.push(level.required(""));
        } else if Level::parse(level.str()).is_none() {
            errors.push(level.not_supported(&Level::ALL.map(Level::as_str)));
        }
        for url in urls.items().iter().filter(|url| url.str() != "*") {
            if !url.str().starts_with('/') {
                errors.push(url.invalid_str("non-resource URL rules must begin with a '/' character"));
            }
            if url.str().find('*').is_some_and(|at| at + 1 < url.str().len()) {
                let detail = "non-resource URL wildcards '*' must be the final character of the rule";
                errors.push(url.invalid_str(detail));
            }
        }
        let resources = rule.get("resources");
        for own in resources.items() {
            // Upstream reports these without an index.
            let own = own.with_path(resources.path().clone());
            let group = own.get("group");
            let messages = content::is_dns1123_subdomain(group.str());
            if !matches!(group.str(), "" | "*") && !messages.is_empty() {
                errors.push(group.invalid_str(messages.join(",")));
            }
            let names = own.get("resourceNames");
            if !names.is_empty() && own.get("resources").is_empty() {
                errors.push(names.invalid("using resourceNames requires at least one resource"));
            }
        }
        stages(&rule.get("omitStages"), &mut errors);
        let of_resources = !resources.is_empty() || !rule.get("namespaces").is_empty();
        if !urls.is_empty() && of_resources {
            errors.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
    }
    errors
}

fn stages(list: &View, errors: &mut Errors) {
    for stage in list.items() {
        if !STAGES.contains(&stage.str()) {
            let detail = format!("allowed stages are {}", STAGES.join(","));
            errors.push(Error::invalid(stage.path(), stage.str(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::query::Query;
    use http::Method;

    fn level(policy: &str, user: &UserInfo, method: Method, path: &str) -> Level {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{policy}");
        let policy = Policy::parse(text.as_bytes()).expect("a policy");
        let info = RequestInfo::new(&method, path, &Query::parse(None)).expect("a path");
        policy.evaluate(user, &info).level
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let policy = r#"
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch]}
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: RequestResponse, resources: [{group: "", resources: ["pods/*"]}]}
- {level: Request, resources: [{group: "", resources: ["*/status"]}, {group: apps}]}
- {level: Metadata, namespaces: [kube-system], userGroups: [admins]}
- {level: Metadata, resources: [{group: "*", resources: [secrets], resourceNames: [a]}]}
"#;
        let user = UserInfo::new("u", ["admins".to_owned()]);
        let cases = [
            (Method::GET, "/healthz/etcd", Level::None),
            (Method::GET, "/api/v1/namespaces/a/pods/p", Level::RequestResponse),
            (Method::GET, "/api/v1/namespaces/a/pods/p/log", Level::RequestResponse),
            (Method::PUT, "/api/v1/nodes/n/status", Level::Request),
            (Method::GET, "/apis/apps/v1/deployments", Level::Request),
            (Method::GET, "/api/v1/namespaces/kube-system/configmaps", Level::Metadata),
            (Method::GET, "/api/v1/namespaces/a/secrets/a", Level::Metadata),
            (Method::GET, "/api/v1/namespaces/a/secrets/b", Level::None),
        ];
        for (method, path, want) in cases {
            assert_eq!(level(policy, &user, method, path), want, "{path}");
        }
        let rule = Policy::parse(
            b"{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [Panic], rules: [{level: Metadata, omitStages: [ResponseStarted]}]}",
        );
        let verdict = rule.expect("a policy").rules[0].verdict;
        assert!(verdict.omitted.has(Stage::Panic) && verdict.omitted.has(Stage::ResponseStarted));
        assert!(!verdict.omitted.has(Stage::ResponseComplete));
    }

    #[test]
    fn policies_are_checked() {
        let cases = [
            ("apiVersion: audit.k8s.io/v1\nkind: Policy", "loaded illegal policy with 0 rules"),
            (
                "apiVersion: audit.k8s.io/v1beta1\nkind: Policy",
                "unknown group version field audit.k8s.io/v1beta1, Kind=Policy in policy",
            ),
            (
                "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All, omitStages: [x]}]",
                "[rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\", rules[0].omitStages[0]: Invalid value: \"x\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic]",
            ),
            (
                "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, nonResourceURLs: [\"/a*b\"]}]",
                "rules[0].nonResourceURLs[0]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(Policy::parse(text.as_bytes()).err().as_deref(), Some(want));
        }
    }
}
