//! The authorization chain: its modes, their order, what they are asked about a request, and what a refusal says.

use std::sync::Arc;

use futures::future::BoxFuture;
use proto::status::Status;
use proto::{fields, labels};

use super::text::quoted;
use super::{Attributes, Authorizer, Decision, MASTERS, Rule, Rules, UserInfo, Verdict};
use crate::server::query::Query;
use crate::server::request_info::RequestInfo;

/// Asks each authorizer in turn; the first with an opinion decides.
pub struct Chain(pub Vec<Arc<dyn Authorizer>>);

impl Authorizer for Chain {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let mut reasons = Vec::new();
            for one in &self.0 {
                let verdict = one.authorize(attributes).await;
                if verdict.decision != Decision::NoOpinion {
                    return verdict;
                }
                if !verdict.reason.is_empty() {
                    reasons.push(verdict.reason);
                }
            }
            Verdict::no_opinion(reasons.join("\n"))
        })
    }

    fn rules<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules> {
        Box::pin(async move {
            let mut all = Rules::default();
            let mut errors = Vec::new();
            for one in &self.0 {
                let found = one.rules(user, namespace).await;
                all.rules.extend(found.rules);
                all.incomplete |= found.incomplete;
                if !found.error.is_empty() {
                    errors.push(found.error);
                }
            }
            if !errors.is_empty() {
                all.error = super::text::aggregate(&errors);
            }
            all
        })
    }
}

/// Allows members of `system:masters` everything.
pub struct PrivilegedGroup;

impl Authorizer for PrivilegedGroup {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Verdict> {
        let allowed = attributes.user.in_group(MASTERS);
        Box::pin(async move { if allowed { Verdict::allow("") } else { Verdict::no_opinion("") } })
    }

    fn rules<'a>(&'a self, _: &'a UserInfo, _: &'a str) -> BoxFuture<'a, Rules> {
        Box::pin(async { Rules::default() })
    }
}

/// The mode AlwaysAllow.
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize<'a>(&'a self, _: &'a Attributes) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Verdict::allow("") })
    }

    fn rules<'a>(&'a self, _: &'a UserInfo, _: &'a str) -> BoxFuture<'a, Rules> {
        let star = || vec!["*".to_owned()];
        let resources = Rule { verbs: star(), groups: star(), resources: star(), ..Rule::default() };
        let urls = Rule { verbs: star(), non_resource_urls: star(), ..Rule::default() };
        let rules = Rules { rules: vec![resources, urls], ..Rules::default() };
        Box::pin(async move { rules })
    }
}

/// The mode AlwaysDeny.
pub struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize<'a>(&'a self, _: &'a Attributes) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Verdict::no_opinion("Everything is forbidden.") })
    }

    fn rules<'a>(&'a self, _: &'a UserInfo, _: &'a str) -> BoxFuture<'a, Rules> {
        Box::pin(async { Rules::default() })
    }
}

/// A request as authorizers see it.
pub fn attributes(info: &RequestInfo, query: &Query, user: Arc<UserInfo>) -> Attributes {
    let mut attributes = Attributes {
        user,
        verb: info.verb.clone(),
        resource_request: info.is_resource,
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        path: info.path.clone(),
        ..Attributes::default()
    };
    if !info.verb_in_path && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        // A selector that can't be parsed is refused later, with its reason; here it narrows nothing.
        let parse = |name| query.get(name).unwrap_or_default();
        attributes.field_selector = fields::Selector::parse(parse("fieldSelector")).unwrap_or_default();
        attributes.label_selector = labels::Selector::parse(parse("labelSelector")).unwrap_or_default();
    }
    attributes
}

/// The answer to a request that is not allowed.
pub fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let mut message = sanitized(&forbidden_message(attributes));
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    Status::forbidden(&attributes.group, &attributes.resource, &attributes.name, message)
}

fn forbidden_message(attributes: &Attributes) -> String {
    let (user, verb) = (quoted(&attributes.user.name), &attributes.verb);
    if !attributes.resource_request {
        return format!("User {user} cannot {verb} path {}", quoted(&attributes.path));
    }
    let mut resource = attributes.resource.clone();
    if !attributes.subresource.is_empty() {
        resource = format!("{resource}/{}", attributes.subresource);
    }
    let scope = match attributes.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {}", quoted(namespace)),
    };
    let (resource, group) = (quoted(&resource), quoted(&attributes.group));
    format!("User {user} cannot {verb} resource {resource} in API group {group} {scope}")
}

/// Keeps what a request names from being read as markup.
fn sanitized(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            user: Arc::new(UserInfo::new("ann", [])),
            verb: "list".into(),
            resource_request: true,
            resource: "pods".into(),
            namespace: "default".into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn refusals_say_who_what_and_where() {
        for (attributes, message) in [
            (
                attributes(),
                r#"pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "default""#,
            ),
            (
                Attributes {
                    namespace: String::new(),
                    subresource: "log".into(),
                    name: "x".into(),
                    ..attributes()
                },
                r#"pods "x" is forbidden: User "ann" cannot list resource "pods/log" in API group "" at the cluster scope"#,
            ),
            (
                Attributes {
                    resource_request: false,
                    resource: String::new(),
                    verb: "get".into(),
                    path: "/a<b>".into(),
                    ..attributes()
                },
                r#"forbidden: User "ann" cannot get path "/a&lt;b&gt;""#,
            ),
        ] {
            assert_eq!(forbidden(&attributes, "").message, message);
        }
        assert!(forbidden(&attributes(), "because").message.ends_with(": because"));
    }

    #[tokio::test]
    async fn the_first_opinion_decides() {
        let chain = |list: Vec<Arc<dyn Authorizer>>| Chain(list);
        let verdict = chain(vec![Arc::new(AlwaysDeny), Arc::new(AlwaysAllow)]).authorize(&attributes()).await;
        assert_eq!(verdict.decision, Decision::Allow);
        let verdict =
            chain(vec![Arc::new(PrivilegedGroup), Arc::new(AlwaysDeny)]).authorize(&attributes()).await;
        assert_eq!(
            (verdict.decision, verdict.reason.as_str()),
            (Decision::NoOpinion, "Everything is forbidden.")
        );
    }
}
